"""Slices of a run with and without its sampler."""

from __future__ import annotations

import json

import pytest

from harness.selftest.observer import pairs_of


def tokens(*times_s: float) -> bytes:
    lines = [json.dumps({"event": "start"}), "torn {"]
    lines += [json.dumps({"event": "token", "boottime_ns": round(at * 1e9)}) for at in times_s]
    return "\n".join(lines).encode()


def test_the_slices_of_a_pair_are_told_apart() -> None:
    slow = [10.0 + 0.02 * number for number in range(25)]
    fast = [10.5 + 0.01 * number for number in range(50)]
    ((with_it, without),) = pairs_of(tokens(*slow, *fast), (10.0, 10.5, 11.0))
    assert with_it == pytest.approx(50)
    assert without == pytest.approx(100)


def test_a_pair_without_work_is_left_out() -> None:
    times = [10.0 + 0.05 * number for number in range(20)]
    assert pairs_of(tokens(*times), (8.0, 9.0, 10.0)) == []
    assert len(pairs_of(tokens(*times), (8.0, 9.0, 10.0, 10.5, 11.0))) == 1

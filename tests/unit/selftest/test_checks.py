"""A truth against what was measured."""

from __future__ import annotations

import json

import pytest

from harness.model import Measured, Unavailable
from harness.selftest.checks import (
    Check,
    absent,
    at_least,
    holds,
    near,
    near_share,
    not_run,
    same,
    summary,
    was_run,
)
from harness.selftest.table import COLUMNS, row


@pytest.mark.parametrize(("measured", "ok"), [(100.0, True), (101.0, True), (99.0, True), (101.01, False)])
def test_a_number_holds_up_to_the_allowed_error(measured: float, ok: bool) -> None:
    check = near("load_ms", "pixel", 100.0, Measured(measured, "ms", "log"), 1.0, "ms")
    assert check.ok is ok
    assert check.error == pytest.approx(measured - 100.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_never_holds(value: float) -> None:
    assert not near("load_ms", "pixel", 100.0, value, 1e9, "ms").ok


def test_an_absent_figure_does_not_hold_and_says_why() -> None:
    check = near("energy_j", "pixel", 10.0, Unavailable("external power is attached"), 1.0, "J")
    assert not check.ok and check.measured is None
    assert "external power is attached" in check.note


def test_a_share_is_of_the_truth() -> None:
    assert near_share("peak_memory_mb", "pixel", 200.0, 201.9, 0.01, "MB").ok
    assert not near_share("peak_memory_mb", "pixel", 200.0, 202.1, 0.01, "MB").ok


def test_words_and_limits() -> None:
    assert same("death_kill", "pixel", "killed", "killed").ok
    assert not same("death_kill", "pixel", "killed", "measured").ok
    assert at_least("observer", "pixel", 0.99, 0.99, "").ok
    assert not at_least("observer", "pixel", 0.99, 0.989, "").ok


def test_absence_must_have_a_reason() -> None:
    assert absent("charging_energy_j", "pixel", Unavailable("external power is attached")).ok
    assert not absent("charging_energy_j", "pixel", Unavailable("")).ok
    assert not absent("charging_energy_j", "pixel", Measured(0.0, "J", "gauge")).ok
    assert not absent("charging_energy_j", "pixel", None).ok


def test_what_was_not_run_never_counts_as_holding() -> None:
    left = not_run("throttle_onset_s", "pixel", "it never got hot")
    good = same("death_kill", "pixel", "killed", "killed")
    assert not was_run(left) and was_run(good)
    assert not holds([good, left])
    assert holds([good])
    assert not holds([])
    assert summary([good, left])["not_run"] == 1 and summary([good, left])["ok"] is False


def test_a_check_as_json_has_what_an_operator_compares() -> None:
    found = json.loads(json.dumps(near("load_ms", "pixel", 100.0, 100.5, 1.0, "ms").to_json()))
    assert {"check", "device", "truth", "measured", "error", "allowed", "ok"} <= set(found)
    assert found["ok"] is True and found["error"] == 0.5


@pytest.mark.parametrize(
    ("check", "sign"),
    [
        (near("load_ms", "pixel", 100.0, 100.5, 1.0, "ms"), "✓"),
        (near("load_ms", "pixel", 100.0, 102.0, 1.0, "ms"), "✗"),
        (not_run("load_ms", "pixel", "no compiler"), "–"),
    ],
)
def test_a_row_tells_the_three_ends_apart(check: Check, sign: str) -> None:
    cells = row(check)
    assert len(cells) == len(COLUMNS)
    assert cells[0] == sign

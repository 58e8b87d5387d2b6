"""The map of the phone's clock against the truth file."""

from __future__ import annotations

import time

import pytest

from harness.analysis.timebase import ClockReading, TimeBase, fit
from harness.selftest.clock import against_truth
from harness.selftest.truth import Truth, TruthMissing


def base(offset_s: float) -> TimeBase:
    """A phone whose uptime is the host's monotonic clock minus `offset_s`, read at 100 and 110 s within 4 ms."""
    ends = [[ClockReading(at + offset_s - 0.002, at, at + offset_s + 0.002)] for at in (100.0, 110.0)]
    found = fit(ends[0], ends[1])
    assert isinstance(found, TimeBase)
    return found


def truth(offset_s: float) -> Truth:
    wall_s = time.time() - time.monotonic()
    moments = [100.5 + 0.5 * step for step in range(10)]
    return Truth(tuple({"uptime_s": each, "host_s": each + offset_s + wall_s} for each in moments))


def test_a_true_map_holds_and_a_shifted_one_does_not() -> None:
    assert against_truth("pixel", base(50.0), truth(50.0)).ok
    check = against_truth("pixel", base(50.1), truth(50.0))
    assert not check.ok and check.error == pytest.approx(100.0, abs=20.0)


def test_without_truth_between_the_ends_nothing_is_said() -> None:
    with pytest.raises(TruthMissing):
        against_truth("pixel", base(50.0), Truth(()))

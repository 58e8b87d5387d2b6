"""Two clocks and a link with unequal ways: the bound of the error holds, and the drift is found."""

from __future__ import annotations

from math import floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agents.android.clock import bracketed_uptimes
from device_agents.base import ShellResult
from harness.analysis.timebase import ClockReading, TimeBase, fit
from harness.errors import Transient
from harness.model import Unavailable

STEP = 0.01


class Clocks:
    """A phone whose uptime runs `drift_ppm` slower than the host's clock and began at `offset_s` of it."""

    def __init__(self, offset_s: float, drift_ppm: float) -> None:
        self.offset_s = offset_s
        self.rate = 1 + drift_ppm * 1e-6

    def uptime(self, host_s: float) -> float:
        return (host_s - self.offset_s) / self.rate

    def host(self, uptime_s: float) -> float:
        return self.offset_s + uptime_s * self.rate

    def look(self, host_s: float, there_s: float, back_s: float) -> ClockReading:
        shown = floor(self.uptime(host_s + there_s) / STEP) * STEP
        return ClockReading(host_s, shown, host_s + there_s + back_s, 1.7e9 + host_s, STEP)


delays = st.tuples(st.floats(0.0005, 2.0), st.floats(0.0005, 2.0))


@settings(max_examples=300)
@given(
    offset_s=st.floats(-1e6, 1e5),
    drift_ppm=st.floats(-200, 200),
    length_s=st.floats(2, 20_000),
    start=st.lists(delays, min_size=1, max_size=5),
    end=st.lists(delays, min_size=1, max_size=5),
    at=st.floats(0, 1),
)
def test_the_error_stays_within_its_bound_however_unequal_the_ways(
    offset_s: float,
    drift_ppm: float,
    length_s: float,
    start: list[tuple[float, float]],
    end: list[tuple[float, float]],
    at: float,
) -> None:
    clocks = Clocks(offset_s, drift_ppm)
    begun = max(offset_s, 0.0) + 10_000
    base = fit(
        [clocks.look(begun + 5 * index, *way) for index, way in enumerate(start)],
        [clocks.look(begun + 30 + length_s + 5 * index, *way) for index, way in enumerate(end)],
    )
    assert isinstance(base, TimeBase)
    uptime = base.reference_uptime_s + at * (base.end_uptime_s - base.reference_uptime_s)
    assert abs(base.to_host(uptime) - clocks.host(uptime)) <= base.error_s + 1e-6
    assert base.error_s == pytest.approx(max(min(map(sum, start)), min(map(sum, end))) / 2 + STEP / 2)
    for beyond in (base.reference_uptime_s - 100, base.end_uptime_s + 100):
        assert abs(base.to_host(beyond) - clocks.host(beyond)) <= base.error_at(beyond) + 1e-6


def test_equal_and_short_ways_give_offset_and_drift_closely() -> None:
    clocks = Clocks(offset_s=500.0, drift_ppm=40.0)
    base = fit([clocks.look(1000, 0.002, 0.002)], [clocks.look(4600, 0.002, 0.002)])
    assert isinstance(base, TimeBase)
    assert base.drift_ppm == pytest.approx(40, abs=4)
    assert base.error_s == pytest.approx((0.004 + STEP) / 2)
    assert base.drift_error_ppm is not None
    assert abs(base.drift_ppm - 40) <= base.drift_error_ppm


def test_the_shortest_round_trip_of_each_end_is_kept() -> None:
    clocks = Clocks(0.0, 0.0)
    base = fit(
        [clocks.look(10, 0.5, 0.0), clocks.look(11, 0.004, 0.002), clocks.look(12, 0.0, 0.9)],
        [clocks.look(100, 0.3, 0.3), clocks.look(101, 0.01, 0.01)],
    )
    assert isinstance(base, TimeBase)
    assert base.round_trip_start_s == pytest.approx(0.006)
    assert base.round_trip_end_s == pytest.approx(0.02)
    assert base.error_s == pytest.approx((0.02 + STEP) / 2)


def test_one_end_only_has_no_drift_and_says_so() -> None:
    clocks = Clocks(100.0, 50.0)
    base = fit([clocks.look(1000, 0.01, 0.03)], [])
    assert isinstance(base, TimeBase)
    assert base.drift_error_ppm is None
    assert base.drift_ppm == 0
    later = base.reference_uptime_s + 3600
    assert base.error_at(later) > base.error_s
    assert abs(base.to_host(later) - clocks.host(later)) <= base.error_at(later)


def test_a_time_of_day_is_shown() -> None:
    clocks = Clocks(100.0, 0.0)
    base = fit([clocks.look(1000, 0.01, 0.01)], [clocks.look(2000, 0.01, 0.01)])
    assert isinstance(base, TimeBase)
    assert base.to_wall(900.0) == pytest.approx(1.7e9 + 1000, abs=0.03)


@pytest.mark.parametrize(
    ("start", "end", "why"),
    [
        ([], [ClockReading(1, 1, 2)], "not read before"),
        ([ClockReading(2, 1, 1)], [], "not read before"),
        ([ClockReading(10, 5000, 10.1)], [ClockReading(1010, 5200, 1010.1)], "ran apart"),
        ([ClockReading(10, 5000, 10.1)], [ClockReading(1010, 20, 1010.1)], "restarted"),
    ],
)
def test_what_is_no_time_base(start: list[ClockReading], end: list[ClockReading], why: str) -> None:
    found = fit(start, end)
    assert isinstance(found, Unavailable)
    assert why in found.reason


class HostShell:
    """The shell of this machine, answering what a test wants."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.asked = 0

    def run(self, argv: tuple[str, ...], *, limit_s: float, stdin: bytes | None = None) -> ShellResult:
        assert argv == ("cat", "/proc/uptime")
        assert limit_s > 0
        self.asked += 1
        return ShellResult(0, self.answers[min(self.asked, len(self.answers)) - 1], b"")

    def script(self, text: str, *args: str, limit_s: float, stdin: bytes | None = None) -> ShellResult:
        raise NotImplementedError


def test_uptimes_are_bracketed_by_the_hosts_clock() -> None:
    shell = HostShell(b"1234.56 9000.00\n")
    readings = bracketed_uptimes(shell, 5, limit_s=10)
    assert shell.asked == 5
    assert {reading.uptime_s for reading in readings} == {1234.56}
    times = [moment for reading in readings for moment in (reading.before_s, reading.after_s)]
    assert times == sorted(times)


def test_at_least_one_is_asked_for_within_no_time() -> None:
    assert len(bracketed_uptimes(HostShell(b"1.00 1.00\n"), 5, limit_s=0)) == 1


@pytest.mark.parametrize("answer", [b"", b"cat: no such file", b"-5 1"])
def test_no_uptime_is_an_error(answer: bytes) -> None:
    with pytest.raises(Transient, match="no uptime"):
        bracketed_uptimes(HostShell(answer), limit_s=1)

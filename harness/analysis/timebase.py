"""The time of a phone on the axis of the host: offset and drift of two clocks, with the bound of their error.

A reading is a phone's uptime between two readings of the host's clock. Where in between the phone looked is not known,
so half of the round trip bounds the error, however unequal the two ways are (Cristian: Probabilistic clock
synchronization. Distributed Computing 3, 1989). The shortest round trip of each end is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from harness.model import Unavailable

MAX_DRIFT_PPM = 1000.0
"""Quartz clocks differ by tens of ppm; more is a clock that was set, or a suspend that one of them does not count."""

LEAST_SPAN_S = 1.0
"""Ends that lie closer together show no drift."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """One bracketed look at a phone's clock, in seconds.

    Args:
        before_s: host's monotonic clock before the question.
        uptime_s: the phone's uptime as it answered (`/proc/uptime`, which counts suspended time).
        after_s: host's monotonic clock after the answer.
        wall_before_s: host's wall clock (Unix) at `before_s`; shows when a reading was taken, never compared.
        resolution_s: step of the phone's clock.
    """

    before_s: float
    uptime_s: float
    after_s: float
    wall_before_s: float = 0.0
    resolution_s: float = 0.01

    @property
    def error_s(self) -> float:
        """Bound of the error when the phone looked in the middle: half of the round trip, and half a step."""
        return (self.after_s - self.before_s + self.resolution_s) / 2

    @property
    def middle_s(self) -> float:
        return (self.before_s + self.after_s) / 2

    @property
    def offset_s(self) -> float:
        """Host minus phone. The phone cuts its uptime off at a step, so it is half a step later on average."""
        return self.middle_s - (self.uptime_s + self.resolution_s / 2)


@dataclass(frozen=True, slots=True)
class TimeBase:
    """host = uptime + offset_s + (uptime − reference_uptime_s) × drift_ppm / 10⁶, in seconds.

    Args:
        offset_s: host's monotonic clock minus uptime at `reference_uptime_s`.
        drift_ppm: how much faster the host's clock runs; 0 where it could not be told.
        error_s: bound of the error of `to_host` between the two ends.
        drift_error_ppm: bound of the error of the drift, None where no drift could be told.
        reference_uptime_s: uptime of the reading at the start. end_uptime_s: of the one at the end.
        wall_offset_s: wall clock minus uptime at the start, for showing a time of day.
        round_trip_start_s, round_trip_end_s: of the readings that were kept.
    """

    offset_s: float
    drift_ppm: float
    error_s: float
    drift_error_ppm: float | None
    reference_uptime_s: float
    end_uptime_s: float
    wall_offset_s: float
    round_trip_start_s: float
    round_trip_end_s: float

    def to_host(self, uptime_s: float) -> float:
        """Host's monotonic clock, in seconds, at this uptime of the phone."""
        return uptime_s + self.offset_s + (uptime_s - self.reference_uptime_s) * self.drift_ppm * 1e-6

    def error_at(self, uptime_s: float) -> float:
        """Bound of the error of `to_host`: between the ends it goes over from one end's to the other's, outside it
        grows with the error of the drift."""
        beyond = max(self.reference_uptime_s - uptime_s, uptime_s - self.end_uptime_s, 0.0)
        drift_error = self.drift_error_ppm if self.drift_error_ppm is not None else MAX_DRIFT_PPM
        return self.error_s + beyond * drift_error * 1e-6

    def to_wall(self, uptime_s: float) -> float:
        """Unix time of the host at this uptime, for showing only: the wall clock may have been set since."""
        return uptime_s + self.wall_offset_s


def fit(start: Sequence[ClockReading], end: Sequence[ClockReading]) -> TimeBase | Unavailable:
    """The line through the shortest round trip of each end.

    Args:
        start: readings before the case. end: readings after it, on the same boot; may be empty, then the drift is not
            known and the error is that of the start.
    """
    first, last = _shortest(start), _shortest(end)
    if first is None:
        return Unavailable("the phone's clock was not read before the case")
    if last is not None and last.uptime_s < first.uptime_s:
        return Unavailable("the phone's uptime went back between the ends of the case: it restarted")
    if last is None or last.uptime_s - first.uptime_s < LEAST_SPAN_S:
        return _line(first, last or first, 0.0, None, max(first.error_s, (last or first).error_s))
    span = last.uptime_s - first.uptime_s
    drift_ppm = (last.offset_s - first.offset_s) / span * 1e6
    drift_error_ppm = (first.error_s + last.error_s) / span * 1e6
    if abs(drift_ppm) > MAX_DRIFT_PPM + drift_error_ppm:
        return Unavailable(
            f"the clocks of phone and host ran apart by {drift_ppm / 1e4:.2g} %: the phone restarted, or one of them "
            "was stopped"
        )
    return _line(first, last, drift_ppm, drift_error_ppm, max(first.error_s, last.error_s))


def _shortest(readings: Sequence[ClockReading]) -> ClockReading | None:
    possible = [
        each
        for each in readings
        if each.after_s >= each.before_s and each.uptime_s >= 0 and isfinite(each.after_s + each.uptime_s)
    ]
    return min(possible, key=lambda each: each.after_s - each.before_s, default=None)


def _line(
    first: ClockReading, last: ClockReading, drift_ppm: float, drift_error_ppm: float | None, error_s: float
) -> TimeBase:
    if drift_error_ppm is None:
        # An unknown drift may act between the ends.
        error_s += (last.uptime_s - first.uptime_s) * MAX_DRIFT_PPM * 1e-6
    return TimeBase(
        offset_s=first.offset_s,
        drift_ppm=drift_ppm,
        error_s=error_s,
        drift_error_ppm=drift_error_ppm,
        reference_uptime_s=first.uptime_s,
        end_uptime_s=last.uptime_s,
        wall_offset_s=first.wall_before_s + (first.after_s - first.before_s) / 2 - first.uptime_s,
        round_trip_start_s=first.after_s - first.before_s,
        round_trip_end_s=last.after_s - last.before_s,
    )

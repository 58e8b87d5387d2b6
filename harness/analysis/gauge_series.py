"""Samples of a fuel gauge as a function of time: what was held between its updates, and where a counter stepped.

A gauge has a new value every so often (0.25 to 30 s) and is read more often than that, so a repeated value is mostly
one that was held. A coarse counter stands still until a whole step has gone.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from harness.model import Trace

Window = tuple[float | None, float | None]
"""Device uptime in seconds of start and end; None: open."""

SLOWEST_UPDATE_S = 60.0
"""No fuel gauge of a phone is slower; a value that stands longer is one that did not change."""

_FASTEST_SHARE = 0.1
_HELD_LONGER = 1.5
_LEAST_SPACINGS = 3


@dataclass(frozen=True, slots=True)
class Series:
    """Values at ascending times (device uptime, s)."""

    times: Sequence[float]
    values: Sequence[float]

    def __len__(self) -> int:
        return len(self.times)

    def scaled(self, factor: float) -> Series:
        return Series(self.times, tuple(value * factor for value in self.values))


def inside(trace: Trace | None, window: Window) -> Series:
    """The samples of a trace within a window, both ends included; empty for a channel that is absent."""
    if trace is None or not trace.values:
        return Series((), ())
    start, end = window
    first = 0 if start is None else bisect_left(trace.uptime_s, start)
    last = len(trace.uptime_s) if end is None else bisect_right(trace.uptime_s, end)
    return Series(tuple(trace.uptime_s[first:last]), tuple(trace.values[first:last]))


def sample_interval(series: Series) -> float:
    """Median time between samples, s; 0 for fewer than two."""
    return median(later - before for before, later in pairwise(series.times)) if len(series) > 1 else 0.0


def widest_gap(series: Series, start: float, end: float) -> float:
    """Longest time in [start, end] without a sample, s."""
    times = (start, *(at for at in series.times if start <= at <= end), end)
    return max(later - before for before, later in pairwise(times))


def update_period(series: Series) -> float:
    """How often the gauge has a new value, s: a low quantile of the times between changes, for a value may also stay
    because nothing changed. At least the interval of the samples, at most `SLOWEST_UPDATE_S`."""
    changes = [at for at, _ in _changes(series)]
    spacings = sorted(later - before for before, later in pairwise(changes))
    interval = sample_interval(series)
    if len(spacings) < _LEAST_SPACINGS:
        return interval
    typical = spacings[int(_FASTEST_SHARE * (len(spacings) - 1))]
    return max(interval, min(typical, SLOWEST_UPDATE_S))


def updates(series: Series, period_s: float) -> Series:
    """The gauge's own updates in samples that are mostly repetitions.

    A change is an update. A value that stood longer than a period was also read anew until one period before the next
    change. The first value is left out unless it stood so long: it was read at an unknown time before.
    """
    starts = [(series.times[0], series.values[0]), *_changes(series)] if len(series) else []
    ends = [*(at for at, _ in starts[1:]), series.times[-1]] if starts else []
    times: list[float] = []
    values: list[float] = []

    def knot(at: float, value: float) -> None:
        if not times or at > times[-1]:
            times.append(at)
            values.append(value)

    for index, ((at, value), until) in enumerate(zip(starts, ends, strict=True)):
        lasting = until - at > _HELD_LONGER * period_s
        if index or lasting or len(starts) == 1:
            knot(at, value)
        if lasting:
            knot(until if index == len(starts) - 1 else until - period_s, value)
    return Series(tuple(times), tuple(values))


def _changes(series: Series) -> list[tuple[float, float]]:
    return [
        (at, value)
        for (_, before), (at, value) in pairwise(zip(series.times, series.values, strict=True))
        if value != before
    ]


def value_at(series: Series, at: float) -> float:
    """Linear between samples, held before the first and after the last; the series must not be empty."""
    right = bisect_left(series.times, at)
    if right == 0:
        return series.values[0]
    if right == len(series.times):
        return series.values[-1]
    before, after = series.times[right - 1], series.times[right]
    share = (at - before) / (after - before)
    return series.values[right - 1] + share * (series.values[right] - series.values[right - 1])


def integral(series: Series, start: float, end: float) -> float:
    """Trapezoid over [start, end]; the first and last value are held to the ends."""
    first, last = bisect_right(series.times, start), bisect_left(series.times, end)
    times = [start, *series.times[first:last], end]
    values = [value_at(series, at) for at in times]
    return sum(
        (later - before) * (one + other) / 2
        for (before, later), (one, other) in zip(pairwise(times), pairwise(values), strict=True)
    )


def mean(series: Series, start: float, end: float) -> float:
    """Mean over time in [start, end]; the value there when both are one moment."""
    return integral(series, start, end) / (end - start) if end > start else value_at(series, start)


def steps_down(series: Series) -> Series:
    """Where a falling counter reached a new lowest value: the moment halfway between the two samples, and that value.

    At each such moment the truth lies the same distance from what the counter shows, so differences between them are
    free of its step. A counter that flickers back is not taken twice.
    """
    times: list[float] = []
    values: list[float] = []
    lowest = series.values[0] if len(series) else 0.0
    for index in range(1, len(series)):
        value = series.values[index]
        if value < lowest:
            lowest = value
            times.append((series.times[index - 1] + series.times[index]) / 2)
            values.append(value)
    return Series(tuple(times), tuple(values))


def typical_step(series: Series) -> float | None:
    """How much a counter moves at a time, as sampled, in its unit; None when it moved less than twice."""
    moves = [abs(after - before) for before, after in pairwise(series.values) if after != before]
    return median(moves) if len(moves) > 1 else None

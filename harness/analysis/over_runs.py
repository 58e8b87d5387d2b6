"""One metric of each series over the runs in which it was measured. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from harness.analysis import run_pairs
from harness.analysis.repeats import counted
from harness.model import CaseStatus, ErrorInfo, Measured, PlannedCase, Reading


class Row(run_pairs.Row, Protocol):
    """What is needed of a stored measurement."""

    @property
    def started_at(self) -> float | None: ...

    @property
    def error(self) -> ErrorInfo | None: ...


@dataclass(frozen=True, slots=True)
class RunValue:
    """What one run says of a series.

    Args:
        started_at: Unix seconds of its first repetition, None when none started.
        value: median over the repetitions that count; None when nothing was measured, `reason` says why.
        low, high: smallest and largest of them.
        repeats: how many there were.
        changed: what is not as it was at the last value before, see `run_pairs.changes`.
    """

    run: str
    started_at: float | None
    value: float | None
    low: float | None
    high: float | None
    repeats: int
    changed: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SeriesOverRuns:
    """A series by its newest plan, with a value for each run, the oldest first."""

    planned: PlannedCase
    values: tuple[RunValue, ...]

    @property
    def measured(self) -> tuple[RunValue, ...]:
        return tuple(value for value in self.values if value.value is not None)


def over_runs(rows: Iterable[Row], metric: str, warm_up: Mapping[str, bool]) -> tuple[SeriesOverRuns, ...]:
    """The series of these measurements.

    Args:
        rows: in order of their start.
        metric: a name of METRICS.
        warm_up: by run, whether the first repetition of each case does not count.
    """
    series: dict[run_pairs.Match, dict[str, list[Row]]] = {}
    for row in rows:
        series.setdefault(run_pairs.match_of(row.planned), {}).setdefault(row.planned.run, []).append(row)
    return tuple(_series(runs, metric, warm_up) for runs in series.values())


def _series(runs: Mapping[str, Sequence[Row]], metric: str, warm_up: Mapping[str, bool]) -> SeriesOverRuns:
    values: list[RunValue] = []
    last: Row | None = None
    for run, rows in runs.items():
        valid = [row for row in counted(rows, warm_up.get(run, False)) if row.status is CaseStatus.MEASURED]
        readings = [row.metrics.get(metric) for row in valid]
        found = [reading.value for reading in readings if isinstance(reading, Measured)]
        started = next((row.started_at for row in rows if row.started_at is not None), None)
        if not found:
            values.append(RunValue(run, started, None, None, None, 0, reason=_why(rows, readings)))
            continue
        changed = () if last is None else tuple(run_pairs.changes(last, valid[0]))
        values.append(RunValue(run, started, median(found), min(found), max(found), len(found), changed))
        last = valid[-1]
    newest = list(runs.values())[-1][-1].planned
    return SeriesOverRuns(newest, tuple(values))


def _why(rows: Sequence[Row], readings: Sequence[Reading | None]) -> str:
    absent = next(
        (reading.reason for reading in readings if reading is not None and not isinstance(reading, Measured)), ""
    )
    if absent or readings:
        return absent or "this workload does not have it"
    error = next((row.error for row in reversed(rows) if row.error is not None), None)
    return f"{rows[-1].status.value}: {error.error_class}" if error is not None else rows[-1].status.value

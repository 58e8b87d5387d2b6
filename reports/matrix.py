"""Models against workloads: tonight's time per token, its spread over the phones, and how the runs before were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from types import MappingProxyType

from harness.analysis.repeats import RepeatPolicy
from harness.model import METRICS, Measured
from reports.cases import Case, Notes, measured_cell, median_reading, why_absent
from reports.charts import Point, Scale, coordinate, dots, line
from reports.inputs import Past
from reports.night_views import ChangeMark
from reports.numbers import plural, significant, span
from reports.plots import Spark, Strip
from reports.views import MetricCell

METRIC = "ms_per_token"
WIDTH, HEIGHT = 150.0, 30.0
STRIP_WIDTH = 150.0
_LEAST = 0.03
"""Half the smallest range that is drawn: noise of 1 % is no mountain."""

Row = tuple[str, str, str]
"""Model, runner, marks of the devices."""
Cell = tuple[str, str, str]
"""Model, runner, workload."""
Marks = tuple[ChangeMark, ...]
NO_CHANGES: Mapping[Cell, Marks] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class MatrixCell:
    """`value` holds the median over the phones; `phones` are tonight's values, None for fewer than two; `spark` the
    runs before, None where there are none; `changes` lead to what changed over the nights. A cell without cases has an
    empty `value` and no reason."""

    value: MetricCell
    count: str
    phones: Strip | None
    spark: Spark | None
    trend: str
    changes: tuple[ChangeMark, ...] = ()


@dataclass(frozen=True, slots=True)
class MatrixRow:
    model: str
    runner: str
    mark: str
    cells: tuple[MatrixCell, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    workloads: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    runs: str


def matrix(
    cases: Sequence[Case], past: Past, notes: Notes, policy: RepeatPolicy, changes: Mapping[Cell, Marks] = NO_CHANGES
) -> Matrix:
    """A row per model, runner and kind of device, a column per workload, in the order of the cases. What is kept apart
    has rows of its own.

    Args: changes: over the nights, by model, runner and workload.
    """
    workloads = tuple(dict.fromkeys(case.planned.workload_id for case in cases))
    groups: dict[Row, dict[str, list[Case]]] = {}
    for case in cases:
        row = (case.planned.model.id, case.planned.runner.id, case.marks)
        groups.setdefault(row, {}).setdefault(case.planned.workload_id, []).append(case)
    runs = plural(len(past.runs), "earlier run") if past.runs else "no earlier run"
    rows: list[MatrixRow] = []
    for (model, runner, mark), members in groups.items():
        cells = []
        for name in workloads:
            own = members.get(name, [])
            cell = _cell(own, past, notes, policy)
            judged = any(not case.apart for case in own)
            cells.append(replace(cell, changes=changes.get((model, runner, name), ())) if judged else cell)
        rows.append(MatrixRow(model, runner, mark, tuple(cells)))
    return Matrix(workloads, tuple(rows), runs)


def _cell(cases: Sequence[Case], past: Past, notes: Notes, policy: RepeatPolicy) -> MatrixCell:
    found = [(case, median_reading(case, METRIC, policy)) for case in cases]
    now = {case.planned.series_key: reading.value for case, reading in found if isinstance(reading, Measured)}
    values = list(now.values())
    spark, trend = _spark([case.planned.series_key for case in cases], now, past)
    if not values:
        reason = why_absent([one for case in cases for one in case.repetitions], METRIC) if cases else ""
        return MatrixCell(MetricCell("", "", notes.number(reason) if reason else 0, reason), "", None, spark, trend)
    return MatrixCell(measured_cell(values), plural(len(values), "device"), _strip(values), spark, trend)


def _strip(values: Sequence[float]) -> Strip | None:
    """Tonight's devices as points."""
    if len(values) < 2:
        return None
    low, high, middle = min(values), max(values), median(values)
    half = max(high - low, abs(middle) * 2 * _LEAST) * 0.55
    scale = Scale((low + high) / 2 - half, (low + high) / 2 + half, 5, STRIP_WIDTH - 5)
    unit = METRICS[METRIC].unit
    return Strip(
        width=STRIP_WIDTH,
        points=dots([(scale(value), 8.0) for value in values]),
        median_x=round(scale(middle), 1),
        label=f"{len(values)} devices, {span(low, high)} {unit}, median {significant(middle)} {unit}",
    )


def _spark(keys: Sequence[str], now: Mapping[str, float], past: Past) -> tuple[Spark | None, str]:
    """The runs before and this one: each device against its own median over them, so that one that is missing in a
    run moves nothing."""
    relative: list[list[float]] = [[] for _ in range(len(past.runs) + 1)]
    for key in keys:
        held = past.values.get(key, {})
        own = [held.get(run) for run in past.runs] + [now.get(key)]
        known = [value for value in own if value is not None and value > 0]
        if not known:
            continue
        middle = median(known)
        for place, value in zip(relative, own, strict=True):
            if value is not None and value > 0:
                place.append(value / middle)
    if not any(relative[:-1]):
        return None, "no earlier run has it"
    return _drawn(relative), _trend(relative)


def _drawn(relative: Sequence[Sequence[float]]) -> Spark:
    known = [value for place in relative for value in place]
    low, high = min(*known, 1 - _LEAST), max(*known, 1 + _LEAST)
    x, y = Scale(0, len(relative) - 1, 3, WIDTH - 5), Scale(low, high, HEIGHT - 3, 3)
    stretches: list[list[tuple[int, Sequence[float]]]] = [[]]
    for number, place in enumerate(relative):
        if place:
            stretches[-1].append((number, place))
        elif stretches[-1]:
            stretches.append([])
    whole = [stretch for stretch in stretches if stretch]
    middles: list[list[Point]] = [[(x(number), y(median(place))) for number, place in one] for one in whole]
    bands = [
        [(x(number), y(max(place))) for number, place in one]
        + [(x(number), y(min(place))) for number, place in one[::-1]]
        for one in whole
        if len(one) > 1
    ]
    gaps = sum(not place for place in relative)
    runs = len(relative) - gaps
    medians = [median(place) for place in relative if place]
    last = f"this run {significant(medians[-1])}" if relative[-1] else "this run has none"
    return Spark(
        width=WIDTH,
        height=HEIGHT,
        line="".join(line(points) for points in middles),
        band="".join(f"{line(points)}z" for points in bands),
        base=coordinate(y(1.0)),
        dot=(round(middles[-1][-1][0], 1), round(middles[-1][-1][1], 1)) if relative[-1] else None,
        label=f"Time per token over {plural(runs, 'run')}, each device against its own median: "
        f"{span(min(medians), max(medians))}, {last}" + (f"; {plural(gaps, 'run')} without a value" if gaps else ""),
    )


def _trend(relative: Sequence[Sequence[float]]) -> str:
    """This run against the median of the runs before."""
    before = [median(place) for place in relative[:-1] if place]
    runs = plural(len(before), "earlier run")
    if not relative[-1]:
        return f"{runs}, none tonight"
    change = round(100 * (median(relative[-1]) / median(before) - 1), 1)
    sign = "+" if change > 0 else "\u2212" if change < 0 else "±"
    return f"{sign}{abs(change):.1f} % to {runs}"

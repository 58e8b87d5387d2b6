"""One case in full: figures per repetition, steps, timeline, provenance, commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from harness.analysis.repeats import RepeatPolicy
from harness.model import METRICS, CaseStatus, Measured, MetricSpec, StepRecord, Targets, Trace, Unavailable
from reports import before, timeline
from reports.cases import Case, Notes, aggregate, anchor, case_name, metric_head, values_of
from reports.charts import Scale, dots
from reports.distribution import distribution
from reports.failures import failure_row
from reports.inputs import Repetition, Telemetry
from reports.numbers import alike, duration, iso, moment, significant, span
from reports.phases import phases_of
from reports.plots import Strip, Timeline
from reports.verdicts import verdict_row
from reports.views import (
    AbsentGroup,
    CaseMetricRow,
    CaseView,
    ChannelRow,
    DifferingRow,
    MetricCell,
    Named,
    RepetitionView,
    StepRow,
)

STRIP_WIDTH = 120.0
STEPS_WIDTH = 220.0

_SHOWN_ELSEWHERE = frozenset({"case", "series", "series_key", "serial", "repeat", "attempt"})

_NO_TIMELINE: Mapping[CaseStatus, str] = {
    CaseStatus.PLANNED: "not run yet",
    CaseStatus.RUNNING: "still running",
    CaseStatus.FAILED: "the store holds no samples of a failed repetition",
    CaseStatus.REFUSED: "refused before anything ran",
    CaseStatus.SKIPPED: "skipped before anything ran",
}


def case_view(
    case: Case, targets: Targets, notes: Notes, telemetry: Telemetry, drawn: frozenset[str], policy: RepeatPolicy
) -> CaseView:
    """`drawn` holds the keys of the repetitions whose timeline is drawn."""
    verdict = verdict_row(case, targets, notes, policy)
    same, differing = _provenance(case)
    metrics = [_metric_row(spec, case, notes) for spec in METRICS.values()]
    return CaseView(
        anchor=anchor(case.planned.case),
        name=case_name(case),
        overall=verdict.overall,
        cells=verdict.cells,
        repetitions_text=f"{verdict.repetitions} measured",
        metrics=tuple(row for row in metrics if any(cell.value for cell in row.cells)),
        absent=_absent_groups(row for row in metrics if not any(cell.value for cell in row.cells)),
        tokens=distribution(case, telemetry, policy),
        repetitions=tuple(_repetition(one, case, telemetry, drawn) for one in case.repetitions),
        provenance=same,
        differing=differing,
        commands=next((one.commands for one in (*case.measured, *case.repetitions) if one.commands), ()),
    )


def drawn_keys(cases: Sequence[Case], most: int) -> frozenset[str]:
    """Which repetitions get a timeline: all that ran, or, beyond `most`, of each case the one nearest the median."""
    ran = [one for case in cases for one in case.repetitions if one.status in (CaseStatus.MEASURED, CaseStatus.FAILED)]
    if len(ran) <= most:
        return frozenset(one.planned.key for one in ran)
    return frozenset(_typical(case).planned.key for case in cases if case.measured)


def _typical(case: Case) -> Repetition:
    values = values_of(case.measured, "ms_per_token")
    if not values:
        return case.measured[0]
    middle = median(values)

    def distance(one: Repetition) -> float:
        reading = one.metrics.get("ms_per_token")
        return abs(reading.value - middle) if isinstance(reading, Measured) else float("inf")

    return min(case.measured, key=distance)


def _metric_row(spec: MetricSpec, case: Case, notes: Notes) -> CaseMetricRow:
    readings = [one.metrics.get(spec.name) for one in case.repetitions]
    measured = [reading for reading in readings if isinstance(reading, Measured)]
    texts = iter(alike([reading.value for reading in measured]))
    steps = [reading.resolution for reading in measured if reading.resolution is not None]
    return CaseMetricRow(
        head=metric_head(spec),
        median=aggregate(case.measured or case.repetitions, spec.name, notes),
        cells=tuple(
            MetricCell(next(texts), "") if isinstance(reading, Measured) else _absent(one, spec.name, notes)
            for one, reading in zip(case.repetitions, readings, strict=True)
        ),
        strip=_strip([reading.value for reading in measured], spec.unit),
        source=", ".join(dict.fromkeys(reading.source for reading in measured)),
        resolution=f"{max(steps):.3g} {spec.unit}".strip() if steps else "",
    )


def _absent_groups(rows: Iterable[CaseMetricRow]) -> tuple[AbsentGroup, ...]:
    """Reason by reason: a row of its own for each metric would say the same many times."""
    groups: dict[MetricCell, list[str]] = {}
    for row in rows:
        for cell in dict.fromkeys((row.median, *row.cells)):
            groups.setdefault(cell, []).append(row.head.title)
    return tuple(AbsentGroup(", ".join(titles), cell) for cell, titles in groups.items())


def _absent(one: Repetition, metric: str, notes: Notes) -> MetricCell:
    reading = one.metrics.get(metric)
    if isinstance(reading, Unavailable):
        reason = reading.reason
    elif one.error is not None:
        reason = f"{one.status.value}: {one.error.message}"
    else:
        reason = _NO_TIMELINE.get(one.status, f"the stored result does not hold {metric}")
    return MetricCell("", "", notes.number(reason), reason)


def _strip(values: Sequence[float], unit: str) -> Strip | None:
    """Repetitions as points; None where there is nothing to compare."""
    if len(values) < 2:
        return None
    low, high = min(values), max(values)
    middle = median(values)
    # Half of 2 % around the median at least, or the noise of a steady phone fills the whole strip.
    least = abs(middle) * 0.02 or 1.0
    half = max(high - low, least) * 0.55
    scale = Scale((low + high) / 2 - half, (low + high) / 2 + half, 5, STRIP_WIDTH - 5)
    return Strip(
        width=STRIP_WIDTH,
        points=dots([(scale(value), 8.0) for value in values]),
        median_x=round(scale(middle), 1),
        label=f"{len(values)} repetitions, {span(low, high)} {unit}, median {significant(middle)} {unit}",
    )


def _repetition(one: Repetition, case: Case, telemetry: Telemetry, drawn: frozenset[str]) -> RepetitionView:
    key = one.planned.key
    picture: Timeline | None = None
    channels: tuple[ChannelRow, ...] = ()
    dropped = one.row.dropped
    why = dropped or _NO_TIMELINE.get(one.status, "no telemetry is stored for it")
    if key in drawn:
        traces = telemetry.traces(key)
        picture = _picture(one, case, telemetry, traces)
        channels = timeline.channel_rows(traces)
    elif one.status is CaseStatus.MEASURED and not dropped:
        why = "drawn for the repetition nearest the median only, to keep this file small; the store has all samples"
    return RepetitionView(
        anchor=anchor(key),
        number=one.planned.repeat,
        status=one.status.value,
        attempt=one.attempt,
        started="" if one.started_at is None else moment(one.started_at),
        started_iso="" if one.started_at is None else iso(one.started_at),
        duration="" if one.duration_s is None else duration(one.duration_s),
        error=None if one.error is None else failure_row(case, (one,)),
        steps=_steps(one.steps),
        timeline=picture,
        no_timeline="" if picture else why,
        channels=channels,
        log_tail=one.log_tail,
        dropped=dropped,
        before=before.before_view(one.provenance),
        heat=before.heat_view(one.provenance),
        placed=before.placed(one.provenance),
    )


def _picture(one: Repetition, case: Case, telemetry: Telemetry, traces: Sequence[Trace]) -> Timeline | None:
    planned, device = one.planned, case.device
    mark = f" ({case.marks})" if case.marks else ""
    return timeline.build(
        anchor=f"t-{anchor(planned.key)}",
        title=f"Timeline of {planned.model.id}, {planned.workload_id}, on {device.id}{mark}, "
        f"repetition {planned.repeat}",
        mark=case.marks,
        traces=traces,
        itl_ms=telemetry.itl(planned.key),
        phases=phases_of(one.provenance, one.metrics),
        heat=before.heat_view(one.provenance),
        gate=before.before_view(one.provenance).short,
        dropped=one.row.dropped,
    )


def _steps(steps: Sequence[StepRecord]) -> tuple[StepRow, ...]:
    """Steps in order of their start, each with a bar on the axis from the first start to the last end."""
    if not steps:
        return ()
    ordered = sorted(steps, key=lambda step: step.started_at)
    begin = ordered[0].started_at
    scale = Scale(begin, max(step.started_at + step.duration_s for step in ordered), 0, STEPS_WIDTH)
    return tuple(
        StepRow(
            step=step.step.value.replace("_", " "),
            attempt=step.attempt,
            started=f"+{duration(max(step.started_at - begin, 0.0))}",
            duration=duration(step.duration_s),
            limit="" if step.limit_s is None else duration(step.limit_s),
            x=round(scale(step.started_at), 1),
            width=round(max(scale(step.started_at + step.duration_s) - scale(step.started_at), 1.0), 1),
            detail="; ".join(f"{name} {value}" for name, value in flat(step.detail)),
            error="" if step.error is None else f"{step.error.error_class}: {step.error.message}",
        )
        for step in ordered
    )


def flat(mapping: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings as dotted names with their values as text, in their own order."""
    items: list[tuple[str, str]] = []
    for name, value in mapping.items():
        if isinstance(value, Mapping) and value and not _is_reading(value):
            items.extend(flat(value, f"{prefix}{name}."))
        else:
            items.append((f"{prefix}{name}", _text(value, of_parameter=prefix == "parameters.")))
    return items


def _is_reading(value: Mapping[str, Any]) -> bool:
    return "unavailable" in value or {"value", "unit"} <= value.keys()


def _text(value: Any, *, of_parameter: bool = False) -> str:
    if value is None:
        return "left to the runtime" if of_parameter else "none"
    if isinstance(value, Mapping) and _is_reading(value):
        reason = value.get("unavailable")
        return f"not measured ({reason})" if reason is not None else f"{_text(value['value'])} {value['unit']}".strip()
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items()) or "none"
    if isinstance(value, list | tuple):
        parts = [_text(part) for part in value]
        return ("; " if any(isinstance(part, Mapping) for part in value) else ", ").join(parts) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return significant(value) if isinstance(value, float) else str(value)


def _provenance(case: Case) -> tuple[tuple[Named, ...], tuple[DifferingRow, ...]]:
    """What is the same in all repetitions, and what is not."""
    facts = [
        dict(flat({name: value for name, value in one.provenance.items() if name not in before.KEYS}))
        for one in case.repetitions
    ]
    names = list(dict.fromkeys(name for one in facts for name in one))
    same: list[Named] = [
        Named("case", case.planned.case, mono=True),
        Named("series", case.planned.series_key, mono=True),
        Named("serial", case.planned.serial, mono=True),
    ]
    differing: list[DifferingRow] = []
    for name in names:
        if name in _SHOWN_ELSEWHERE or name.startswith("stamps."):
            continue
        values = [one.get(name, "not recorded") for one in facts]
        known = {value for value, one in zip(values, facts, strict=True) if one}
        if len(known) == 1:
            same.append(Named(name, known.pop(), mono=True))
        else:
            differing.append(DifferingRow(name, tuple(values)))
    return tuple(same), tuple(differing)

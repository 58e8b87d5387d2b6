"""Repetitions of one case, gathered, and what every table says of it: its name, its figures over repetitions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from urllib.parse import quote

from harness.analysis.repeats import RepeatPolicy, counted
from harness.model import NOT_A_PHONE, CaseStatus, Measured, MetricSpec, PlannedCase, Reading, Unavailable
from reports.inputs import DeviceInput, Repetition, RunInput
from reports.numbers import DASH, alike
from reports.views import CaseName, DeviceName, MetricCell, MetricHead, Note

STATUS_WORDS: Mapping[str, str] = {
    "measured": "measured",
    "failed": "failed",
    "refused": "refused",
    "skipped": "skipped",
    "unfinished": "not run yet",
}

REFERENCE = "@baseline"
"""At the end of a runner's id: the pinned build of it, measured beside it to compare with."""

UNTOLD = "no reason is stored"
"""In place of the reason of a phone that is kept apart without one."""

_FINAL = (CaseStatus.MEASURED, CaseStatus.FAILED, CaseStatus.REFUSED, CaseStatus.SKIPPED)


@dataclass(frozen=True, slots=True)
class Case:
    """One case of one run: all its repetitions, in order of their number."""

    planned: PlannedCase
    device: DeviceName
    repetitions: tuple[Repetition, ...]

    @property
    def measured(self) -> tuple[Repetition, ...]:
        return tuple(one for one in self.repetitions if one.status is CaseStatus.MEASURED)

    @property
    def apart(self) -> str:
        """Why it counts in no tally and is never picked; "" where it does."""
        return self.device.apart or ("reference build" if self.planned.runner.id.endswith(REFERENCE) else "")

    @property
    def marks(self) -> str:
        """What a table has to mark it with, "" for a real phone that counts."""
        return ", ".join(text for text in (self.device.mark, self.apart) if text)

    def count(self, status: CaseStatus) -> int:
        return sum(1 for one in self.repetitions if one.status is status)

    @property
    def ran(self) -> bool:
        """Whether any repetition was, or still is to be, run: refused and skipped cases have a table of their own."""
        return any(one.status not in (CaseStatus.REFUSED, CaseStatus.SKIPPED) for one in self.repetitions)


@dataclass(slots=True)
class Notes:
    """Reasons of one page, each listed once and numbered as they come."""

    _numbers: dict[str, int] = field(default_factory=dict)

    def number(self, reason: str) -> int:
        return self._numbers.setdefault(reason, len(self._numbers) + 1)

    def listed(self) -> tuple[Note, ...]:
        return tuple(Note(number, text) for text, number in self._numbers.items())


def device_name(planned: PlannedCase, devices: Iterable[DeviceInput]) -> DeviceName:
    """The device of a case with its marks; that of its kind never depends on what was read from the device later."""
    known = next((device for device in devices if device.id == planned.device_id), None)
    model = f"{known.manufacturer} {known.model}".strip() if known else ""
    reason = known.quarantine if known else ""
    return DeviceName(planned.device_id, model, NOT_A_PHONE.get(planned.kind, ""), apart_words(reason))


def apart_words(reason: str) -> str:
    """Says why a phone is kept apart; "" without a reason."""
    return f"kept apart: {reason}" if reason else ""


def gather(run: RunInput, tier: str) -> tuple[Case, ...]:
    """The cases of a tier, by model, workload, runner and device."""
    grouped: dict[str, list[Repetition]] = {}
    for one in run.repetitions:
        if one.planned.tier == tier:
            grouped.setdefault(one.planned.case, []).append(one)
    cases = [
        Case(
            ones[0].planned,
            device_name(ones[0].planned, run.devices),
            tuple(sorted(ones, key=lambda one: one.planned.repeat)),
        )
        for ones in grouped.values()
    ]
    return tuple(sorted(cases, key=_order))


def _order(case: Case) -> tuple[str, ...]:
    planned = case.planned
    return (planned.model.id, planned.workload_id, planned.runner.id, planned.device_id, planned.case)


def anchor(key: str) -> str:
    """The id of the element a permalink `#case=KEY` leads to; `key` may hold anything."""
    return "case=" + quote(key, safe="")


def case_name(case: Case) -> CaseName:
    planned = case.planned
    return CaseName(
        href="#" + quote(anchor(planned.case), safe="="),
        model=planned.model.id,
        family=planned.model.family,
        quant=planned.model.quant,
        runtime=planned.runner.runtime,
        runner=planned.runner.id,
        workload=planned.workload_id,
        kind=planned.workload.kind.value,
        device=case.device,
    )


def metric_head(spec: MetricSpec) -> MetricHead:
    better = {"lower": "lower is better", "higher": "higher is better"}.get(spec.better, "")
    return MetricHead(spec.name, spec.title, spec.unit, better)


def values_of(repetitions: Iterable[Repetition], metric: str) -> list[float]:
    """The measured values of a metric, in order of repetition."""
    readings = (one.metrics.get(metric) for one in repetitions)
    return [reading.value for reading in readings if isinstance(reading, Measured)]


def why_absent(repetitions: Sequence[Repetition], metric: str) -> str:
    """Why no repetition has the metric: the first reason given, else how the case ended."""
    for one in repetitions:
        reading = one.metrics.get(metric)
        if isinstance(reading, Unavailable):
            return reading.reason
    for one in repetitions:
        if one.error is not None:
            return f"{one.status.value}: {one.error.message}"
    if any(one.status not in _FINAL for one in repetitions):
        return "not run yet: the run is unfinished"
    return f"the stored result does not hold {metric}"


def aggregate(repetitions: Sequence[Repetition], metric: str, notes: Notes) -> MetricCell:
    """The median over repetitions with its range; never a number where none was measured."""
    values = values_of(repetitions, metric)
    if not values:
        reason = why_absent(repetitions, metric)
        return MetricCell("", "", notes.number(reason), reason)
    cell = measured_cell(values)
    return replace(cell, detail=f"{cell.detail} n={len(values)}".strip()) if len(values) < len(repetitions) else cell


def measured_cell(values: Sequence[float]) -> MetricCell:
    """The median of at least one value, with the smallest and the largest."""
    middle, low, high = alike((median(values), min(values), max(values)))
    return MetricCell(middle, "" if min(values) == max(values) else f"{low} {DASH} {high}")


def median_reading(case: Case, metric: str, policy: RepeatPolicy) -> Reading:
    """The median over the repetitions that count, or why there is none."""
    valid = [one for one in counted(case.repetitions, policy.warm_up) if one.status is CaseStatus.MEASURED]
    readings = [one.metrics.get(metric) for one in valid]
    measured = [reading for reading in readings if isinstance(reading, Measured)]
    if not measured:
        return Unavailable(why_absent(valid or case.repetitions, metric))
    middle = median(reading.value for reading in measured)
    return Measured(middle, measured[0].unit, f"median of {len(measured)}")


def natural(text: str) -> list[tuple[int, str]]:
    """A sort key under which "s24-10" comes after "s24-9"."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def count_statuses(repetitions: Iterable[Repetition]) -> Mapping[str, int]:
    """Measured, failed, refused, skipped and unfinished repetitions, in this order."""
    counts = {status.value: 0 for status in _FINAL}
    counts["unfinished"] = 0
    for one in repetitions:
        counts[one.status.value if one.status in _FINAL else "unfinished"] += 1
    return counts


def tiers_of(run: RunInput) -> tuple[str, ...]:
    """The tiers that the run has measurements of, in the order of its inventory."""
    order = {tier: position for position, tier in enumerate(run.record.tiers)}
    present = dict.fromkeys(one.planned.tier for one in run.repetitions)
    return tuple(sorted(present, key=lambda tier: order.get(tier, len(order))))

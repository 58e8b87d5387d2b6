"""The compression table: size, speed, memory and quality of each model beside its original, per phone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.analysis.compression import Compressed, Entry, compressions
from harness.analysis.repeats import RepeatPolicy
from harness.analysis.verdict import NOTHING_MEASURES
from harness.model import TARGET_METRICS, Measured, Reading, Unavailable
from reports.cases import Case, Notes, case_name, median_reading
from reports.numbers import significant
from reports.views import CaseName, MetricCell


@dataclass(frozen=True, slots=True)
class CompressionRow:
    """`base` names the model that the ratios are to, "" for that model itself; `beside` what kind of model it is."""

    case: CaseName
    base: str
    beside: str
    size: MetricCell
    size_ratio: MetricCell
    speed: MetricCell
    speed_up: MetricCell
    memory: MetricCell
    memory_ratio: MetricCell
    quality: MetricCell


def compression_rows(cases: Iterable[Case], notes: Notes, policy: RepeatPolicy) -> tuple[CompressionRow, ...]:
    """One row per case of which anything was measured."""
    measured = {case.planned.case: case for case in cases if case.measured}
    found = compressions(_entry(case, policy) for case in measured.values())
    return tuple(_row(one, measured[one.entry.key], notes, policy) for one in found)


def _entry(case: Case, policy: RepeatPolicy) -> Entry:
    planned = case.planned
    size, speed, memory = (median_reading(case, name, policy) for name in ("model_mb", "decode_tps", "peak_memory_mb"))
    setting = (planned.device_id, planned.runner.id, planned.workload_id)
    return Entry(
        planned.case, setting, planned.model.id, planned.model.family, planned.model.quant, size, speed, memory
    )


def _row(one: Compressed, case: Case, notes: Notes, policy: RepeatPolicy) -> CompressionRow:
    entry, itself = one.entry, one.entry.key == one.base.key
    kind = "the original" if one.original else "the largest of its family here"
    return CompressionRow(
        case=case_name(case),
        base="" if itself else one.base.model,
        beside=kind,
        size=reading_cell(entry.size_mb, notes),
        size_ratio=reading_cell(one.size, notes),
        speed=reading_cell(entry.decode_tps, notes),
        speed_up=reading_cell(one.speed_up, notes),
        memory=reading_cell(entry.peak_memory_mb, notes),
        memory_ratio=reading_cell(one.memory, notes),
        quality=reading_cell(_quality(case, policy), notes),
    )


def _quality(case: Case, policy: RepeatPolicy) -> Reading:
    metric = TARGET_METRICS["quality_retention_min"]
    return Unavailable(NOTHING_MEASURES) if metric is None else median_reading(case, metric, policy)


def reading_cell(reading: Reading, notes: Notes) -> MetricCell:
    """A value with its unit, or the number of the reason why there is none."""
    if isinstance(reading, Measured):
        return MetricCell(f"{significant(reading.value)} {reading.unit}".strip(), "")
    return MetricCell("", "", notes.number(reading.reason), reading.reason)

"""Made-up repetitions of one case, as the store gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.model import METRICS, CaseStatus, ErrorInfo, Measured, Reading, Step, WorkloadKind
from harness.store import MeasurementRow
from tests.unit.store import samples


def row(
    repeat: int = 1,
    figures: Mapping[str, float] | None = None,
    *,
    status: CaseStatus = CaseStatus.MEASURED,
    kind: WorkloadKind = WorkloadKind.STREAM,
    provenance: Mapping[str, Any] | None = None,
    more: Mapping[str, Reading] | None = None,
) -> MeasurementRow:
    """One repetition; `figures` are measured values, `more` other readings."""
    reason = None if status is CaseStatus.MEASURED else ErrorInfo("runner_crashed", Step.RUN, "it crashed")
    planned = samples.planned_case(repeat=repeat, status=status, reason=reason)
    metrics: dict[str, Reading] = {
        name: Measured(value, METRICS[name].unit, "x") for name, value in (figures or {}).items()
    }
    workload = replace(planned.workload, kind=kind)
    started_at = None if status is CaseStatus.PLANNED else samples.START + repeat
    return MeasurementRow(
        replace(planned, workload=workload), 1, started_at, 3.0, {**metrics, **(more or {})}, provenance or {}
    )


def rows(values: Sequence[float], metric: str = "decode_tps", **changes: Any) -> list[MeasurementRow]:
    """Repetitions 1, 2, … with these values of one metric."""
    return [row(number, {metric: value}, **changes) for number, value in enumerate(values, 1)]


def ended(status: CaseStatus, *repeats: int) -> list[MeasurementRow]:
    """Repetitions of these numbers that were not measured."""
    return [row(repeat, status=status) for repeat in repeats]

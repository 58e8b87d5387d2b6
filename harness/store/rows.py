"""Between the types of `harness.model` and rows of the tables: JSON and text that any database takes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from harness.model import (
    CaseStatus,
    Channel,
    DeviceKind,
    ErrorInfo,
    LeaseInfo,
    Measured,
    Model,
    PlannedCase,
    Platform,
    Reading,
    Runner,
    RunRecord,
    RunStatus,
    Step,
    StepRecord,
    Targets,
    Tier,
    Unavailable,
    Workload,
    WorkloadKind,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Row = Mapping[Any, Any]
"""A row by column name, or a mapping from stored JSON."""

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class MeasurementRow:
    """One measurement as stored: the plan of it and what became of it.

    Args:
        planned: as it was planned; `status` and `reason` are those of now.
        attempt: of the last attempt; 0 before the first.
        started_at: Unix seconds of the last attempt, None when it never started. duration_s: of it.
        metrics: every metric that was stored (none for a measurement that never ran).
        provenance: as given with the result.
        telemetry_dropped_at: Unix seconds at which its samples, inter-token times and log were dropped; None: it has
            them.
    """

    planned: PlannedCase
    attempt: int
    started_at: float | None
    duration_s: float | None
    metrics: Mapping[str, Reading]
    provenance: Mapping[str, Any]
    telemetry_dropped_at: float | None = None

    @property
    def status(self) -> CaseStatus:
        return self.planned.status

    @property
    def error(self) -> ErrorInfo | None:
        return self.planned.reason

    @property
    def dropped(self) -> str:
        """Why its telemetry is not there any more, in words; "" while it is."""
        return "" if self.telemetry_dropped_at is None else dropped_text(self.telemetry_dropped_at)

    @property
    def dropped_tokens(self) -> str:
        """The same of its inter-token times; "" also where it never had any."""
        return self.dropped if isinstance(self.metrics.get("itl_ms_p50"), Measured) else ""


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceRecord:
    """Something known of a phone beyond one run: a calibration, a tuned setting, a qualification.

    Args:
        identity: of the phone. kind: "gauge", "idle", "tuned", "qualification", …
        key: what it is for within its kind (an OS build, a model), "" when it is for the phone as such.
        at: Unix seconds. value: JSON-ready.
    """

    identity: str
    kind: str
    key: str
    at: float
    value: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """One channel of a measurement as arrays of equal length, both empty where it is absent.

    Args:
        micros: device uptime in µs, int64. values: in the channel's unit, float32 as they are stored.
    """

    channel: Channel
    micros: NDArray[np.int64]
    values: NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True)
class EventRecord:
    """Something that happened to a device during a run (a rung of the recovery ladder, …); `at` is Unix seconds."""

    run: str
    device_id: str
    at: float
    kind: str
    detail: Mapping[str, Any]


def dropped_text(at: float) -> str:
    """What stands in the place of telemetry that was dropped at `at` (Unix seconds)."""
    return f"dropped on {datetime.fromtimestamp(at, UTC):%Y-%m-%d} by policy"


def clean_text(text: str) -> str:
    """Text without what a database refuses (NUL, half characters); each is replaced by U+FFFD."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8") if text else text


def clean(value: Any) -> Any:
    """JSON-ready copy: dataclasses and enums unfolded, sets sorted, numbers that are not finite become None."""
    if value is None or isinstance(value, bool | int):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, Enum):
        return clean(value.value)
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: clean(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {clean_text(str(key)): clean(child) for key, child in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((clean(child) for child in value), key=str)
    if isinstance(value, list | tuple):
        return [clean(child) for child in value]
    return clean_text(str(value))


def _known(cls: type[T], data: Row, /, **changed: Any) -> T:
    """Build a dataclass from stored JSON: keys that this version does not know are dropped."""
    names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return cls(**{key: value for key, value in {**data, **changed}.items() if key in names})


# --- runs -------------------------------------------------------------------------------------------------------------


def run_to_row(run: RunRecord) -> dict[str, Any]:
    return dict(clean(run))


def run_from_row(row: Row) -> RunRecord:
    tiers = {
        name: _known(Tier, tier, targets=_known(Targets, tier.get("targets") or {}))
        for name, tier in row["tiers"].items()
    }
    return _known(RunRecord, row, status=RunStatus(row["status"]), tiers=tiers, command=tuple(row["command"]))


# --- cases ------------------------------------------------------------------------------------------------------------

_SAME = (
    "run",
    "repeat",
    "series_key",
    "device_id",
    "serial",
    "identity",
    "tier",
    "workload_id",
    "model_sha256",
    "runner_sha256",
)
"""Fields of PlannedCase that are columns of the same name."""


def case_to_row(case: PlannedCase, position: int) -> dict[str, Any]:
    row: dict[str, Any] = {name: clean(getattr(case, name)) for name in _SAME}
    return {
        **row,
        "key": case.key,
        "case_id": case.case,
        "position": position,
        "platform": case.platform.value,
        "kind": case.kind.value,
        "model_id": clean_text(case.model.id),
        "runner_id": clean_text(case.runner.id),
        "model": clean(case.model),
        "runner": clean(case.runner),
        "workload": clean(case.workload),
        "status": case.status.value,
        "attempt": 0,
        "provenance": {},
        **error_to_columns(case.reason),
    }


def case_from_row(row: Row) -> PlannedCase:
    workload = row["workload"]
    return PlannedCase(
        **{name: row[name] for name in _SAME},
        case=row["case_id"],
        platform=Platform(row["platform"]),
        kind=DeviceKind(row["kind"]),
        model=_known(Model, row["model"]),
        runner=_known(Runner, row["runner"], platform=Platform(row["runner"]["platform"])),
        workload=_known(Workload, workload, kind=WorkloadKind(workload["kind"]), args=tuple(workload["args"])),
        status=CaseStatus(row["status"]),
        reason=error_from_columns(row),
    )


def measurement_from_row(row: Row, metrics: Mapping[str, Reading]) -> MeasurementRow:
    return MeasurementRow(
        planned=case_from_row(row),
        attempt=row["attempt"],
        started_at=row["started_at"],
        duration_s=row["duration_s"],
        metrics=metrics,
        provenance=row["provenance"],
        telemetry_dropped_at=row["telemetry_dropped_at"],
    )


def error_to_columns(error: ErrorInfo | None) -> dict[str, Any]:
    if error is None:
        return dict.fromkeys(("error_class", "error_step", "error_message", "error_advice"))
    return {
        "error_class": error.error_class,
        "error_step": error.step.value,
        "error_message": clean_text(error.message),
        "error_advice": clean_text(error.advice),
    }


def error_from_columns(row: Row) -> ErrorInfo | None:
    if row["error_class"] is None:
        return None
    return ErrorInfo(row["error_class"], Step(row["error_step"]), row["error_message"], row["error_advice"] or "")


# --- what a case holds ------------------------------------------------------------------------------------------------


def reading_to_row(key: str, name: str, reading: Reading) -> dict[str, Any]:
    """A value that is no number (NaN, infinite) is stored as unavailable: it measures nothing."""
    row: dict[str, Any] = {"key": key, "name": name, "value": None, "unit": "", "source": "", "resolution": None}
    if isinstance(reading, Unavailable):
        return {**row, "reason": clean_text(reading.reason) or "no reason given"}
    row |= {"unit": reading.unit, "source": clean_text(reading.source)}
    if not math.isfinite(reading.value):
        return {**row, "reason": f"{reading.source} gave {reading.value}, which is no number"}
    resolution = reading.resolution if reading.resolution is None or math.isfinite(reading.resolution) else None
    return {**row, "value": float(reading.value), "resolution": resolution, "reason": None}


def reading_from_row(row: Row) -> Reading:
    if row["value"] is None:
        return Unavailable(row["reason"])
    return Measured(row["value"], row["unit"], row["source"], row["resolution"])


def step_to_row(key: str, record: StepRecord) -> dict[str, Any]:
    return {
        "key": key,
        "attempt": record.attempt,
        "step": record.step.value,
        "started_at": record.started_at,
        "duration_s": record.duration_s,
        "limit_s": record.limit_s,
        "detail": clean(record.detail),
        **error_to_columns(record.error),
    }


def step_from_row(row: Row) -> StepRecord:
    return _known(StepRecord, row, step=Step(row["step"]), error=error_from_columns(row))


def channel_from_row(row: Row) -> Channel:
    return _known(Channel, row, name=row["channel"])


def lease_from_row(row: Row) -> LeaseInfo:
    return _known(LeaseInfo, row, reserved=bool(row["reserved"]))


def event_from_row(row: Row) -> EventRecord:
    return _known(EventRecord, row)

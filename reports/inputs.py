"""What a report is made of: frozen inputs, read once, before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.model import (
    CaseStatus,
    ErrorInfo,
    PlannedCase,
    Reading,
    RunRecord,
    StepRecord,
    Trace,
)
from harness.store import MeasurementRow


@dataclass(frozen=True, slots=True)
class DeviceInput:
    """A device as the run saw it; "" where it did not tell, `ram_bytes` None."""

    id: str
    manufacturer: str
    model: str
    soc: str
    os_version: str
    ram_bytes: int | None


@dataclass(frozen=True, slots=True)
class Repetition:
    """One planned measurement, how it ended, and what belongs to it: end of the runner's log, plain commands, steps."""

    row: MeasurementRow
    log_tail: str
    commands: tuple[str, ...]
    steps: tuple[StepRecord, ...]

    @property
    def planned(self) -> PlannedCase:
        return self.row.planned

    @property
    def status(self) -> CaseStatus:
        return self.row.status

    @property
    def attempt(self) -> int:
        return self.row.attempt

    @property
    def started_at(self) -> float | None:
        """Unix seconds; None while it has not started."""
        return self.row.started_at

    @property
    def duration_s(self) -> float | None:
        return self.row.duration_s

    @property
    def metrics(self) -> Mapping[str, Reading]:
        return self.row.metrics

    @property
    def error(self) -> ErrorInfo | None:
        return self.row.error

    @property
    def provenance(self) -> Mapping[str, Any]:
        return self.row.provenance


@dataclass(frozen=True, slots=True)
class RunInput:
    """One run, the devices it was planned for, and its measurements in order of their start."""

    record: RunRecord
    devices: tuple[DeviceInput, ...]
    repetitions: tuple[Repetition, ...]


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of a tier from before a run.

    Args:
        previous: the newest earlier run of the same suite that measured the tier; None: there is none.
        rows: its measurements of the tier.
        runs: ids of the newest such runs, oldest first, as far as their figures can be compared.
        values: series key → run → median time per token, ms; a run that has none is not in it.
    """

    previous: RunRecord | None = None
    rows: tuple[MeasurementRow, ...] = ()
    runs: tuple[str, ...] = ()
    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


class Telemetry(Protocol):
    """Where the samples of a measurement are read, one measurement at a time (a night does not fit in memory)."""

    def traces(self, key: str) -> Sequence[Trace]:
        """Telemetry of the run step of measurement `key`; empty when there is none."""

    def itl(self, key: str) -> Sequence[float]:
        """Every inter-token latency of measurement `key`, in order, ms; empty when there is none."""

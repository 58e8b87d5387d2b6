"""What a report is made of: frozen inputs, read once, before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.model import (
    Ack,
    CaseStatus,
    Change,
    DeviceKind,
    ErrorInfo,
    HandNeeded,
    NightRecord,
    NightRole,
    NightSummary,
    PhoneDrift,
    PlannedCase,
    Quarantine,
    Reading,
    RunRecord,
    SeriesId,
    StepRecord,
    Trace,
    Unavailable,
)
from harness.store import MeasurementRow


@dataclass(frozen=True, slots=True)
class DeviceInput:
    """A device as the run saw it; "" where it did not tell, `ram_bytes` None.

    Args: quarantine: why its results are kept apart, "" when they are not.
    """

    id: str
    manufacturer: str
    model: str
    soc: str
    os_version: str
    ram_bytes: int | None
    quarantine: str = ""


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


def decides_builds(record: RunRecord) -> bool:
    """Whether a run measured builds against one another, to confirm a suspicion or to find the first bad one: it is no
    run of a suite."""
    return NightRole.decides_builds(record.options)


# --- nights -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NightPoint:
    """What the phones of a series gave in one night.

    Args:
        night: ISO date.
        level: median over the phones of what is judged, as a logarithm: 0 is each phone's own level before the change,
            + is worse. best, worst: the phones with the lowest and the highest.
        phones: how many have a value.
    """

    night: str
    level: float
    best: float
    worst: float
    phones: int


@dataclass(frozen=True, slots=True)
class SeriesNights:
    """A judged series over its nights, its phones put together, as its plot needs it.

    Args:
        points: nights with a value, oldest first.
        referenced: judged is the ratio to the reference build of the same night; False: the value itself.
        borders: nights from which on the values of a phone cannot be compared with those before.
        events: (night, what happened, in words).
    """

    series: SeriesId
    points: tuple[NightPoint, ...]
    referenced: bool
    borders: tuple[str, ...] = ()
    events: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class FleetRow:
    """How a phone of the lab is. What is not known of it is `Unavailable`, with the reason.

    Args:
        identity: its own serial, "" for one that was never asked. kind: None for such a one.
        state: what it answered, in a word; ready: it can be used.
        battery_health: in the phone's own word.
        capacity_pct: full charge against design. level_pct: charge now.
        free_mb: storage that is free. qualified_at: Unix seconds of the last self-test that it passed.
        reference_metric: name of the metric of `reference`: values of the reference build, one a night, oldest first.
        drift: what is said of them, None while there are too few.
        failures: (night, repetitions that failed) of each night that it took part in, oldest first.
        hands: what only a person can do for it.
    """

    identity: str
    device_id: str
    kind: DeviceKind | None
    tier: str
    model: str
    state: str
    ready: bool
    battery_health: str | Unavailable
    cycles: float | Unavailable
    capacity_pct: float | Unavailable
    level_pct: float | Unavailable
    free_mb: float | Unavailable
    qualified_at: float | Unavailable
    reference_metric: str
    reference: tuple[tuple[str, float], ...] | Unavailable
    failures: tuple[tuple[str, int], ...] | Unavailable
    drift: PhoneDrift | None = None
    quarantine: Quarantine | None = None
    hands: tuple[HandNeeded, ...] = ()


@dataclass(frozen=True, slots=True)
class NightInput:
    """The nights of a lab.

    Args:
        night: the newest. before: those before it, oldest first; each with its summary, as far as it has one.
        acks: what people said of changes.
        judged: what is said of every series after the newest night, those that are steady or short of nights too;
            empty: only the summary's changes are known.
        series: of changes that are to be drawn.
        fleet: phones of the lab; empty: nothing is known of them, and there is no page of the fleet.
    """

    night: NightRecord
    before: tuple[NightRecord, ...] = ()
    acks: tuple[Ack, ...] = ()
    judged: tuple[Change, ...] = ()
    series: tuple[SeriesNights, ...] = ()
    fleet: tuple[FleetRow, ...] = ()

    @property
    def told(self) -> NightSummary | None:
        """The newest summary; that of an earlier night while the newest has none."""
        newest_first = (self.night, *reversed(self.before))
        return next((one.summary for one in newest_first if one.summary is not None), None)

    @property
    def changes(self) -> tuple[Change, ...]:
        """What is said of series after the newest night."""
        told = self.told
        return self.judged or (told.changes if told else ())

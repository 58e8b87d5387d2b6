"""View models: everything a template shows, already text, numbers of pixels or flags. Templates only lay it out."""

from __future__ import annotations

from dataclasses import dataclass

from reports.before import BeforeView, HeatView
from reports.plots import Distribution, Gauge, Strip, Timeline


@dataclass(frozen=True, slots=True)
class Named:
    """A label with its value, both text; `mono` where the value is a name for machines (a hash, a path)."""

    label: str
    value: str
    mono: bool = False


@dataclass(frozen=True, slots=True)
class DeviceName:
    """How a device is shown everywhere. `mark` ("virtual phone", "not a phone") is "" for a real phone, `apart` says
    why its results do not count ("kept apart: REASON"), "" where they do."""

    id: str
    model: str
    mark: str
    apart: str = ""

    @property
    def marks(self) -> str:
        """Both in one line, "" for a real phone whose results count."""
        return ", ".join(text for text in (self.mark, self.apart) if text)


# --- tables -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """One telemetry channel; `absent` says why it has no samples ("" when it has)."""

    name: str
    unit: str
    samples: str
    low: str
    median: str
    high: str
    resolution: str
    source: str
    absent: str


# --- verdicts and metrics ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Note:
    """A reason, listed once and referred to by its number."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class TargetHead:
    """One target of the tier: `limit` is "≤ 50 ms"."""

    name: str
    title: str
    limit: str


@dataclass(frozen=True, slots=True)
class VerdictCell:
    """`verdict` is a value of TargetVerdict, `word` what is shown; `note` the number of the reason, 0 for none."""

    verdict: str
    word: str
    value: str = ""
    interval: str = ""
    count: str = ""
    gauge: Gauge | None = None
    note: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CaseName:
    """What names a case in every table; `href` is its permalink inside the page."""

    href: str
    model: str
    family: str
    quant: str
    runtime: str
    runner: str
    workload: str
    kind: str
    device: DeviceName


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """`apart` says why the case does not count, "" where it does."""

    case: CaseName
    overall: VerdictCell
    cells: tuple[VerdictCell, ...]
    repetitions: str
    apart: str = ""


@dataclass(frozen=True, slots=True)
class MetricCell:
    """Median over repetitions with its range; or `note`, the number of the reason why there is none."""

    value: str
    detail: str
    note: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MetricHead:
    name: str
    title: str
    unit: str
    better: str


@dataclass(frozen=True, slots=True)
class MetricTableRow:
    case: CaseName
    cells: tuple[MetricCell, ...]


@dataclass(frozen=True, slots=True)
class MetricTable:
    id: str
    caption: str
    heads: tuple[MetricHead, ...]
    rows: tuple[MetricTableRow, ...]


@dataclass(frozen=True, slots=True)
class MeasuredBeside:
    """What was measured in this run of what somebody else published; `href` leads to its case."""

    href: str
    workload: str
    device: DeviceName
    value: str
    detail: str


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """A figure of others; `runtime` and `note` are "" where none is told."""

    device: str
    family: str
    quant: str
    runtime: str
    head: MetricHead
    value: str
    source: str
    note: str
    measured: tuple[MeasuredBeside, ...]


# --- what did not work ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FailureRow:
    case: CaseName
    repetitions: str
    step: str
    message: str
    advice: str
    log_tail: str


@dataclass(frozen=True, slots=True)
class FailureGroup:
    error_class: str
    count: str
    rows: tuple[FailureRow, ...]


@dataclass(frozen=True, slots=True)
class NotRunRow:
    """Cases that were refused or skipped for one reason; `devices` are all they were meant for."""

    model: str
    runner: str
    workloads: str
    devices: tuple[DeviceName, ...]
    error_class: str
    message: str
    advice: str
    count: str


# --- one case ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CaseMetricRow:
    head: MetricHead
    median: MetricCell
    cells: tuple[MetricCell, ...]
    strip: Strip | None
    source: str
    resolution: str


@dataclass(frozen=True, slots=True)
class AbsentGroup:
    """Metrics that no repetition of a case has, for one reason; `cell` carries its number."""

    titles: str
    cell: MetricCell


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step: `x` and `width` are pixels of a bar on the repetition's own axis."""

    step: str
    attempt: int
    started: str
    duration: str
    limit: str
    x: float
    width: float
    detail: str
    error: str


@dataclass(frozen=True, slots=True)
class RepetitionView:
    """One repetition; `heat` is None where the workload has no verdict on throttling, `placed` "" where unknown,
    `dropped` "" while its telemetry is there."""

    anchor: str
    number: int
    status: str
    attempt: int
    started: str
    started_iso: str
    duration: str
    error: FailureRow | None
    steps: tuple[StepRow, ...]
    timeline: Timeline | None
    no_timeline: str
    channels: tuple[ChannelRow, ...]
    log_tail: str
    dropped: str
    before: BeforeView
    heat: HeatView | None
    placed: str


@dataclass(frozen=True, slots=True)
class DifferingRow:
    """A fact that is not the same in every repetition: one value per repetition."""

    label: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CaseView:
    anchor: str
    name: CaseName
    overall: VerdictCell
    cells: tuple[VerdictCell, ...]
    repetitions_text: str
    metrics: tuple[CaseMetricRow, ...]
    absent: tuple[AbsentGroup, ...]
    tokens: Distribution
    repetitions: tuple[RepetitionView, ...]
    provenance: tuple[Named, ...]
    differing: tuple[DifferingRow, ...]
    commands: tuple[str, ...]


# --- pages ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tally:
    label: str
    count: int
    style: str


@dataclass(frozen=True, slots=True)
class DeviceRow:
    name: DeviceName
    tier: str
    serial: str
    soc: str
    os: str
    ram: str
    state: str
    counts: tuple[int, ...]

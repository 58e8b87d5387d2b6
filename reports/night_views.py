"""View models of nights: what the index, the page of a tier and the page of the fleet show of them."""

from __future__ import annotations

from dataclasses import dataclass

from reports.plots import Spark, Tick
from reports.views import DeviceName, MetricCell, Named, Note, Tally

# --- changes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventMark:
    """Something that happened near a series, marked above its plot at `x`; `text` says what."""

    x: float
    text: str


@dataclass(frozen=True, slots=True)
class StepMark:
    """Where the level changed: `x` of the first night of the new one, shaded from `low_x` to `high_x`, the nights
    between which it lies."""

    x: float
    low_x: float
    high_x: float
    label: str
    label_x: float
    anchor: str


@dataclass(frozen=True, slots=True)
class NightChart:
    """A series over its nights: `line` (median over the phones), `band` (best to worst phone), `dots` and `level` (the
    new level) are SVG path data; `zero` is the height of the old level, `borders` are nights from which on values
    cannot be compared with those before, `happened` says what `events` mark. `description` says in words what the
    picture shows, `told` what is drawn."""

    id: str
    title: str
    description: str
    told: str
    mark: str
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    zero: float
    line: str
    band: str
    dots: str
    level: str
    step: StepMark | None
    borders: tuple[float, ...]
    events: tuple[EventMark, ...]
    happened: tuple[str, ...]
    ticks: tuple[Tick, ...]
    levels: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class ChangeView:
    """A change of one series: `word` is its state, `style` its colour, `href` its permalink inside the page.

    Args:
        opened: shown in full at once.
        delta, interval: in per cent, with the word worse or better; "" where no step is known.
        since, between: first bad night, and the nights between which it lies.
        good, bad: names of the last good and of the first bad build, "" where unknown.
        pairs: what interleaved pairs of the two say. next: what happens next, or what a person can do.
        chart: None where its nights are not at hand, or too many are drawn already; `no_chart` then says which.
    """

    anchor: str
    href: str
    word: str
    style: str
    opened: bool
    metric: str
    model: str
    workload: str
    runner: str
    mark: str
    delta: str
    interval: str
    nights: str
    since: str
    between: str
    good: str
    bad: str
    pairs: str
    next: str
    command: str
    reason: str
    facts: tuple[Named, ...]
    events: tuple[str, ...]
    chart: NightChart | None
    no_chart: str


@dataclass(frozen=True, slots=True)
class ChangeGroup:
    """Changes of one state; `explained` says what the state means."""

    word: str
    style: str
    explained: str
    rows: tuple[ChangeView, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """What changed in a tier: `summary` in one sentence, `short` of the series that have too few nights."""

    summary: str
    short: str
    pending: str
    groups: tuple[ChangeGroup, ...]
    tally: tuple[Tally, ...]


@dataclass(frozen=True, slots=True)
class ChangeMark:
    """A change where its series stands in another table: a link to it."""

    href: str
    word: str
    style: str
    metric: str


# --- the index --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hand:
    """What only a person can do, for one phone or for all of a hub."""

    devices: tuple[DeviceName, ...]
    problem: str
    advice: str


@dataclass(frozen=True, slots=True)
class ListedChange:
    """A change on the index; `href` leads to it in its tier's file, "" where that is not part of the report."""

    href: str
    word: str
    style: str
    text: str
    mark: str


@dataclass(frozen=True, slots=True)
class FlipRow:
    """A verdict that is not what it was in the night before; `before` and `after` are values of TargetVerdict."""

    href: str
    model: str
    device: DeviceName
    tier: str
    runner: str
    workload: str
    target: str
    before: str
    before_word: str
    after: str
    after_word: str
    value: str
    limit: str


@dataclass(frozen=True, slots=True)
class OwnerFlips:
    owner: str
    rows: tuple[FlipRow, ...]


@dataclass(frozen=True, slots=True)
class RunLink:
    """A run of a night; `href` leads to its row in the table of runs, "" where that has none."""

    key: str
    href: str


@dataclass(frozen=True, slots=True)
class NightRow:
    """A night in the history. `counts` are measured, failed, refused, left, confirmed, suspect, bisections; empty where
    it left no summary, and `absent` says why. `more_runs` counts those that are not named: a search takes many."""

    night: str
    started: str
    started_iso: str
    length: str
    status: str
    counts: tuple[int, ...]
    absent: str
    runs: tuple[RunLink, ...]
    more_runs: str


@dataclass(frozen=True, slots=True)
class ApartRow:
    """A phone whose results are kept apart, and since when."""

    name: DeviceName
    reason: str
    since: str
    author: str


@dataclass(frozen=True, slots=True)
class DriftRow:
    """A phone that drifts on its own reference build, and by how much."""

    name: DeviceName
    text: str


@dataclass(frozen=True, slots=True)
class FleetHealth:
    """The phones in short; `href` leads to the page of the fleet, "" where there is none."""

    href: str
    tally: tuple[Tally, ...]
    apart: tuple[ApartRow, ...]
    drifts: tuple[DriftRow, ...]


@dataclass(frozen=True, slots=True)
class NightHead:
    """The newest night at the top of the index.

    Args:
        headline: in one sentence. tone: "good", "warn" or "bad", for its colour.
        ended: Unix seconds from which its age counts. stale_s: age from which on it is old.
        age: how old it is at writing, in words, "" while it is young. details: what the sentence leaves out.
        aside: said where the tables are of a run of another night.
        since: night that the flips are counted from, "" where there is none.
    """

    headline: str
    tone: str
    ended: float
    stale_s: float
    age: str
    details: str
    aside: str
    changes: tuple[ListedChange, ...]
    hands: tuple[Hand, ...]
    since: str
    flips: tuple[OwnerFlips, ...]
    notes: tuple[str, ...]
    health: FleetHealth
    history: tuple[NightRow, ...]
    older: tuple[NightRow, ...]


# --- the fleet --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FailureBars:
    """Failed repetitions of each night: `bars` is SVG path data."""

    width: float
    height: float
    bars: str
    label: str


@dataclass(frozen=True, slots=True)
class FleetPhone:
    """A phone; each cell is a value, or the number of the reason why there is none."""

    anchor: str
    name: DeviceName
    tier: str
    state: str
    state_style: str
    battery: MetricCell
    level: MetricCell
    cycles: MetricCell
    capacity: MetricCell
    free: MetricCell
    trend: MetricCell
    drifted: bool
    spark: Spark | None
    failures: MetricCell
    bars: FailureBars | None
    qualified: MetricCell
    apart: ApartRow | None
    hands: tuple[Hand, ...]


@dataclass(frozen=True, slots=True)
class FleetPage:
    lab: str
    night: str
    generated: str
    notice: str
    tally: tuple[Tally, ...]
    phones: tuple[FleetPhone, ...]
    notes: tuple[Note, ...]

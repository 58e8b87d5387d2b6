"""View models of the plots, in pixels; the templates only draw them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gauge:
    """A value and its interval against a limit, in pixels of a strip `width` wide; `over`: the value lies beyond it."""

    width: float
    limit_x: float
    value_x: float
    low_x: float | None
    high_x: float | None
    over: bool


@dataclass(frozen=True, slots=True)
class Strip:
    """Repetitions as points on one line, with the median marked; `points` is SVG path data."""

    width: float
    points: str
    median_x: float
    label: str


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """`style` names a class of the style sheet ("s1" … "s4"), `kind` is "line", "limit" (dashed) or "points"."""

    label: str
    style: str
    kind: str
    path: str
    label_y: float


@dataclass(frozen=True, slots=True)
class Panel:
    """One quantity of a timeline: `top` and `height` in pixels."""

    title: str
    unit: str
    top: float
    height: float
    ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    absent: str = ""


@dataclass(frozen=True, slots=True)
class Band:
    """A phase, shaded over all panels: `style` is "load", "prefill", "decode", "burst", "first" or "last"."""

    label: str
    style: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Event:
    """A moment, drawn through all panels: `style` is "throttled" or "gate"; `anchor` is where its text stands on the
    line ("start": right of it, "end": left of it)."""

    label: str
    style: str
    x: float
    label_x: float
    anchor: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """Panels on one time axis (seconds). `description` says in words what the picture shows, `phases` names the shades
    with their lengths."""

    id: str
    title: str
    description: str
    phases: str
    mark: str
    width: float
    height: float
    left: float
    right: float
    panels: tuple[Panel, ...]
    bands: tuple[Band, ...]
    ticks: tuple[Tick, ...]
    axis_y: float
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Packed:
    """The samples of one repetition for the script that draws them: `text` of the element `id`, see reports.samples."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """An upright line at `x` from `y` down, its label beside its upper end at `label_x`."""

    x: float
    y: float
    label_x: float
    anchor: str
    label: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of tokens over time per token (ms); `bars` is SVG path data, `told` says the same in words beside it."""

    title: str
    description: str
    told: str
    mark: str
    width: float
    height: float
    axis_y: float
    bars: str
    marks: tuple[Mark, ...]
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True)
class Distribution:
    """Histograms on one axis; none, and why, where there are no inter-token times."""

    histograms: tuple[Histogram, ...]
    absent: str


@dataclass(frozen=True, slots=True)
class Spark:
    """A value over runs: `line` and `band` (lowest to highest device) are SVG path data with gaps where a run has none,
    `base` the height of 1, `dot` the newest run (None where that has no value)."""

    width: float
    height: float
    line: str
    band: str
    base: str
    dot: tuple[float, float] | None
    label: str

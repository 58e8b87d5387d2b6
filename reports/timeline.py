"""The timeline of one repetition: telemetry and inter-token times on one axis, phases shaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from harness.model import Trace
from reports.before import HeatView
from reports.charts import Point, Scale, coordinate, dots, line, padded, stairs, thin, ticks
from reports.numbers import significant, span
from reports.phases import Phase, token_points
from reports.plots import Band, Event, Line, Panel, Tick, Timeline
from reports.views import ChannelRow

WIDTH = 760.0
LEFT = 56.0
RIGHT = 620.0
"""The plot area ends here; labels of the lines stand to its right."""
TOP = 40.0
"""Above it stand the names of the phases and the title of the first panel."""
PANEL_HEIGHT = 84.0
ABSENT_HEIGHT = 20.0
GAP = 26.0
BUCKETS = 240
"""Of time along the axis: below two pixels each, so that thinning cannot be seen."""
MOST_LINES = 4
EVENT_LETTER = 6.0
"""Width of a letter of an event's label, about."""
EVENT_LETTERS = 32
LABEL_HEIGHT = 13.0
_CAP = " cap"


@dataclass(frozen=True, slots=True)
class _Series:
    label: str
    unit: str
    kind: str
    points: list[Point]


@dataclass(frozen=True, slots=True)
class _Row:
    """One panel to be: `least` is the smallest range of values it shows, `absent` what is said where it is empty."""

    name: str
    series: list[_Series]
    least: float
    absent: str


def channel_rows(traces: Sequence[Trace]) -> tuple[ChannelRow, ...]:
    """Every channel with its extremes, or why it is absent."""
    return tuple(_channel_row(trace) for trace in traces)


def _channel_row(trace: Trace) -> ChannelRow:
    channel, values = trace.channel, trace.values
    resolution = "" if channel.resolution is None else f"{channel.resolution:g} {channel.unit}".strip()
    if not len(values):
        absent = channel.absent or "no sample arrived"
        return ChannelRow(channel.name, channel.unit, "0", "", "", "", resolution, channel.source, absent)
    numbers = (min(values), median(values), max(values))
    low, middle, high = (significant(float(number)) for number in numbers)
    return ChannelRow(channel.name, channel.unit, str(len(values)), low, middle, high, resolution, channel.source, "")


def _temperatures(traces: Sequence[Trace]) -> list[_Series]:
    """CPU, skin and battery, then the zones that moved most: a phone has dozens, most of them flat."""
    found = [trace for trace in traces if trace.channel.name.endswith(".temperature") and len(trace.values)]

    def interest(trace: Trace) -> tuple[bool, float]:
        return (trace.channel.name.startswith("zone."), -(max(trace.values) - min(trace.values)))

    chosen = sorted(found, key=interest)[:MOST_LINES]
    return [_series(trace, _zone_label(trace.channel.name), "line") for trace in chosen]


def _thermal_state(traces: Sequence[Trace]) -> list[_Series]:
    """The phone's own word on its heat, where it shows no temperature of its chip or its skin."""
    by_name = {trace.channel.name: trace for trace in traces if len(trace.values)}
    state = by_name.get("thermal.status")
    if state is None or by_name.keys() & {"cpu.temperature", "skin.temperature"}:
        return []
    return [_series(state, "state", "state")]


def _zone_label(name: str) -> str:
    return name.removeprefix("zone.").removesuffix(".temperature")


def _frequencies(traces: Sequence[Trace]) -> list[_Series]:
    """Each policy's frequency, and its cap as a dashed line."""
    series: list[_Series] = []
    for trace in traces:
        site, _, measure = trace.channel.name.rpartition(".")
        if not len(trace.values):
            continue
        if measure == "cur_freq":
            series.append(_series(trace, site, "line"))
        elif measure == "max_freq":
            series.append(_series(trace, f"{site}{_CAP}", "limit"))
    # A cap takes its policy's colour: sorted by name it follows its frequency.
    return sorted(series, key=lambda one: one.label)[: 2 * MOST_LINES]


def _memory(traces: Sequence[Trace]) -> list[_Series]:
    labels = {
        "phys_footprint": "footprint",
        "vm_hwm": "peak (VmHWM)",
        "vm_rss": "resident",
        "rss_anon": "anonymous",
        "rss_file": "file",
    }
    found: list[_Series] = []
    for measure, label in labels.items():
        for trace in traces:
            if trace.channel.name == f"runner.{measure}" and len(trace.values):
                found.append(_series(trace, label, "line"))
    return found[:MOST_LINES]


def _series(trace: Trace, label: str, kind: str) -> _Series:
    points = [(float(at), float(value)) for at, value in zip(trace.uptime_s, trace.values, strict=True)]
    return _Series(label, trace.channel.unit, kind, points)


def _power(traces: Sequence[Trace]) -> list[_Series]:
    """Voltage times the newest current before it, without the sign, whose meaning differs between makers."""
    by_name = {trace.channel.name: trace for trace in traces if len(trace.values)}
    current, voltage = by_name.get("battery.current"), by_name.get("battery.voltage")
    if current is None or voltage is None:
        return []
    volts = list(zip(voltage.uptime_s, voltage.values, strict=True))
    points, number = list[Point](), 0
    for at, amperes in zip(current.uptime_s, current.values, strict=True):
        while number + 1 < len(volts) and volts[number + 1][0] <= at:
            number += 1
        points.append((float(at), abs(float(amperes) * float(volts[number][1]))))
    return [_Series("battery", "W", "line", points)]


def _rates(heat: HeatView) -> list[_Series]:
    return [_Series("decode", "tok/s", "line", list(heat.curve))] if heat.curve else []


def _tokens(itl_ms: Sequence[float], phases: Sequence[Phase]) -> list[_Series]:
    points = token_points(itl_ms, phases)
    return [_Series("inter-token", "ms", "points", points)] if points else []


def _why_no_tokens(itl_ms: Sequence[float]) -> str:
    return "the start of decode is not known" if itl_ms else "this workload gives no inter-token times"


def _rows(
    traces: Sequence[Trace], itl_ms: Sequence[float], phases: Sequence[Phase], heat: HeatView | None, dropped: str
) -> tuple[_Row, ...]:
    lasted = () if heat is None else (_Row("Decode rate", _rates(heat), 1.0, "the tokens have no times"),)
    sampled = dropped or "voltage and current were not sampled"
    power = () if heat is None else (_Row("Battery power", _power(traces), 1.0, sampled),)
    single = (_Row("Inter-token time", _tokens(itl_ms, phases), 4.0, _why_no_tokens(itl_ms)),) if heat is None else ()
    state = _thermal_state(traces)
    return (
        *lasted,
        _Row("Temperature", _temperatures(traces), 4.0, dropped or "no temperature was sampled"),
        *((_Row("Thermal status, 0 none to 6 shutdown", state, 3.0, ""),) if state else ()),
        _Row("CPU frequency", _frequencies(traces), 200.0, dropped or "no CPU frequency was sampled"),
        _Row("Memory", _memory(traces), 20.0, dropped or "no memory of the runner was sampled"),
        *power,
        *single,
    )


def build(
    *,
    anchor: str,
    title: str,
    mark: str,
    traces: Sequence[Trace],
    itl_ms: Sequence[float],
    phases: Sequence[Phase],
    heat: HeatView | None = None,
    gate: str = "",
    dropped: str = "",
) -> Timeline | None:
    """The picture of one repetition; None when there are no samples to draw.

    Args:
        heat: of a run that lasted: its rate over time takes the place of single tokens, and throttling is marked.
        gate: what the gate before the run said, in a few words, marked where the run begins.
        dropped: why samples that there were are gone, "" while they are there.
    """
    rows = _rows(traces, itl_ms, phases, heat, dropped)
    times = [at for row in rows for one in row.series for at, _ in one.points]
    if not times:
        return None
    times += [at for phase in phases for at in (phase.start, phase.end)]
    if max(times) <= min(times):
        return None
    axis = Scale(min(times), max(times), LEFT, RIGHT)
    panels: list[Panel] = []
    top = TOP
    for row in rows:
        panels.append(_panel(row, axis, top))
        top += panels[-1].height + GAP
    bottom = panels[-1].top + panels[-1].height
    length = axis.high - axis.low
    # Times of a run that lasted, its onset of throttling among them, count from its first token.
    origin = heat.start_uptime_s if heat is not None and heat.curve else axis.low
    return Timeline(
        id=anchor,
        title=title,
        description=f"{_describe(rows, phases, length)}{_told_events(heat, gate)}",
        phases=_told(phases),
        mark=mark,
        width=WIDTH,
        height=bottom + 36,
        left=LEFT,
        right=RIGHT,
        panels=tuple(panels),
        bands=tuple(_band(phase, axis) for phase in phases),
        ticks=tuple(
            Tick(round(axis(origin + at), 1), significant(at)) for at in ticks(axis.low - origin, axis.high - origin, 8)
        ),
        axis_y=bottom,
        events=_events(heat, gate, axis),
    )


def _events(heat: HeatView | None, gate: str, axis: Scale) -> tuple[Event, ...]:
    """The gate, left of everything, and the onset of throttling, their labels apart."""
    events: list[Event] = []
    taken = LEFT
    if len(gate) > EVENT_LETTERS:
        gate = f"{gate[: EVENT_LETTERS - 1]}…"
    if gate:
        events.append(Event(gate, "gate", LEFT, LEFT + 4, "start"))
        taken = LEFT + 12 + EVENT_LETTER * len(gate)
    if heat is not None and heat.onset_s is not None:
        x = float(coordinate(axis.clamp(heat.start_uptime_s + heat.onset_s)))
        width = EVENT_LETTER * len(heat.word)
        if x + 4 + width > RIGHT and x - 4 - width > taken:
            events.append(Event(heat.word, "throttled", x, x - 4, "end"))
        else:
            events.append(Event(heat.word, "throttled", x, max(x + 4, taken), "start"))
    return tuple(events)


def _panel(row: _Row, axis: Scale, top: float) -> Panel:
    if not row.series:
        return Panel(row.name, "", top, ABSENT_HEIGHT, (), (), row.absent)
    values = [value for one in row.series for _, value in one.points]
    low, high = min(values), max(values)
    if row.name == "Temperature":
        low, high = padded(low, high, row.least)
    else:
        # Frequencies, memory and times are amounts: drawn from zero, or small changes look like cliffs.
        low, high = 0.0, max(high, row.least) * 1.06
    scale = Scale(low, high, top + PANEL_HEIGHT, top)
    colours: dict[str, int] = {}
    lines: list[Line] = []
    for one in row.series:
        colour = colours.setdefault(one.label.removesuffix(_CAP), len(colours) % MOST_LINES + 1)
        lines.append(_line(one, f"s{colour}", axis, scale))
    return Panel(
        title=f"{row.name}, cap dashed" if any(one.kind == "limit" for one in row.series) else row.name,
        unit=row.series[0].unit,
        top=top,
        height=PANEL_HEIGHT,
        ticks=tuple(Tick(round(scale(at), 1), significant(at)) for at in ticks(low, high, 4)),
        lines=tuple(_apart(lines, top, top + PANEL_HEIGHT)),
    )


def _line(series: _Series, style: str, axis: Scale, scale: Scale) -> Line:
    pixels = [(axis(at), scale(value)) for at, value in thin(series.points, BUCKETS)]
    draw = {"points": dots, "limit": stairs, "state": stairs}.get(series.kind, stairs if series.unit == "MHz" else line)
    # A dashed cap stands in the colour of its policy, whose label serves both.
    label = "" if series.kind == "limit" else series.label
    return Line(label, style, series.kind, draw(pixels), pixels[-1][1])


def _apart(lines: Sequence[Line], top: float, bottom: float) -> list[Line]:
    """The same lines with their labels moved so far apart that each can be read."""
    order = sorted((one for one in lines if one.label), key=lambda one: one.label_y)
    room = max(bottom - top, LABEL_HEIGHT * len(order))
    placed: dict[str, float] = {}
    at = top - LABEL_HEIGHT
    for number, one in enumerate(order):
        lowest = top + room - LABEL_HEIGHT * (len(order) - 1 - number)
        at = min(max(one.label_y, at + LABEL_HEIGHT), lowest)
        placed[one.label] = round(at, 1)
    return [Line(one.label, one.style, one.kind, one.path, placed.get(one.label, 0)) for one in lines]


def _band(phase: Phase, axis: Scale) -> Band:
    start, end = axis.clamp(phase.start), axis.clamp(phase.end)
    style = {"rest of first third": "first", "last third": "last"}.get(phase.name, phase.name)
    return Band(phase.name, style, float(coordinate(start)), float(coordinate(max(end - start, 1.0))))


def _describe(rows: Sequence[_Row], phases: Sequence[Phase], length: float) -> str:
    parts = [f"{significant(length)} s on the time axis."]
    for row in rows:
        if not row.series:
            parts.append(f"{row.name}: {row.absent}.")
        for one in row.series:
            values = [value for _, value in one.points]
            seen = f"{span(min(values), max(values))} {one.unit}".rstrip()
            parts.append(f"{row.name}, {one.label}: {seen}.")
    return " ".join([*parts, _told(phases)]).strip()


def _told_events(heat: HeatView | None, gate: str) -> str:
    """What is marked, as sentences."""
    told = f" {gate[:1].upper()}{gate[1:]}." if gate else ""
    return told if heat is None else f"{told} {heat.word[:1].upper()}{heat.word[1:]}: {heat.reason}."


def _told(phases: Sequence[Phase]) -> str:
    if not phases:
        return ""
    told = ", ".join(f"{phase.name} {significant(phase.end - phase.start)} s" for phase in phases)
    return f"Phases, shaded in this order: {told}."

"""The nights of a series as a picture: level against before, the step, what happened, gaps as gaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from harness.model import Change
from reports.charts import Point, Scale, dots, line, padded, ticks
from reports.inputs import NightPoint, SeriesNights
from reports.night_views import EventMark, NightChart, StepMark
from reports.numbers import MINUS, day, plural
from reports.plots import Tick

WIDTH, HEIGHT = 540.0, 182.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 514.0, 46.0, 156.0
MOST_NIGHTS = 90
"""Nights that are drawn, the newest; more when the change is older."""
BEFORE = 14
"""Nights that are drawn before a change at least."""
_LEAST = 4.0
"""Per cent: the smallest range that is drawn, so that noise of 1 % is no mountain."""
_STEPS = (1, 2, 7, 14, 28, 56, 112)
"""Nights between two marks of the axis."""
_LABEL = 90.0
"""Room for the label of the step, in pixels."""

Placed = tuple[int, NightPoint]
"""Day of the night (its ordinal), and what it gave."""


@dataclass(frozen=True, slots=True)
class _Axes:
    x: Scale
    y: Scale


def night_chart(change: Change, nights: SeriesNights, id: str, title: str, mark: str) -> NightChart | None:
    """The picture of a change; None where no night has a value.

    Args:
        id: of its element, unique in the page. title: names the series. mark: of its phones, "" for real ones.
    """
    shown = _shown(nights.points, change)
    if not shown:
        return None
    axes = _axes(shown, change)
    stretches = _stretches(shown)
    step = _step(change, axes)
    return NightChart(
        id=id,
        title=title,
        description=_description(shown, change, nights),
        told=_told(nights),
        mark=mark,
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=RIGHT,
        top=TOP,
        bottom=BOTTOM,
        zero=round(axes.y(0.0), 1),
        line="".join(line(_points(one, axes)) for one in stretches if len(one) > 1),
        band="".join(_band(one, axes) for one in stretches if len(one) > 1),
        dots=dots(_points(shown, axes)),
        level=_level(change, axes),
        step=step,
        borders=tuple(round(axes.x(at) - _half(axes), 1) for at in _days(nights.borders) if axes.x.low < at),
        events=_events(nights, axes),
        happened=tuple(f"{night}: {words}" for night, words in nights.events if night >= shown[0][1].night),
        ticks=tuple(Tick(round(axes.x(at), 1), _day(at)) for at in _marked_days(axes.x)),
        levels=tuple(Tick(round(axes.y(value), 1), _signed(value)) for value in ticks(axes.y.low, axes.y.high, 4)),
    )


def per_cent(level: float) -> float:
    """A logarithm as per cent of change, + is worse."""
    return 100 * math.expm1(max(min(level, 700.0), -700.0))


def _shown(points: Sequence[NightPoint], change: Change) -> list[Placed]:
    placed = [(date.fromisoformat(one.night).toordinal(), one) for one in points]
    if not placed:
        return []
    first = placed[-1][0] - MOST_NIGHTS + 1
    if change.step is not None:
        first = min(first, date.fromisoformat(change.step.earliest).toordinal() - BEFORE)
    return [one for one in placed if one[0] >= first]


def _axes(shown: Sequence[Placed], change: Change) -> _Axes:
    values = [per_cent(one.level) for _, one in shown] + [0.0]
    if change.step is not None:
        values.append(per_cent(change.step.delta))
    low, high = padded(min(values), max(values), _LEAST)
    first, last = shown[0][0], shown[-1][0]
    return _Axes(Scale(first, last, LEFT + 8, RIGHT - 8), Scale(low, high, BOTTOM, TOP))


def _stretches(shown: Sequence[Placed]) -> list[list[Placed]]:
    """Nights that follow one another; a night without a value ends a stretch."""
    found: list[list[Placed]] = []
    for one in shown:
        if found and one[0] - found[-1][-1][0] == 1:
            found[-1].append(one)
        else:
            found.append([one])
    return found


def _points(placed: Sequence[Placed], axes: _Axes) -> list[Point]:
    return [(axes.x(at), axes.y.clamp(per_cent(one.level))) for at, one in placed]


def _band(placed: Sequence[Placed], axes: _Axes) -> str:
    worst = [(axes.x(at), axes.y.clamp(per_cent(one.worst))) for at, one in placed]
    best = [(axes.x(at), axes.y.clamp(per_cent(one.best))) for at, one in placed]
    return f"{line(worst + best[::-1])}z"


def _level(change: Change, axes: _Axes) -> str:
    """The new level, from its first night to the newest."""
    if change.step is None:
        return ""
    at, y = date.fromisoformat(change.step.night).toordinal(), axes.y(per_cent(change.step.delta))
    return line([(axes.x.clamp(at) - _half(axes), y), (RIGHT, y)])


def _step(change: Change, axes: _Axes) -> StepMark | None:
    if change.step is None:
        return None
    at, low, high = _days((change.step.night, change.step.earliest, change.step.latest))
    half = _half(axes)
    # Between the last night of the old level and the first one of the new.
    x = round(axes.x.clamp(at) - half, 1)
    fits = x + _LABEL < RIGHT
    return StepMark(
        x=x,
        low_x=round(max(axes.x.clamp(low) - half, LEFT), 1),
        high_x=round(min(axes.x.clamp(high) + half, RIGHT), 1),
        label=f"{_signed(per_cent(change.step.delta), 1)} from {day(change.step.night)}",
        label_x=round(x + 4 if fits else x - 4, 1),
        anchor="start" if fits else "end",
    )


def _half(axes: _Axes) -> float:
    """Half the room of a night."""
    days = axes.x.high - axes.x.low
    return (axes.x.end - axes.x.start) / days / 2 if days else 4.0


def _events(nights: SeriesNights, axes: _Axes) -> tuple[EventMark, ...]:
    """One mark a night, however much happened in it."""
    by_day: dict[int, list[str]] = {}
    for night, words in nights.events:
        by_day.setdefault(date.fromisoformat(night).toordinal(), []).append(words)
    return tuple(
        EventMark(round(axes.x(at), 1), f"{_day(at)}: {', '.join(words)}")
        for at, words in sorted(by_day.items())
        if axes.x.low <= at <= axes.x.high
    )


def _marked_days(x: Scale) -> list[int]:
    """Days that the axis names, from the newest back."""
    first, last = int(x.low), int(x.high)
    step = next((step for step in _STEPS if (last - first) / step <= 7), _STEPS[-1])
    return list(range(last, first - 1, -step))[::-1]


def _days(nights: Sequence[str]) -> list[int]:
    return [date.fromisoformat(night).toordinal() for night in nights]


def _day(ordinal: int) -> str:
    return day(date.fromordinal(ordinal).isoformat())


def _signed(value: float, decimals: int = 0) -> str:
    text = f"{abs(value):.{decimals}f}" if decimals or value == int(value) else f"{abs(value):.1f}"
    sign = "" if not float(text) else "+" if value > 0 else MINUS
    return f"{sign}{text} %"


def _description(shown: Sequence[Placed], change: Change, nights: SeriesNights) -> str:
    days = shown[-1][0] - shown[0][0] + 1
    gaps = days - len(shown)
    parts = [f"{plural(len(shown), 'night')} from {shown[0][1].night} to {shown[-1][1].night}"]
    if gaps:
        parts.append(f"{plural(gaps, 'night')} without a value")
    if change.step is not None:
        parts.append(
            f"the level changed by {_signed(per_cent(change.step.delta), 1)} from {change.step.night} on "
            f"(between {change.step.earliest} and {change.step.latest})"
        )
    parts.append(f"newest {_signed(per_cent(shown[-1][1].level), 1)} on {plural(shown[-1][1].phones, 'phone')}")
    if nights.borders:
        parts.append(f"values before and from {', '.join(nights.borders)} on cannot be compared")
    return "; ".join(parts)


def _told(nights: SeriesNights) -> str:
    what = "the ratio to the reference build of the same night" if nights.referenced else "the value of the night"
    return (
        f"Each dot is a night: {what}, median over the phones, each against its own level before the change; up is "
        "worse. The band goes from the best phone to the worst."
    )

"""The samples of a repetition as a page carries them: packed for a script that draws them one by one.

A plot is gzip and base64 of: uint32 length of the header, the header (JSON), then arrays of four bytes for each number,
little endian and byte-shuffled (all first bytes, then all second bytes, …). First come the axes of time (int32 steps of
TICK_S from one sample to the next, from the moment 0 of the plot on), which channels that are read together share; then
the values of each series, as int32 steps of the channel's resolution from one to the next, or as float32 where the
channel tells none.
"""

from __future__ import annotations

import base64
import gzip
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.model import Trace
from reports.before import HeatView, heat_view
from reports.cases import Case, anchor
from reports.charts import thin
from reports.inputs import Repetition, Telemetry
from reports.phases import Phase, phases_of, token_points
from reports.plots import Packed

TICK_S = 1e-3
BUDGET = 1_500_000
"""Characters of all plots of one page: with them it stays below about 3 MB."""
_LEAST_POINTS = 200
"""Of a series, however full the page is."""
_ON = 4
"""Series of a panel that are drawn at first: a phone has dozens of thermal zones."""

_TITLES: Mapping[str, str] = {
    "tok/s": "Decode rate",
    "°C": "Temperature",
    "MHz": "Frequency",
    "MB": "Memory",
    "A": "Current",
    "V": "Voltage",
    "W": "Power",
    "%": "Share",
    "ms": "Inter-token time",
}
_STEPS = frozenset({"MHz", ""})
"""Units whose values hold until they change."""


@dataclass(frozen=True, slots=True)
class Series:
    """Samples of one channel; `step` is its resolution, None where it is not known; `kind` as of Line in plots."""

    name: str
    unit: str
    kind: str
    step: float | None
    seconds: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Samples:
    """What is drawn of one repetition; `id` names the element that carries it."""

    id: str
    series: tuple[Series, ...]
    phases: tuple[Phase, ...]
    heat: HeatView | None
    of: int
    """Samples before any were left out."""


def page_samples(
    cases: Iterable[Case], drawn: frozenset[str], telemetry: Telemetry, budget: int = BUDGET
) -> tuple[Packed, ...]:
    """The plots of a page: every sample of every repetition in `drawn`, unless they are more than `budget` characters.

    Then the largest plots keep, for as many slices of time as there is room for, the lowest and the highest sample of
    each channel, and say so.
    """
    plots: list[tuple[Repetition, Packed]] = []
    for case in cases:
        for one in case.repetitions:
            if one.planned.key in drawn:
                found = samples_of(one, telemetry)
                if found.series:
                    plots.append((one, pack(found)))
    room = _room([len(packed.text) for _, packed in plots], budget)
    return tuple(
        packed if len(packed.text) <= room else _thinned(samples_of(one, telemetry), room) for one, packed in plots
    )


def _room(sizes: Sequence[int], budget: int) -> int:
    """The largest size of one plot with which all, cut to it, fit the budget."""
    left, waiting = budget, sorted(sizes)
    for position, size in enumerate(waiting):
        share = left // (len(waiting) - position)
        if size > share:
            return share
        left -= size
    return max(waiting, default=0)


def _thinned(plot: Samples, room: int) -> Packed:
    """Half as many points until it fits."""
    most = max(len(one.values) for one in plot.series)
    while True:
        most = max(most // 2, _LEAST_POINTS)
        packed = pack(replace(plot, series=tuple(_thin(one, most) for one in plot.series)))
        if len(packed.text) <= room or most == _LEAST_POINTS:
            return packed


def _thin(series: Series, most: int) -> Series:
    points = thin(list(zip(series.seconds.tolist(), series.values.tolist(), strict=True)), most // 2)
    seconds, values = np.array(points).T
    return replace(series, seconds=seconds, values=values)


def samples_of(one: Repetition, telemetry: Telemetry) -> Samples:
    """Everything that was sampled in a repetition; without series when nothing was."""
    key = one.planned.key
    phases, heat = phases_of(one.provenance, one.metrics), heat_view(one.provenance)
    found = [_channel(trace) for trace in telemetry.traces(key) if len(trace.values)]
    if heat is not None and heat.curve:
        found.append(_made("decode", "tok/s", "line", heat.curve))
    elif heat is None and (tokens := token_points(telemetry.itl(key), phases)):
        found.append(_made("inter-token", "ms", "points", tokens))
    whole = [finite for one in found if len((finite := _finite(one)).values)]
    return Samples(f"samples-{anchor(key)}", tuple(whole), phases, heat, sum(len(one.values) for one in whole))


def _finite(series: Series) -> Series:
    good = np.isfinite(series.values) & np.isfinite(series.seconds)
    return replace(series, seconds=series.seconds[good], values=series.values[good])


def _channel(trace: Trace) -> Series:
    channel = trace.channel
    kind = "steps" if channel.unit in _STEPS else "line"
    return _series(channel.name, channel.unit, kind, channel.resolution, trace.uptime_s, trace.values)


def _made(name: str, unit: str, kind: str, points: Sequence[tuple[float, float]]) -> Series:
    return _series(name, unit, kind, None, [at for at, _ in points], [value for _, value in points])


def _series(
    name: str, unit: str, kind: str, step: float | None, seconds: Sequence[float], values: Sequence[float]
) -> Series:
    times, numbers = np.asarray(seconds, dtype=np.float64), np.asarray(values, dtype=np.float64)
    order = np.argsort(times, kind="stable")
    return Series(name, unit, kind, step, times[order], numbers[order])


def pack(plot: Samples) -> Packed:
    """The text of the element that carries a plot."""
    heat = plot.heat
    # As in the picture: a run that lasted counts from its first token.
    first = heat.start_uptime_s if heat is not None and heat.curve else None
    origin = min(float(one.seconds[0]) for one in plot.series) if first is None else first
    axes: dict[bytes, int] = {}
    values: list[bytes] = []
    panels: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in sorted(plot.series, key=_interest):
        ticks = np.rint((one.seconds - origin) / TICK_S).astype("<i4")
        axis = axes.setdefault(_shuffled(np.diff(ticks, prepend=np.int32(0)).astype("<i4")), len(axes))
        packed, step = _values(one)
        values.append(packed)
        members = panels.setdefault((one.unit, one.kind), [])
        # Memory of the whole phone is ten times a runner's, which would lie flat beside it.
        on = len(members) < _ON and not one.name.startswith("memory.")
        index = len(values) - 1
        members.append({"name": one.name, "axis": axis, "step": step, "on": on, "index": index})
    header = {
        "tick": TICK_S,
        "axes": [len(axis) // 4 for axis in axes],
        "panels": [
            {"title": _TITLES.get(unit, "State"), "unit": unit, "kind": kind, "series": members}
            for (unit, kind), members in panels.items()
        ],
        "phases": [[phase.name, round(phase.start - origin, 3), round(phase.end - origin, 3)] for phase in plot.phases],
        "events": _events(plot.heat, origin),
        "shown": sum(len(one.values) for one in plot.series),
        "of": plot.of,
    }
    head = json.dumps(header, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    raw = struct.pack("<I", len(head)) + head + b"".join(axes) + b"".join(values)
    return Packed(plot.id, base64.b64encode(gzip.compress(raw, 6, mtime=0)).decode())


def _interest(one: Series) -> tuple[int, str, bool, float]:
    """Panels in the order of the titles; inside one, thermal zones and the phone's own memory last, and what moved most
    first."""
    order = list(_TITLES)
    place = order.index(one.unit) if one.unit in _TITLES else len(order)
    return place, one.unit, one.name.startswith(("zone.", "memory.")), -float(one.values.max() - one.values.min())


def _events(heat: HeatView | None, origin: float) -> list[list[Any]]:
    if heat is None or heat.onset_s is None:
        return []
    return [[heat.word, round(heat.start_uptime_s + heat.onset_s - origin, 3)]]


def _values(one: Series) -> tuple[bytes, float]:
    """(bytes, step); step 0: float32 numbers."""
    if one.step:
        steps = np.rint(one.values / one.step)
        # float32, in which the store keeps them, is off by as much.
        exact = np.abs(steps * one.step - one.values) <= np.maximum(np.abs(one.values) * 1e-6, one.step * 1e-3)
        if exact.all() and np.abs(steps).max() < 2**30:
            return _shuffled(np.diff(steps, prepend=0.0).astype("<i4")), one.step
    return _shuffled(one.values.astype("<f4")), 0.0


def _shuffled(numbers: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(numbers).view(np.uint8).reshape(-1, 4).T.tobytes()

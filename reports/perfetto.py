"""One repetition as a trace in Chrome's JSON format, which ui.perfetto.dev and chrome://tracing read.

The host's steps are one process, the device is another: phases and tokens as slices, every telemetry channel as a
counter. Times are whole µs from the earliest moment in the trace, on the host's wall clock.

Facts of the format (Google, Trace Event Format): X is a slice (ts, dur), i an instant, C a counter, M a name. Perfetto
calls a counter by its name and the key of its value, takes the name of a thread by tid alone, and drops a slice that
overlaps another of its thread without lying inside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from harness.model import NOT_A_PHONE, Step, StepRecord
from reports.before import HeatView, heat_view
from reports.phases import Phase, phases_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.store import EventRecord, MeasurementRow, Samples, Store

_HOST, _DEVICE = 1, 2
"""Process numbers; threads have numbers of their own."""
_PROCESS, _PHASES, _TOKENS, _EVENTS, _ATTEMPTS = 11, 12, 13, 19, 100

_Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Repetition:
    """What the store holds of one repetition: steps of every attempt, events of its device around it, the rest of its
    last attempt."""

    row: MeasurementRow
    steps: Sequence[StepRecord]
    events: Sequence[EventRecord]
    samples: Sequence[Samples]
    itl_ms: Sequence[float]


@dataclass(frozen=True, slots=True)
class _Axis:
    """From the two clocks to µs in the trace.

    Args:
        origin: Unix seconds of its 0. offset: wall clock minus device uptime in seconds, None where nothing ties the
            two together. told: in words, how that is known.
    """

    origin: float
    offset: float | None
    told: str

    def wall(self, at: float) -> int:
        return round((at - self.origin) * 1e6)

    def device(self, uptime_s: float) -> int:
        assert self.offset is not None
        # The difference first: a Unix time in seconds has no room for µs.
        return round((uptime_s + (self.offset - self.origin)) * 1e6)


def load(store: Store, key: str) -> Repetition:
    """One repetition from the store. Raises ValueError when there is none called `key`, StoreError when its telemetry
    is damaged."""
    row = store.measurement(key)
    if row is None:
        raise ValueError(f"there is no measurement {key!r}")
    steps = store.steps(key)
    begin = min([step.started_at for step in steps], default=row.started_at or 0.0)
    end = max([step.started_at + step.duration_s for step in steps], default=begin)
    events = [
        event
        for event in store.events(row.planned.run)
        if event.device_id == row.planned.device_id and begin <= event.at <= end
    ]
    return Repetition(row, steps, events, tuple(store.samples(key)), store.itl(key))


def write(found: Repetition, file: IO[bytes]) -> int:
    """Write the trace of a repetition; returns how many events it has."""
    axis = _axis(found)
    head = json.dumps(_about(found, axis))
    file.write(f'{{"displayTimeUnit": "ms", "otherData": {head}, "traceEvents": [\n'.encode())
    count = 0
    for line in _lines(found, axis):
        file.write((",\n" if count else "").encode() + line.encode())
        count += 1
    file.write(b"\n]}\n")
    return count


def _lines(found: Repetition, axis: _Axis) -> Iterator[str]:
    """Every event as JSON text; control characters and all that is not ASCII are escaped."""
    plain = [*_names(found), *_steps(found, axis), *_happened(found, axis)]
    if axis.offset is not None:
        plain += _on_device(found, axis)
    for event in plain:
        yield json.dumps(event, allow_nan=False)
    if axis.offset is not None:
        for samples in found.samples:
            yield from _counter(samples.channel.name, samples.channel.unit, samples.micros, samples.values, axis)
        yield from _power(found.samples, axis)


# --- time -------------------------------------------------------------------------------------------------------------


def _axis(found: Repetition) -> _Axis:
    offset, told = _offset(found)
    moments = [step.started_at for step in found.steps]
    moments += [found.row.started_at] if found.row.started_at is not None else []
    if offset is not None:
        moments += [offset + float(samples.micros[0]) / 1e6 for samples in found.samples if len(samples.micros)]
        moments += [offset + at for at in _stamps(found.row.provenance).values()]
    return _Axis(min(moments, default=0.0), offset, told)


def _offset(found: Repetition) -> tuple[float | None, str]:
    """Wall clock minus the device's uptime, and how it is known."""
    clock = found.row.provenance.get("clock")
    measured = _number(clock.get("wall_offset_s")) if isinstance(clock, Mapping) else None
    if measured is not None and isinstance(clock, Mapping):
        error = _number(clock.get("error_s"))
        return measured, "the device's clock was read" + (f", to ±{error * 1000:.1f} ms" if error is not None else "")
    run = next((s for s in found.steps if s.step is Step.RUN and s.attempt == found.row.attempt), None)
    if run is None:
        return None, "nothing ties the device's clock to the host's: what is on it is left out"
    started = _stamps(found.row.provenance).get("started")
    first = min([float(samples.micros[0]) / 1e6 for samples in found.samples if len(samples.micros)], default=None)
    anchor = first if started is None else started
    if anchor is None:
        return None, "nothing was recorded by the device's clock"
    return run.started_at - anchor, "the device's clock was not read: its first moment is put at the start of step run"


def _stamps(provenance: Mapping[str, Any]) -> dict[str, float]:
    stamps = provenance.get("stamps")
    found = {str(name): _number(at) for name, at in stamps.items()} if isinstance(stamps, Mapping) else {}
    return {name: at for name, at in found.items() if at is not None}


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


# --- what it is -------------------------------------------------------------------------------------------------------


def _about(found: Repetition, axis: _Axis) -> dict[str, Any]:
    planned = found.row.planned
    return {
        "run": planned.run,
        "case": planned.case,
        "repeat": planned.repeat,
        "device": planned.device_id,
        "device_kind": planned.kind.value,
        "model": planned.model.id,
        "runner": planned.runner.id,
        "workload": planned.workload_id,
        "status": found.row.status.value,
        "begins_at_unix_s": axis.origin,
        "clock": axis.told,
        "tokens": _about_tokens(found, axis),
        "absent": _absent(found.samples),
    }


def _absent(samples: Sequence[Samples]) -> dict[str, str]:
    return {each.channel.name: each.channel.absent or "no sample arrived" for each in samples if not len(each.values)}


def _about_tokens(found: Repetition, axis: _Axis) -> str:
    if not found.itl_ms:
        return found.row.dropped_tokens or "this workload gives no inter-token times"
    if axis.offset is None or _decode(found) is None:
        return f"{len(found.itl_ms)} inter-token times; when each began is not known, so they are not drawn"
    return f"{len(found.itl_ms) + 1} tokens"


def _names(found: Repetition) -> list[_Event]:
    planned = found.row.planned
    mark = f" ({NOT_A_PHONE[planned.kind]})" if planned.kind in NOT_A_PHONE else ""
    names = [(_HOST, _HOST, "process_name", f"farm: {planned.key}"), (_HOST, _EVENTS, "thread_name", "events")]
    names += [
        (_HOST, _ATTEMPTS + attempt, "thread_name", f"attempt {attempt}")
        for attempt in sorted({step.attempt for step in found.steps})
    ]
    names += [
        (_DEVICE, _DEVICE, "process_name", f"{planned.device_id}{mark}"),
        (_DEVICE, _PROCESS, "thread_name", f"runner {planned.runner.id}"),
        (_DEVICE, _PHASES, "thread_name", "phases"),
        (_DEVICE, _TOKENS, "thread_name", "tokens"),
    ]
    return [{"ph": "M", "pid": pid, "tid": tid, "name": kind, "args": {"name": name}} for pid, tid, kind, name in names]


# --- the host ---------------------------------------------------------------------------------------------------------


def _steps(found: Repetition, axis: _Axis) -> list[_Event]:
    made = []
    for attempt in sorted({step.attempt for step in found.steps}):
        steps = [step for step in found.steps if step.attempt == attempt]
        spans = [(axis.wall(step.started_at), axis.wall(step.started_at + step.duration_s)) for step in steps]
        for step, (begin, end) in zip(steps, _apart(spans), strict=True):
            told = {name: value for name, value in step.detail.items() if isinstance(value, str | bool | int | float)}
            args: _Event = {"limit_s": step.limit_s if step.limit_s is not None else "none", **told}
            if step.error is not None:
                args |= {"error": step.error.error_class, "message": step.error.message}
            made.append(_slice(_HOST, _ATTEMPTS + attempt, step.step.value, begin, end, args))
    return made


def _apart(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans that follow each other without the overlap that two clocks of the host can give them."""
    limits = [begin for begin, _ in spans[1:]]
    return [(begin, max(begin, min(end, limit))) for (begin, end), limit in zip(spans, limits, strict=False)] + [
        *spans[-1:]
    ]


def _happened(found: Repetition, axis: _Axis) -> list[_Event]:
    made = []
    for event in found.events:
        told = {name: value for name, value in event.detail.items() if isinstance(value, str | bool | int | float)}
        made.append(_instant(_HOST, _EVENTS, event.kind, axis.wall(event.at), told))
    return made


# --- the device -------------------------------------------------------------------------------------------------------


def _on_device(found: Repetition, axis: _Axis) -> list[_Event]:
    stamps = _stamps(found.row.provenance)
    made = []
    absent = _absent(found.samples)
    if absent:
        made.append(_instant(_DEVICE, _PHASES, "channels that are absent", 0, absent))
    if "started" in stamps and stamps.get("ended", -math.inf) >= stamps["started"]:
        begin, end = axis.device(stamps["started"]), axis.device(stamps["ended"])
        made.append(_slice(_DEVICE, _PROCESS, "process", begin, end, {}))
    phases = phases_of(found.row.provenance, found.row.metrics)
    spans = _apart([(axis.device(phase.start), axis.device(phase.end)) for phase in phases])
    for phase, (begin, end) in zip(phases, spans, strict=True):
        made.append(_slice(_DEVICE, _PHASES, phase.name, begin, end, {}))
    made += _tokens(found, axis)
    heat = heat_view(found.row.provenance)
    return made if heat is None else [*made, *_heat(heat, axis)]


def _decode(found: Repetition) -> Phase | None:
    if heat_view(found.row.provenance) is not None:
        return None
    phases = phases_of(found.row.provenance, found.row.metrics)
    return next((phase for phase in phases if phase.name == "decode"), None)


def _tokens(found: Repetition, axis: _Axis) -> list[_Event]:
    """The first token as an instant, then a slice for each from the token before it."""
    decode = _decode(found)
    if decode is None or not found.itl_ms:
        return []
    made, at = [_instant(_DEVICE, _TOKENS, "first token", axis.device(decode.start), {})], decode.start
    for number, latency in enumerate(found.itl_ms, 2):
        begin, at = at, at + latency / 1000
        args = {"inter_token_ms": latency}
        made.append(_slice(_DEVICE, _TOKENS, f"token {number}", axis.device(begin), axis.device(at), args))
    return made


def _heat(heat: HeatView, axis: _Axis) -> list[_Event]:
    made: list[_Event] = [
        {
            "ph": "C",
            "pid": _DEVICE,
            "tid": _DEVICE,
            "name": "decode rate",
            "ts": axis.device(at),
            "args": {"tok/s": rate},
        }
        for at, rate in heat.curve
    ]
    if heat.onset_s is not None:
        at = axis.device(heat.start_uptime_s + heat.onset_s)
        made.append(_instant(_DEVICE, _PHASES, heat.word, at, {"reason": heat.reason}))
    return made


def _counter(
    name: str, unit: str, micros: NDArray[np.int64], values: NDArray[np.floating[Any]], axis: _Axis
) -> Iterator[str]:
    """One line of text for each sample: a night has too many of them for objects."""
    import numpy as np

    assert axis.offset is not None
    finite = np.isfinite(values)
    shift = round((axis.offset - axis.origin) * 1e6)
    begin = f'{{"ph": "C", "pid": {_DEVICE}, "tid": {_DEVICE}, "name": {json.dumps(name)}, "ts": '
    middle = f', "args": {{{json.dumps(unit or "value")}: '
    # The shortest text that gives the same float32: 36.6, not 36.599998474121094.
    texts = values[finite].astype("U").tolist()
    for at, value in zip((micros[finite] + shift).tolist(), texts, strict=True):
        yield f"{begin}{at}{middle}{value}}}}}"


def _power(samples: Sequence[Samples], axis: _Axis) -> Iterator[str]:
    """Voltage times current without the sign, whose meaning differs between makers; the voltage is the newest one."""
    import numpy as np

    by_name = {each.channel.name: each for each in samples if len(each.values)}
    current, voltage = by_name.get("battery.current"), by_name.get("battery.voltage")
    if current is None or voltage is None or (current.channel.unit, voltage.channel.unit) != ("A", "V"):
        return
    newest = np.maximum(np.searchsorted(voltage.micros, current.micros, side="right") - 1, 0)
    watts = np.abs(current.values * voltage.values[newest])
    yield from _counter("battery.power (current × voltage)", "W", current.micros, watts, axis)


def _slice(pid: int, tid: int, name: str, begin: int, end: int, args: Mapping[str, Any]) -> _Event:
    return {"ph": "X", "pid": pid, "tid": tid, "name": name, "ts": begin, "dur": end - begin, "args": dict(args)}


def _instant(pid: int, tid: int, name: str, at: int, args: Mapping[str, Any]) -> _Event:
    return {"ph": "i", "s": "t", "pid": pid, "tid": tid, "name": name, "ts": at, "args": dict(args)}

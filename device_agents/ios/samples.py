"""The samples beside an iPhone's job as traces in the units of docs/measurement.md.

Lines are JSON; those of this host are stamped with its monotonic clock, and brackets of the phone's clock between them
place them on the phone's axis. Pure; the file may be cut anywhere and hold anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from device_agents.android.telemetry import parse_ioregistry
from device_agents.ios.events import Told
from device_agents.ios.watch import HEAD
from harness.model import MEGABYTE, Channel, Measured, Reading, Trace, Unavailable

THERMAL_STATES: Mapping[str, int] = {"nominal": 0, "fair": 1, "serious": 3, "critical": 4}
"""ProcessInfo.thermalState as Android's thermal status of the same meaning: light, severe, critical."""

MOST_BYTES = 64 * 1024 * 1024

_BATTERY = {
    "battery_level_pct": ("battery.level", "%"),
    "battery_temperature_c": ("battery.temperature", "°C"),
    "battery_voltage_v": ("battery.voltage", "V"),
    "battery_current_a": ("battery.current", "A"),
    "charge_counter_mah": ("battery.charge_counter", "mAh"),
    "battery_status": ("battery.status", ""),
    "power_state_external": ("battery.external", ""),
}
_USAGE = {
    "footprint": ("runner.phys_footprint", "MB", "sysmontap physFootprint", 1 / MEGABYTE, 16384 / MEGABYTE),
    "cpu": ("runner.cpu", "%", "sysmontap cpuUsage, % of one core", 1.0, None),
}
_TOLD = {
    "available_bytes": ("runner.available", "MB", "os_proc_available_memory of the app", 1 / MEGABYTE, None),
    "low_power": ("power.saver", "", "ProcessInfo.isLowPowerModeEnabled", 1.0, 1.0),
}
_PARTS = "iOS tells the footprint of an app, not its parts"
_NO_SENSOR = "iOS shows this temperature to no one"
_NEVER = {
    "cpu.temperature": ("°C", _NO_SENSOR),
    "skin.temperature": ("°C", _NO_SENSOR),
    "cpu.busy_time": ("s", "the load of a whole iPhone is looked at before the run, not beside it"),
    "runner.rss_anon": ("MB", _PARTS),
    "runner.rss_file": ("MB", _PARTS),
}
"""Channels of other phones that no iPhone has, and why."""

_CLOCKLESS = "the phone's clock was never read beside the samples, so they have no place on its axis"


@dataclass(slots=True)
class _Series:
    unit: str
    source: str
    resolution: float | None = None
    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    reason: str = ""

    def add(self, at: float | None, reading: Reading) -> None:
        if isinstance(reading, Unavailable):
            self.reason = reading.reason
        elif at is None:
            self.reason = _CLOCKLESS
        elif not self.times or at > self.times[-1]:
            self.times.append(at)
            self.values.append(reading.value)
            self.source, self.resolution = reading.source, reading.resolution

    def trace(self, name: str) -> Trace:
        absent = "" if self.values else self.reason or "it was never sampled"
        return Trace(
            Channel(name, self.unit, self.source, self.resolution, absent), tuple(self.times), tuple(self.values)
        )


def is_ios(data: bytes) -> bool:
    """Whether samples are those of an iPhone."""
    head = next(_lines(data[:4096]), {})
    return head.get("farm_samples") == HEAD["farm_samples"] or str(head.get("k")) in ("device", "memory")


def parse_samples(data: bytes) -> tuple[Trace, ...]:
    """The channels of a samples file, ordered by name."""
    lines = list(_lines(data[:MOST_BYTES]))
    offset = _offset(lines)
    series: dict[str, _Series] = {}

    def into(name: str, unit: str, source: str) -> _Series:
        return series.setdefault(name, _Series(unit, source))

    for name, unit in (*_BATTERY.values(), ("thermal.status", "")):
        into(name, unit, "it was not asked for")
    for name, unit, source, *_ in (*_USAGE.values(), *_TOLD.values()):
        into(name, unit, source)
    for line in lines:
        at = _place(line, offset)
        if line.get("k") == "process":
            _scaled(line, _USAGE, at, into)
        elif line.get("k") == "battery" and isinstance(line.get("of"), dict):
            readings = parse_ioregistry(json.dumps(line["of"]).encode())
            for key, (name, unit) in _BATTERY.items():
                into(name, unit, "IORegistry").add(at, readings[key])
        elif line.get("k") == "device":
            _scaled(line, _TOLD, at, into)
            state = THERMAL_STATES.get(str(line.get("thermal_state")))
            if state is not None:
                into("thermal.status", "", "").add(at, Measured(float(state), "", "ProcessInfo.thermalState", 1.0))
    found = [entry.trace(name) for name, entry in series.items()]
    found += [Trace(Channel(name, unit, "", None, why), (), ()) for name, (unit, why) in _NEVER.items()]
    return tuple(sorted(found, key=lambda trace: trace.channel.name))


def lines_of_events(told: Told) -> bytes:
    """What the app told of the phone, as lines of a samples file."""
    kept = [{"k": "device", **{key: value for key, value in event.items() if key != "event"}} for event in told.devices]
    return b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in kept)


def _scaled(line: Mapping[str, Any], known: Mapping[str, tuple[Any, ...]], at: float | None, into: Any) -> None:
    for key, (name, unit, source, factor, resolution) in known.items():
        value = line.get(key)
        if isinstance(value, int | float) and 0 <= value < 1e15:
            into(name, unit, source).add(at, Measured(float(value) * factor, unit, source, resolution))


def _lines(data: bytes) -> Iterator[dict[str, Any]]:
    for text in data.split(b"\n"):
        try:
            found = json.loads(text)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


def _offset(lines: Iterable[Mapping[str, Any]]) -> float | None:
    """The phone's uptime minus this host's clock, by the shortest bracket; None without one."""
    best: tuple[float, float] | None = None
    for line in lines:
        before, uptime, after = (line.get(key) for key in ("before", "uptime", "after"))
        if line.get("k") != "clock" or not all(_is_number(each) for each in (before, uptime, after)):
            continue
        length, offset = after - before, uptime - (before + after) / 2  # type: ignore[operator]
        if length >= 0 and (best is None or length < best[0]):
            best = (length, offset)
    return best[1] if best is not None else None


def _place(line: Mapping[str, Any], offset: float | None) -> float | None:
    """Device uptime of a line, s: its own stamp, or this host's moved by the offset."""
    stamp, at = line.get("t"), line.get("at")
    if _is_number(stamp):
        return float(stamp) / 1e9  # type: ignore[arg-type]
    return float(at) + offset if _is_number(at) and offset is not None else None  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e19

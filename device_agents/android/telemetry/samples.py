"""The samples file that sampler.sh leaves on the phone, as traces in the units of docs/measurement.md.

The file may end anywhere (a phone that lost power) and hold garbage; only complete lines count. What was not sampled
is a channel that is absent with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median, median_low

from device_agents.android.telemetry.battery import (
    CURRENT_A,
    STATUS_CODES,
    VOLTAGE_V,
    charge_reading,
    parse_dumpsys_battery,
    raw_charge_counter,
    temperature_reading,
)
from device_agents.android.telemetry.proc import kib_reading
from device_agents.android.telemetry.sample_lines import Answer, FileSource, RawSamples, sort_lines
from device_agents.android.telemetry.text import EINVAL, number, within
from device_agents.android.telemetry.thermal import (
    SENSOR_C,
    ZONE_C,
    parse_thermalservice,
    zone_divisor,
    zone_lie,
    zone_name,
    zone_role,
)
from harness.model import Channel, Measured, Reading, Trace, Unavailable

MEMORY_CHANNELS: Mapping[str, str] = {
    "runner.vm_hwm": "VmHWM",
    "runner.vm_rss": "VmRSS",
    "runner.rss_anon": "RssAnon",
    "runner.rss_file": "RssFile",
    "runner.vm_swap": "VmSwap",
}
_SERVICE_CHANNELS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "battery": {
        "battery_level_pct": ("battery.level", "%"),
        "battery_temperature_c": ("battery.temperature", "°C"),
        "battery_voltage_v": ("battery.voltage", "V"),
        "battery_current_a": ("battery.current", "A"),
        "charge_counter_mah": ("battery.charge_counter", "mAh"),
        "battery_status": ("battery.status", ""),
        "power_state_external": ("battery.external", ""),
    },
    "thermalservice": {
        "thermal_status": ("thermal.status", ""),
        "skin_temperature_c": ("skin.temperature", "°C"),
        "cpu_temperature_c": ("cpu.temperature", "°C"),
    },
}
_FILES_FIRST = frozenset({"battery.voltage", "battery.charge_counter", "cpu.temperature"})
"""Channels for which the kernel's file wins over dumpsys, being fresher; for others dumpsys does, being filtered."""

USER_HZ = 100
"""Clock ticks per second in /proc/stat and /proc/PID/stat, the same on every Linux of today (proc(5))."""

LEAST_CURRENT_A = 0.005
"""A phone that is awake and busy draws some tens of mA at least."""

_STATUS_WORDS = {text.split()[0]: code for text, code in STATUS_CODES.items()}


@dataclass(slots=True)
class _Series:
    """Samples of one source while they are collected; `reason` is why the newest one was no value."""

    unit: str
    source: str
    resolution: float | None = None
    uptime_s: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    reason: str = ""

    def add(self, uptime_s: float, reading: Reading) -> None:
        if isinstance(reading, Unavailable):
            self.reason = reading.reason
        elif not self.uptime_s or uptime_s > self.uptime_s[-1]:
            if not self.values:
                self.source = reading.source
            elif self.source != reading.source:
                self.source = f"{self.source.partition(' (of several')[0]} (of several, the hottest each time)"
            self.uptime_s.append(uptime_s)
            self.values.append(reading.value)
            self.resolution = reading.resolution

    def trace(self, name: str) -> Trace:
        if not self.values:
            return absent_trace(name, self.unit, self.source, self.reason or "it was never sampled")
        return Trace(Channel(name, self.unit, self.source, self.resolution), tuple(self.uptime_s), tuple(self.values))


def absent_trace(name: str, unit: str, source: str, reason: str) -> Trace:
    """A channel without samples, and why."""
    return Trace(Channel(name, unit, source, None, reason or "no reason is given"), (), ())


def parse_samples(data: bytes) -> tuple[Trace, ...]:
    """The channels of a samples file, ordered by name; see docs/measurement.md for the names and units.

    Args:
        data: the file as fetched, whole or cut anywhere.
    """
    raw = sort_lines(data)
    traces: dict[str, Trace] = {}
    for trace in (*_memory(raw), *_from_files(raw), *_cpu_busy(raw), *_cpu_times(raw)):
        traces[trace.channel.name] = trace
    for trace in tuple(_hottest_zones(traces.values())):
        traces[trace.channel.name] = trace
    for trace in _from_services(raw):
        name = trace.channel.name
        traces[name] = _better(traces[name], trace) if name in traces else trace
    for trace in _raw_gauge(raw):
        traces[trace.channel.name] = trace
    traces["battery.current"] = _believed_current(traces["battery.current"], traces["battery.status"])
    return tuple(traces[name] for name in sorted(traces))


_RAW_GAUGE = {"bi": "battery.current_raw", "bc": "battery.charge_counter_raw"}
_EINVAL = -22.0
"""What some drivers write in place of a value."""


def _raw_gauge(raw: RawSamples) -> Iterator[Trace]:
    """The gauge's own numbers, without a unit: what they mean is calibrated per phone, where the documented unit cannot
    be true. The counter comes from dumpsys where the kernel's file gives none, or only 0."""
    for key, name in _RAW_GAUGE.items():
        sources = (_raw_of_file(raw, key), _raw_of_service(raw) if key == "bc" else None)
        there = [series for series in sources if series is not None]
        if there:
            yield next((series for series in there if any(series.values)), there[0]).trace(name)


def _raw_of_file(raw: RawSamples, key: str) -> _Series | None:
    source = raw.files.get(key)
    if source is None:
        return None
    series = _Series("", source.path)
    for uptime_s, text in raw.by_key.get(key, []):
        value = number(text)
        if value is not None and value != _EINVAL:
            series.add(uptime_s, Measured(value, "", source.path, 1.0))
    return series


def _raw_of_service(raw: RawSamples) -> _Series | None:
    series = _Series("", "dumpsys battery")
    answers = [answer for answer in raw.answers if answer.service == "battery" and answer.status == "0"]
    for answer in answers:
        series.add(answer.uptime_s, raw_charge_counter(answer.text))
    return series if answers else None


def _believed_current(current: Trace, status: Trace) -> Trace:
    """The battery's current, or absent where it cannot be true: a battery that charges or feeds a running phone does so
    with more than `LEAST_CURRENT_A`. A gauge that says less counts in another unit than the documented one."""
    at_work = bool(status.values) and set(status.values) <= {STATUS_CODES["Charging"], STATUS_CODES["Discharging"]}
    if not current.values or not at_work:
        return current
    typical = median(abs(value) for value in current.values)
    if typical >= LEAST_CURRENT_A:
        return current
    reason = f"{typical:.3g} A cannot be true of a battery at work: its unit is not the documented one"
    return absent_trace("battery.current", "A", current.channel.source, reason)


def _hottest_zones(traces: Iterable[Trace]) -> Iterator[Trace]:
    """ "cpu.temperature" from the zones: the hottest true CPU zone each time."""
    zones = {
        zone_type: trace
        for trace in traces
        if trace.values and (zone_type := _zone_type(trace.channel.name)) and zone_role(zone_type) == "cpu"
    }
    hottest: dict[float, float] = {}
    for trace in zones.values():
        for uptime_s, value in zip(trace.uptime_s, trace.values, strict=True):
            hottest[uptime_s] = max(value, hottest.get(uptime_s, value))
    if hottest:
        times = tuple(sorted(hottest))
        coarsest = max(trace.channel.resolution or 0.0 for trace in zones.values())
        channel = Channel("cpu.temperature", "°C", f"hottest thermal zone of {', '.join(zones)}", coarsest)
        yield Trace(channel, times, tuple(hottest[uptime_s] for uptime_s in times))


def _zone_type(name: str) -> str:
    """TYPE of "zone.TYPE.temperature", else ""."""
    return name.removeprefix("zone.").removesuffix(".temperature") if name.startswith("zone.") else ""


def _better(of_file: Trace, of_service: Trace) -> Trace:
    """Which of two sources of one channel to keep; when both are absent, with both reasons."""
    if of_file.values and (not of_service.values or of_file.channel.name in _FILES_FIRST):
        return of_file
    if of_service.values:
        return of_service
    file, service = of_file.channel, of_service.channel
    return absent_trace(file.name, service.unit, f"{file.source}, {service.source}", f"{file.absent}; {service.absent}")


# --- traces -----------------------------------------------------------------------------------------------------------


def _memory(raw: RawSamples) -> Iterator[Trace]:
    for column, (name, key) in enumerate(MEMORY_CHANNELS.items()):
        series = _Series("MB", f"/proc/PID/status {key}", reason="the process ended before the first sample")
        for uptime_s, values in raw.memory:
            text = values[column]
            series.add(uptime_s, kib_reading(None if text == "-" else text, "/proc/PID/status", key))
        yield series.trace(name)


def _cpu_busy(raw: RawSamples) -> Iterator[Trace]:
    source = "/proc/stat, busy share since the sample before"
    series = _Series("%", source, reason="/proc/stat was not read twice")
    for (_, before), (uptime_s, after) in zip(raw.ticks, raw.ticks[1:], strict=False):
        total, busy = after.total - before.total, after.busy - before.busy
        if total > 0:
            series.add(uptime_s, within(100 * busy / total, "%", source, (0, 100), 100 / total))
    yield series.trace("cpu.busy")


def _cpu_times(raw: RawSamples) -> Iterator[Trace]:
    """CPU time that has been used, in seconds: of the phone since its boot, and of the process since its start."""
    step = 1 / USER_HZ
    runner = _Series("s", "/proc/PID/stat utime + stime", reason="the process's /proc/PID/stat was not read")
    busy = _Series("s", "/proc/stat, all cores, not idle", reason="/proc/stat was not read")
    total = _Series("s", "/proc/stat, all cores", reason="/proc/stat was not read")
    for uptime_s, process in raw.process:
        runner.add(uptime_s, Measured((process.user + process.system) / USER_HZ, "s", runner.source, step))
    for uptime_s, phone in raw.ticks:
        busy.add(uptime_s, Measured(phone.busy / USER_HZ, "s", busy.source, step))
        total.add(uptime_s, Measured(phone.total / USER_HZ, "s", total.source, step))
    yield runner.trace("runner.cpu_time")
    yield busy.trace("cpu.busy_time")
    yield total.trace("cpu.total_time")


def _from_files(raw: RawSamples) -> Iterator[Trace]:
    available = _Series("MB", "/proc/meminfo MemAvailable")
    for uptime_s, text in raw.by_key.get("ma", []):
        available.add(uptime_s, kib_reading(text, "/proc/meminfo", "MemAvailable"))
    yield available.trace("memory.available")
    levels = [value for value in (number(text) for _, text in raw.by_key.get("bl", [])) if value is not None]
    level: Reading = Measured(median(levels), "%", "capacity") if levels else Unavailable("no level")
    taken: set[str] = set()
    for key, file in raw.files.items():
        samples = raw.by_key.get(key, [])
        if key.startswith("z"):
            trace = _zone(file, key[1:], samples, taken)
            taken.add(trace.channel.name)
            yield trace
        elif key.startswith(("p", "b")):
            yield _file_trace(key, file, samples, level)
    for name, path, reason in raw.absent:
        unit, _ = _conversion(name, path, level)
        yield absent_trace(name, unit, path, reason)


def _file_trace(key: str, file: FileSource, samples: list[tuple[float, str]], level: Reading) -> Trace:
    unit, convert = _conversion(file.name, file.path, level)
    series = _Series(unit, file.path)
    for uptime_s, text in samples:
        series.add(uptime_s, _value(text, key, file.path, convert))
    return series.trace(file.name)


def _value(text: str, key: str, path: str, convert: Callable[[float], Reading]) -> Reading:
    value = _STATUS_WORDS.get(text) if key == "bs" else number(text)
    if value is None:
        return Unavailable(f"{path} is not understood: {text[:40]!r}")
    if value == EINVAL and key != "bt":
        return Unavailable(f"{path} gives -22: the driver answers EINVAL, it has no value")
    return convert(float(value))


def _conversion(name: str, path: str, level: Reading) -> tuple[str, Callable[[float], Reading]]:
    """Unit of a channel, and how a raw value of the kernel's file becomes a reading in it."""
    measure = name.rpartition(".")[2]
    if name.startswith("policy"):
        return "MHz", lambda raw: within(raw / 1000, "MHz", path, (1, 20_000), 0.001)
    if name == "battery.voltage":
        return "V", lambda raw: within(raw / 1e6, "V", f"{path} (µV)", VOLTAGE_V, 1e-6)
    if name == "battery.current":
        return "A", lambda raw: within(raw / 1e6, "A", f"{path} (taken as µA, sign as given)", CURRENT_A, 1e-6)
    if name == "battery.charge_counter":
        return "mAh", lambda raw: charge_reading(raw, level, f"{path} (µAh)")
    if name == "battery.temperature":
        return "°C", lambda raw: temperature_reading(raw, path)
    if name == "battery.level":
        return "%", lambda raw: within(raw, "%", path, (0, 100), 1)
    if measure == "temperature":
        return "°C", lambda raw: within(raw, "°C", path, SENSOR_C)
    return "", lambda raw: Measured(raw, "", path)


def _zone(file: FileSource, index: str, samples: list[tuple[float, str]], taken: set[str]) -> Trace:
    zone_type = _zone_type(file.name)
    name = zone_name(zone_type, index, taken)
    source = f"{file.path} ({zone_type})"
    lie = zone_lie(zone_type)
    if lie:
        return absent_trace(name, "°C", source, f"not used: it is {lie}")
    raw = [(uptime_s, value) for uptime_s, text in samples if (value := number(text)) is not None]
    possible = [value for _, value in raw if zone_divisor(value) is not None]
    if not possible:
        seen = f"its values ({raw[0][1]:g} first) are no temperatures of a running phone" if raw else ""
        return absent_trace(name, "°C", source, seen or "it gave no number")
    # One unit for the whole trace: a single odd value must not change it.
    divisor = zone_divisor(median_low(possible)) or 1000
    series = _Series("°C", source)
    for uptime_s, value in raw:
        series.add(uptime_s, within(value / divisor, "°C", source, ZONE_C, 1 / divisor))
    return series.trace(name)


def read_service(answer: Answer) -> Mapping[str, Reading]:
    """The readings of one answer; one that failed gives the phone's words for each."""
    if answer.status != "0":
        words = answer.text.decode("utf-8", "replace").strip()[:80]
        why = (
            f"there is no dumpsys {answer.service} here"
            if answer.status == "127"
            else f"dumpsys {answer.service} ended"
        )
        failed = Unavailable(why if answer.status == "127" else f"{why} with {answer.status} {words}".strip())
        return dict.fromkeys(_SERVICE_CHANNELS.get(answer.service, {}), failed)
    if answer.service == "battery":
        return parse_dumpsys_battery(answer.text)
    return parse_thermalservice(answer.text) if answer.service == "thermalservice" else {}


def _from_services(raw: RawSamples) -> Iterator[Trace]:
    for service, channels in _SERVICE_CHANNELS.items():
        source = f"dumpsys {service}"
        series = {name: _Series(unit, source) for name, (_, unit) in channels.items()}
        for answer in raw.answers:
            if answer.service == service:
                for name, reading in read_service(answer).items():
                    if name in series:
                        series[name].add(answer.uptime_s, reading)
        for name, (channel, _) in channels.items():
            yield series[name].trace(channel)

"""The metrics of one measurement, from what its runner printed and what was sampled beside it.

Pure: every name of METRICS is in the result, measured or with the reason why not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from harness.model import MEGABYTE, METRICS, Channel, Measured, Reading, Trace, Unavailable

Window = tuple[float | None, float | None]
"""Device uptime in seconds at which the run started and ended; None: open."""

PERCENTILE_TOKENS: Mapping[int, int] = {50: 20, 90: 50, 99: 200}
"""Percentile → generated tokens it needs: about 10, 5 and 2 of their times then lie beyond it, so that no single one
decides it (the binomial 95 % interval of the rank is p30–p70, p82–p98 and p97.5–p100)."""

HELD_S = 30.0
"""For how long a value of the battery stands: iOS has a new one every 20 s."""

_NO_RUNNER_VALUE = Unavailable("the runner does not give it")
_NOT_LONG = Unavailable("only a sustained or battery workload lasts long enough to show it")
_NOT_COUNTED = Unavailable("the CPU time of the phone and of the runner were not both sampled")


def case_metrics(
    runner: Mapping[str, Reading],
    itl_ms: Sequence[float],
    traces: Sequence[Trace],
    *,
    model_bytes: int,
    window: Window,
) -> dict[str, Reading]:
    """All metrics of one repetition.

    Args:
        runner: what the runner's adapter read (load_ms, ttft_ms, prefill_tps, decode_tps, …).
        itl_ms: every inter-token latency in order, in ms; empty when the runner gives none.
        traces: telemetry of the run (channel names of docs/measurement.md).
        model_bytes: size of the model file.
        window: of the run; heat and battery are looked at only inside it.
    """
    channels = {trace.channel.name: trace for trace in traces}
    found: dict[str, Reading] = {
        "ms_per_token": ms_per_token(runner.get("decode_tps", _NO_RUNNER_VALUE)),
        "model_mb": Measured(model_bytes / MEGABYTE, "MB", "size of the model file", 1 / MEGABYTE),
        **_percentiles(runner, itl_ms),
        **_memory(channels, runner.get("peak_memory_mb", _NO_RUNNER_VALUE)),
        **_heat(channels, window),
        **_battery(channels, window),
        **dict.fromkeys(("burst_tps", "sustained_tps", "throttle_onset_s"), _NOT_LONG),
        "other_load_pct": _NOT_COUNTED,
    }
    return {name: found.get(name) or runner.get(name, _NO_RUNNER_VALUE) for name in METRICS}


def run_window(stamps: Mapping[str, float]) -> Window:
    """The run by the device's stamps: from the start of the process to its end, or to the moment at which a server had
    done its work and was looked at a last time, for that look disturbs it."""
    return stamps.get("started"), stamps.get("closing", stamps.get("ended"))


def ms_per_token(decode_tps: Reading) -> Reading:
    """1000 / decode_tps."""
    if isinstance(decode_tps, Unavailable):
        return decode_tps
    if not (math.isfinite(decode_tps.value) and decode_tps.value > 0):
        return Unavailable(f"a decode rate of {decode_tps.value:g} tok/s has no time per token")
    return Measured(1000 / decode_tps.value, "ms", f"1000 / decode_tps ({decode_tps.source})")


def _percentiles(runner: Mapping[str, Reading], itl_ms: Sequence[float]) -> dict[str, Reading]:
    found: dict[str, Reading] = {}
    tokens = len(itl_ms) + 1
    for percent, needed in PERCENTILE_TOKENS.items():
        name = f"itl_ms_p{percent}"
        if not itl_ms:
            found[name] = runner.get(name, _NO_RUNNER_VALUE)
        elif tokens < needed:
            found[name] = Unavailable(f"p{percent} needs {needed} tokens, {tokens} were generated")
        else:
            value = percentile(itl_ms, percent)
            found[name] = Measured(value, "ms", f"p{percent} of {len(itl_ms)} inter-token times")
    return found


def percentile(values: Sequence[float], percent: float) -> float:
    """Percentile with linear interpolation between the two nearest ranks (Hyndman and Fan 1996, type 7).

    Args:
        values: at least one.
        percent: 0–100.
    """
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    lower = math.floor(position)
    upper = min(lower + 1, len(ordered) - 1)
    return ordered[lower] + (ordered[upper] - ordered[lower]) * (position - lower)


# --- memory -----------------------------------------------------------------------------------------------------------


def _memory(channels: Mapping[str, Trace], own: Reading) -> dict[str, Reading]:
    """Peak and its parts. VmHWM is the kernel's own mark: it sees what lies between samples, but no swap. An iPhone
    shows the footprint, which holds no pages of a mapped file.

    `own` is the mark as a runner read it of itself: later than the last sample, and there for one too short to sample.
    """
    marks = _larger(_reading_max(channels, "runner.vm_hwm"), _reading_max(channels, "runner.phys_footprint"))
    rss, swap = channels.get("runner.vm_rss"), channels.get("runner.vm_swap")
    if rss is None or not rss.values:
        footprint = _reading_max(channels, "runner.phys_footprint")
        return {
            "peak_memory_mb": _larger(_larger(marks, footprint), own),
            "rss_anon_mb": _absent(channels, "runner.rss_anon"),
            "rss_file_mb": _absent(channels, "runner.rss_file"),
        }
    swapped = _by_time(swap)
    moments = [
        (value + swapped.get(uptime_s, 0.0), uptime_s) for uptime_s, value in zip(rss.uptime_s, rss.values, strict=True)
    ]
    largest, at = max(moments)
    resident = Measured(largest, "MB", "/proc/PID/status max(VmRSS + VmSwap)", rss.channel.resolution)
    return {
        "peak_memory_mb": _larger(_larger(marks, resident), own),
        "rss_anon_mb": _at(channels, "runner.rss_anon", at, swapped.get(at, 0.0)),
        "rss_file_mb": _file_memory(_at(channels, "runner.rss_file", at, 0.0)),
    }


def _larger(one: Reading, other: Reading) -> Reading:
    """The larger of two; the first where they are equal or nothing is measured."""
    if isinstance(one, Measured) and isinstance(other, Measured):
        return other if other.value > one.value else one
    return other if isinstance(other, Measured) else one


def _file_memory(reading: Reading) -> Reading:
    """Linux since 6.2 counts memory in batches per CPU, so a process that has only just begun may show 0 for pages of
    its own program (mm/memory: `struct mm_struct.rss_stat` as percpu_counter)."""
    if isinstance(reading, Measured) and reading.value <= 0:
        return Unavailable("the kernel had not yet counted the first pages of the runner's files")
    return reading


def _at(channels: Mapping[str, Trace], name: str, uptime_s: float, swapped: float) -> Reading:
    """Value of a channel at the moment of the largest VmRSS + VmSwap, with what of it is swapped out."""
    trace = channels.get(name)
    value = _by_time(trace).get(uptime_s)
    if trace is None or value is None:
        return _absent(channels, name)
    also = " + VmSwap" if swapped else ""
    return Measured(value + swapped, "MB", f"{trace.channel.source}{also} at the peak", trace.channel.resolution)


def _by_time(trace: Trace | None) -> dict[float, float]:
    return dict(zip(trace.uptime_s, trace.values, strict=True)) if trace is not None else {}


def _reading_max(channels: Mapping[str, Trace], name: str) -> Reading:
    trace = channels.get(name)
    if trace is None or not trace.values:
        return _absent(channels, name)
    return _measured(trace.channel, max(trace.values))


# --- heat and battery -------------------------------------------------------------------------------------------------


def _heat(channels: Mapping[str, Trace], window: Window) -> dict[str, Reading]:
    """Start and peak come from the same channel, the CPU's where there is one."""
    name = "cpu.temperature"
    inside = _inside(channels, name, window)
    if isinstance(inside, Unavailable):
        skin = _inside(channels, "skin.temperature", window)
        if isinstance(skin, Unavailable):
            both = Unavailable(f"{inside.reason}; {skin.reason}" if skin.reason != inside.reason else inside.reason)
            start: Reading = both
            peak: Reading = both
        else:
            start, peak = _measured(skin.channel, skin.values[0]), _measured(skin.channel, max(skin.values))
    else:
        start, peak = _measured(inside.channel, inside.values[0]), _measured(inside.channel, max(inside.values))
    status = _inside(channels, "thermal.status", window)
    return {
        "temperature_start_c": start,
        "temperature_peak_c": peak,
        "thermal_status_max": status
        if isinstance(status, Unavailable)
        else _measured(status.channel, max(status.values)),
    }


def _battery(channels: Mapping[str, Trace], window: Window) -> dict[str, Reading]:
    level = _held(channels, "battery.level", window)
    energy = Unavailable(why_no_energy(channels, window))
    found: dict[str, Reading] = dict.fromkeys(("energy_j", "energy_counter_j", "energy_per_token_j"), energy)
    if isinstance(level, Unavailable):
        return found | {"battery_level_start_pct": level, "battery_level_end_pct": level}
    return found | {
        "battery_level_start_pct": _measured(level.channel, level.values[0]),
        "battery_level_end_pct": _measured(level.channel, level.values[-1]),
    }


def why_no_energy(channels: Mapping[str, Trace], window: Window) -> str:
    """Why this run has no energy figure."""
    external = _held(channels, "battery.external", window)
    if isinstance(external, Unavailable):
        return f"whether external power is attached is not known: {external.reason}"
    if max(external.values) > 0:
        return "external power is attached, so the battery's current is not what the phone uses"
    current = _inside(channels, "battery.current", window)
    if isinstance(current, Unavailable):
        return f"the phone gives no current: {current.reason}"
    return "energy needs a long discharge less an idle baseline of equal length, which this workload does not have"


def _inside(channels: Mapping[str, Trace], name: str, window: Window) -> Trace | Unavailable:
    """The samples of a channel inside the window, at least one."""
    trace = channels.get(name)
    if trace is None or not trace.values:
        return _absent(channels, name)
    start, end = window
    pairs = [
        (uptime_s, value)
        for uptime_s, value in zip(trace.uptime_s, trace.values, strict=True)
        if (start is None or uptime_s >= start) and (end is None or uptime_s <= end)
    ]
    if not pairs:
        return Unavailable(f"{name} has {len(trace.values)} samples, but none while the runner ran")
    times, values = zip(*pairs, strict=True)
    return Trace(trace.channel, times, values)


def _held(channels: Mapping[str, Trace], name: str, window: Window) -> Trace | Unavailable:
    """As `_inside`; where no sample fell into the window, the last one before it, which then still held: a gauge whose
    values are told only when they are new."""
    inside, start = _inside(channels, name, window), window[0]
    trace = channels.get(name)
    if not isinstance(inside, Unavailable) or trace is None or start is None:
        return inside
    before = [
        (at, value) for at, value in zip(trace.uptime_s, trace.values, strict=True) if start - HELD_S <= at < start
    ]
    return Trace(trace.channel, (before[-1][0],), (before[-1][1],)) if before else inside


def _absent(channels: Mapping[str, Trace], name: str) -> Unavailable:
    trace = channels.get(name)
    if trace is None:
        return Unavailable(f"{name} was not sampled")
    return Unavailable(f"{name}: {trace.channel.absent or 'it has no samples'}")


def _measured(channel: Channel, value: float) -> Measured:
    return Measured(value, channel.unit, channel.source, channel.resolution)

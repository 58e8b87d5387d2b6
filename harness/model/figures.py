"""Readings, metrics and telemetry: what is measured, in which unit, or why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Measured:
    """A measured value.

    Args:
        value: the number, in `unit`.
        unit: "ms", "tok/s", "MB", "°C", "%", "J", "" (a count or a status).
        source: what it was read from, e.g. "llama-bench samples_ns", "/proc/PID/status VmHWM".
        resolution: smallest step the source can show, in `unit`; None when the source does not say.
    """

    value: float
    unit: str
    source: str
    resolution: float | None = None


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A value that was not measured, and why, in words for a lab operator."""

    reason: str


Reading = Measured | Unavailable


def reading_json(reading: Reading) -> dict[str, Any]:
    """A reading as JSON: value, unit, source, resolution, or unavailable with the reason."""
    if isinstance(reading, Unavailable):
        return {"unavailable": reading.reason}
    return {
        "value": reading.value,
        "unit": reading.unit,
        "source": reading.source,
        "resolution": reading.resolution,
    }


def reading_from_json(stored: Mapping[str, Any]) -> Reading:
    """What `reading_json` gave. Raises KeyError, TypeError or ValueError for anything else."""
    if "unavailable" in stored:
        return Unavailable(str(stored["unavailable"]))
    resolution = stored["resolution"]
    return Measured(
        float(stored["value"]), stored["unit"], stored["source"], None if resolution is None else float(resolution)
    )


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """Args: name, unit, title (for tables), better ("lower", "higher" or "" where neither is)."""

    name: str
    unit: str
    title: str
    better: Literal["lower", "higher", ""]


METRICS: Mapping[str, MetricSpec] = {
    spec.name: spec
    for spec in (
        MetricSpec("load_ms", "ms", "Load", "lower"),
        MetricSpec("load_first_ms", "ms", "First load", "lower"),
        MetricSpec("load_cold_ms", "ms", "Cold load", "lower"),
        MetricSpec("ttft_ms", "ms", "Time to first token", "lower"),
        MetricSpec("prefill_tps", "tok/s", "Prefill", "higher"),
        MetricSpec("decode_tps", "tok/s", "Decode", "higher"),
        MetricSpec("ms_per_token", "ms", "Time per token", "lower"),
        MetricSpec("framework_overhead_us", "µs", "Framework overhead per token", "lower"),
        MetricSpec("itl_ms_p50", "ms", "Inter-token latency p50", "lower"),
        MetricSpec("itl_ms_p90", "ms", "Inter-token latency p90", "lower"),
        MetricSpec("itl_ms_p99", "ms", "Inter-token latency p99", "lower"),
        MetricSpec("peak_memory_mb", "MB", "Peak memory", "lower"),
        MetricSpec("rss_anon_mb", "MB", "Anonymous memory", "lower"),
        MetricSpec("rss_file_mb", "MB", "File memory", "lower"),
        MetricSpec("model_mb", "MB", "Model size", "lower"),
        MetricSpec("temperature_start_c", "°C", "Temperature at start", ""),
        MetricSpec("temperature_peak_c", "°C", "Temperature peak", "lower"),
        MetricSpec("thermal_status_max", "", "Thermal status maximum", "lower"),
        MetricSpec("battery_level_start_pct", "%", "Battery at start", ""),
        MetricSpec("battery_level_end_pct", "%", "Battery at end", ""),
        MetricSpec("burst_tps", "tok/s", "Decode, first 30 s", "higher"),
        MetricSpec("sustained_tps", "tok/s", "Decode, last third", "higher"),
        MetricSpec("throttle_onset_s", "s", "Throttled after", "higher"),
        MetricSpec("other_load_pct", "%", "CPU load by others", "lower"),
        MetricSpec("energy_j", "J", "Energy", "lower"),
        MetricSpec("energy_counter_j", "J", "Energy by charge counter", "lower"),
        MetricSpec("energy_per_token_j", "J/token", "Energy per token", "lower"),
    )
}
"""Every metric of a case, in the order of tables. A row of results holds all of them, each a Reading."""

TARGET_METRICS: Mapping[str, str | None] = {
    "ms_per_token_max": "ms_per_token",
    "peak_memory_mb_max": "peak_memory_mb",
    "quality_retention_min": None,
}
"""Target of a tier → the metric it judges; None: nothing measures it yet, so its verdict is not_measured."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One telemetry channel: a site and a measure.

    Args:
        name: unique in a case, e.g. "zone.cpu-big.temperature", "runner.vm_hwm", "policy4.cur_freq", "battery.level".
        unit: of the values.
        source: file or service on the device.
        resolution: smallest step, in `unit`, or None.
        absent: why it could not be read (then it has no samples), or "".
    """

    name: str
    unit: str
    source: str
    resolution: float | None = None
    absent: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """Samples of one channel: `uptime_s` (device boot time in seconds, ascending) and `values` have equal length."""

    channel: Channel
    uptime_s: Sequence[float]
    values: Sequence[float]

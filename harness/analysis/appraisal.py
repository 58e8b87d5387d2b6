"""What the telemetry of a run says beyond the runner's own figures: heat, energy, load by others, and what to mark.

Pure; joins `throttle`, `energy` and `outliers.cap_summary` for one repetition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.analysis.energy import Baseline, energy
from harness.analysis.gauge import GaugeCalibration
from harness.analysis.metrics import Window
from harness.analysis.outliers import cap_summary
from harness.analysis.throttle import heat_report
from harness.model import Measured, Reading, Trace, Unavailable, WorkloadKind

LONG = frozenset({WorkloadKind.SUSTAINED, WorkloadKind.BATTERY})
"""Workloads that last long enough for a curve and for the gauge."""


@dataclass(frozen=True, slots=True)
class Appraisal:
    """Args: metrics: by name. provenance: JSON-ready. marks: what a reader of the figures has to know."""

    metrics: Mapping[str, Reading]
    provenance: Mapping[str, Any]
    marks: tuple[str, ...]


def appraise(
    kind: WorkloadKind,
    token_times: Sequence[tuple[float, int]],
    traces: Sequence[Trace],
    window: Window,
    *,
    calibration: GaugeCalibration | None,
    baseline: Baseline | Unavailable,
    other_load_max_pct: float,
) -> Appraisal:
    """Look at the telemetry of one repetition.

    Args:
        token_times: (device uptime in seconds, tokens since the one before), see `throttle.heat_report`.
        window: device uptime at which the run started and ended.
        calibration, baseline: of the phone, for energy.
        other_load_max_pct: limit of the gates; what others used beyond it during the run is marked.
    """
    load = other_load(traces, window)
    metrics: dict[str, Reading] = {"other_load_pct": load}
    provenance: dict[str, Any] = {"caps": cap_summary(traces, window)}
    marks = []
    if isinstance(load, Measured) and load.value > other_load_max_pct:
        marks.append(f"other_load: others used {load.value:.0f} % of the CPU while the runner ran")
    if kind in LONG:
        heat = heat_report(token_times, traces, window)
        used = energy(traces, window, calibration, baseline, tokens=sum(tokens for _, tokens in token_times) or None)
        metrics |= heat.readings() | used.metrics()
        provenance |= {"heat": heat.to_json(), "energy": used.to_json()}
        marks += used.marks
        if heat.verdict in ("throttled", "slowdown_unexplained"):
            marks.append(f"{heat.verdict}: {heat.reason}")
    return Appraisal(metrics, provenance, tuple(marks))


def other_load(traces: Sequence[Trace], window: Window) -> Reading:
    """CPU time that was neither idle nor the runner's, % of all cores over the run; the sampler's own is part of it.

    An update or a compilation in the middle shows here, where a look before the run cannot see it.
    """
    channels = {trace.channel.name: trace for trace in traces}
    grown: dict[str, float] = {}
    for name in ("cpu.busy_time", "cpu.total_time", "runner.cpu_time"):
        growth = _growth(channels.get(name), name, window)
        if isinstance(growth, Unavailable):
            return growth
        grown[name] = growth
    total = grown["cpu.total_time"]
    if total <= 0:
        return Unavailable("the phone's CPU time did not go on while the runner ran")
    others = grown["cpu.busy_time"] - grown["runner.cpu_time"]
    return Measured(100 * min(max(others / total, 0.0), 1.0), "%", "/proc/stat less /proc/PID/stat", 1.0 / total)


def _growth(trace: Trace | None, name: str, window: Window) -> float | Unavailable:
    """How much a counter grew inside the window, in seconds of CPU time."""
    if trace is None:
        return Unavailable(f"{name} was not sampled")
    if not trace.values:
        return Unavailable(f"{name}: {trace.channel.absent or 'it has no samples'}")
    start, end = window
    inside = [
        value
        for at, value in zip(trace.uptime_s, trace.values, strict=True)
        if (start is None or at >= start) and (end is None or at <= end)
    ]
    if len(inside) < 2:
        return Unavailable(f"{name} has {len(inside)} samples while the runner ran, two are needed")
    return inside[-1] - inside[0]

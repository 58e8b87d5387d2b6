"""What the battery does, and whether a cable feeds the phone: charging, plugged and idle, plugged and draining,
unplugged, or unknown. Pure.

Whether external power is attached is the phone's own word. What the battery then does is told by its current where that
is calibrated, for phones say "charging" also while a weak port cannot hold the level; else by its status.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping

from harness.analysis.gauge import GaugeCalibration
from harness.analysis.gauge_series import Series, Window, inside, mean, sample_interval, widest_gap
from harness.model import Measured, Reading, Trace, Unavailable
from harness.model.words import PowerState

STATUS_WORDS: Mapping[float, str] = {1: "unknown", 2: "charging", 3: "discharging", 4: "not charging", 5: "full"}
"""BatteryManager.BATTERY_STATUS_*."""

AT_REST_A = 0.03
"""Below this a plugged phone's battery neither charges nor drains: the current of a charger that holds it."""

GAP_PERIODS = 3.0
"""A state that was not looked at for so many periods is not known there."""

_EXTERNAL, _STATUS, _CURRENT = "power_state_external", "battery_status", "battery_current_a"
_BY_STATUS: Mapping[float, PowerState] = {
    2: PowerState.CHARGING,
    3: PowerState.PLUGGED_DRAINING,
    4: PowerState.PLUGGED_IDLE,
    5: PowerState.PLUGGED_IDLE,
}
_NOT_ASKED = Unavailable("it was not asked")


def power_state(readings: Mapping[str, Reading], *, outflow_per_unit: float | None = None) -> tuple[PowerState, str]:
    """The power state at one moment, and what it was told from.

    Args:
        readings: power_state_external (1 or 0), battery_status (BatteryManager code), battery_current_a (as the phone
            gives it); what is missing counts as unavailable.
        outflow_per_unit: amperes out of the battery in one of the current's numbers (`GaugeCalibration.outflow`); None:
            the current is not calibrated and not looked at.
    """
    external, status, current = (readings.get(name, _NOT_ASKED) for name in (_EXTERNAL, _STATUS, _CURRENT))
    into_a = None
    if outflow_per_unit is not None and isinstance(current, Measured):
        into_a = -current.value * outflow_per_unit
    word = STATUS_WORDS.get(status.value, f"code {status.value:g}") if isinstance(status, Measured) else ""
    if isinstance(external, Unavailable):
        if word == "charging":
            return PowerState.CHARGING, f"the phone says charging; external power: {external.reason}"
        return PowerState.UNKNOWN, f"whether external power is attached is not known: {external.reason}"
    if external.value:
        return _plugged(into_a, status, word)
    if into_a is not None and into_a > AT_REST_A:
        return PowerState.UNKNOWN, f"the phone reports no external power, yet {into_a:.2f} A flow into its battery"
    if word in ("charging", "full", "not charging"):
        return PowerState.UNKNOWN, f"the phone reports no external power, yet its battery as {word}"
    return PowerState.UNPLUGGED, f"the phone reports no external power{f', {word}' if word else ''}"


def _plugged(into_a: float | None, status: Reading, word: str) -> tuple[PowerState, str]:
    if into_a is not None:
        told = (
            f"external power is attached and {abs(into_a):.2f} A flow {'into' if into_a > 0 else 'out of'} the battery"
        )
        if into_a > AT_REST_A:
            return PowerState.CHARGING, told
        if into_a < -AT_REST_A:
            return PowerState.PLUGGED_DRAINING, told
        return PowerState.PLUGGED_IDLE, told
    if isinstance(status, Unavailable):
        return PowerState.UNKNOWN, f"external power is attached; what the battery does is not known: {status.reason}"
    state = _BY_STATUS.get(status.value, PowerState.UNKNOWN)
    return state, f"external power is attached and the battery is reported as {word}"


def power_state_over(
    traces: Iterable[Trace], window: Window, calibration: GaugeCalibration | None = None
) -> tuple[PowerState, str]:
    """The power state that held over a whole window; UNKNOWN where it changed or was not looked at often enough.

    Args:
        traces: battery.external, battery.status, and the current's channel.
        window: of the run, device uptime in seconds.
        calibration: of the phone's gauge, where there is one.
    """
    there = {trace.channel.name: trace for trace in traces}
    external = inside(there.get("battery.external"), window)
    if not external:
        return PowerState.UNKNOWN, f"whether external power is attached is not known: {_why(there, 'battery.external')}"
    start = external.times[0] if window[0] is None else window[0]
    end = external.times[-1] if window[1] is None else window[1]
    gap, period = widest_gap(external, start, end), sample_interval(external)
    if gap > GAP_PERIODS * period:
        return PowerState.UNKNOWN, f"external power was not looked at for {gap:.0f} s (every {period:.0f} s otherwise)"
    status = inside(there.get("battery.status"), window)
    seen = [_at(at, plugged, status, there) for at, plugged in zip(external.times, external.values, strict=True)]
    states = [power_state(readings) for readings in seen]
    for at, (before, _), (after, told) in zip(external.times[1:], states, states[1:], strict=False):
        if after is not before:
            return (
                PowerState.UNKNOWN,
                f"it changed from {before.value} to {after.value} after {at - start:.0f} s: {told}",
            )
    back = _next_after(there["battery.external"], window[1])
    if back is not None and states[-1][0] is PowerState.UNPLUGGED and back[1] > 0:
        return (
            PowerState.UNKNOWN,
            f"external power was attached {back[0] - end:.1f} s after the end, so it may have come before that",
        )
    flow = calibration.outflow(there.values()) if calibration is not None else ""
    if isinstance(flow, str):
        return states[-1]
    current = inside(flow[0], window)
    if not current:
        return states[-1]
    average = Measured(mean(current, start, end), "A", flow[0].channel.source)
    return power_state({**seen[-1], _CURRENT: average}, outflow_per_unit=flow[1])


def _next_after(trace: Trace, end: float | None) -> tuple[float, float] | None:
    """The first sample after the end of a window: uptime and value."""
    index = len(trace.uptime_s) if end is None else bisect_right(trace.uptime_s, end)
    return (trace.uptime_s[index], trace.values[index]) if index < len(trace.uptime_s) else None


def _at(at: float, plugged: float, status: Series, there: Mapping[str, Trace]) -> dict[str, Reading]:
    """External power and the status that was known at that moment."""
    known: Reading = Unavailable(_why(there, "battery.status"))
    if status:
        known = Measured(status.values[max(0, bisect_right(status.times, at) - 1)], "", "battery.status")
    return {_EXTERNAL: Measured(plugged, "", "battery.external"), _STATUS: known}


def _why(there: Mapping[str, Trace], name: str) -> str:
    trace = there.get(name)
    if trace is None:
        return f"{name} was not sampled"
    return trace.channel.absent or f"{name} has no sample in the window"

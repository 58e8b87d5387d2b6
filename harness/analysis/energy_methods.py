"""Energy out of a battery between two moments, by current and by charge counter. Pure.

By current: the trapezoid of V·I over the gauge's own updates. By charge counter: the charge between the counter's steps
times the mean voltage there. Both only while the phone was unplugged over the whole window, else absent with the
reason; each with its uncertainty. What the gauge itself gets wrong (its gain) is in neither; that they disagree shows a
part of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from harness.analysis.gauge import GaugeCalibration
from harness.analysis.gauge_series import (
    Series,
    Window,
    inside,
    integral,
    mean,
    sample_interval,
    steps_down,
    typical_step,
    update_period,
    updates,
    value_at,
    widest_gap,
)
from harness.analysis.power_state import power_state_over
from harness.model import Channel, Measured, Reading, Trace, Unavailable
from harness.model.words import PowerState

LARGEST_UNCERTAINTY = 0.10
"""An energy that is not known better than this share is absent: the run was too short for the gauge."""

GAP_PERIODS = 3.0
"""Longest gap between samples, in periods of the gauge or of the samples, whichever is longer."""

LEAST_S = 60.0
_LEAST_STEPS = 3
_END_STEPS = 4
"""Steps at each end whose mean rate is carried on to the end of the window."""

_NO_CALIBRATION = "the phone's gauge is not calibrated yet (sign and unit of its current and charge counter)"


@dataclass(frozen=True, slots=True)
class Gross:
    """What left the battery in a window, nothing subtracted; `gauge` is what was seen of the gauge."""

    by_current: Reading
    by_counter: Reading
    state: PowerState
    told: str
    duration_s: float | None
    gauge: Mapping[str, float]


def measure(
    traces: Sequence[Trace], window: Window, calibration: GaugeCalibration | None, largest: float = LARGEST_UNCERTAINTY
) -> Gross:
    """Both methods over a window; an energy not known better than the share `largest` is absent."""
    state, told = power_state_over(traces, window, calibration)
    gauge: dict[str, float] = {}

    def none(reason: str, duration: float | None = None) -> Gross:
        return Gross(Unavailable(reason), Unavailable(reason), state, told, duration, gauge)

    if state is not PowerState.UNPLUGGED:
        return none(f"energy is measured only while the phone is unplugged: {told}")
    if calibration is None:
        return none(_NO_CALIBRATION)
    voltage = inside(next((each for each in traces if each.channel.name == "battery.voltage"), None), window)
    if not voltage:
        return none(f"no energy without a voltage: {_why_absent(traces, 'battery.voltage')}")
    span = _span(window, voltage)
    duration = span[1] - span[0]
    if duration < LEAST_S:
        return none(
            f"a run of {duration:.0f} s is too short for a fuel gauge: it takes {LEAST_S:.0f} s or more", duration
        )
    gap = _gap("the voltage", voltage, span, sample_interval(voltage))
    if gap:
        return none(gap, duration)

    def by(method: _Method, meaning: tuple[Trace, float] | str) -> Reading:
        if isinstance(meaning, str):
            return Unavailable(meaning)
        trace, factor = meaning
        seen = _Seen(trace.channel, inside(trace, span), factor, calibration, voltage, *span)
        return _believed(method(seen, gauge), largest)

    by_current = by(_by_current, calibration.outflow(traces))
    by_counter = by(_by_counter, calibration.charge(traces))
    return Gross(by_current, by_counter, state, told, duration, gauge)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a method looks at, all of it in the window.

    Args:
        channel, series: the gauge's own channel and its samples.
        factor: amperes out of the battery, or coulombs in it, that one of its numbers means by the calibration.
        voltage: V. start, end: device uptime, s.
    """

    channel: Channel
    series: Series
    factor: float
    calibration: GaugeCalibration
    voltage: Series
    start: float
    end: float


_Method = Callable[[_Seen, dict[str, float]], Reading]
"""Joules of what was seen; adds what it finds of the gauge to the mapping."""


def _by_current(seen: _Seen, gauge: dict[str, float]) -> Reading:
    current, voltage, start, end = seen.series, seen.voltage, seen.start, seen.end
    if len(current) < 2:
        return Unavailable("the current was sampled less than twice in the window")
    if _stands(current) and _stands(voltage):
        return Unavailable("current and voltage never changed: the gauge stood still, or what it says is not measured")
    period = update_period(current)
    gauge |= {"current_period_s": period}
    gap = _gap("the current", current, (start, end), period)
    if gap:
        return Unavailable(gap)
    volts = voltage if _stands(voltage) else updates(voltage, update_period(voltage))
    amperes = updates(current, period).scaled(seen.factor)
    power = Series(amperes.times, tuple(value * value_at(volts, at) for at, value in zip(*_pair(amperes), strict=True)))
    joules = integral(power, start, end)
    if joules <= 0:
        return Unavailable("by its current the battery gained charge, although the phone reports no external power")
    step = (seen.channel.resolution or 0.0) * abs(seen.factor)
    uncertainty = _current_uncertainty(power, step * mean(volts, start, end) / 2, period, end - start)
    source = (
        f"trapezoid of voltage × {seen.channel.source}, {len(power)} updates every {period:.3g} s; ±{uncertainty:.3g} J"
    )
    return Measured(joules, "J", source, uncertainty)


def _current_uncertainty(power: Series, half_step_w: float, period: float, duration: float) -> float:
    """Joules: half a step of the current all the time, the scatter between updates, and half a period at each end in
    which the power before and after the window stood in for what was drawn."""
    noise = math.sqrt(
        sum(
            ((after - before) * (later - at)) ** 2 / 2
            for (at, later), (before, after) in zip(pairwise(power.times), pairwise(power.values), strict=True)
        )
    )
    ordered = sorted(power.values)
    spread = ordered[int(0.95 * (len(ordered) - 1))] - ordered[int(0.05 * (len(ordered) - 1))]
    return math.hypot(half_step_w * duration, noise, period * spread / math.sqrt(2))


def _by_counter(seen: _Seen, gauge: dict[str, float]) -> Reading:
    counter, factor, voltage, start, end = seen.series, seen.factor, seen.voltage, seen.start, seen.end
    gap = _gap("the charge counter", counter, (start, end), sample_interval(counter)) if counter else "it has no sample"
    if gap:
        return Unavailable(gap)
    if counter.values[-1] > counter.values[0]:
        return Unavailable("the charge counter rose, although the phone reports no external power")
    steps = steps_down(counter)
    if len(steps) < _LEAST_STEPS:
        return Unavailable(
            f"the charge counter stepped {len(steps)} times in {end - start:.0f} s; it takes {_LEAST_STEPS} to "
            "tell anything, some dozens to be exact"
        )
    step = max(typical_step(counter) or 0.0, (seen.calibration.counter_step_c or 0.0) / factor) * factor
    gauge |= {"counter_step_c": step, "counter_steps": float(len(steps))}
    joules = 0.0
    for (at, later), (before, after) in zip(pairwise(steps.times), pairwise(steps.values), strict=True):
        joules += (before - after) * factor * mean(voltage, at, later)
    joules += _rate(steps, 0, _END_STEPS) * factor * integral(voltage, start, steps.times[0])
    joules += _rate(steps, -_END_STEPS, len(steps)) * factor * integral(voltage, steps.times[-1], end)
    uncertainty = step * mean(voltage, start, end)
    source = f"{len(steps)} steps of {seen.channel.source} × mean voltage; ± one step, {uncertainty:.3g} J"
    return Measured(joules, "J", source, uncertainty)


def _rate(steps: Series, first: int, last: int) -> float:
    """Fall of the counter per second over some of its steps."""
    times, values = steps.times[first:last], steps.values[first:last]
    return (values[0] - values[-1]) / (times[-1] - times[0])


# --- conditions -------------------------------------------------------------------------------------------------------


def _span(window: Window, voltage: Series) -> tuple[float, float]:
    start, end = window
    return (voltage.times[0] if start is None else start, voltage.times[-1] if end is None else end)


def _gap(what: str, series: Series, span: tuple[float, float], period: float) -> str:
    """Why a series has too long a gap in the span, or ""."""
    allowed = GAP_PERIODS * max(period, sample_interval(series))
    gap = widest_gap(series, *span)
    return f"{what} has a gap of {gap:.0f} s; {allowed:.3g} s are three of its periods" if gap > allowed else ""


def _stands(series: Series) -> bool:
    return min(series.values) == max(series.values)


def _pair(series: Series) -> tuple[Sequence[float], Sequence[float]]:
    return series.times, series.values


def _believed(reading: Reading, largest: float) -> Reading:
    """The reading, or absent when its uncertainty is too large a part of it."""
    if isinstance(reading, Unavailable) or reading.resolution is None or reading.resolution <= largest * reading.value:
        return reading
    return Unavailable(
        f"known to ±{reading.resolution:.3g} of {reading.value:.3g} J only ({reading.source}): a longer run is needed, "
        f"±{100 * largest:.0f} % is the limit"
    )


def _why_absent(traces: Iterable[Trace], name: str) -> str:
    trace = next((each for each in traces if each.channel.name == name), None)
    if trace is None:
        return f"{name} was not sampled"
    return trace.channel.absent or f"{name} has no sample in the window"

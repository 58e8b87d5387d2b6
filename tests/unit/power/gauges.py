"""Fuel gauges with known truth: what a phone of some maker would have been sampled to say, and what really flowed."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

from harness.analysis.gauge import GaugeCalibration
from harness.analysis.gauge_calibration import calibrate
from harness.model import Channel, Measured, Trace

STEP_S = 0.1
"""Of the truth."""


@dataclass(frozen=True)
class Maker:
    """Habits of a gauge: `scale` is the phone's number per ampere while charging (sign and unit), `counter_scale` per
    mAh; `averages`: an update is the mean since the one before, else the value at that moment."""

    name: str
    period_s: float = 1.0
    scale: float = 1e6
    current_step: float = 1000.0
    counter_scale: float = 1000.0
    counter_step_mah: float = 1.0
    voltage_step_v: float = 0.001
    averages: bool = False
    raw: bool = False
    noise: float = 0.01
    sample_s: float = 0.9


MAKERS = (
    Maker("fast, fine, µA", period_s=0.25, current_step=625, voltage_step_v=0.00125),
    Maker("negative while charging", scale=-1e6, period_s=1.0),
    Maker("mA, by a service every 5 s", scale=1e6, period_s=10.0, sample_s=5.0),
    Maker("mA without a documented unit, negative", scale=-1e3, current_step=1, period_s=5.0, raw=True, averages=True),
    Maker("counter in mAh, slow", counter_scale=1.0, period_s=20.0, raw=True, averages=True),
    Maker("slowest", period_s=30.0, averages=True),
    Maker("coarse counter", period_s=1.0, counter_step_mah=11.115),
    Maker("coarse and slow", period_s=10.0, counter_step_mah=11.115, averages=True),
)


@dataclass(frozen=True)
class Stretch:
    """Traces of some minutes and their truth: `out_j` and `out_c` left the battery in `window`."""

    traces: tuple[Trace, ...]
    window: tuple[float, float]
    out_j: float
    out_c: float


def steady(watts: float):
    return lambda _share: watts


def throttled(hot: float, cool: float):
    """Falls from a third of the time on."""
    return lambda share: hot if share < 0.33 else cool + (hot - cool) * math.exp(-12 * (share - 0.33))


def bursts(low: float, high: float, seed: int):
    rng = random.Random(seed)
    states = [rng.choice((low, high)) for _ in range(997)]
    return lambda share: states[int(share * 996)]


def stretch(
    maker: Maker,
    power,
    *,
    minutes: float = 30,
    level: float = 80.0,
    full_mah: float = 4800.0,
    external: float = 0,
    status: float = 3,
    seed: int = 1,
    start: float = 1000.0,
    lead_s: float = 2.0,
) -> Stretch:
    """Sample a phone that draws `power` (W out of the battery by the share of the time that is over)."""
    rng = random.Random(seed)
    duration = minutes * 60
    count = round((duration + 2 * lead_s) / STEP_S)
    charge_mah = full_mah * level / 100
    out_j = out_c = since_c = 0.0
    next_update, next_sample = start - lead_s + rng.random() * maker.period_s, start - lead_s
    held: tuple[float, float, float] | None = None
    seen: list[tuple[float, float, float, float]] = []
    last_update = start - lead_s
    for index in range(count):
        now = start - lead_s + index * STEP_S
        share = min(max((now - start) / duration, 0.0), 1.0)
        volts = 3.45 + 0.75 * charge_mah / full_mah
        amperes = power(share) / volts
        volts -= 0.09 * amperes
        charge_mah -= amperes * STEP_S / 3.6
        since_c += amperes * STEP_S
        if start <= now < start + duration - STEP_S / 2:
            out_j += volts * amperes * STEP_S
            out_c += amperes * STEP_S
        if now >= next_update or held is None:
            told = since_c / max(now - last_update, STEP_S) if maker.averages and held else amperes
            told *= 1 + rng.gauss(0, maker.noise)
            raw = round(-told * maker.scale / maker.current_step) * maker.current_step
            steps = math.floor(charge_mah / maker.counter_step_mah)
            held = (
                raw,
                round(volts / maker.voltage_step_v) * maker.voltage_step_v,
                steps * maker.counter_step_mah * maker.counter_scale,
            )
            since_c, last_update = 0.0, now
            next_update += maker.period_s if held else 0.0
        if now >= next_sample:
            seen.append((now, *held))
            next_sample += maker.sample_s * (1 + 0.1 * (rng.random() - 0.5))
    times = tuple(row[0] for row in seen)
    looked = tuple(start - lead_s + 5.0 * index for index in range(int((duration + 2 * lead_s) / 5) + 1))
    levels = tuple(round(100 * row[3] / maker.counter_scale / full_mah) for row in seen)
    current_name, current_unit, current_factor = (
        ("battery.current_raw", "", 1.0) if maker.raw else ("battery.current", "A", 1e-6)
    )
    counter_name, counter_unit, counter_factor = (
        ("battery.charge_counter_raw", "", 1.0) if maker.raw else ("battery.charge_counter", "mAh", 1e-3)
    )

    def trace(name: str, unit: str, at, values, resolution: float | None = None) -> Trace:
        return Trace(Channel(name, unit, f"source of {name}", resolution), tuple(at), tuple(values))

    traces = (
        trace(
            current_name,
            current_unit,
            times,
            (row[1] * current_factor for row in seen),
            maker.current_step * current_factor,
        ),
        trace("battery.voltage", "V", times, (row[2] for row in seen), maker.voltage_step_v),
        trace(counter_name, counter_unit, times, (row[3] * counter_factor for row in seen)),
        trace("battery.status", "", looked, (status for _ in looked)),
        trace("battery.external", "", looked, (external for _ in looked)),
        trace("battery.level", "%", times, levels, 1),
    )
    return Stretch(traces, (start, start + duration), out_j, out_c)


def calibration_of(maker: Maker, design_mah: float = 5000.0) -> GaugeCalibration:
    """Calibrated as a lab would: ten minutes of load unplugged."""
    observed = stretch(maker, steady(7.0), minutes=20, seed=99)
    return calibrate([observed.traces], design_mah=Measured(design_mah, "mAh", "design"))


def without(traces: tuple[Trace, ...], name: str, reason: str = "denied by the phone") -> tuple[Trace, ...]:
    """The traces with one channel absent."""
    return tuple(
        Trace(replace(trace.channel, absent=reason), (), ()) if trace.channel.name == name else trace
        for trace in traces
    )


def changed(traces: tuple[Trace, ...], name: str, change) -> tuple[Trace, ...]:
    """The traces with `change(uptime_s, value)` in place of each value of one channel; None takes the sample out."""
    return tuple(_changed(trace, change) if trace.channel.name == name else trace for trace in traces)


def _changed(trace: Trace, change) -> Trace:
    rows = [(at, change(at, value)) for at, value in zip(trace.uptime_s, trace.values, strict=True)]
    kept = [(at, new) for at, new in rows if new is not None]
    return Trace(trace.channel, tuple(at for at, _ in kept), tuple(new for _, new in kept))

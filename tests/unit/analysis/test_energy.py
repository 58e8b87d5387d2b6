"""Energy of gauges whose truth is known, and every reason for having none."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.energy import Baseline, EnergyResult, energy, idle_baseline
from harness.analysis.gauge import GaugeCalibration
from harness.model import Measured, Reading, Trace, Unavailable
from harness.model.words import PowerState
from tests.unit.power.gauges import (
    MAKERS,
    Maker,
    Stretch,
    bursts,
    calibration_of,
    changed,
    steady,
    stretch,
    throttled,
    without,
)

NO_BASELINE = Unavailable("none was taken")
PIXEL, COARSE = MAKERS[0], MAKERS[6]
calibrated = functools.cache(calibration_of)


def value(reading: Reading) -> float:
    assert isinstance(reading, Measured), reading
    return reading.value


def reason(reading: Reading) -> str:
    assert isinstance(reading, Unavailable), reading
    return reading.reason


@functools.cache
def steady_run(minutes: float = 10) -> Stretch:
    return stretch(PIXEL, steady(6.0), minutes=minutes)


def of(traces: tuple[Trace, ...], *, maker: Maker = PIXEL, tokens: int | None = 1000) -> EnergyResult:
    return energy(traces, steady_run().window, calibrated(maker), NO_BASELINE, tokens=tokens)


LOADS = {"steady": steady(6.5), "throttled": throttled(9.0, 5.0), "bursts": bursts(4.0, 8.0, 4)}
FAST_SWING = 0.02
"""A gauge that gives a mean current misses the sag of the voltage in each burst: resistance × variance of current."""
SEES_BURSTS = {maker.name: maker.averages or maker.period_s < 1 for maker in MAKERS}
"""A gauge that shows a moment every ten seconds cannot follow bursts of two."""


@pytest.mark.parametrize(
    ("maker", "load"),
    [(maker, load) for maker in MAKERS for load in LOADS if load != "bursts" or SEES_BURSTS[maker.name]],
    ids=lambda each: each if isinstance(each, str) else each.name,
)
def test_half_an_hour_is_right_within_its_tolerance(maker: Maker, load: str) -> None:
    run = stretch(maker, LOADS[load], minutes=30)
    found = energy(run.traces, run.window, calibrated(maker), NO_BASELINE, tokens=None)
    assert found.power_state is PowerState.UNPLUGGED
    assert value(found.energy_j) == pytest.approx(run.out_j, rel=0.01)
    coarse = maker.counter_step_mah > 5 or maker.period_s >= 10
    assert value(found.energy_counter_j) == pytest.approx(run.out_j, rel=0.02 if coarse else 0.01)
    assert not found.marks


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.name)
def test_bursts_that_a_gauge_cannot_follow_widen_its_uncertainty(maker: Maker) -> None:
    run = stretch(maker, bursts(1.5, 9.0, 4), minutes=30)
    found = energy(run.traces, run.window, calibrated(maker), NO_BASELINE, tokens=None)
    assert isinstance(found.energy_j, Measured)
    assert found.energy_j.resolution is not None
    assert abs(found.energy_j.value - run.out_j) <= 3 * found.energy_j.resolution + FAST_SWING * run.out_j


@settings(max_examples=12, deadline=None)
@given(
    maker=st.sampled_from(MAKERS),
    watts=st.floats(3.0, 10.0),
    fall=st.floats(0.6, 1.0),
    period_s=st.floats(0.25, 30.0),
    level=st.floats(60.0, 95.0),
    seed=st.integers(0, 10_000),
)
def test_any_gauge_and_any_fall_of_power_stays_within_its_own_uncertainty(
    maker: Maker, watts: float, fall: float, period_s: float, level: float, seed: int
) -> None:
    own = Maker(**{**{name: getattr(maker, name) for name in maker.__dataclass_fields__}, "period_s": period_s})
    run = stretch(own, throttled(watts, watts * fall), minutes=30, level=level, seed=seed)
    found = energy(run.traces, run.window, calibrated(maker), NO_BASELINE, tokens=None)
    assert isinstance(found.energy_j, Measured)
    assert found.energy_j.resolution is not None
    error = abs(found.energy_j.value - run.out_j)
    assert error <= 0.01 * run.out_j
    assert error <= 3 * found.energy_j.resolution
    if isinstance(found.energy_counter_j, Measured):
        assert found.energy_counter_j.resolution is not None
        allowed = found.energy_counter_j.resolution + period_s * watts
        assert abs(found.energy_counter_j.value - run.out_j) <= allowed
    else:
        assert "known to" in found.energy_counter_j.reason or "stepped" in found.energy_counter_j.reason


def test_a_value_that_is_held_long_is_not_a_slope() -> None:
    times = [1000.0 + second for second in range(601)]
    run = steady_run()
    held = changed(run.traces, "battery.current", lambda at, _old: -1.0 if at < times[500] else -2.0)
    flat = changed(held, "battery.voltage", lambda at, _old: 4.0 if at < 1002 else 4.001)
    assert value(of(flat).energy_j) == pytest.approx(4.0 * (500 * 1.0 + 100 * 2.0), rel=0.005)


def test_a_gauge_that_updates_every_thirty_seconds_does_not_carry_idle_into_the_run() -> None:
    slow = Maker("slow", period_s=30.0)
    run = stretch(slow, steady(8.0), minutes=10, lead_s=40)
    before = changed(
        run.traces,
        "battery.current",
        lambda at, amperes: amperes / 10 if at < run.window[0] + 12 else amperes,
    )
    found = energy(before, run.window, calibrated(slow), NO_BASELINE, tokens=None)
    assert value(found.energy_j) == pytest.approx(run.out_j, rel=0.01)


def test_idle_baseline_is_subtracted_for_each_token() -> None:
    run = stretch(PIXEL, steady(6.0), minutes=10)
    idle = stretch(PIXEL, steady(1.0), minutes=10, level=75)
    baseline = idle_baseline(idle.traces, idle.window, calibrated(PIXEL))
    assert isinstance(baseline, Baseline)
    assert value(baseline.by_current) == pytest.approx(1.0, rel=0.03)
    assert Baseline.from_json(baseline.to_json()) == baseline
    found = energy(run.traces, run.window, calibrated(PIXEL), baseline, tokens=500)
    assert value(found.energy_per_token_j) == pytest.approx((run.out_j - idle.out_j) / 500, rel=0.01)
    assert value(found.energy_j) == pytest.approx(run.out_j, rel=0.01)
    assert found.detail["idle_j"] == pytest.approx(idle.out_j, rel=0.01)
    assert found.energy_per_token_j.unit == "J/token"  # type: ignore[union-attr]


def test_the_counter_stands_in_where_the_phone_hides_its_current() -> None:
    run, idle = stretch(PIXEL, steady(6.0)), stretch(PIXEL, steady(1.0), level=75)
    hidden, quiet = (without(each.traces, "battery.current", "Permission denied") for each in (run, idle))
    baseline = idle_baseline(quiet, idle.window, calibrated(PIXEL))
    assert isinstance(baseline, Baseline)
    found = energy(hidden, run.window, calibrated(PIXEL), baseline, tokens=100)
    assert "Permission denied" in reason(found.energy_j)
    assert value(found.energy_per_token_j) == pytest.approx((run.out_j - idle.out_j) / 100, rel=0.02)


def test_methods_that_disagree_are_both_shown_and_flagged() -> None:
    found = of(changed(steady_run().traces, "battery.current", lambda _at, amperes: amperes * 1.236))
    assert any("energy_disagrees" in mark and "24 %" in mark for mark in found.marks)
    assert value(found.energy_j) > 1.2 * value(found.energy_counter_j)
    assert not of(changed(steady_run().traces, "battery.current", lambda _at, amperes: amperes * 1.08)).marks


def test_detail_is_json_ready() -> None:
    import json

    found = of(steady_run().traces).to_json()
    assert json.loads(json.dumps(found)) == found
    assert found["power_state"] == "unplugged"
    assert found["mean_power_w"] == pytest.approx(steady_run().out_j / 600, rel=0.01)
    assert set(of(steady_run().traces).metrics()) == {"energy_j", "energy_counter_j", "energy_per_token_j"}


# --- every reason for having none -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("external", "status", "state"),
    [(1, 2, PowerState.CHARGING), (1, 4, PowerState.PLUGGED_IDLE), (1, 3, PowerState.PLUGGED_DRAINING)],
)
def test_a_plugged_phone_has_no_energy_and_never_zero(external: float, status: float, state: PowerState) -> None:
    traces = changed(steady_run().traces, "battery.external", lambda _at, _value: external)
    traces = without(changed(traces, "battery.status", lambda _at, _value: status), "battery.current")
    found = of(traces)
    assert found.power_state is state
    for reading in found.metrics().values():
        assert "unplugged" in reason(reading)


def test_plugged_in_for_a_moment_spoils_the_whole_window() -> None:
    middle = steady_run().window[0] + 300
    for name, now in (("battery.external", 1.0), ("battery.status", 2.0)):
        found = of(
            changed(steady_run().traces, name, lambda at, old, now=now: now if middle < at < middle + 12 else old)
        )
        assert found.power_state is PowerState.UNKNOWN
        assert "changed" in reason(found.energy_j)


def test_current_into_the_battery_disproves_unplugged() -> None:
    found = of(changed(steady_run().traces, "battery.current", lambda _at, amperes: -amperes))
    assert found.power_state is PowerState.UNKNOWN
    assert "flow into" in reason(found.energy_j)
    rising = changed(steady_run().traces, "battery.charge_counter", lambda at, _value: 3000 + at)
    assert "rose" in reason(of(rising).energy_counter_j)


def test_without_a_calibration() -> None:
    run = steady_run()
    found = energy(run.traces, run.window, None, NO_BASELINE, tokens=1)
    assert "not calibrated" in reason(found.energy_j)
    half = GaugeCalibration(current_sign=1, current_evidence="too short")
    assert "too short" in reason(energy(run.traces, run.window, half, NO_BASELINE, tokens=1).energy_j)
    other = GaugeCalibration.from_json({**calibrated(PIXEL).to_json(), "current_source": "another file"})
    assert "calibrated from another file" in reason(
        energy(run.traces, run.window, other, NO_BASELINE, tokens=1).energy_j
    )


@pytest.mark.parametrize("name", ["battery.voltage", "battery.external", "battery.current", "battery.charge_counter"])
def test_an_absent_channel_gives_the_phones_own_reason(name: str) -> None:
    found = of(without(steady_run().traces, name, "the phone said no"))
    reading = found.energy_counter_j if name == "battery.charge_counter" else found.energy_j
    assert "the phone said no" in reason(reading)
    gone = of(tuple(trace for trace in steady_run().traces if trace.channel.name != name))
    assert "not sampled" in reason(gone.energy_counter_j if name == "battery.charge_counter" else gone.energy_j)


@pytest.mark.parametrize("name", ["battery.voltage", "battery.current", "battery.charge_counter", "battery.external"])
def test_a_gap_is_no_reading(name: str) -> None:
    middle = steady_run().window[0] + 300
    traces = changed(steady_run().traces, name, lambda at, old: None if middle < at < middle + 40 else old)
    found = of(traces)
    reading = found.energy_counter_j if name == "battery.charge_counter" else found.energy_j
    assert "gap" in reason(reading) or "not looked at" in reason(reading)
    late = of(changed(steady_run().traces, name, lambda at, old: None if at < steady_run().window[0] + 60 else old))
    reading = late.energy_counter_j if name == "battery.charge_counter" else late.energy_j
    assert "gap" in reason(reading) or "not looked at" in reason(reading)


def test_a_gauge_that_stands_still_measures_nothing() -> None:
    still = changed(steady_run().traces, "battery.current", lambda _at, _old: -1.5)
    still = changed(still, "battery.voltage", lambda _at, _old: 3.9)
    assert "stood still" in reason(of(still).energy_j)
    alive = changed(steady_run().traces, "battery.current", lambda _at, _old: -1.5)
    assert isinstance(of(alive).energy_j, Measured)


def test_too_short_for_the_gauge() -> None:
    short = stretch(PIXEL, steady(6.0), minutes=0.5)
    found = energy(short.traces, short.window, calibrated(PIXEL), NO_BASELINE, tokens=1)
    assert "too short" in reason(found.energy_j)
    few = stretch(COARSE, steady(2.0), minutes=3)
    counter = energy(few.traces, few.window, calibrated(COARSE), NO_BASELINE, tokens=1).energy_counter_j
    assert "stepped" in reason(counter)
    coarse = stretch(COARSE, steady(6.0), minutes=4)
    counter = energy(coarse.traces, coarse.window, calibrated(COARSE), NO_BASELINE, tokens=1).energy_counter_j
    assert "longer run" in reason(counter)


def test_no_energy_per_token() -> None:
    run = steady_run()
    assert "none was taken" in reason(of(run.traces).energy_per_token_j)
    good = Baseline(Measured(1.0, "W", "idle", 0.01), Unavailable("no counter"), 600)

    def per_token(baseline: Baseline, tokens: int | None) -> str:
        return reason(energy(run.traces, run.window, calibrated(PIXEL), baseline, tokens=tokens).energy_per_token_j)

    assert "no token" in per_token(good, 0)
    assert "not known" in per_token(good, None)
    assert "shorter" in per_token(Baseline(good.by_current, good.by_counter, 300), 10)
    assert "same method" in per_token(Baseline(Unavailable("hidden"), good.by_current, 600), 10)
    assert "too little to tell" in per_token(Baseline(Measured(5.9, "W", "idle", 0.1), good.by_counter, 600), 10)
    assert "too little to tell" in per_token(Baseline(Measured(7.0, "W", "idle", 0.1), good.by_counter, 600), 10)


def test_no_baseline_from_a_plugged_phone() -> None:
    idle = stretch(PIXEL, steady(1.0), minutes=5, external=1, status=2)
    found = idle_baseline(idle.traces, idle.window, calibrated(PIXEL))
    assert isinstance(found, Unavailable)
    assert "unplugged" in found.reason


def test_open_window_takes_all_samples() -> None:
    run = steady_run()
    found = energy(run.traces, (None, None), calibrated(PIXEL), NO_BASELINE, tokens=None)
    assert value(found.energy_j) == pytest.approx(run.out_j, rel=0.01)

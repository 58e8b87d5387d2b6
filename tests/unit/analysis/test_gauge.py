"""Sign, unit and step of a gauge, from what the phone did and never from the size of a current."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.gauge import CURRENT_CHANNELS, GaugeCalibration, merged, pick
from harness.analysis.gauge_calibration import calibrate
from harness.analysis.gauge_series import Series, integral, mean, steps_down, update_period, updates, value_at
from harness.model import Channel, Measured, Trace, Unavailable
from tests.unit.power.gauges import MAKERS, Maker, changed, steady, stretch, without

DESIGN = Measured(5000, "mAh", "design")
NO_DESIGN = Unavailable("hidden")


def charging(maker: Maker, minutes: float = 15) -> tuple[Trace, ...]:
    return stretch(maker, steady(-6.0), minutes=minutes, external=1, status=2, level=50).traces


@pytest.mark.parametrize("design", [DESIGN, NO_DESIGN], ids=["design known", "design hidden"])
@pytest.mark.parametrize("observed", ["unplugged", "charging", "both"])
@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.name)
def test_every_maker_is_understood(maker: Maker, observed: str, design: Measured | Unavailable) -> None:
    seen = []
    if observed != "charging":
        seen.append(stretch(maker, steady(6.0), minutes=15).traces)
    if observed != "unplugged":
        seen.append(charging(maker))
    found = calibrate(seen, design_mah=design)
    assert found.current_sign == (1 if maker.scale > 0 else -1), found.sign_evidence
    assert found.current_to_a == pytest.approx((1.0 if maker.raw else 1e6) / abs(maker.scale))
    in_trace = maker.counter_scale * (1.0 if maker.raw else 1e-3)
    assert found.counter_to_c == pytest.approx(3.6 / in_trace)
    assert found.counter_step_c is not None
    assert found.counter_step_c >= 0.99 * maker.counter_step_mah * 3.6
    assert GaugeCalibration.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_trap_7_sign_is_told_by_what_the_battery_did() -> None:
    for scale, sign in ((1e6, 1), (-1e6, -1)):
        unplugged = stretch(Maker("x", scale=scale), steady(6.0), minutes=1).traces
        assert calibrate([unplugged], design_mah=DESIGN).current_sign == sign
        told = calibrate([without(unplugged, "battery.charge_counter")], design_mah=DESIGN)
        assert told.current_sign == sign
        assert "unplugged and discharging" in told.sign_evidence


def test_trap_8_the_size_of_a_current_tells_no_unit() -> None:
    # 976 may be µA of a phone that sleeps, or mA of one that works: only the charge that moved decides.
    for amperes, factor in ((0.000976, None), (0.976, None)):
        run = stretch(Maker("x"), steady(4.0), minutes=1).traces
        short = changed(run, "battery.current", lambda _at, _old, amperes=amperes: -amperes)
        still = changed(short, "battery.charge_counter", lambda _at, _old: 3800.0)
        found = calibrate([still], design_mah=DESIGN)
        assert found.current_to_a is factor
        assert "long enough" in found.current_evidence


@pytest.mark.parametrize(
    ("number", "factor"), [(4274e-3, 3600.0), (4274.0, 3.6), (0.22, None), (0.0, None), (-0.402, None)]
)
def test_trap_6_counter_against_design_capacity_and_level(number: float, factor: float | None) -> None:
    # The channel is in mAh taken from µAh: 4274 µAh would be 4.274.
    run = stretch(Maker("x"), steady(4.0), minutes=3).traces
    run = changed(run, "battery.charge_counter", lambda at, _old: number - (at - 1000) * 1e-6)
    run = changed(run, "battery.level", lambda _at, _old: 86.0)
    found = calibrate([run], design_mah=Measured(5110, "mAh", "design"))
    assert found.counter_to_c == factor, found.counter_evidence
    if factor is None:
        assert "fit a phone's battery" in found.counter_evidence
        assert found.counter_step_c is None


@pytest.mark.parametrize(("zero", "factor"), [(0.0, 3.6), (-300.0, 3.6), (-3400.0, None), (20_000.0, None)])
def test_where_the_design_is_hidden_a_counter_has_to_move_as_it_says(zero: float, factor: float | None) -> None:
    run = stretch(Maker("x", counter_scale=1.0, raw=True), steady(6.0), minutes=20).traces
    moved = changed(run, "battery.charge_counter_raw", lambda _at, old: old + zero)
    found = calibrate([moved], design_mah=NO_DESIGN)
    assert found.counter_to_c == factor, found.counter_evidence
    if factor is None:
        assert "another zero" in found.counter_evidence


def test_without_a_counter_the_level_tells_the_unit() -> None:
    run = without(stretch(MAKERS[0], steady(9.0), minutes=30).traces, "battery.charge_counter", "denied")
    found = calibrate([run], design_mah=DESIGN)
    assert found.current_to_a == 1.0
    assert "level" in found.current_evidence
    assert found.counter_to_c is None
    assert "denied" in found.counter_evidence
    assert calibrate([run], design_mah=NO_DESIGN).current_to_a is None


def test_contradictions_are_not_settled_by_guessing() -> None:
    maker = MAKERS[0]
    unplugged = stretch(maker, steady(6.0), minutes=5).traces
    amounts = [changed(each, "battery.current", lambda _at, old: abs(old)) for each in (unplugged, charging(maker, 5))]
    found = calibrate(amounts, design_mah=DESIGN)
    assert found.current_sign is None
    assert "contradictory" in found.sign_evidence
    rising = changed(unplugged, "battery.charge_counter", lambda at, _old: 3000 + at / 10)
    assert "rose" in calibrate([rising], design_mah=DESIGN).sign_evidence
    odd = changed(unplugged, "battery.current", lambda _at, old: old * 25)
    assert "near no unit" in calibrate([odd], design_mah=DESIGN).current_evidence


def test_a_weak_port_that_calls_draining_charging_does_not_turn_the_sign() -> None:
    maker = MAKERS[0]
    weak = stretch(maker, steady(2.0), minutes=5, external=1, status=2).traces
    assert calibrate([weak], design_mah=DESIGN).current_sign == 1
    hidden = calibrate([without(weak, "battery.charge_counter")], design_mah=NO_DESIGN)
    assert hidden.current_sign is None
    assert "unplugged" in hidden.sign_evidence


def test_absent_channels_keep_the_phones_reason() -> None:
    run = stretch(MAKERS[0], steady(6.0), minutes=2).traces
    found = calibrate([without(run, "battery.current", "Permission denied")], design_mah=DESIGN)
    assert found.current_sign is None
    assert found.current_to_a is None
    assert "Permission denied" in found.sign_evidence
    assert found.counter_to_c == 3.6
    nothing = calibrate([], design_mah=DESIGN)
    assert "not sampled" in nothing.current_evidence
    assert "not sampled" in nothing.counter_evidence
    no_level = calibrate([without(run, "battery.level")], design_mah=DESIGN)
    assert "no level" in no_level.counter_evidence


def test_what_is_known_is_kept_and_what_differs_is_dropped() -> None:
    maker = MAKERS[0]
    full = calibrate([stretch(maker, steady(6.0), minutes=10).traces], design_mah=DESIGN)
    short = calibrate([stretch(maker, steady(6.0), minutes=0.05).traces], design_mah=DESIGN)
    assert short.current_to_a is None
    both = merged(full, short)
    assert (both.current_to_a, both.current_evidence) == (full.current_to_a, full.current_evidence)
    assert merged(GaugeCalibration(), full) == full
    turned = replace(full, current_sign=-1)
    assert merged(full, turned).current_sign is None
    assert "differ" in merged(full, turned).sign_evidence
    elsewhere = replace(short, current_source="another file")
    assert merged(full, elsewhere).current_to_a is None


@pytest.mark.parametrize("stored", [{}, {"current_sign": 1}, GaugeCalibration().to_json() | {"current_sign": 3}])
def test_what_is_no_calibration_is_refused(stored: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no gauge calibration"):
        GaugeCalibration.from_json(stored)


# --- series -----------------------------------------------------------------------------------------------------------


def test_held_values_become_updates() -> None:
    held = Series(tuple(range(12)), (5, 5, 7, 7, 7, 4, 4, 4, 4, 4, 4, 4))
    found = updates(held, 3)
    assert found.times == (2, 5, 11)
    assert found.values == (7, 4, 4)
    long = Series(tuple(range(20)), (5,) * 10 + (9,) * 10)
    assert updates(long, 2).times == (0, 8, 10, 19)
    assert integral(updates(long, 2), 0, 19) == pytest.approx(5 * 9 + 9 * 10)
    assert len(updates(Series((), ()), 1)) == 0


@pytest.mark.parametrize("period", [1.0, 5.0, 20.0, 30.0])
def test_update_period_is_found(period: float) -> None:
    times = [index * 0.9 for index in range(1000)]
    series = Series(times, [float(int(at / period) % 7) for at in times])
    assert update_period(series) == pytest.approx(period, abs=0.95)


def test_steps_are_taken_once() -> None:
    counter = Series(tuple(range(8)), (9, 9, 8, 9, 8, 7, 7, 6))
    assert steps_down(counter).times == (1.5, 4.5, 6.5)
    assert steps_down(counter).values == (8, 7, 6)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30), st.floats(-5, 40), st.floats(0.1, 40))
def test_an_integral_is_the_sum_of_its_parts(values: list[float], start: float, length: float) -> None:
    series = Series(tuple(float(index) for index in range(len(values))), tuple(values))
    middle, end = start + length / 3, start + length
    whole = integral(series, start, end)
    assert whole == pytest.approx(integral(series, start, middle) + integral(series, middle, end), rel=1e-6, abs=1e-6)
    assert min(values) - 1e-6 <= mean(series, start, end) <= max(values) + 1e-6
    assert min(values) <= value_at(series, start) <= max(values)


def current_of(name: str, period_s: float, *, stands: bool = False) -> Trace:
    times = tuple(period_s * number for number in range(round(60 / period_s)))
    return Trace(Channel(name, "A", name, 0.001), times, tuple(-1.0 if stands else -1.0 - at / 600 for at in times))


@pytest.mark.parametrize(
    ("documented_s", "raw_s", "frozen", "chosen"),
    [
        (1.0, 1.0, False, "battery.current"),
        (5.0, 1.0, False, "battery.current_raw"),
        (1.0, 5.0, False, "battery.current"),
        # A kernel file that always says the same is no better for being read often.
        (5.0, 1.0, True, "battery.current"),
    ],
)
def test_the_current_is_taken_from_where_it_is_read_most_often(
    documented_s: float, raw_s: float, frozen: bool, chosen: str
) -> None:
    traces = (current_of("battery.current_raw", raw_s, stands=frozen), current_of("battery.current", documented_s))
    found = pick(traces, CURRENT_CHANNELS)
    assert found is not None and found.channel.name == chosen

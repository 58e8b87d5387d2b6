"""What a gauge shows is the truth, late, coarse and noisy, and never anything else."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from device_agents.virtual import physics, profiles, sensors, texts
from device_agents.virtual.gauge import FuelGauge
from device_agents.virtual.profiles import Profile

EVERY = pytest.mark.parametrize("name", profiles.names())
TICK_S = 0.2


def _discharge(profile: Profile, gauge: FuelGauge, seconds: float) -> tuple[list[texts.Gauge], physics.State]:
    """What the gauge shows at each tick of a discharge under a changing load, and the truth at its end."""
    state, shown = physics.at_rest(profile, 70.0), []
    for tick in range(round(seconds / TICK_S)):
        load = 0.9 if tick // 40 % 2 else 0.2
        state = physics.step(state, profile, load=load, seconds=TICK_S, charger="none", charging=True)
        gauge.passed(state.battery_a, TICK_S)
        shown.append(gauge.read(state, 1000.0 + tick * TICK_S, charger="none", charging=True))
    return shown, state


@EVERY
def test_the_sum_of_what_it_shows_is_what_left_the_battery(name: str) -> None:
    profile = profiles.load(name)
    shown, state = _discharge(profile, FuelGauge(profile, "seed"), 1200.0)
    joule = sum(-each.current_ua / 1e6 * each.voltage_uv / 1e6 * TICK_S for each in shown)
    assert joule == pytest.approx(state.battery_out_j, rel=0.01)


@EVERY
def test_a_value_is_held_for_its_period(name: str) -> None:
    profile = profiles.load(name)
    shown, _ = _discharge(profile, FuelGauge(profile, "seed"), 400.0)
    changes = sum(before is not after for before, after in pairwise(shown))
    assert changes == pytest.approx(400.0 / max(profile.battery.period_s, TICK_S), rel=0.15, abs=1)


@EVERY
def test_the_counter_moves_in_its_steps_and_a_scale_makes_them_smaller(name: str) -> None:
    profile = profiles.load(name)
    gauge = FuelGauge(profile, "seed")
    gauge.set_scale(20.0)
    shown, _ = _discharge(profile, gauge, 300.0)
    step = max(1, round(profile.battery.counter_step_uah / 20))
    assert all(each.counter_uah % step == 0 for each in shown)
    plain, _ = _discharge(profile, FuelGauge(profile, "seed"), 300.0)
    assert len({each.counter_uah for each in shown}) >= len({each.counter_uah for each in plain})
    assert all(each.counter_uah % profile.battery.counter_step_uah == 0 for each in plain)


def test_noise_is_there_and_the_same_in_every_run() -> None:
    profile = profiles.load("redmi-note-14")
    first, _ = _discharge(profile, FuelGauge(profile, "one"), 600.0)
    again, _ = _discharge(profile, FuelGauge(profile, "one"), 600.0)
    other, _ = _discharge(profile, FuelGauge(profile, "two"), 600.0)
    assert first == again != other


def test_no_current_is_no_current_whatever_the_noise() -> None:
    profile = profiles.load("redmi-note-14")
    full = replace(physics.at_rest(profile, 100.0), battery_a=0.0)
    shown = FuelGauge(profile, "seed").read(full, 5.0, charger="ac", charging=False)
    assert shown.current_ua == 0


def test_four_makers_differ_in_sign_unit_period_and_step() -> None:
    batteries = [profiles.load(name).battery for name in profiles.names()]
    assert {battery.charging_sign for battery in batteries} == {1, -1}
    assert {battery.current_unit for battery in batteries} == {"uA", "mA"}
    assert min(battery.period_s for battery in batteries) == 0.25
    assert max(battery.period_s for battery in batteries) == 20.0
    assert {"uAh", "mAh"} <= {battery.counter_unit for battery in batteries}
    assert 11_115 in {battery.counter_step_uah for battery in batteries}
    assert len({profiles.load(name).manufacturer for name in profiles.names()}) >= 4


@EVERY
def test_the_counter_in_sysfs_is_the_one_of_the_service(name: str, tmp_path: Path) -> None:
    folder, profile = tmp_path, profiles.load(name)
    gauge = sensors.read_gauge(profile, physics.at_rest(profile, 70.0), "none", True)
    sensors.write_gauge(sensors.Files(folder), profile, gauge)
    file = folder / "sys/class/power_supply/battery/charge_counter"
    if file.stat().st_mode & 0o777:
        assert f"\n  Charge counter: {file.read_text().strip()}\n" in texts.battery_dump(profile, gauge)

"""The simulated part of a virtual phone, without starting one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from device_agents.android.telemetry.battery import parse_dumpsys_battery, parse_uevent
from device_agents.android.telemetry.proc import parse_cpuinfo, parse_proc_meminfo
from device_agents.virtual import physics, profiles, sensors, texts
from device_agents.virtual.lab import wishes
from device_agents.virtual.simulator import Simulator
from device_agents.virtual.texts import Temperatures
from harness.model import Measured

EVERY = pytest.mark.parametrize("name", profiles.names())
CALM = Temperatures(cpu=31.0, gpu=29.0, skin=27.5, battery=26.9)


def _run(name: str, seconds: float, **more: object) -> tuple[physics.State, physics.State]:
    profile = profiles.load(name)
    start = physics.at_rest(profile, 60.0)
    wanted: dict[str, object] = {"load": 0.0, "charger": "none", "charging": True, **more}
    return start, physics.step(start, profile, seconds=seconds, **wanted)  # type: ignore[arg-type]


@EVERY
def test_a_phone_at_rest_stays_as_it_is(name: str) -> None:
    start, end = _run(name, 600.0)
    assert abs(end.skin_c - start.skin_c) < 0.3
    assert abs(end.cpu_c - start.cpu_c) < 2.5
    assert end.cap == 1.0


@EVERY
def test_energy_is_power_over_time_and_comes_out_of_the_battery(name: str) -> None:
    start, end = _run(name, 300.0)
    assert end.energy_j == pytest.approx(profiles.load(name).physics.idle_w * 300.0)
    # What leaves the battery is what the phone takes, but for the resistance inside.
    assert end.battery_out_j == pytest.approx(end.energy_j, rel=0.02)
    volts = (start.battery_v + end.battery_v) / 2
    assert (start.charge_mah - end.charge_mah) * 3.6 * volts == pytest.approx(end.battery_out_j, rel=0.02)


@EVERY
def test_load_heats_until_the_cap_falls(name: str) -> None:
    _, minute = _run(name, 60.0, load=1.0)
    _, long = _run(name, 1800.0, load=1.0)
    assert minute.cpu_c > 45
    assert long.skin_c > minute.skin_c
    assert profiles.load(name).physics.floor <= long.cap < 1.0
    assert 50 < long.cpu_c < 95


def test_the_same_time_in_other_steps_gives_the_same_truth() -> None:
    profile = profiles.load("pixel-8-pro")
    whole = parts = physics.at_rest(profile, 50.0)
    whole = physics.step(whole, profile, load=0.5, seconds=20.0, charger="none", charging=True)
    for _ in range(100):
        parts = physics.step(parts, profile, load=0.5, seconds=0.2, charger="none", charging=True)
    assert parts.cpu_c == pytest.approx(whole.cpu_c, abs=0.3)
    assert parts.energy_j == pytest.approx(whole.energy_j, rel=1e-3)


def test_a_charger_fills_the_battery_until_it_is_full() -> None:
    start, end = _run("pixel-7a", 1800.0, charger="ac")
    assert start.charge_mah < end.charge_mah < end.full_mah
    _, full = _run("pixel-7a", 8 * 3600.0, charger="ac")
    assert full.level_pct == pytest.approx(100.0, abs=0.5)
    _, held = _run("pixel-7a", 3600.0, charger="ac", charging=False)
    assert held.charge_mah == start.charge_mah
    _, weak = _run("pixel-7a", 600.0, charger="usb", load=1.0)
    assert weak.charge_mah < start.charge_mah


@EVERY
@pytest.mark.parametrize("charger", ["none", "ac"])
def test_the_projects_parsers_understand_the_makers_forms(name: str, charger: str) -> None:
    profile = profiles.load(name)
    _, state = _run(name, 5.0, charger=charger)
    gauge = sensors.read_gauge(profile, state, charger, True)
    battery = parse_dumpsys_battery(texts.battery_dump(profile, gauge).encode())
    level, temperature = battery["battery_level_pct"], battery["battery_temperature_c"]
    assert isinstance(level, Measured) and level.value == gauge.level == 60
    assert isinstance(temperature, Measured) and temperature.value == pytest.approx(state.battery_c, abs=0.06)
    uevent = parse_uevent(texts.uevent(profile, gauge).encode())
    assert isinstance(uevent["battery_level_pct"], Measured)
    assert len(parse_cpuinfo(texts.cpuinfo(profile).encode()).processors) == profile.cores


def test_makers_differ_in_sign_and_unit() -> None:
    def shown(name: str, charger: str) -> int:
        profile = profiles.load(name)
        _, state = _run(name, 5.0, charger=charger)
        gauge = sensors.read_gauge(profile, state, charger, True)
        return texts.raw_current(profile.battery, gauge.current_ua)

    assert shown("pixel-8-pro", "ac") > 1_000_000 and shown("pixel-8-pro", "none") < -100_000
    assert -10_000 < shown("oneplus-12", "ac") < -1000 and 100 < shown("oneplus-12", "none") < 10_000


def test_a_hot_skin_has_a_status_and_one_maker_hides_it() -> None:
    hot = Temperatures(cpu=80.0, gpu=60.0, skin=44.0, battery=40.0)
    honest = texts.thermalservice_dump(profiles.load("pixel-8-pro"), hot)
    assert "\nThermal Status: 2\n" in honest
    hiding = texts.thermalservice_dump(profiles.load("galaxy-s24-ultra"), hot)
    assert "\nThermal Status: 0\n" in hiding
    assert "mType=3, mName=SKIN, mStatus=3}" in hiding
    assert "\nThermal Status: 0\n" in texts.thermalservice_dump(profiles.load("pixel-8-pro"), CALM)


@EVERY
def test_files_are_complete_and_change_only_when_they_must(name: str, tmp_path: Path) -> None:
    simulator = Simulator(profiles.load(name), "VIRT0", tmp_path, tmp_path / "truth", frozenset({"deny_settings"}))
    (tmp_path / "settings").mkdir()
    simulator.boot("b00t", 20.0)
    profile = profiles.load(name)
    cpu = tmp_path / "sys/devices/system/cpu"
    assert len(list(cpu.glob("cpu[0-9]*"))) == profile.cores
    assert len(list(cpu.glob("cpufreq/policy*"))) == len(profile.clusters)
    for policy in cpu.glob("cpufreq/policy*"):
        assert int((policy / "scaling_cur_freq").read_text()) <= int((policy / "scaling_max_freq").read_text())
    assert len(list((tmp_path / "sys/class/thermal").iterdir())) == len(profile.zones)
    memory = parse_proc_meminfo((tmp_path / "proc/meminfo").read_bytes())
    assert any(isinstance(reading, Measured) for reading in memory.values())
    assert (tmp_path / "phone/behaviours/deny_settings").exists()
    if profile.battery.current == "denied":
        assert (tmp_path / "sys/class/power_supply/battery/current_now").stat().st_mode & 0o777 == 0
    assert not list(tmp_path.rglob("*.new"))
    truth = json.loads((tmp_path / "truth").read_text().splitlines()[-1])
    assert truth["boot_id"] == "b00t" and truth["energy_j"] == 0.0


def test_a_file_is_replaced_not_rewritten(tmp_path: Path) -> None:
    files = sensors.Files(tmp_path)
    files.put("a/temp", "1\n")
    with (tmp_path / "a/temp").open() as old:
        files.put("a/temp", "2\n")
        assert old.read() == "1\n"
    number = (tmp_path / "a/temp").stat().st_ino
    files.put("a/temp", "2\n")
    assert (tmp_path / "a/temp").stat().st_ino == number
    files.overwrite("a/stat", "long text\n")
    number = (tmp_path / "a/stat").stat().st_ino
    files.overwrite("a/stat", "text\n")
    assert (tmp_path / "a/stat").read_text() == "text\n" and (tmp_path / "a/stat").stat().st_ino == number


def test_phones_are_taken_in_turn() -> None:
    assert [wish.profile for wish in wishes(3)] == ["pixel-8-pro", "galaxy-s24-ultra", "oneplus-12"]
    assert [wish.profile for wish in wishes(3, ["pixel-7a", "galaxy-a34"])] == ["pixel-7a", "galaxy-a34", "pixel-7a"]
    assert wishes(1, ["pixel-7a"], ["twin"])[0].behaviours == {"twin"}
    tiers = [profiles.load(name).tier for name in profiles.names()]
    assert tiers == ["flagship"] * 3 + ["mid-range"] * 2 + ["budget"] * 2


@EVERY
def test_a_virtual_phone_never_claims_a_real_build(name: str) -> None:
    props = sensors.properties(profiles.load(name), "VIRT0")
    assert "/virtual:user/" in props["ro.build.fingerprint"]
    assert props["ro.farm.virtual"] == "1"

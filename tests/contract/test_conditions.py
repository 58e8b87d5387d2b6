"""What the gates are told: by a virtual phone in states that are set from outside, by this machine, and by odd text."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agents.android.agent import AndroidAgent
from device_agents.android.conditions import (
    CONDITION_NAMES,
    AndroidConditions,
    conditions_of,
    load_of,
    screen_of,
    switch_of,
)
from device_agents.android.facts import DATA
from device_agents.base import JobHandle
from device_agents.local.link import LocalLink
from device_agents.virtual import profiles
from harness.gate_keeper import wait_at_gate
from harness.gates import Conditions, marks_of
from harness.model import Measured, Unavailable
from harness.model.inventory import Gates
from tests.contract.conftest import agent_of
from tests.contract.helpers import spec, wait_until
from tests.lab.conftest import RunningLab

A34 = "galaxy-a34"


@pytest.fixture
def phone(virtual_lab: RunningLab, monkeypatch: pytest.MonkeyPatch) -> Iterator[AndroidAgent]:
    """A quiet phone without zones that lie; put back to what it was."""
    agent = agent_of(virtual_lab, A34, monkeypatch)
    virtual_lab.lab.set(A34, battery_level=74, temperature_c=27, charger="usb")
    yield agent
    virtual_lab.lab.set(A34, battery_level=74, temperature_c=27, charger="usb")
    agent.close()


def look(agent: AndroidAgent) -> Conditions:
    return AndroidConditions(agent._link).read(limit_s=20)


def value(conditions: Conditions, name: str) -> float:
    reading = conditions.readings[name]
    assert isinstance(reading, Measured), (name, reading)
    return reading.value


def test_everything_is_read_in_one_look(phone: AndroidAgent) -> None:
    seen = look(phone)
    assert tuple(seen.readings) == CONDITION_NAMES
    assert [name for name, reading in seen.readings.items() if isinstance(reading, Unavailable)] == []
    assert value(seen, "battery_level_pct") == 74 and value(seen, "power_state_external") == 1
    assert 25 < value(seen, "cpu_temperature_c") < 32 and 25 < value(seen, "skin_temperature_c") < 32
    assert value(seen, "battery_override") == value(seen, "thermal_override") == value(seen, "thermal_status") == 0
    assert value(seen, "screen_on") == 1 and value(seen, "airplane_mode") == 0 and value(seen, "power_saver") == 0
    assert 0 < value(seen, "storage_free_mb") < profiles.load(A34).storage_kb * 1.024e-3
    assert 0 <= value(seen, "other_load_pct") <= 100 and value(seen, "uptime_s") > 0
    assert seen.texts == {"wakefulness": "Awake", "policy0.governor": "schedutil", "policy6.governor": "schedutil"}


def test_a_hot_empty_unplugged_phone_says_so(phone: AndroidAgent, virtual_lab: RunningLab) -> None:
    virtual_lab.lab.set(A34, battery_level=11, temperature_c=44, charger="none")
    seen = look(phone)
    assert value(seen, "battery_level_pct") == 11 and value(seen, "power_state_external") == 0
    assert value(seen, "skin_temperature_c") > 40 and value(seen, "cpu_temperature_c") > 40
    assert value(seen, "thermal_status") >= 3
    report = wait_at_gate(Gates(max_wait_s=0), lambda: seen, clock=lambda: 0.0, pause=lambda _: None, may_park=False)
    assert report.outcome == "refused"
    parked = wait_at_gate(Gates(), lambda: seen, clock=lambda: 0.0, pause=lambda _: None)
    assert parked.outcome == "parked"


def test_overrides_of_others_are_seen_and_refused(phone: AndroidAgent, virtual_lab: RunningLab) -> None:
    virtual_lab.says(A34, "dumpsys battery set level 90; cmd thermalservice override-status 0")
    try:
        seen = look(phone)
    finally:
        virtual_lab.says(A34, "dumpsys battery reset; cmd thermalservice reset")
    assert value(seen, "battery_override") == value(seen, "thermal_override") == 1
    assert isinstance(seen.readings["battery_level_pct"], Unavailable)
    assert isinstance(seen.readings["thermal_status"], Unavailable)
    report = wait_at_gate(Gates(mode="record"), lambda: seen, clock=lambda: 0.0, pause=lambda _: None)
    assert report.outcome == "refused"


def test_switches_are_seen(phone: AndroidAgent, virtual_lab: RunningLab) -> None:
    virtual_lab.says(A34, "cmd connectivity airplane-mode enable; cmd power set-mode 1; input keyevent KEYCODE_SLEEP")
    try:
        seen = look(phone)
    finally:
        virtual_lab.says(
            A34, "cmd connectivity airplane-mode disable; cmd power set-mode 0; input keyevent KEYCODE_WAKEUP"
        )
    assert value(seen, "airplane_mode") == value(seen, "power_saver") == 1
    assert value(seen, "screen_on") == 0 and seen.texts["wakefulness"] == "Asleep"


def test_somebody_elses_load_is_seen(phone: AndroidAgent) -> None:
    busy: list[JobHandle] = []
    try:
        busy.extend(phone.jobs.start(spec(f"burn{n}", "while :; do :; done"), limit_s=20) for n in range(2))
        seen: list[float] = []

        def loaded() -> bool:
            seen.append(value(look(phone), "other_load_pct"))
            return seen[-1] > 5.0

        # Two loops on this machine's CPUs are at most a quarter of the phone's eight cores.
        assert wait_until(loaded, limit_s=20), seen
    finally:
        for handle in busy:
            phone.jobs.end(handle, limit_s=20)


def test_this_machine_tells_what_it_can(tmp_path: Path) -> None:
    storage = tmp_path / "a b'$(x)"
    storage.mkdir()
    seen = AndroidConditions(LocalLink("here"), str(storage)).read(limit_s=20)
    assert tuple(seen.readings) == CONDITION_NAMES
    assert value(seen, "other_load_pct") >= 0 and value(seen, "uptime_s") > 0
    free = os.statvfs(storage)
    assert value(seen, "storage_free_mb") == pytest.approx(free.f_bavail * free.f_frsize / 1e6, rel=0.1)
    assert isinstance(seen.readings["battery_level_pct"], Unavailable)
    assert isinstance(seen.readings["airplane_mode"], Unavailable)


@pytest.mark.parametrize(
    ("first", "second", "percent"),
    [
        ("cpu  100 0 100 800 0 0 0", "cpu  100 0 100 1600 0 0 0", 0.0),
        ("cpu  100 0 100 800 0 0 0", "cpu  300 0 100 1400 0 0 0", 25.0),
        ("cpu  100 0 100 800 50 0 0", "cpu  100 0 100 1580 70 0 0", 0.0),
        ("cpu  100 0 100 800 0 0 0", "cpu  900 0 100 799 0 0 0", 100.0),
    ],
)
def test_load_is_the_share_between_two_readings(first: str, second: str, percent: float) -> None:
    reading = load_of(f"{first}\n{second}\n".encode())
    assert isinstance(reading, Measured) and reading.value == percent and reading.unit == "%"


@pytest.mark.parametrize("text", ["", "cpu 1 2", "cpu  1 0 1 8\n", "cpu  1 0 1 8\ncpu  1 0 1 8\n", "cpu x\ncpu y\n"])
def test_load_that_cannot_be_told_is_unavailable(text: str) -> None:
    assert isinstance(load_of(text.encode()), Unavailable)


@pytest.mark.parametrize(
    ("display", "power", "on"),
    [
        (b"  mScreenState=ON\n", b"  mWakefulness=Asleep\n", 1.0),
        (b"  mScreenState=DOZE_SUSPEND\n", b"  mWakefulness=Awake\n", 0.0),
        (b"", b"  mWakefulness=Awake\n  mWakefulnessChanging=false\n", 1.0),
        (b"  mScreenState=UNKNOWN\n", b"  mWakefulness=Dozing\n", 0.0),
        (b"", b"Can't find service: power\n", None),
    ],
)
def test_the_display_is_asked_before_the_phones_wakefulness(display: bytes, power: bytes, on: float | None) -> None:
    reading = screen_of(display, power)
    assert (reading.value if isinstance(reading, Measured) else None) == on


@pytest.mark.parametrize(("answer", "expected"), [(b"1\n", 1.0), (b"0\r\n", 0.0), (b"null\n", 0.0)])
def test_a_switch_that_was_never_set_is_off(answer: bytes, expected: float) -> None:
    reading = switch_of(answer, "low_power")
    assert isinstance(reading, Measured) and reading.value == expected


@pytest.mark.parametrize("answer", [b"", b"cmd: Can't find service: settings\n", b"7\n", b"\xff\xfe\n"])
def test_a_switch_that_says_anything_else_is_unavailable(answer: bytes) -> None:
    assert isinstance(switch_of(answer, "low_power"), Unavailable)


def test_a_phone_that_prints_nothing_of_use_has_no_condition() -> None:
    for output in (b"", b"\0" * 5000, b"@@ battery\n@@ battery\n@@ df\nx\n", json.dumps({"@@": 1}).encode()):
        seen = conditions_of(output, DATA)
        assert tuple(seen.readings) == CONDITION_NAMES
        assert all(isinstance(reading, Unavailable) for reading in seen.readings.values())
        assert seen.texts == {}


def test_torn_and_shuffled_output_never_raises(phone: AndroidAgent) -> None:
    chance = random.Random(7)
    whole = phone.shell.script("dumpsys battery; dumpsys thermalservice; dumpsys power", limit_s=20).stdout
    for _ in range(300):
        text = bytearray(b"@@ battery\n" + whole + b"@@ power\n" + whole + b"@@ stat\n" + whole)
        for _ in range(20):
            at = chance.randrange(len(text))
            text[at : at + chance.randrange(40)] = chance.randbytes(chance.randrange(8))
        seen = conditions_of(bytes(text))
        assert tuple(seen.readings) == CONDITION_NAMES


def test_a_phone_without_heat_readings_is_marked(phone: AndroidAgent) -> None:
    blind = conditions_of(b"@@ battery\n" + phone.shell.run(("dumpsys", "battery"), limit_s=20).stdout)
    report = wait_at_gate(Gates(), lambda: blind, clock=lambda: 0.0, pause=lambda _: None)
    assert report.outcome == "passed"
    assert [mark.partition(":")[0] for mark in report.marks] == ["heat_unknown"]
    assert marks_of(report.checks_last) == report.marks


def test_a_quiet_phone_seen_a_moment_ago_is_not_watched_again(phone: AndroidAgent) -> None:
    phone.telemetry.snapshot(limit_s=20)
    load = phone.conditions.read(limit_s=20, quiet_pct=100.0).readings["other_load_pct"]
    assert isinstance(load, Measured) and 0 <= load.value <= 100
    assert "calls of farm between" in load.source


def test_a_phone_that_was_not_quiet_is_watched(phone: AndroidAgent) -> None:
    phone.telemetry.snapshot(limit_s=20)
    load = phone.conditions.read(limit_s=20, quiet_pct=-1.0).readings["other_load_pct"]
    assert isinstance(load, Measured)
    assert load.source == "/proc/stat, two readings"

"""How worn a battery is: read where a phone tells it, absent with the reason where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agents.android.snapshot import snapshot_of
from device_agents.android.telemetry import (
    parse_dumpsys_battery,
    parse_ioregistry,
    parse_power_supply,
    parse_uevent,
    wear_of,
)
from device_agents.virtual import physics, profiles, sensors, texts
from harness.model import Measured, Reading, Unavailable
from harness.nightly.looks import capacity_of

WEAR = ("battery_health", "cycle_count", "charge_full_mah", "charge_full_design_mah")


def value(reading: Reading) -> float:
    assert isinstance(reading, Measured), reading
    assert reading.source
    return reading.value


def reason(reading: Reading) -> str:
    assert isinstance(reading, Unavailable), reading
    return reading.reason


def listing(**files: object) -> bytes:
    return "".join(f"{name}={content}\n" for name, content in files.items()).encode()


def test_files_that_the_phone_shows() -> None:
    found = parse_power_supply(listing(health="Good", cycle_count=871, charge_full=3376000, charge_full_design=4385000))
    assert [value(found[name]) for name in WEAR] == [2, 871, 3376, 4385]


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("cycle_count denied", "cycle_count", "denies it to the shell"),
        ("cycle_count absent", "cycle_count", "no such file, or hides it"),
        ("charge_full empty", "charge_full_mah", "gives no value"),
        ("cycle_count=0", "cycle_count", "is 0: what the kernel gives where the cycles are not counted"),
        ("cycle_count=-22", "cycle_count", "EINVAL"),
        ("cycle_count=-1", "cycle_count", "cannot be true"),
        ("cycle_count=many", "cycle_count", "not a number: 'many'"),
        ("charge_full=4274", "charge_full_mah", "4.274 mAh, which cannot be true"),
        ("charge_full_design=", "charge_full_design_mah", "was not told"),
        ("health=Warm", "battery_health", "unknown: 'Warm'"),
        ("", "battery_health", "was not told"),
    ],
)
def test_what_cannot_be_read_says_why(text: str, name: str, said: str) -> None:
    assert said in reason(parse_power_supply(text.encode())[name])


def test_the_first_source_that_tells_wins_and_all_reasons_are_kept() -> None:
    supply = parse_power_supply(b"health=Dead\ncycle_count denied\ncharge_full denied\ncharge_full_design=5000000\n")
    uevent = parse_uevent(b"NAME=battery\nHEALTH=Good\nCHARGE_FULL=4700000\n")
    found = wear_of(parse_dumpsys_battery(b"  health: 2\n"), supply, uevent)
    assert [value(found[name]) for name in ("battery_health", "charge_full_mah", "charge_full_design_mah")] == [
        2,
        4700,
        5000,
    ]
    assert "denies it" in reason(found["cycle_count"]) and "no CYCLE_COUNT" in reason(found["cycle_count"])


def test_a_service_that_does_not_know_leaves_the_word_to_the_kernel() -> None:
    dumpsys = parse_dumpsys_battery(b"  health: 1\n")
    assert value(wear_of(dumpsys, parse_power_supply(b"health=Good\n"), parse_uevent(b""))["battery_health"]) == 2
    assert "does not know" in reason(wear_of(dumpsys, parse_power_supply(b""), parse_uevent(b""))["battery_health"])


def test_a_made_up_battery_report_hides_nothing_that_the_kernel_tells() -> None:
    frozen = b"Current Battery Service state:\n  (UPDATES STOPPED -- use 'reset' to restart)\n  health: 2\n"
    found = snapshot_of(b"@@ battery\n" + frozen + b"@@ supply\nhealth=Dead\n@@ uevent\n")
    assert value(found["battery_health"]) == 4
    assert "frozen" in reason(found["battery_level_pct"])


@pytest.mark.parametrize(
    ("capture", "expected"),
    [
        ("xiaomi_mi8/uevent_mi8_charging_negative.txt", (2, 176, 3346, None)),
        ("oneplus7/uevent_oneplus7_lineage20_head.txt", (2, None, 3492, 3588)),
        ("pixel/uevent_pixel3a_charge_disabled_usb.txt", (2, None, None, None)),
        ("galaxy_a_s_samsung/battery_samsung_oneui_extra_fields.txt", (2, None, None, None)),
    ],
)
def test_captured_phones(captures: Path, capture: str, expected: tuple[float | None, ...]) -> None:
    file = captures / capture
    if not file.is_file():
        pytest.skip(f"{capture} is not among the captures here")
    data = file.read_bytes()
    found = snapshot_of(b"@@ battery\n" + data + b"\n@@ supply\ncycle_count denied\n@@ uevent\n" + data)
    for name, wanted in zip(WEAR, expected, strict=True):
        if wanted is None:
            assert reason(found[name])
        else:
            assert value(found[name]) == wanted


def test_an_iphone_gives_cycles_and_capacities() -> None:
    told = b'{"CycleCount": 402, "DesignCapacity": 3279, "NominalChargeCapacity": 2961, "CurrentCapacity": 80}'
    found = parse_ioregistry(told)
    assert [value(found[name]) for name in WEAR[1:]] == [402, 2961, 3279]


# --- capacity ---------------------------------------------------------------------------------------------------------


def readings(full: float | None, design: float | None, cycles: float | None = 100) -> dict[str, Reading]:
    given = {"charge_full_mah": full, "charge_full_design_mah": design, "cycle_count": cycles}
    return {
        name: Unavailable(f"no {name}") if number is None else Measured(number, "mAh", f"file {name}")
        for name, number in given.items()
    }


def test_capacity_is_what_is_left_of_the_design() -> None:
    found = capacity_of(readings(3376, 4385))
    assert isinstance(found, Measured) and found.value == pytest.approx(76.99, abs=0.01)
    assert (found.unit, found.source) == ("%", "file charge_full_mah / file charge_full_design_mah")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (readings(None, 4385), "no charge_full_mah"),
        (readings(4000, None), "no charge_full_design_mah"),
        (readings(4385, 4385, 700), "exactly the design capacity after 700 cycles"),
        (readings(39000, 4385), "both cannot be true"),
        (readings(210, 39000), "both cannot be true"),
    ],
)
def test_capacity_that_cannot_be_known(given: dict[str, Reading], said: str) -> None:
    assert said in reason(capacity_of(given))


def test_a_new_battery_may_hold_exactly_its_design() -> None:
    assert value(capacity_of(readings(4385, 4385, 3))) == 100
    assert value(capacity_of(readings(4385, 4385, None))) == 100


# --- virtual phones ---------------------------------------------------------------------------------------------------


def shown(profile: profiles.Profile, folder: Path) -> dict[str, Reading]:
    """What the files and services of a virtual phone say, read as the snapshot's script reads them."""
    gauge = sensors.read_gauge(profile, physics.at_rest(profile, 70.0), "usb", True)
    files = sensors.Files(folder)
    sensors.write_fixed(files, profile, "serial", "boot", frozenset())
    sensors.write_gauge(files, profile, gauge)
    power = folder / "sys/class/power_supply/battery"

    def line(name: str) -> str:
        # Tests may run as root, who reads every file.
        readable = (power / name).stat().st_mode & 0o777
        return f"{name}={(power / name).read_text().strip()}\n" if readable else f"{name} denied\n"

    supply = "".join(map(line, ("health", "cycle_count", "charge_full", "charge_full_design")))
    uevent = (power / "uevent").read_text() if (power / "uevent").stat().st_mode & 0o777 else ""
    text = f"@@ battery\n{texts.battery_dump(profile, gauge)}@@ supply\n{supply}@@ uevent\n{uevent}"
    return snapshot_of(text.encode())


@pytest.mark.parametrize("name", profiles.names())
def test_virtual_phones_show_their_battery_as_their_makers_do(name: str, tmp_path: Path) -> None:
    profile = profiles.load(name)
    found = shown(profile, tmp_path)
    assert value(found["battery_health"]) == 2
    assert value(found["charge_full_mah"]) == profile.battery.charge_full_mah
    assert value(found["charge_full_design_mah"]) == profile.battery.design_mah
    if name == "galaxy-a54":
        assert "denies it" in reason(found["cycle_count"])
    elif name == "redmi-note-14":
        assert "not counted" in reason(found["cycle_count"])
    else:
        assert value(found["cycle_count"]) == profile.battery.cycles


def test_one_virtual_phone_is_worn_and_a_habit_makes_any_battery_bad(tmp_path: Path) -> None:
    shares = {name: value(capacity_of(shown(profiles.load(name), tmp_path / name))) for name in profiles.names()}
    assert [name for name, share in shares.items() if share < 80] == ["pixel-7a"]
    bad = shown(profiles.with_bad_battery(profiles.load("galaxy-a34")), tmp_path / "bad")
    assert value(bad["battery_health"]) == 4 and value(capacity_of(bad)) < 60

"""One test or more per known trap of what phones answer. The texts here are made for the trap; captures are real."""

from __future__ import annotations

import json
import plistlib
from pathlib import Path

import pytest

from device_agents.android.adb import parse_devices
from device_agents.android.telemetry import (
    parse_df,
    parse_dumpsys_battery,
    parse_dumpsys_meminfo,
    parse_ioregistry,
    parse_jetsam,
    parse_lmkd,
    parse_thermal_zones,
    parse_thermalservice,
    parse_uevent,
)
from device_agents.android.telemetry.battery import ignored_uevent
from device_agents.android.telemetry.jetsam import ignored_jetsam
from device_agents.android.telemetry.text import Words
from device_agents.android.telemetry.thermal import ignored_thermalservice
from harness.model import Measured, Reading, Unavailable


def value(reading: Reading) -> float:
    assert isinstance(reading, Measured), reading
    return reading.value


def reason(reading: Reading) -> str:
    assert isinstance(reading, Unavailable), reading
    return reading.reason


def number(reading: Reading | Words) -> float:
    assert not isinstance(reading, Words), reading
    return value(reading)


def why_not(reading: Reading | Words) -> str:
    assert not isinstance(reading, Words), reading
    return reason(reading)


def thermal(*entries: str, status: int = 0, head: str = "IsStatusOverride: false", ready: str = "true") -> bytes:
    listed = "\n".join(f"\tTemperature{{{entry}}}" for entry in entries)
    return f"{head}\nThermal Status: {status}\nHAL Ready: {ready}\nCurrent temperatures from HAL:\n{listed}\n".encode()


def battery(**fields: object) -> bytes:
    return ("Current Battery Service state:\n" + "".join(f"  {key}: {text}\n" for key, text in fields.items())).encode()


def test_trap_1_cached_temperatures_are_never_used() -> None:
    cached = b"Thermal Status: 0\nCached temperatures:\n\tTemperature{mValue=48.5, mType=3, mName=SKIN, mStatus=0}\n"
    assert "stale" in reason(parse_thermalservice(cached)["skin_temperature_c"])
    empty = cached + b"HAL Ready: true\nCurrent temperatures from HAL:\nCurrent cooling devices from HAL:\n"
    assert "lists no current skin sensor" in reason(parse_thermalservice(empty)["skin_temperature_c"])
    assert "not ready" in reason(parse_thermalservice(cached + b"HAL Ready: false\n")["skin_temperature_c"])


def test_trap_1_cached_values_differ_from_current_ones(captures: Path) -> None:
    xiaomi = parse_thermalservice((captures / "xiaomi_13t_pro/thermalservice_idle_status0.txt").read_bytes())
    assert value(xiaomi["skin_temperature_c"]) == pytest.approx(34.351)
    assert value(xiaomi["cpu_temperature_c"]) == pytest.approx(57.9)


def test_trap_2_global_status_can_lie_so_the_skin_status_counts_too() -> None:
    hot = thermal("mValue=50.8, mType=3, mName=SKIN, mStatus=3", status=0)
    assert value(parse_thermalservice(hot)["thermal_status"]) == 3
    overall = thermal("mValue=40.0, mType=3, mName=SKIN, mStatus=0", status=2)
    assert value(parse_thermalservice(overall)["thermal_status"]) == 2
    cpu_only = thermal("mValue=90.0, mType=0, mName=CPU, mStatus=4", status=1)
    assert value(parse_thermalservice(cpu_only)["thermal_status"]) == 1


def test_trap_2_a_hal_that_is_not_ready_makes_status_0_mean_nothing() -> None:
    assert "not ready" in reason(parse_thermalservice(thermal(status=0, ready="false"))["thermal_status"])
    assert value(parse_thermalservice(thermal(status=3, ready="false"))["thermal_status"]) == 3


def test_trap_3_battery_current_limit_entries_are_no_temperatures() -> None:
    pixel = thermal(
        "mValue=11900.0, mType=6, mName=vdroop1, mStatus=0",
        "mValue=-5.0, mType=3, mName=VIRTUAL-SKIN, mStatus=0",
        "mValue=88.0, mType=-1, mName=unknown, mStatus=0",
        "mValue=77.0, mType=12, mName=modem, mStatus=0",
        "mValue=66.0, mType=13, mName=soc, mStatus=0",
        "mValue=41.5, mType=0, mName=BIG, mStatus=0",
    )
    readings = parse_thermalservice(pixel)
    assert value(readings["skin_temperature_c"]) == -5
    assert value(readings["cpu_temperature_c"]) == 41.5


def test_trap_4_zero_means_absent() -> None:
    readings = parse_thermalservice(
        thermal("mValue=0.0, mType=2, mName=SUBBAT, mStatus=0", "mValue=31.2, mType=2, mName=BAT, mStatus=0")
    )
    assert value(readings["hal_battery_temperature_c"]) == 31.2
    only = parse_thermalservice(thermal("mValue=0.0, mType=2, mName=SUBBAT, mStatus=0"))
    assert "SUBBAT 0" in reason(only["hal_battery_temperature_c"])


@pytest.mark.parametrize(
    "entry",
    [
        "mType=3, mName=SKIN, mStatus=1, mValue=39.5",
        "mStatus=1, mValue=39.5, mName=SKIN, mType=3",
        "mValue=39.5, mType=3, mName=skin of the phone, mStatus=1",
        "mName=a, b=c skin, mValue=39.5, mType=3, mStatus=1",
    ],
)
def test_trap_4_fields_are_reordered_and_names_hold_spaces(entry: str) -> None:
    readings = parse_thermalservice(thermal(entry))
    assert value(readings["skin_temperature_c"]) == 39.5
    assert value(readings["thermal_status"]) == 1


def test_trap_4_missing_status_nan_and_both_threshold_syntaxes() -> None:
    text = thermal("mValue=33.0, mType=3, mName=SKIN", "mValue=NaN, mType=0, mName=CPU, mStatus=0") + (
        b"Temperature static thresholds from HAL:\n"
        b"\tTemperatureThreshold{mType=3, mName=SKIN, mHotThrottlingThresholds=[NaN, 99.0, NaN]}\n"
        b"\t{.type = SKIN, .name = SKIN, .hotThrottlingThresholds = [NaN, 98.0]}\n"
    )
    readings = parse_thermalservice(text)
    assert value(readings["skin_temperature_c"]) == 33
    assert value(readings["thermal_status"]) == 0
    assert "no current CPU sensor" in reason(readings["cpu_temperature_c"])


def test_trap_5_level_is_anchored() -> None:
    text = battery(level=80, scale=100) + b"  Capacity level: 3\nnivel: 12\n  level: 80%\nxlevel: 7\n"
    assert value(parse_dumpsys_battery(text)["battery_level_pct"]) == 80
    assert "no level" in reason(parse_dumpsys_battery(b"  Capacity level: 3\n")["battery_level_pct"])


def test_trap_5_samsung_history_and_xiaomi_prose_are_ignored() -> None:
    text = (
        b"Current Battery Service state:\n  AC powered: false\nThe battery is fine today\n  level: 46\n"
        b"  Charge counter: 2967000\n  temperature: 309\n  charge counter: 1111000\n"
        b"10-14 10:27:25 level:99, temperature: 500, voltage: 9999\n  level: 12\n  temperature: 111\n"
    )
    readings = parse_dumpsys_battery(text)
    assert value(readings["battery_level_pct"]) == 46
    assert value(readings["battery_temperature_c"]) == 30.9
    assert value(readings["charge_counter_mah"]) == 2967


def test_trap_5_one_line_of_logcat_gives_no_level(captures: Path) -> None:
    data = (captures / "samsung_old/batteryservice_logcat_current_now_mA.txt").read_bytes()
    assert all(isinstance(reading, Unavailable) for reading in parse_dumpsys_battery(data).values())


@pytest.mark.parametrize("counter", [4274, 0, 220, -402])
def test_trap_6_a_charge_counter_that_cannot_be_true_is_unavailable(counter: int) -> None:
    text = battery(**{"Charge counter": counter, "level": 60, "scale": 100})
    assert str(counter) in reason(parse_dumpsys_battery(text)["charge_counter_mah"])
    event = f"POWER_SUPPLY_CAPACITY=60\nPOWER_SUPPLY_CHARGE_COUNTER={counter}\n".encode()
    assert str(counter) in reason(parse_uevent(event)["charge_counter_mah"])


def test_trap_6_a_possible_charge_counter_is_kept() -> None:
    text = battery(**{"Charge counter": 3_000_000, "level": 60, "scale": 100})
    assert value(parse_dumpsys_battery(text)["charge_counter_mah"]) == 3000
    assert value(parse_dumpsys_battery(battery(**{"Charge counter": 30_000, "level": 0}))["charge_counter_mah"]) == 30


@pytest.mark.parametrize(("name", "sign"), [("xiaomi_mi8/uevent_mi8_charging_negative.txt", -1)])
def test_trap_7_current_keeps_the_sign_the_phone_gives(captures: Path, name: str, sign: int) -> None:
    readings = parse_uevent((captures / name).read_bytes())
    assert value(readings["battery_status"]) == 2
    assert value(readings["battery_current_a"]) * sign > 0
    assert value(parse_uevent(b"STATUS=Charging\nCURRENT_NOW=326171\n")["battery_current_a"]) == 0.326171


def test_trap_8_the_unit_of_a_current_is_never_inferred_from_its_size(captures: Path) -> None:
    pixel = parse_uevent((captures / "pixel/uevent_pixel3a_charge_disabled_usb.txt").read_bytes())
    assert value(pixel["battery_current_a"]) == 0.000976
    assert value(parse_dumpsys_battery(battery(**{"current now": 976}))["battery_current_a"]) == 0.976


def test_trap_9_minus_22_is_an_error_number() -> None:
    event = parse_uevent(b"CURRENT_NOW=-22\nTEMP=-22\nCAPACITY=-22\nVOLTAGE_NOW=-22\n")
    for name in ("battery_current_a", "battery_temperature_c", "battery_level_pct", "battery_voltage_v"):
        assert "EINVAL" in reason(event[name])


def test_trap_9_a_key_that_comes_twice_counts_only_when_both_agree() -> None:
    event = parse_uevent(b"CAPACITY=76\nCAPACITY=76\nTEMP=300\nTEMP=310\n")
    assert value(event["battery_level_pct"]) == 76
    assert "different values: 300, 310" in reason(event["battery_temperature_c"])


def test_trap_9_voltage_max_is_not_read_for_voltage_now() -> None:
    event = parse_uevent(b"VOLTAGE_MAX=4400\nVOLTAGE_NOW=3888173\n")
    assert value(event["battery_voltage_v"]) == 3.888173
    assert "no VOLTAGE_NOW" in reason(parse_uevent(b"VOLTAGE_MAX=4400\n")["battery_voltage_v"])


@pytest.mark.parametrize(
    ("zone", "raw", "why"),
    [
        ("lmh-dcvs-00", 75000, "limits driver"),
        ("cpu-hw-trip-0", 105000, "trip point"),
        ("gpu-step", 41000, "step"),
        ("cpu-0-1-lowf", 41000, "step"),
        ("pm8350b-ibat-lvl0", 41000, "battery current limit"),
        ("soc", 83, "battery current limit"),
        ("battery_cycle", 143, "charge cycles"),
        ("soft_ocp_cpu1", 41000, "power alarm"),
        ("xo-therm", -274000, "no temperature"),
        ("quiet-therm", 125000, "no temperature"),
        ("nothing", 0, "no temperature"),
    ],
)
def test_trap_10_zones_that_lie(zone: str, raw: int, why: str) -> None:
    readings = parse_thermal_zones(f"thermal_zone3 {zone} {raw}\n".encode())
    assert why in reason(readings[f"zone.{zone}.temperature"])


@pytest.mark.parametrize(("raw", "celsius"), [(41200, 41.2), (412, 41.2), (41, 41.0)])
def test_trap_10_zones_speak_in_three_units(raw: int, celsius: float) -> None:
    readings = parse_thermal_zones(f"thermal_zone7 cpu-1-0-usr {raw}\n".encode())
    assert value(readings["zone.cpu-1-0-usr.temperature"]) == celsius


def test_trap_10_zones_are_keyed_by_type() -> None:
    text = b"thermal_zone1 cpu 40000\nthermal_zone2 a name with spaces 41000\nthermal_zone9 cpu 42000\n"
    readings = parse_thermal_zones(text)
    assert value(readings["zone.cpu.temperature"]) == 40
    assert value(readings["zone.cpu@9.temperature"]) == 42
    assert value(readings["zone.a name with spaces.temperature"]) == 41


def test_trap_14_df_answers_with_another_mount_point_and_broken_columns(captures: Path) -> None:
    plain = parse_df((captures / "misc_df/df_data_user0.txt").read_bytes(), "/data")
    assert value(plain["storage_free_mb"]) == 2_815_960 * 1024 / 1e6
    broken = (
        b"Filesystem           1K-blocks      Used Available Use% Mounted on\n"
        b"/dev/block/platform/soc/1d84000.ufshc/by-name/userdata\n"
        b"                     114856860  63123212  51602576  56% /data\n"
    )
    assert value(parse_df(broken, "/data/local/tmp")["storage_free_mb"]) == 51_602_576 * 1024 / 1e6
    other = b"Filesystem 1K-blocks Used Available Use% Mounted on\ntmpfs 100 1 99 1% /database\n"
    assert "no row" in reason(parse_df(other, "/data")["storage_free_mb"])
    root = b"Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/root 4000 1000 3000 25% /\n"
    assert value(parse_df(root + b"/dev/b 9000 1000 8000 12% /data\n", "/data/x")["storage_free_mb"]) == 8.192
    human = b"Filesystem Size Used Avail Use% Mounted on\n/dev/b 9G 1G 8G 12% /data\n"
    assert "1 KiB" in reason(parse_df(human, "/data")["storage_free_mb"])


def test_trap_15_meminfo_headers_rows_and_swap_columns(captures: Path) -> None:
    for name, pss in (
        ("unity_logcat/meminfo_kPackageMemoryDump.txt", 312_674),
        ("unity_logcat/meminfo_kPackageMemoryDumpAndroid11.txt", 688_561),
    ):
        assert value(parse_dumpsys_meminfo((captures / name).read_bytes())["pss_mb"]) == pss * 1024 / 1e6
    short = b"** MEMINFO in pid 7 [x] **\n   Native Heap   108862\n   TOTAL PSS:   5 TOTAL SWAP (KB):   9\n"
    readings = parse_dumpsys_meminfo(short)
    assert value(readings["native_heap_pss_mb"]) == 108_862 * 1024 / 1e6
    assert value(readings["pss_mb"]) == 5 * 1024 / 1e6
    assert "gives no swap_pss" in reason(readings["swap_pss_mb"])


def test_trap_16_a_kill_counts_only_for_our_pid(captures: Path) -> None:
    data = (captures / "pixel/lmkd_pixel8_executorch_llama.txt").read_bytes()
    assert parse_lmkd(data, pid=4711) == ()
    ours = parse_lmkd(data, pid=16153)
    assert [kill.process for kill in ours] == ["com.google.android.carrier"]
    assert ours[0].reason.startswith("low watermark is breached")
    assert parse_lmkd(b"I Killing 'x' (16153) by someone else\n", pid=16153) == ()


def test_overrides_are_noticed() -> None:
    frozen = battery(level=100, scale=100) + b"  (UPDATES STOPPED -- use 'reset' to restart)\n"
    readings = parse_dumpsys_battery(frozen)
    assert value(readings["battery_override"]) == 1
    assert "dumpsys battery reset" in reason(readings["battery_level_pct"])
    overridden = parse_thermalservice(
        thermal("mValue=50.8, mType=3, mName=SKIN, mStatus=3", head="IsStatusOverride: true")
    )
    assert value(overridden["thermal_override"]) == 1
    assert "overridden" in reason(overridden["thermal_status"])
    assert value(overridden["skin_temperature_c"]) == 50.8


@pytest.mark.parametrize(
    ("fields", "name", "why"),
    [
        ({"voltage": 4}, "battery_voltage_v", "cannot be true"),
        ({"voltage": 4312000}, "battery_voltage_v", "cannot be true"),
        ({"temperature": 3090}, "battery_temperature_c", "cannot be true"),
        ({"temperature": 0}, "battery_temperature_c", "without a sensor"),
        ({"level": 130, "scale": 100}, "battery_level_pct", "cannot be true"),
        ({"level": 50, "scale": 0}, "battery_level_pct", "scale of 0"),
        ({"present": "false", "level": 50}, "battery_level_pct", "no battery is present"),
        ({"level": "NaN"}, "battery_level_pct", "no level"),
        ({"status": 9}, "battery_status", "cannot be true"),
    ],
)
def test_what_cannot_be_true_is_unavailable(fields: dict[str, object], name: str, why: str) -> None:
    assert why in reason(parse_dumpsys_battery(battery(**fields))[name])


def test_level_on_another_scale() -> None:
    assert value(parse_dumpsys_battery(battery(level=100, scale=200))["battery_level_pct"]) == 50


def test_trap_4_a_torn_entry_does_not_end_the_list() -> None:
    text = thermal("mValue=33.0, mType=3, mName=SKIN, mStatus=0").replace(b"mStatus=0}", b"mSta") + (
        b"\n\tTemperature{mValue=41.0, mType=0, mName=CPU, mStatus=0}\n"
    )
    assert value(parse_thermalservice(text)["cpu_temperature_c"]) == 41


def test_trap_1_and_3_what_is_not_used_is_listed_with_the_reason() -> None:
    text = (
        b"Thermal Status: 0\nCached temperatures:\n\tTemperature{mValue=48.5, mType=3, mName=SKIN, mStatus=0}\n"
        b"HAL Ready: true\nCurrent temperatures from HAL:\n"
        b"\tTemperature{mValue=11900.0, mType=6, mName=vdroop1, mStatus=0}\n"
        b"\tTemperature{mValue=0.0, mType=2, mName=SUBBAT, mStatus=0}\n"
        b"\tTemperature{mValue=34.0, mType=3, mName=SKIN, mStatus=0}\n"
    )
    found = {ignored.entry: ignored.why for ignored in ignored_thermalservice(text)}
    assert [why.split(",")[0] for why in found.values()] == [
        "a cached value",
        "type 6 is a battery current limit (mV",
        "exactly 0: a sensor that is not fitted",
    ]


def test_trap_6_a_counter_without_a_level_may_count_mah() -> None:
    assert "may count mAh" in reason(parse_dumpsys_battery(battery(**{"Charge counter": 4274}))["charge_counter_mah"])
    assert value(parse_dumpsys_battery(battery(**{"Charge counter": 4_274_000}))["charge_counter_mah"]) == 4274


def test_trap_6_a_counter_above_the_full_charge_is_unavailable() -> None:
    event = b"CAPACITY=50\nCHARGE_FULL=3346000\nCHARGE_COUNTER=9000000\n"
    assert "more than the 3346 mAh" in reason(parse_uevent(event)["charge_counter_mah"])


def test_trap_9_of_several_supplies_the_battery_is_read() -> None:
    text = b"POWER_SUPPLY_NAME=usb\nPOWER_SUPPLY_VOLTAGE_NOW=5000000\n" + (
        b"POWER_SUPPLY_NAME=battery\nPOWER_SUPPLY_VOLTAGE_NOW=3888173\nPOWER_SUPPLY_CAPACITY=50\n"
    )
    assert value(parse_uevent(text)["battery_voltage_v"]) == 3.888173
    assert [ignored.entry for ignored in ignored_uevent(text)] == ["usb: NAME=usb", "usb: VOLTAGE_NOW=5000000"]


def test_trap_13_lines_of_the_adb_server_are_told_from_devices(captures: Path) -> None:
    name = "adb_devices/adb_devices_l_daemon_start_tcp_unauthorized.txt"
    found = parse_devices((captures / name).read_text(encoding="utf-8"))
    assert found
    assert not any("daemon" in line.serial or line.serial.startswith(("*", "#", "List")) for line in found)
    assert any(line.state == "unauthorized" for line in found)
    (named,) = parse_devices("adb-R58-abc123 (2)._adb-tls-connect._tcp device product:x transport_id:3\n")
    assert named.serial == "adb-R58-abc123 (2)._adb-tls-connect._tcp"


def test_trap_15_the_total_row_gives_pss_and_swap_but_no_rss() -> None:
    text = (
        b"** MEMINFO in pid 7 [x] **\n   Pss  Private  Private  %s  Rss  Heap\n"
        b"        TOTAL   688561   636700    46596       15   688561   566914\n"
    )
    new = parse_dumpsys_meminfo(text % b"SwapPss")
    assert value(new["pss_mb"]) == 688_561 * 1024 / 1e6
    assert value(new["swap_pss_mb"]) == 15 * 1024 / 1e6
    assert "gives no rss" in reason(new["rss_mb"])
    old = parse_dumpsys_meminfo(text % b"Swapped")
    assert value(old["swap_mb"]) == 15 * 1024 / 1e6
    assert "gives no swap_pss" in reason(old["swap_pss_mb"])


JETSAM = (
    b'{"bug_type":"298","timestamp":"2020-10-15 17:29:58.00 +0100","os_version":"iPhone OS 14.2"}\n'
    b'{"memoryStatus":{"pageSize":16384,"memoryPages":{"free":100}},"largestProcess":"AppStore","processes":['
    b'{"name":"AppStore","pid":5,"rpages":90000},'
    b'{"name":"runner","pid":7,"rpages":1000,"lifetimeMax":1200,"reason":"per-process-limit"}]}'
)


def test_trap_17_a_jetsam_file_is_two_documents_and_the_victim_has_a_reason() -> None:
    found = parse_jetsam(JETSAM)
    assert found["victim_name"] == Words("runner", "jetsam report name")
    assert number(found["victim_memory_mb"]) == 16.384
    assert number(found["memory_free_mb"]) == 1.6384
    whys = {ignored.entry: ignored.why for ignored in ignored_jetsam(JETSAM)}
    assert "not the victim" in whys["largestProcess AppStore"]
    assert "first of two documents" in whys["head, bug_type 298"]
    assert "not ended" in whys["process AppStore (5)"]


def test_trap_17_a_report_without_a_victim_names_nobody() -> None:
    found = parse_jetsam(JETSAM.replace(b'"reason"', b'"states"'))
    assert "nobody is named" in why_not(found["victim_name"])
    assert "nobody is named" in why_not(found["victim_memory_mb"])
    assert number(found["page_size_bytes"]) == 16384


@pytest.mark.parametrize("end", range(0, len(JETSAM), 11))
def test_trap_17_a_report_cut_anywhere_gives_what_is_whole(end: int) -> None:
    memory = parse_jetsam(JETSAM[:end])["victim_memory_mb"]
    assert isinstance(memory, Unavailable) or number(memory) == 16.384


@pytest.mark.parametrize("answer", [b"{}", b'{"Diagnostics": {"IORegistry": {}}}', b"<plist><dict></dict></plist>"])
def test_trap_17_an_empty_ioregistry_gives_nothing(answer: bytes) -> None:
    assert {"though it answered" in reason(reading) for reading in parse_ioregistry(answer).values()} == {True}
    assert "no answer" in reason(parse_ioregistry(b"Success")["battery_level_pct"])


@pytest.mark.parametrize("form", ["json", "xml", "binary", "ioreg"])
def test_ioregistry_in_every_form_is_the_battery_and_not_the_adapter(form: str) -> None:
    battery_values = {
        "AdapterDetails": {"Voltage": 5000, "Current": 2100},
        "InstantAmperage": -211,
        "Voltage": 4123,
        "Temperature": 3010,
        "CurrentCapacity": 78,
        "MaxCapacity": 100,
        "IsCharging": False,
        "ExternalConnected": True,
        "UpdateTime": 1_700_000_000,
    }
    data = {
        "json": json.dumps({"IORegistry": battery_values}).encode(),
        "xml": plistlib.dumps({"IORegistry": battery_values}),
        "binary": plistlib.dumps({"IORegistry": battery_values}, fmt=plistlib.FMT_BINARY),
        # ioreg prints a negative number as unsigned 64 bits.
        "ioreg": b'+-o AppleSmartBattery\n  {\n    "AdapterDetails" = {"Voltage"=5000,"Current"=2100}\n'
        b'    "InstantAmperage" = 18446744073709551405\n    "Voltage" = 4123\n    "Temperature" = 3010\n'
        b'    "CurrentCapacity" = 78\n    "MaxCapacity" = 100\n    "IsCharging" = No\n    "ExternalConnected" = Yes\n'
        b'    "UpdateTime" = 1700000000\n  }\n',
    }[form]
    found = parse_ioregistry(data)
    assert {name: value(reading) for name, reading in found.items() if isinstance(reading, Measured)} == {
        "battery_level_pct": 78,
        "battery_temperature_c": 30.1,
        "battery_voltage_v": 4.123,
        "battery_current_a": -0.211,
        "battery_status": 4,
        "power_state_external": 1,
        "update_time_s": 1_700_000_000,
    }

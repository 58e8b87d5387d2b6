"""The samples file as traces."""

from __future__ import annotations

import pytest

from device_agents.android.telemetry import (
    Placement,
    WatchdogKill,
    cores_of,
    overrides,
    parse_live,
    parse_placements,
    parse_sampled_meminfo,
    parse_samples,
    parse_watchdog,
)
from harness.model import Measured, Trace, Unavailable

HEADER = b"""farm-samples 1
note\tshell\tmksh
channel\tp4c\tpolicy4.cur_freq\tkHz\t/sys/devices/system/cpu/cpufreq/policy4/scaling_cur_freq
channel\tp4m\tpolicy4.max_freq\tkHz\t/sys/devices/system/cpu/cpufreq/policy4/scaling_max_freq
channel\tbi\tbattery.current\tuA\t/sys/class/power_supply/battery/current_now
channel\tbv\tbattery.voltage\tuV\t/sys/class/power_supply/battery/voltage_now
channel\tbl\tbattery.level\t%\t/sys/class/power_supply/battery/capacity
channel\tbs\tbattery.status\t\t/sys/class/power_supply/battery/status
channel\tbc\tbattery.charge_counter\tuAh\t/sys/class/power_supply/battery/charge_counter
channel\tz0\tzone.cpu-0-0-usr.temperature\t\t/sys/class/thermal/thermal_zone0/temp
channel\tz1\tzone.cpu-1-0-usr.temperature\t\t/sys/class/thermal/thermal_zone1/temp
channel\tz2\tzone.lmh-dcvs-00.temperature\t\t/sys/class/thermal/thermal_zone2/temp
channel\tz3\tzone.skin therm.temperature\t\t/sys/class/thermal/thermal_zone3/temp
channel\tz4\tzone.skin therm.temperature\t\t/sys/class/thermal/thermal_zone4/temp
absent\tbattery.temperature\t/sys/class/power_supply/battery/temp\tPermission denied
absent\tzone.gpu.temperature\t/sys/class/thermal/thermal_zone5/temp\tInvalid argument
"""
BODY = b"""m 100.00 2000 1900 300 1600 0
f 100.10 p4c=1824000 p4m=2900000 bi=-326171 bv=3888173 bl=54 bs=Not bc=2000000 z0=41200 z1=40100 z2=75000 z3=331 z4=33
f 100.11 ma=1000000
c 100.11 cpu  100 0 100 800 0 0 0 0 0 0
m 100.10 2500 2400 700 1600 100
f 100.60 p4c=900000 p4m=1824000 bi=-22 bv=3800000 bl=54 bs=Charging bc=2000000 z0=42200 z1=45000 z2=75000 z3=335 z4=34
c 100.61 cpu  130 0 120 850 0 0 0 0 0 0
m 100.20 2500 2000 650 1300 200
end 100.70 gone
"""


def service(asked: float, name: str, text: str, status: int = 0) -> bytes:
    lines = "".join(f"| {line}\n" for line in text.splitlines())
    return f"s {asked:.2f} {asked + 0.04:.2f} {status} {name}\n{lines}e {name}\n".encode()


BATTERY = "  USB powered: true\n  level: 55\n  temperature: 301\n  voltage: 3900\n  current now: 443\n"
THERMAL = (
    "IsStatusOverride: false\nThermal Status: 0\nHAL Ready: true\nCurrent temperatures from HAL:\n"
    "\tTemperature{mValue=34.6, mType=3, mName=SKIN, mStatus=2}\n\tTemperature{mValue=61.0, mType=0, mName=AP}\n"
)


def traces(data: bytes) -> dict[str, Trace]:
    found = parse_samples(data)
    assert [trace.channel.name for trace in found] == sorted(trace.channel.name for trace in found)
    return {trace.channel.name: trace for trace in found}


def test_memory_is_in_megabytes_and_stamped_with_uptime() -> None:
    found = traces(HEADER + BODY)
    hwm = found["runner.vm_hwm"]
    assert hwm.channel.unit == "MB"
    assert list(hwm.uptime_s) == [100.0, 100.1, 100.2]
    assert list(hwm.values) == pytest.approx([2.048, 2.56, 2.56])
    assert list(found["runner.vm_swap"].values) == pytest.approx([0, 0.1024, 0.2048])


def test_files_are_converted_to_the_units_of_their_channels() -> None:
    found = traces(HEADER + BODY)
    expected = {
        "policy4.cur_freq": ("MHz", [1824, 900]),
        "policy4.max_freq": ("MHz", [2900, 1824]),
        "battery.voltage": ("V", [3.888173, 3.8]),
        "battery.current": ("A", [-0.326171]),
        "battery.level": ("%", [54, 54]),
        "battery.status": ("", [4, 2]),
        "battery.charge_counter": ("mAh", [2000, 2000]),
        "zone.cpu-0-0-usr.temperature": ("°C", [41.2, 42.2]),
        "zone.skin therm.temperature": ("°C", [33.1, 33.5]),
        "zone.skin therm@4.temperature": ("°C", [33, 34]),
        "cpu.temperature": ("°C", [41.2, 45.0]),
        "memory.available": ("MB", [1024]),
        # 50 of 100 ticks between the two readings.
        "cpu.busy": ("%", [50]),
    }
    for name, (unit, values) in expected.items():
        assert found[name].channel.unit == unit, name
        assert list(found[name].values) == pytest.approx(values), name


def test_what_cannot_be_read_is_absent_with_the_words_of_the_phone() -> None:
    found = traces(HEADER + BODY)
    assert "Permission denied" in found["battery.temperature"].channel.absent
    assert found["zone.gpu.temperature"].channel.absent == "Invalid argument"
    assert "limits driver" in found["zone.lmh-dcvs-00.temperature"].channel.absent
    assert found["thermal.status"].channel.absent == "it was never sampled"
    assert all(bool(trace.values) != bool(trace.channel.absent) for trace in found.values())


def test_services_are_read_by_their_parsers_at_the_middle_of_question_and_answer() -> None:
    found = traces(HEADER + BODY + service(100.0, "battery", BATTERY) + service(100.1, "thermalservice", THERMAL))
    assert list(found["battery.temperature"].values) == [30.1]
    assert found["battery.temperature"].uptime_s[0] == pytest.approx(100.02)
    assert list(found["battery.external"].values) == [1]
    assert list(found["thermal.status"].values) == [2]
    assert list(found["skin.temperature"].values) == [34.6]


def test_of_two_sources_the_trusted_one_is_kept() -> None:
    found = traces(HEADER + BODY + service(100.0, "battery", BATTERY) + service(100.1, "thermalservice", THERMAL))
    assert list(found["battery.level"].values) == [55], "dumpsys before the file"
    assert list(found["battery.current"].values) == [0.443], "a known unit before the file's"
    assert len(found["battery.voltage"].values) == 2, "the file before dumpsys"
    assert max(found["cpu.temperature"].values) == 45, "zones before the HAL"
    without_zones = traces(service(100.1, "thermalservice", THERMAL))
    assert list(without_zones["cpu.temperature"].values) == [61]


def test_a_failed_or_missing_service_is_absent_with_its_reason() -> None:
    failed = traces(service(100, "thermalservice", "Can't find service: thermalservice", status=1))
    assert "ended with 1 Can't find service" in failed["skin.temperature"].channel.absent
    host = traces(service(100, "battery", "sh: dumpsys: not found", status=127))
    assert host["battery.level"].channel.absent == "there is no dumpsys battery here"


def test_an_answer_of_a_service_may_be_interleaved_with_samples() -> None:
    answer = service(100.0, "battery", BATTERY).split(b"\n")
    mixed = b"\n".join([*answer[:2], b"m 100.30 3000 2900 300 1600 0", *answer[2:]])
    found = traces(mixed)
    assert list(found["battery.level"].values) == [55]
    assert list(found["runner.vm_hwm"].values) == [3.072]


@pytest.mark.parametrize("length", range(0, len(BODY), 7))
def test_a_file_cut_anywhere_gives_the_complete_lines(length: int) -> None:
    whole, torn = traces(HEADER + BODY), traces(HEADER + BODY[:length])
    complete = BODY[:length].rpartition(b"\n")[0].count(b"\nm ") + BODY[:length].startswith(b"m 100.00 2000 1900 300")
    for name, trace in torn.items():
        assert list(trace.values) == list(whole[name].values[: len(trace.values)]), name
    assert len(torn["runner.vm_hwm"].values) <= complete


def test_an_answer_that_was_cut_is_left_out() -> None:
    answer = service(100.0, "battery", BATTERY)
    assert not traces(answer[: answer.index(b"e battery")])["battery.level"].values


def test_an_empty_file_names_every_fixed_channel_as_absent() -> None:
    found = traces(b"")
    assert found["runner.vm_hwm"].channel.absent == "the process ended before the first sample"
    assert {"battery.level", "thermal.status", "skin.temperature", "cpu.busy", "memory.available"} <= set(found)
    assert not any(trace.values for trace in found.values())


def test_time_never_goes_back() -> None:
    data = b"m 100.00 1 1 1 1 0\nm 99.00 9 9 9 9 0\nm 100.00 8 8 8 8 0\nm 101.00 2 2 2 2 0\n"
    assert list(traces(data)["runner.vm_hwm"].uptime_s) == [100, 101]


@pytest.mark.parametrize(("status", "believed"), [("Discharging", False), ("Charging", False), ("Full", True)])
def test_a_working_battery_without_current_is_not_believed(status: str, believed: bool) -> None:
    head = (
        b"channel\tbi\tbattery.current\tuA\t/sys/class/power_supply/battery/current_now\n"
        b"channel\tbs\tbattery.status\t\t/sys/class/power_supply/battery/status\n"
    )
    found = traces(head + f"f 1.0 bi=784 bs={status}\nf 2.0 bi=790 bs={status}\n".encode())["battery.current"]
    assert bool(found.values) is believed
    assert ("cannot be true" in found.channel.absent) is not believed


def test_one_odd_value_does_not_change_the_unit_of_a_zone() -> None:
    head = b"channel\tz0\tzone.cpu.temperature\t\t/sys/class/thermal/thermal_zone0/temp\n"
    data = head + b"f 1.0 z0=41000\nf 2.0 z0=42\nf 3.0 z0=43000\nf 4.0 z0=125000\n"
    assert list(traces(data)["zone.cpu.temperature"].values) == [41.0, 43.0]


def test_live_view_from_the_tail_of_the_file() -> None:
    tail = b"44 z0=41200\n" + service(100.0, "battery", BATTERY) + service(100.1, "thermalservice", THERMAL)
    assert parse_live(tail + b"m 100.30 3000 29") == {
        "temperature_c": 61.0,
        "thermal_status": 2.0,
        "battery_level_pct": 55.0,
    }
    assert parse_live(service(1, "battery", BATTERY))["temperature_c"] == 30.1
    assert parse_live(b"m 1.00 3000 2000 1 1 0\n") == {"memory_mb": 2.048}
    assert parse_live(b"") == {}


def test_cpu_time_of_others_follows_from_the_phones_and_the_runners() -> None:
    text = (
        b"c 100.11 cpu  100 0 100 800 0 0 0 0 0 0\np 100.11 50 10 9\n"
        b"c 101.11 cpu  190 0 110 800 0 0 0 0 0 0\np 101.11 120 20 9\n"
    )
    found = traces(text)
    assert list(found["runner.cpu_time"].values) == pytest.approx([0.6, 1.4])
    assert list(found["cpu.busy_time"].values) == pytest.approx([2, 3])
    assert list(found["cpu.total_time"].values) == pytest.approx([10, 11])
    assert found["runner.cpu_time"].uptime_s == found["cpu.busy_time"].uptime_s
    assert found["runner.cpu_time"].channel.resolution == 0.01


def test_a_file_of_an_older_sampler_has_no_cpu_time_of_the_process() -> None:
    assert "was not read" in traces(HEADER + BODY)["runner.cpu_time"].channel.absent


def counted(*numbers: int, extra: str = "") -> bytes:
    """Answers of `dumpsys battery` with these charge counters, 5 s apart."""
    texts = [f"{extra}{BATTERY}  Charge counter: {number}\n" for number in numbers]
    return b"".join(service(100 + 5 * index, "battery", text) for index, text in enumerate(texts))


NO_FILE = b"absent\tbattery.charge_counter\t/sys/class/power_supply/battery/charge_counter\tPermission denied\n"


def test_a_counter_in_mah_that_only_dumpsys_gives_is_kept_for_calibration() -> None:
    found = traces(NO_FILE + counted(4274, 4273))
    assert found["battery.charge_counter"].values == ()
    raw = found["battery.charge_counter_raw"]
    assert (list(raw.values), raw.channel.unit, raw.channel.source) == (
        [4274, 4273],
        "",
        "dumpsys battery Charge counter",
    )
    assert list(raw.uptime_s) == pytest.approx([100.02, 105.02])


def test_the_kernels_own_counter_is_preferred_unless_it_does_not_count() -> None:
    path = "/sys/class/power_supply/battery/charge_counter"
    file = f"channel\tbc\tbattery.charge_counter\tuAh\t{path}\n".encode()
    own = traces(file + b"f 101.00 bc=4274\nf 102.00 bc=4273\n" + counted(4272))["battery.charge_counter_raw"]
    assert (list(own.values), own.channel.source) == ([4274, 4273], path)
    dead = traces(file + b"f 101.00 bc=0\nf 102.00 bc=0\n" + counted(4272))["battery.charge_counter_raw"]
    assert (list(dead.values), dead.channel.source) == ([4272], "dumpsys battery Charge counter")


def test_a_counter_of_a_frozen_report_is_not_kept() -> None:
    stopped = "  (UPDATES STOPPED -- use 'reset' to restart)\n"
    raw = traces(NO_FILE + counted(4274, extra=stopped))["battery.charge_counter_raw"]
    assert raw.values == ()
    assert "frozen" in raw.channel.absent


def test_placements_keep_every_list_of_the_threads() -> None:
    first, second = parse_placements(b"a 101.00 0-3;4-7 /top-app\na 106.00 7 -\na 107.00 torn /x\na 108.00 0-\n")
    assert first == Placement(101.0, ("0-3", "4-7"), "/top-app")
    assert first.cores == frozenset(range(8))
    assert second == Placement(106.0, ("7",), "")
    assert parse_placements(HEADER + BODY) == ()


def test_a_list_of_cores() -> None:
    assert cores_of("0-1,4,6-7") == {0, 1, 4, 6, 7}
    for odd in ("", "x", "3-1", "0-99999", "-1"):
        assert cores_of(odd) == frozenset()


def test_the_watchdog_is_told() -> None:
    kill = parse_watchdog(BODY + b"watchdog 100.65 90000\nend 100.70 gone\n")
    assert kill == WatchdogKill(100.65, 92.16)
    assert parse_watchdog(HEADER + BODY) is None


def test_meminfo_of_the_end_or_why_there_is_none() -> None:
    answer = service(100, "meminfo", "** MEMINFO in pid 7 [x] **\n   TOTAL PSS:   500 TOTAL RSS:   900\n")
    assert parse_sampled_meminfo(BODY + answer)["rss_mb"] == Measured(
        0.9216, "MB", "dumpsys meminfo TOTAL RSS", 0.001024
    )
    for data, why in ((BODY, "ends by itself"), (service(100, "meminfo", "No such pid", 1), "ended with 1")):
        for reading in parse_sampled_meminfo(data).values():
            assert isinstance(reading, Unavailable)
            assert why in reading.reason


def test_overrides_at_both_ends() -> None:
    frozen = service(101, "battery", BATTERY + "  (UPDATES STOPPED -- use 'reset' to restart)\n")
    found = overrides(service(100, "battery", BATTERY) + frozen)
    first, last = found["battery_override"]
    assert isinstance(first, Measured)
    assert isinstance(last, Measured)
    assert (first.value, last.value) == (0, 1)
    assert all(isinstance(reading, Unavailable) for reading in found["thermal_override"])

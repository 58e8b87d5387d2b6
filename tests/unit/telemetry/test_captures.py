"""Every captured phone output is read as a person reads it, or is listed as one that farm has no parser for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from device_agents.android import telemetry
from device_agents.android.telemetry.sources import SOURCES
from device_agents.android.telemetry.text import Words
from harness.model import Measured, Unavailable


@dataclass(frozen=True)
class Why:
    """An unavailable reading whose reason holds `text`."""

    text: str


Expected = Mapping[str, float | str | Why]
Parser = Callable[[bytes], object]


def cpuinfo(data: bytes) -> Mapping[str, object]:
    info = telemetry.parse_cpuinfo(data)
    return {
        "hardware": info.hardware,
        "count": len(info.processors),
        "indices": ",".join(str(core.index) for core in info.processors),
        "implementers": " ".join(dict.fromkeys(core.implementer for core in info.processors)),
        "parts": " ".join(core.part for core in info.processors),
        "dotprod": sum("asimddp" in core.features for core in info.processors),
        "i8mm": sum("i8mm" in core.features for core in info.processors),
        "aes": sum("aes" in core.features for core in info.processors),
    }


def cores(count: int) -> str:
    return ",".join(map(str, range(count)))


def kills(data: bytes) -> Mapping[str, object]:
    found = telemetry.parse_lmkd(data)
    return {
        "count": len(found),
        "pids": " ".join(str(kill.pid) for kill in found),
        "first": found[0].process,
        "first_freed_kib": str(found[0].freed_kib),
        "first_reason": found[0].reason,
    }


def tombstone(data: bytes) -> Mapping[str, object]:
    found = telemetry.parse_tombstone(data)
    assert found is not None
    return {"pid": found.pid, "process": found.process, "signal": found.signal_name, "abort": found.abort_message}


battery = telemetry.parse_dumpsys_battery
uevent = telemetry.parse_uevent
thermal = telemetry.parse_thermalservice
zones = telemetry.parse_thermal_zones
getprop = telemetry.parse_getprop
meminfo = telemetry.parse_proc_meminfo
process_memory = telemetry.parse_dumpsys_meminfo

IOREGISTRY = (
    *("battery_level_pct", "battery_temperature_c", "battery_voltage_v", "battery_current_a", "charge_counter_mah"),
    *("charge_full_mah", "charge_full_design_mah", "cycle_count", "battery_status", "power_state_external"),
    "update_time_s",
)
ABIS = "arm64-v8a,armeabi-v7a,armeabi"
NO_CURRENT = Why("gives no current on this phone")
NOT_GIVEN = Why("is not given")

EXPECTED: Mapping[str, tuple[tuple[Parser, Expected], ...]] = {
    "aosp_loganalysis/MemInfoParserTest_testMemInfoParser.txt": (
        (
            meminfo,
            {
                "memory_total_mb": 361.811968,
                "memory_free_mb": 66.99008,
                "memory_available_mb": Why("no MemAvailable"),
                "swap_total_mb": Why("no SwapTotal"),
                "swap_free_mb": Why("no SwapFree"),
            },
        ),
    ),
    "arm_socs_table/cpuinfo_Exynos-9820.txt": (
        (
            cpuinfo,
            {
                "hardware": "",
                "count": 8,
                "indices": cores(8),
                "implementers": "0x41 0x53",
                "parts": "0xd05 0xd05 0xd05 0xd05 0xd0a 0xd0a 0x003 0x003",
                "dotprod": 8,
                "i8mm": 0,
                "aes": 8,
            },
        ),
    ),
    "arm_socs_table/cpuinfo_Google-Tensor-G2.txt": (
        (
            cpuinfo,
            {
                "hardware": "",
                "count": 8,
                "indices": cores(8),
                "implementers": "0x41",
                "parts": "0xd05 0xd05 0xd05 0xd05 0xd41 0xd41 0xd44 0xd44",
                "dotprod": 8,
                "i8mm": 0,
                "aes": 8,
            },
        ),
    ),
    "arm_socs_table/cpuinfo_Qualcomm-Snapdragon-450.txt": (
        (
            cpuinfo,
            {
                "hardware": "Qualcomm Technologies, Inc SDM450",
                "count": 8,
                "indices": cores(8),
                "implementers": "0x41",
                "parts": " ".join(["0xd03"] * 8),
                "dotprod": 0,
                "i8mm": 0,
                "aes": 8,
            },
        ),
    ),
    "battery_historian/dmesg_lowmemorykiller.txt": (
        (
            kills,
            {
                "count": 6,
                "pids": "20003 20003 20003 20003 21432 21326",
                "first": "facebook.katana",
                "first_freed_kib": "None",
                "first_reason": "",
            },
        ),
    ),
    "executorch_s22/thermalservice_galaxy_s22.txt": (
        (
            thermal,
            {
                "thermal_status": 0,
                "skin_temperature_c": 35.8,
                "cpu_temperature_c": 39.6,
                "hal_battery_temperature_c": 36.3,
                "thermal_override": 0,
            },
        ),
    ),
    "galaxy_a_s_samsung/battery_samsung_oneui_extra_fields.txt": (
        (
            battery,
            {
                "battery_level_pct": 100,
                "battery_temperature_c": 30.9,
                "battery_voltage_v": 4.312,
                "battery_current_a": 0,
                "charge_counter_mah": 2967,
                "battery_status": 5,
                "battery_health": 2,
                "power_state_external": 1,
                "battery_override": 0,
            },
        ),
    ),
    "galaxy_s24/state_ps_meminfo_gpumem_s24.txt": (
        (
            battery,
            {
                "battery_level_pct": 53,
                "battery_temperature_c": 32.6,
                "battery_voltage_v": Why("gives no voltage"),
                "battery_current_a": NO_CURRENT,
                "charge_counter_mah": NOT_GIVEN,
                "battery_status": 2,
                "battery_health": NOT_GIVEN,
                "power_state_external": 1,
                "battery_override": 0,
            },
        ),
        (
            thermal,
            {
                "thermal_status": 0,
                "skin_temperature_c": 34.6,
                "cpu_temperature_c": 40.7,
                "hal_battery_temperature_c": 32.2,
                "thermal_override": Why("does not say"),
            },
        ),
        (
            meminfo,
            {
                "memory_total_mb": 11623.120896,
                "memory_free_mb": 768.98304,
                "memory_available_mb": 3374.628864,
                "swap_total_mb": 8589.930496,
                "swap_free_mb": 4395.626496,
            },
        ),
    ),
    "galaxy_s24/thermalservice_heat_sample_s24plus.txt": (
        (
            thermal,
            {
                "thermal_status": 0,
                "skin_temperature_c": 40,
                "cpu_temperature_c": 53.4,
                "hal_battery_temperature_c": 38.6,
                "thermal_override": Why("does not say"),
            },
        ),
        (
            battery,
            {
                "battery_level_pct": 55,
                "battery_temperature_c": 38.6,
                "battery_voltage_v": Why("gives no voltage"),
                "battery_current_a": NO_CURRENT,
                "charge_counter_mah": NOT_GIVEN,
                "battery_status": NOT_GIVEN,
                "battery_health": NOT_GIVEN,
                "power_state_external": Why("no power source"),
                "battery_override": 0,
            },
        ),
    ),
    "memfault_bort/thermalservice_parsePixelOutput.txt": (
        (
            thermal,
            {
                "thermal_status": 0,
                "skin_temperature_c": 28.348001,
                "cpu_temperature_c": 32.300003,
                "hal_battery_temperature_c": 25.900002,
                "thermal_override": 0,
            },
        ),
    ),
    "memfault_bort/thermalservice_parseSamsungOutput.txt": (
        (
            thermal,
            {
                "thermal_status": 0,
                "skin_temperature_c": 28.2,
                "cpu_temperature_c": 34.6,
                "hal_battery_temperature_c": 25.2,
                "thermal_override": 0,
            },
        ),
    ),
    "memfault_bort/tombstoneparser.txt": (
        (
            tombstone,
            {
                "pid": 19474,
                "process": "com.android.chrome",
                "signal": "SIGTRAP",
                "abort": "[FATAL:gpu_data_manager_impl_private.cc(885)] GPU process isn't usable. Goodbye.",
            },
        ),
    ),
    "misc_battery/battery_full_usb_500mA.txt": (
        (
            battery,
            {
                "battery_level_pct": 100,
                "battery_temperature_c": 27.4,
                "battery_voltage_v": 4.352,
                "battery_current_a": NO_CURRENT,
                "charge_counter_mah": 3270,
                "battery_status": 5,
                "battery_health": 2,
                "power_state_external": 1,
                "battery_override": 0,
            },
        ),
    ),
    "misc_df/df_data_user0.txt": (
        (
            telemetry.parse_df,
            {"storage_total_mb": 6228.115456, "storage_used_mb": 3344.572416, "storage_free_mb": 2883.54304},
        ),
    ),
    "misc_lmkd/lmkd_not_responding_crdroid.txt": (
        (
            kills,
            {
                "count": 1,
                "pids": "17933",
                "first": "com.google.android.gms.unstable",
                "first_freed_kib": "140528",
                "first_reason": "device is not responding",
            },
        ),
    ),
    "modern_cpuinfo/cpuinfo_s22ultra_sd8gen1_first1.txt": (
        (
            cpuinfo,
            {
                "hardware": "",
                "count": 1,
                "indices": "0",
                "implementers": "0x41",
                "parts": "0xd46",
                "dotprod": 1,
                "i8mm": 1,
                "aes": 1,
            },
        ),
    ),
    "modern_cpuinfo/cpuinfo_xiaomi14_sd8gen3_first2.txt": (
        (
            cpuinfo,
            {
                "hardware": "",
                "count": 2,
                "indices": "0,1",
                "implementers": "0x41",
                "parts": "0xd80 0xd80",
                "dotprod": 2,
                "i8mm": 2,
                "aes": 2,
            },
        ),
    ),
    "ios/diagnostics_gasgauge_fullcharge_100.txt": (
        (
            telemetry.parse_ioregistry,
            {
                **dict.fromkeys(IOREGISTRY, Why("gives no")),
                "charge_full_mah": Why("100 mAh, which cannot be true"),
                "charge_full_design_mah": 1751,
                "cycle_count": 425,
            },
        ),
    ),
    "ios/jetsam_iphone12_1_ios142_highwater.txt": (
        (
            telemetry.parse_jetsam,
            {
                "victim_name": "wifianalyticsd",
                "victim_reason": "highwater",
                "victim_pid": 2527,
                "victim_memory_mb": 6.258688,
                "victim_peak_memory_mb": 6.30784,
                "victim_cpu_time_s": 0.634077,
                "page_size_bytes": 16384,
                "memory_free_mb": 84.246528,
                "memory_active_mb": 744.800256,
                "memory_inactive_mb": 666.353664,
                "memory_wired_mb": 806.682624,
                "memory_anonymous_mb": 915.8656,
                "memory_file_backed_mb": 557.432832,
            },
        ),
    ),
    "ios/jetsam_per_process_limit_entry.txt": (
        (
            telemetry.parse_jetsam,
            {
                "victim_name": "RebornTunnel",
                "victim_reason": "per-process-limit",
                "victim_pid": 4624,
                "victim_memory_mb": Why("960 pages"),
                "victim_peak_memory_mb": Why("795 pages"),
                "victim_cpu_time_s": 1223.541349,
                "page_size_bytes": Why("pages have two sizes"),
                "memory_free_mb": Why("gives no free"),
                "memory_active_mb": Why("gives no active"),
                "memory_inactive_mb": Why("gives no inactive"),
                "memory_wired_mb": Why("gives no wired"),
                "memory_anonymous_mb": Why("gives no anonymous"),
                "memory_file_backed_mb": Why("gives no fileBacked"),
            },
        ),
    ),
    "ios/tidevice_get_io_power_iphone_usb.txt": (
        (
            telemetry.parse_ioregistry,
            {
                **dict.fromkeys(IOREGISTRY, Why("gives no")),
                # 5000 mV and 2100 mA in it are the adapter's.
                "battery_voltage_v": 3.876,
                "battery_current_a": 1.602,
                "charge_counter_mah": 612,
                "charge_full_mah": 2900,
                "power_state_external": 1,
            },
        ),
    ),
    "ios/tidevice_info_json.txt": (
        (
            telemetry.parse_ioregistry,
            {
                **dict.fromkeys(IOREGISTRY, Why("gives no")),
                "battery_level_pct": 53,
                "battery_status": 2,
                "power_state_external": 1,
            },
        ),
    ),
    "pymobiledevice3/battery_monitor_test.txt": (
        (
            telemetry.parse_ioregistry,
            {
                **dict.fromkeys(IOREGISTRY, Why("gives no")),
                "battery_level_pct": 78,
                "battery_temperature_c": 30.1,
                "battery_voltage_v": 4.123,
                "battery_current_a": -0.211,
                "battery_status": Why("whether power is attached is not given"),
            },
        ),
    ),
    "mvt/getprop_with_blank_lines.txt": (
        (
            getprop,
            {
                "af.fast_track_multiplier": "1",
                "audio.deep_buffer.media": "true",
                "audio.offload.min.duration.secs": "30",
                "audio.offload.video": "true",
                "av.debug.disable.pers.cache": "1",
                "dalvik.vm.appimageformat": "lz4",
                "dalvik.vm.dex2oat-Xms": "64m",
                "dalvik.vm.dex2oat-Xmx": "512m",
                "dalvik.vm.dex2oat-max-image-block-size": "524288",
                "dalvik.vm.dex2oat-minidebuginfo": "true",
                "dalvik.vm.dex2oat-resolve-startup-strings": "true",
                "dalvik.vm.dexopt.secondary": "true",
                "dalvik.vm.heapgrowthlimit": "192m",
            },
        ),
    ),
    "mvt/tombstone_redmi_rosemary_mtk.txt": (
        (
            tombstone,
            {
                "pid": 25541,
                "process": "/vendor/bin/hw/android.hardware.media.c2@1.2-mediatek",
                "signal": "SIGSEGV",
                "abort": "",
            },
        ),
    ),
    "oneplus7/uevent_oneplus7_lineage20_head.txt": (
        (
            uevent,
            {
                "battery_level_pct": 76,
                "battery_temperature_c": Why("gives no TEMP"),
                "battery_voltage_v": Why("gives no VOLTAGE_NOW"),
                "battery_current_a": Why("gives no CURRENT_NOW"),
                "charge_counter_mah": Why("different values: 2535012, 2812000"),
                "charge_full_mah": 3492,
                "charge_full_design_mah": 3588,
                "battery_status": Why("gives no STATUS"),
                "battery_health": Why("gives no HEALTH"),
                "cycle_count": Why("gives no CYCLE_COUNT"),
            },
        ),
        (
            battery,
            {
                "battery_level_pct": 77,
                "battery_temperature_c": 29.4,
                "battery_voltage_v": 3.985,
                "battery_current_a": NO_CURRENT,
                "charge_counter_mah": 2849,
                "battery_status": 3,
                "battery_health": 2,
                "power_state_external": 0,
                "battery_override": 0,
            },
        ),
    ),
    "perfetto_docs/memory_case_study_0.txt": (
        (
            process_memory,
            {
                "pid": 1974,
                "pss_mb": Why("gives no pss"),
                "rss_mb": Why("gives no rss"),
                "swap_pss_mb": Why("gives no swap_pss"),
                "swap_mb": Why("gives no swap"),
                "native_heap_pss_mb": 17.24416,
                "gfx_dev_pss_mb": Why("gives no gfx_dev_pss"),
                "other_dev_pss_mb": Why("gives no other_dev_pss"),
            },
        ),
    ),
    "perfetto_docs/memory_case_study_1.txt": (
        (
            telemetry.parse_proc_status,
            {
                "vm_hwm_mb": 263.139328,
                "vm_rss_mb": 199.958528,
                "rss_anon_mb": 30.908416,
                "rss_file_mb": 168.36608,
                "rss_shmem_mb": 0.684032,
                "vm_swap_mb": 45.01504,
                "pid": Why("gives no Pid"),
                "threads": Why("gives no Threads"),
            },
        ),
    ),
    "perfetto_probes/proc_meminfo.txt": (
        (
            meminfo,
            {
                "memory_total_mb": 3834.10176,
                "memory_free_mb": 75.087872,
                "memory_available_mb": 645.013504,
                "swap_total_mb": 536.866816,
                "swap_free_mb": 0.131072,
            },
        ),
    ),
    "perfetto_probes/proc_stat.txt": (
        # 6 328 610 of 15 171 730 ticks: everything but idle 8 801 203 and iowait 41 917.
        (telemetry.parse_proc_stat, {"cpu_busy_since_boot_pct": 100 * 6_328_610 / 15_171_730, "cpu_count": 8}),
    ),
    "pixel/battery_android15_charging_state_policy_capacity_level.txt": (
        (
            battery,
            {
                "battery_level_pct": 80,
                "battery_temperature_c": 18,
                "battery_voltage_v": 4.2,
                "battery_current_a": NO_CURRENT,
                "charge_counter_mah": 3376,
                "battery_status": 4,
                "battery_health": 3,
                "power_state_external": 1,
                "battery_override": 0,
            },
        ),
    ),
    "pixel/lmkd_pixel8_executorch_llama.txt": (
        (
            kills,
            {
                "count": 4,
                "pids": "15964 16153 15970 16267",
                "first": "com.google.android.apps.scone",
                "first_freed_kib": "92212",
                "first_reason": "low watermark is breached and swap is low (712kB < 389076kB)",
            },
        ),
    ),
    "pixel/uevent_pixel3a_charge_disabled_usb.txt": (
        (
            uevent,
            {
                "battery_level_pct": 44,
                "battery_temperature_c": 31.3,
                "battery_voltage_v": 3.815175,
                "battery_current_a": 0.000976,
                "charge_counter_mah": Why("gives no CHARGE_COUNTER"),
                "charge_full_mah": Why("gives no CHARGE_FULL"),
                "charge_full_design_mah": Why("gives no CHARGE_FULL_DESIGN"),
                "battery_status": 4,
                "battery_health": 2,
                "cycle_count": Why("gives no CYCLE_COUNT"),
            },
        ),
    ),
    "pytorch_cpuinfo/cpuinfo_galaxy-s7-global.txt": (
        (
            cpuinfo,
            {
                "hardware": "",
                "count": 6,
                "indices": "0,1,2,3,4,5",
                "implementers": "0x41 0x53",
                "parts": "0xd03 0xd03 0xd03 0xd03 0x001 0x001",
                "dotprod": 0,
                "i8mm": 0,
                "aes": 6,
            },
        ),
    ),
    "pytorch_cpuinfo/cpuinfo_galaxy-s8-global.txt": (
        (
            cpuinfo,
            {
                "hardware": "",
                "count": 8,
                "indices": cores(8),
                "implementers": "0x41 0x53",
                "parts": "0xd03 0xd03 0xd03 0xd03 0x001 0x001 0x001 0x001",
                "dotprod": 0,
                "i8mm": 0,
                "aes": 8,
            },
        ),
    ),
    "pytorch_cpuinfo/cpuinfo_moto-g-gen5.txt": (
        (
            cpuinfo,
            {
                "hardware": "Qualcomm Technologies, Inc MSM8937",
                "count": 8,
                "indices": cores(8),
                "implementers": "0x41",
                "parts": " ".join(["0xd03"] * 8),
                "dotprod": 0,
                "i8mm": 0,
                "aes": 8,
            },
        ),
    ),
    "pytorch_cpuinfo/cpuinfo_oneplus-3t.txt": (
        (
            cpuinfo,
            {
                "hardware": "Qualcomm Technologies, Inc MSM8996pro",
                "count": 4,
                "indices": cores(4),
                "implementers": "0x51",
                "parts": "0x201 0x201 0x205 0x205",
                "dotprod": 0,
                "i8mm": 0,
                "aes": 4,
            },
        ),
    ),
    "pytorch_cpuinfo/cpuinfo_pixel-xl.txt": (
        (
            cpuinfo,
            {
                "hardware": "Qualcomm Technologies, Inc MSM8996pro",
                "count": 4,
                "indices": cores(4),
                "implementers": "0x51",
                "parts": "0x201 0x201 0x205 0x205",
                "dotprod": 0,
                "i8mm": 0,
                "aes": 4,
            },
        ),
    ),
    "pytorch_cpuinfo/cpuinfo_xiaomi-redmi-note-4.txt": (
        (
            cpuinfo,
            {
                "hardware": "Qualcomm Technologies, Inc MSM8953",
                "count": 8,
                "indices": cores(8),
                "implementers": "0x41",
                "parts": " ".join(["0xd03"] * 8),
                "dotprod": 0,
                "i8mm": 0,
                "aes": 8,
            },
        ),
    ),
    "pytorch_cpuinfo/getprop_galaxy-s7-global.txt": (
        (
            getprop,
            {"ro.product.model": "SM-G930F", "ro.build.version.release": "7.0", "ro.product.cpu.abilist": ABIS},
        ),
    ),
    "pytorch_cpuinfo/getprop_galaxy-s8-global.txt": (
        (
            getprop,
            {"ro.product.model": "SM-G950F", "ro.build.version.release": "7.0", "ro.product.cpu.abilist": ABIS},
        ),
    ),
    "pytorch_cpuinfo/getprop_moto-g-gen5.txt": (
        (
            getprop,
            {
                "ro.product.model": "Moto G (5)",
                "ro.build.version.release": "7.0",
                "ro.product.cpu.abilist": "armeabi-v7a,armeabi",
            },
        ),
    ),
    "pytorch_cpuinfo/getprop_oneplus-3t.txt": (
        (
            getprop,
            {
                "ro.build.product": "OnePlus3",
                "ro.build.version.release": "7.1.1",
                "ro.product.cpu.abilist": ABIS,
            },
        ),
    ),
    "pytorch_cpuinfo/getprop_pixel-xl.txt": (
        (
            getprop,
            {"ro.product.model": "Pixel XL", "ro.build.version.release": "7.1.1", "ro.product.cpu.abilist": ABIS},
        ),
    ),
    "pytorch_cpuinfo/getprop_xiaomi-redmi-note-4.txt": (
        (
            getprop,
            {"ro.product.model": "Redmi Note 4", "ro.build.version.release": "7.0", "ro.product.cpu.abilist": ABIS},
        ),
    ),
    "skia_buildbot/battery_basic.txt": (
        (
            battery,
            {
                "battery_level_pct": 9,
                "battery_temperature_c": NOT_GIVEN,
                "battery_voltage_v": 4.248,
                "battery_current_a": NO_CURRENT,
                "charge_counter_mah": 2448.973,
                "battery_status": 2,
                "battery_health": 2,
                "power_state_external": 1,
                "battery_override": 0,
            },
        ),
    ),
    "skia_buildbot/thermalservice_pixel3a_like.txt": (
        (
            thermal,
            {
                "thermal_status": 0,
                "skin_temperature_c": 30.147001,
                "cpu_temperature_c": 44.1,
                "hal_battery_temperature_c": 28.000002,
                "thermal_override": 0,
            },
        ),
    ),
    "sony_kugo/thermal_zone_types_msm8956.txt": (
        (
            zones,
            {
                f"zone.{name}.temperature": Why("gives no value")
                for name in (
                    *("bms", "battery", "pa_therm1", "xo_therm", "xo_therm_buf", "case_therm", "flash_therm"),
                    *(f"tsens_tz_sensor{index}" for index in range(8)),
                )
            },
        ),
    ),
    "sony_maple/thermal_zone_types_msm8998.txt": (
        (
            zones,
            {
                f"zone.{name}.temperature": Why("gives no value")
                for name in (
                    *("ufs_therm", "pa_therm1", "pa_therm2", "flash_therm", "pm8998_tz", "pmi8998_tz", "pm8005_tz"),
                    *("msm_therm", "quiet_therm", "xo_therm"),
                    *(f"tsens_tz_sensor{index}" for index in range(4)),
                )
            },
        ),
    ),
    "unity_logcat/meminfo_kPackageMemoryDump.txt": (
        (
            process_memory,
            {
                "pid": 21501,
                "pss_mb": 320.178176,
                "rss_mb": Why("gives no rss"),
                "swap_pss_mb": 168.961024,
                "swap_mb": Why("gives no swap"),
                "native_heap_pss_mb": 25.843712,
                "gfx_dev_pss_mb": 59.318272,
                "other_dev_pss_mb": 0.067584,
            },
        ),
    ),
    "unity_logcat/meminfo_kPackageMemoryDumpAndroid11.txt": (
        (
            process_memory,
            {
                "pid": 14978,
                "pss_mb": 705.086464,
                "rss_mb": 764.039168,
                "swap_pss_mb": 0.01536,
                "swap_mb": Why("gives no swap"),
                "native_heap_pss_mb": 406.370304,
                "gfx_dev_pss_mb": 35.917824,
                "other_dev_pss_mb": 0.156672,
            },
        ),
    ),
    "unity_rive/meminfo_android_rss_column_other_dev.txt": (
        (
            process_memory,
            {
                "pid": 1525,
                "pss_mb": Why("gives no pss"),
                "rss_mb": Why("gives no rss"),
                "swap_pss_mb": Why("gives no swap_pss"),
                "swap_mb": Why("gives no swap"),
                "native_heap_pss_mb": 111.474688,
                "gfx_dev_pss_mb": Why("gives no gfx_dev_pss"),
                "other_dev_pss_mb": 223.100928,
            },
        ),
    ),
    "xiaomi_13t_pro/thermalservice_idle_status0.txt": (
        (
            thermal,
            {
                "thermal_status": 0,
                "skin_temperature_c": 34.351,
                "cpu_temperature_c": 57.9,
                "hal_battery_temperature_c": Why("lists no current battery sensor"),
                "thermal_override": 0,
            },
        ),
    ),
    "xiaomi_14pro/tombstone_mlc_llama13b_sigabrt_8gen3.txt": (
        (tombstone, {"pid": 25135, "process": "ai.mlc.mlcchat", "signal": "SIGABRT", "abort": ""}),
    ),
    "xiaomi_mi8/uevent_mi8_charging_negative.txt": (
        (
            uevent,
            {
                "battery_level_pct": 50,
                "battery_temperature_c": 29,
                "battery_voltage_v": 3.888173,
                "battery_current_a": -0.326171,
                "charge_counter_mah": 1528.169,
                "charge_full_mah": 3346,
                "charge_full_design_mah": Why("gives no CHARGE_FULL_DESIGN"),
                "battery_status": 2,
                "battery_health": 2,
                "cycle_count": 176,
            },
        ),
    ),
}

WITHOUT_PARSER: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "adb_devices/adb_devices_l_daemon_start_tcp_unauthorized.txt",
            "adb_devices/adb_devices_l_mi8.txt",
            "adb_devices/adb_devices_l_pixel9_tokay.txt",
            "adb_devices/adb_unauthorized_error.txt",
        ),
        "no answer of a phone: the list of devices comes from the adb server",
    ),
    **dict.fromkeys(
        (
            "ios/rsd_handshake_iphone15_3_ios17.txt",
            "ios/sysmon_process_single_iphone.txt",
            "ios/sysmontap_row_with_comments.txt",
            "py_ios_device/readme_5.txt",
            "py_ios_device/readme_7.txt",
        ),
        "iOS: farm runs on Android and on this host only",
    ),
    "aosp_loganalysis/ProcrankParserTest_testProcRankParser.txt": "procrank: farm reads /proc/PID/status",
    "battery_historian/power_monitor.txt": "readings of an external power monitor, which farm does not drive",
    "memfault_bort/batterystats_checkin_checkin_content.txt": "batterystats: too coarse for one case, never asked for",
    "memfault_bort/selinux_avc_lines.txt": "a log of denials: farm reports the denial it meets itself",
    "misc_selinux/avc_power_supply_untrusted_app.txt": "a log of denials: farm reports the denial it meets itself",
    "misc_uhubctl/uhubctl_iphone_port_via_labs.txt": "the answer of a hub of the host, not of a phone",
    "mvt/ps.txt": "ps: farm asks /proc for the processes it started",
    "oplus/oplus_chg_kernel_log_lemonadep.txt": "kernel log of one maker's charger, which farm does not read",
    "perfetto_docs/battery_counters_sql.txt": "a table out of a trace database; farm records no traces",
    "perfetto_docs/memory_case_study_3.txt": "a configuration, no reading",
    "perfetto_probes/proc_psi.txt": "farm does not read /proc/pressure",
    "pixel/pixel_thermal_hal_logcat_shiba.txt": "logcat of one maker; thermalservice gives the same sensors",
    "samsung_old/batteryservice_logcat_current_now_mA.txt": "logcat of one maker; dumpsys battery has the same",
}


def test_every_known_capture_is_expected_or_listed_with_a_reason() -> None:
    assert not set(EXPECTED) & set(WITHOUT_PARSER)
    assert all(reason for reason in WITHOUT_PARSER.values())


def test_no_parser_stumbles_over_any_capture(captures: Path) -> None:
    """Also over captures that no table here knows, and over those that are another parser's."""
    parsers = [getattr(telemetry, name) for name in telemetry.__all__ if name.startswith("parse_")]
    parsers += [source.ignored for source in SOURCES.values()]
    files = [path for path in sorted(captures.rglob("*")) if path.is_file()]
    assert files
    for path in files:
        data = path.read_bytes()
        for parser in parsers:
            found = parser(data)
            values = found.values() if isinstance(found, Mapping) else ()
            assert all(reading.reason for reading in values if isinstance(reading, Unavailable)), path


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_capture_is_read_as_a_person_reads_it(captures: Path, name: str) -> None:
    if not (captures / name).is_file():
        pytest.skip(f"{name} is not among the captures here")
    data = (captures / name).read_bytes()
    for parser, expected in EXPECTED[name]:
        found = parser(data)
        assert isinstance(found, Mapping)
        if parser is not getprop:
            assert set(found) == set(expected)
        for key, value in expected.items():
            check(key, found[key], value)


def check(key: str, found: object, expected: float | str | Why) -> None:
    if isinstance(expected, Why):
        assert isinstance(found, Unavailable), f"{key}: {found}"
        assert expected.text in found.reason, key
    elif isinstance(found, Words):
        assert found.value == expected, key
        assert found.source, key
    elif isinstance(found, Measured):
        assert found.value == pytest.approx(expected, rel=1e-9), key
        assert found.source, key
    else:
        assert found == expected, key

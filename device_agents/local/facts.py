"""What this machine says of itself, as a device."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil

from device_agents.posix.lease import host_id
from harness.model import MEGABYTE, CpuCore, DeviceFacts, DeviceKind, Measured, Reading, Unavailable

_ABIS = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64-v8a", "arm64": "arm64-v8a"}
_CPU = Path("/sys/devices/system/cpu")


def host_facts(storage: Path) -> DeviceFacts:
    """Facts of this machine; free space where `storage` (or its nearest existing parent) is."""
    while not storage.exists() and storage != storage.parent:
        storage = storage.parent
    usage = psutil.disk_usage(str(storage))
    machine = platform.machine()
    return DeviceFacts(
        identity=f"host-{host_id()}",
        kind=DeviceKind.HOST,
        manufacturer="",
        model=_processor(),
        product=platform.system(),
        device="host",
        soc=_processor(),
        os_version=platform.release(),
        os_fingerprint=f"{platform.system()} {platform.release()} {platform.version()} {machine}",
        abis=(_ABIS.get(machine.lower(), machine),),
        ram_bytes=psutil.virtual_memory().total,
        storage_free_bytes=usage.free,
        storage_total_bytes=usage.total,
        cores=_cores(),
        cpus_allowed=tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else (),
    )


def host_snapshot() -> dict[str, Reading]:
    """The readings of `device_agents.base.Telemetry` as far as psutil finds them."""
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    no_battery = Unavailable("this machine shows no battery")
    return {
        "battery_level_pct": Measured(float(battery.percent), "%", "psutil sensors_battery", 1.0)
        if battery
        else no_battery,
        "battery_status": no_battery if battery is None else Unavailable("psutil gives no battery status"),
        "battery_current_a": no_battery if battery is None else Unavailable("psutil gives no current"),
        "battery_temperature_c": Unavailable("this machine shows no battery temperature"),
        **dict.fromkeys(
            ("battery_health", "cycle_count", "charge_full_mah", "charge_full_design_mah"),
            Unavailable("this machine does not show how worn a battery is"),
        ),
        "thermal_status": Unavailable("only Android has a thermal status"),
        "skin_temperature_c": Unavailable("this machine has no skin sensor"),
        "cpu_temperature_c": _cpu_temperature(),
        "memory_available_mb": Measured(
            psutil.virtual_memory().available / MEGABYTE, "MB", "psutil virtual_memory().available"
        ),
        "power_state_external": Measured(float(battery.power_plugged), "", "psutil sensors_battery")
        if battery and battery.power_plugged is not None
        else no_battery,
    }


def _cpu_temperature() -> Reading:
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    for name in ("coretemp", "k10temp", "cpu_thermal", "zenpower"):
        values = [entry.current for entry in sensors.get(name, ()) if entry.current]
        if values:
            return Measured(max(values), "°C", f"hwmon {name}")
    return Unavailable("this machine shows no CPU temperature sensor")


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _cores() -> tuple[CpuCore, ...]:
    return tuple(
        CpuCore(
            index,
            _number(_CPU / f"cpu{index}" / "cpu_capacity"),
            _number(_CPU / f"cpu{index}" / "cpufreq" / "cpuinfo_max_freq"),
        )
        for index in range(psutil.cpu_count() or 0)
    )


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None

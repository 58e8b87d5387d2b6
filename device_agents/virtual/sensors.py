"""The files that a phone shows (sysfs, /proc, dumpsys answers), written from the truth as its gauges would show it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from device_agents.virtual import texts
from device_agents.virtual.physics import State
from device_agents.virtual.profiles import Cluster, Profile
from device_agents.virtual.texts import Gauge, Temperatures

_CPU = "sys/devices/system/cpu"
_BATTERY = "sys/class/power_supply/battery"
_FREQUENCY_STEPS = 16


class Files:
    """Writes files below one folder, by rename, and only when their content changes."""

    def __init__(self, root: Path) -> None:
        # Text: putting paths together took a tenth of the time.
        self._root = str(root)
        self._seen: dict[str, str] = {}

    def put(self, name: str, text: str, *, denied: bool = False) -> None:
        """`denied` files cannot be read by the phone's shell."""
        if self._seen.get(name) == text:
            return
        target = f"{self._root}/{name}"
        if name not in self._seen:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
        temporary = f"{target}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o000 if denied else 0o444)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
        os.replace(temporary, target)  # noqa: PTH105 - ten times a second
        self._seen[name] = text

    def overwrite(self, name: str, text: str) -> None:
        """Rewrite in place: a file that is bind-mounted over one of /proc must stay the same file."""
        if self._seen.get(name) == text:
            return
        target = f"{self._root}/{name}"
        if name not in self._seen:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
        data = text.encode()
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(descriptor, data, 0)
            if len(self._seen.get(name, "")) != len(text):
                os.ftruncate(descriptor, len(data))
        finally:
            os.close(descriptor)
        self._seen[name] = text

    def forget(self) -> None:
        self._seen.clear()


def properties(profile: Profile, serial: str, boot_reason: str = "reboot") -> dict[str, str]:
    """Android properties of a virtual phone; `ro.farm.virtual` says what it is.

    Args:
        boot_reason: canonical boot reason of Android, as in `sys.boot.reason`.
    """
    p = profile
    both = {"brand": p.brand, "manufacturer": p.manufacturer, "model": p.model, "name": p.product, "device": p.device}
    derived = {
        **{f"ro.product.{key}": value for key, value in both.items()},
        **{f"ro.product.system.{key}": value for key, value in both.items()},
        "ro.product.board": p.platform,
        "ro.product.cpu.abi": os.uname().machine.replace("aarch64", "arm64-v8a"),
        "ro.product.cpu.abilist": os.uname().machine.replace("aarch64", "arm64-v8a"),
        "ro.product.cpu.abilist64": os.uname().machine.replace("aarch64", "arm64-v8a"),
        "ro.product.cpu.abilist32": "",
        "ro.soc.manufacturer": p.soc_manufacturer,
        "ro.soc.model": p.soc_model,
        "ro.board.platform": p.platform,
        "ro.hardware": p.hardware,
        "ro.build.version.release": p.android,
        "ro.build.version.sdk": str(p.sdk),
        "ro.build.version.security_patch": p.patch,
        "ro.build.version.incremental": "virtual",
        "ro.build.version.codename": "REL",
        "ro.build.id": p.build,
        "ro.build.display.id": f"{p.build}.virtual",
        "ro.build.fingerprint": p.fingerprint,
        "ro.build.type": "user",
        "ro.build.tags": "release-keys",
        "ro.build.characteristics": "phone",
        "ro.serialno": serial,
        "ro.boot.serialno": serial,
        "ro.secure": "1",
        "ro.debuggable": "0",
        "ro.crypto.state": "encrypted",
        "sys.boot_completed": "1",
        "dev.bootcomplete": "1",
        "sys.user.0.ce_available": "true",
        "init.svc.adbd": "running",
        "ro.boot.bootreason": boot_reason,
        "sys.boot.reason": boot_reason,
        "ro.farm.virtual": "1",
    }
    return {**derived, **p.props}


def write_fixed(
    files: Files, profile: Profile, serial: str, boot_id: str, behaviours: frozenset[str], boot_reason: str = "reboot"
) -> None:
    """Everything that does not change while the phone is up."""
    for name, value in properties(profile, serial, boot_reason).items():
        files.put(f"phone/props/{name}", f"{value}\n")
    for behaviour in behaviours:
        files.put(f"phone/behaviours/{behaviour}", "\n")
    files.put("phone/cores", f"{profile.cores}\n")
    files.put("phone/storage", f"{profile.storage_kb} {profile.storage_used_kb}\n")
    files.put("phone/logcat", "")
    files.put("phone/dumpsys/user", "Users:\n  UserInfo{0:Owner:4c13} serialNo=0\n    State: RUNNING_UNLOCKED\n")
    files.put("phone/dumpsys/trust", 'Trust manager state:\n User "Owner" (id=0, flags=0x4c13) (current): trusted=1\n')
    files.overwrite("proc/sys+kernel+random+boot_id", f"{boot_id}\n")
    files.overwrite("proc/cpuinfo", texts.cpuinfo(profile))
    files.overwrite(
        "proc/version",
        f"Linux version 5.15.0-virtual (farm@virtual) ({profile.title}) #1 SMP PREEMPT {os.uname().machine}\n",
    )
    for resource in ("cpu", "io", "memory"):
        # The machine's pressure is not the phone's, and a shell may not read it on many phones.
        files.put(f"proc/pressure+{resource}", "", denied=True)
    files.put(f"{_CPU}/online", f"0-{profile.cores - 1}\n")
    files.put(f"{_CPU}/possible", f"0-{profile.cores - 1}\n")
    files.put(f"{_CPU}/present", f"0-{profile.cores - 1}\n")
    first = 0
    for cluster in profile.clusters:
        _write_cluster(files, cluster, first)
        first += cluster.cores
    for number, zone in enumerate(profile.zones):
        files.put(f"sys/class/thermal/thermal_zone{number}/type", f"{zone.type}\n")
        files.put(f"sys/class/thermal/thermal_zone{number}/mode", "enabled\n")
    battery = profile.battery
    denied = _denied(profile)
    fixed = {
        "type": "Battery",
        "health": battery.health,
        "present": "1",
        "technology": "Li-ion",
        "charge_full": battery.charge_full_mah * 1000,
        "charge_full_design": battery.design_mah * 1000,
        "cycle_count": texts.shown_cycles(battery),
    }
    for name, fact in fixed.items():
        files.put(f"{_BATTERY}/{name}", f"{fact}\n", denied=denied(f"class/power_supply/battery/{name}"))
    files.put("sys/class/power_supply/usb/type", "USB\n")
    if profile.hardware == "qcom":
        files.put("sys/class/kgsl/kgsl-3d0/gpu_model", "Adreno750v2\n")


def _write_cluster(files: Files, cluster: Cluster, first: int) -> None:
    numbers = range(first, first + cluster.cores)
    policy = f"{_CPU}/cpufreq/policy{first}"
    listed = " ".join(str(number) for number in numbers)
    steps = [step_khz(cluster, share / _FREQUENCY_STEPS) for share in range(_FREQUENCY_STEPS + 1)]
    fixed = {
        "related_cpus": listed,
        "affected_cpus": listed,
        "cpuinfo_min_freq": cluster.min_khz,
        "cpuinfo_max_freq": cluster.max_khz,
        "scaling_min_freq": cluster.min_khz,
        "scaling_governor": cluster.governor,
        "scaling_available_frequencies": " ".join(str(khz) for khz in steps),
    }
    for name, value in fixed.items():
        files.put(f"{policy}/{name}", f"{value}\n")
    for number in numbers:
        files.put(f"{_CPU}/cpu{number}/cpu_capacity", f"{cluster.capacity}\n")
        files.put(f"{_CPU}/cpu{number}/online", "1\n")
        files.put(f"{_CPU}/cpu{number}/topology/core_id", f"{number}\n")
        files.put(f"{_CPU}/cpu{number}/topology/cluster_cpus_list", f"{first}-{first + cluster.cores - 1}\n")
        files.put(f"{_CPU}/cpu{number}/topology/physical_package_id", "0\n")


def link_policies(root: Path, profile: Profile) -> None:
    """cpuN/cpufreq → its policy, as sysfs has it."""
    first = 0
    for cluster in profile.clusters:
        for number in range(first, first + cluster.cores):
            with contextlib.suppress(FileExistsError):
                (root / _CPU / f"cpu{number}/cpufreq").symlink_to(f"../cpufreq/policy{first}")
        first += cluster.cores


def step_khz(cluster: Cluster, share: float) -> int:
    """The frequency of the table that lies at `share` between lowest and highest."""
    stepped = round(share * _FREQUENCY_STEPS) / _FREQUENCY_STEPS
    return round((cluster.min_khz + (cluster.max_khz - cluster.min_khz) * stepped) / 1000) * 1000 or cluster.min_khz


def capped_khz(cluster: Cluster, cap: float) -> int:
    """Highest frequency that the cap (a share of the full frequency) allows."""
    return max(cluster.min_khz, round(cluster.max_khz * cap / 1000) * 1000) if cap < 1.0 else cluster.max_khz


def _denied(profile: Profile) -> Callable[[str], bool]:
    return lambda name: name in profile.denied


def write_frequencies(files: Files, profile: Profile, load: float, cap: float) -> None:
    first = 0
    wish = min(1.0, load * 4)
    for cluster in profile.clusters:
        top = capped_khz(cluster, cap)
        policy = f"{_CPU}/cpufreq/policy{first}"
        files.put(f"{policy}/scaling_max_freq", f"{top}\n")
        files.put(f"{policy}/scaling_cur_freq", f"{min(top, step_khz(cluster, wish)) if wish < 1 else top}\n")
        first += cluster.cores


def write_thermal(files: Files, profile: Profile, temperatures: Temperatures) -> None:
    for number, zone in enumerate(profile.zones):
        celsius = temperatures.of(zone.node, zone.offset_c, 0.0)
        text = zone.value if zone.node == "constant" else round(round(celsius, 1) * zone.scale)
        files.put(f"sys/class/thermal/thermal_zone{number}/temp", f"{text}\n", denied=zone.denied)


def write_services(
    files: Files, profile: Profile, temperatures: Temperatures, gauge: Gauge, settings: Mapping[str, str]
) -> None:
    """The answers of dumpsys. `settings` are those of the phone, `namespace.key` → value."""
    thermal = texts.thermalservice_dump(profile, temperatures)
    if settings.get("thermal.override"):
        thermal = thermal.replace("IsStatusOverride: false", "IsStatusOverride: true", 1)
        lines = [
            f"Thermal Status: {settings['thermal.override']}" if line.startswith("Thermal Status:") else line
            for line in thermal.splitlines()
        ]
        thermal = "\n".join(lines) + "\n"
    files.put("phone/dumpsys/thermalservice", thermal)
    write_battery_service(files, profile, gauge, settings)
    awake = settings.get("awake", "1") != "0"
    stay_on = settings.get("global.stay_on_while_plugged_in", "0")
    files.put(
        "phone/dumpsys/power",
        texts.power_dump(
            charger=gauge.charger,
            stay_on=int(stay_on) if stay_on.isdigit() else 0,
            level=gauge.level,
            awake=awake,
            saver=settings.get("global.low_power", "0") == "1",
        ),
    )
    state = "ON" if awake else "OFF"
    files.put("phone/dumpsys/display", f"DISPLAY MANAGER (dumpsys display)\n  mScreenState={state}\n")
    files.put(
        "phone/dumpsys/window", "WINDOW MANAGER POLICY STATE\n  mDreamingLockscreen=false\n  mInputRestricted=false\n"
    )


def write_battery_service(files: Files, profile: Profile, gauge: Gauge, settings: Mapping[str, str]) -> None:
    """What `dumpsys battery` answers: the gauge's value of the same moment as in sysfs."""
    files.put("phone/dumpsys/battery", _battery_text(profile, gauge, settings))


def _battery_text(profile: Profile, gauge: Gauge, settings: Mapping[str, str]) -> str:
    """What `dumpsys battery` prints; `dumpsys battery set …` changes only this text, as on a phone."""
    override = dict(pair.split("=", 1) for pair in settings.get("battery.override", "").split() if "=" in pair)
    if not override:
        return texts.battery_dump(profile, gauge)
    shown = Gauge(
        level=_number(override.get("level"), gauge.level),
        status=_number(override.get("status"), gauge.status),
        charger=override.get("charger", gauge.charger),
        voltage_uv=gauge.voltage_uv,
        current_ua=gauge.current_ua,
        counter_uah=gauge.counter_uah,
        temperature_dc=_number(override.get("temp"), gauge.temperature_dc),
    )
    return texts.battery_dump(profile, shown).replace(
        "Current Battery Service state:\n",
        "Current Battery Service state:\n  (UPDATES STOPPED -- use 'reset' to restart)\n",
        1,
    )


def _number(text: str | None, fallback: int) -> int:
    return int(text) if text is not None and text.lstrip("-").isdigit() else fallback


def write_gauge(files: Files, profile: Profile, gauge: Gauge) -> None:
    """The battery in sysfs; `dumpsys battery` gets its charge counter from here, in the same unit."""
    battery, denied = profile.battery, _denied(profile)
    counter = {"uAh": gauge.counter_uah, "mAh": gauge.counter_uah // 1000, "none": 0}[battery.counter_unit]
    shown = replace(gauge, counter_uah=counter)
    values: dict[str, int | str] = {
        "status": texts.STATUS_NAMES[gauge.status],
        "capacity": gauge.level,
        "voltage_now": gauge.voltage_uv,
        "temp": gauge.temperature_dc,
        "charge_counter": shown.counter_uah,
    }
    if battery.current != "absent":
        values["current_now"] = texts.raw_current(battery, gauge.current_ua)
    for name, value in values.items():
        hidden = denied(f"class/power_supply/battery/{name}") or (name == "current_now" and battery.current == "denied")
        files.put(f"{_BATTERY}/{name}", f"{value}\n", denied=hidden)
    files.put(f"{_BATTERY}/uevent", texts.uevent(profile, shown), denied=denied("class/power_supply/battery/uevent"))
    files.put("sys/class/power_supply/usb/online", f"{int(gauge.charger != 'none')}\n")


def stepped(value: float, step: int) -> int:
    """As a gauge of that resolution shows it."""
    return round(value / step) * step


def read_gauge(profile: Profile, state: State, charger: str, charging: bool) -> Gauge:
    """The truth as the fuel gauge rounds it."""
    battery = profile.battery
    full = state.charge_mah >= state.full_mah * 0.999
    if charger == "none":
        status = texts.STATUS_DISCHARGING
    elif full:
        status = texts.STATUS_FULL
    elif charging and state.battery_a > 0:
        status = texts.STATUS_CHARGING
    else:
        status = texts.STATUS_NOT_CHARGING if state.battery_a >= 0 else texts.STATUS_DISCHARGING
    return Gauge(
        level=round(state.level_pct),
        status=status,
        charger=charger,
        voltage_uv=stepped(state.battery_v * 1e6, battery.voltage_step_uv),
        current_ua=stepped(state.battery_a * 1e6, battery.current_step_ua),
        counter_uah=stepped(state.charge_mah * 1000, battery.counter_step_uah),
        temperature_dc=round(state.battery_c * 10),
    )


def write_processors(files: Files, profile: Profile, *, busy_s: float, awake_s: float, boot_time: float) -> None:
    """/proc/stat: the CPU time of this phone's processes, spread over its cores.

    Args:
        awake_s: uptime without the time that the phone was suspended.
    """
    cores, hz = profile.cores, 100
    each_busy = round(busy_s * hz / cores)
    each_idle = max(0, round(awake_s * hz) - each_busy)
    lines = [f"cpu  {each_busy * cores} 0 0 {each_idle * cores} 0 0 0 0 0 0"]
    lines += [f"cpu{number} {each_busy} 0 0 {each_idle} 0 0 0 0 0 0" for number in range(cores)]
    lines += ["intr 0", "ctxt 0", f"btime {int(boot_time)}", "processes 1", "procs_running 1", "procs_blocked 0"]
    files.overwrite("proc/stat", "\n".join(lines) + "\n")


def write_load(files: Files, averages: tuple[float, float, float], processes: int) -> None:
    """/proc/loadavg, of this phone's processes. Args: averages: running processes over 1, 5 and 15 minutes."""
    shown = " ".join(f"{average:.2f}" for average in averages)
    files.overwrite("proc/loadavg", f"{shown} {min(processes, round(averages[0]) or 1)}/{processes} {processes}\n")


def free_for_processes_kb(profile: Profile) -> int:
    """MemAvailable of a phone that runs nothing but its system."""
    return profile.ram_kb - round(profile.ram_kb * 0.46)


def write_memory(
    files: Files, profile: Profile, *, anon_kb: int, file_kb: int, machine_available_kb: int, apps_kb: int = 0
) -> None:
    """/proc/meminfo: the phone's RAM, less what its own processes hold; never more than the machine has left.

    Args:
        apps_kb: held by apps that are not there.
    """
    total = profile.ram_kb
    system = total - free_for_processes_kb(profile) + apps_kb
    available = max(0, min(total - system - anon_kb, machine_available_kb))
    cached = min(round(total * 0.25) + file_kb, available)
    free = max(0, available - cached)
    rows = {
        "MemTotal": total,
        "MemFree": free,
        "MemAvailable": available,
        "Buffers": 5120,
        "Cached": cached,
        "SwapCached": 0,
        "AnonPages": system // 2 + anon_kb,
        "Mapped": file_kb,
        "Shmem": 20480,
        "SwapTotal": total // 2,
        "SwapFree": total // 2,
    }
    files.overwrite("proc/meminfo", "".join(f"{name + ':':<15} {value:>9} kB\n" for name, value in rows.items()))

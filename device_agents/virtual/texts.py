"""What the phone's services print, in the form of each maker: pure functions of readings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from device_agents.virtual.profiles import Battery, HalTemperature, Health, Profile

STATUS_CHARGING, STATUS_DISCHARGING, STATUS_NOT_CHARGING, STATUS_FULL = 2, 3, 4, 5
STATUS_NAMES = {2: "Charging", 3: "Discharging", 4: "Not charging", 5: "Full"}
HEALTH_CODES: Mapping[Health, int] = {
    "Good": 2,
    "Overheat": 3,
    "Dead": 4,
    "Over voltage": 5,
    "Unspecified failure": 6,
    "Cold": 7,
}
"""Word of the kernel → what `dumpsys battery` shows."""
_SKIN = 3
_COUNTED = (0, 1, 2, 3, 9)
"""Types whose value is a temperature that may raise a status."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """What the fuel gauge shows at one moment, quantised as the gauge is.

    Args:
        level: percent; status: Android's BatteryManager value; charger: "none", "usb" or "ac".
        current_ua: into the battery, true sign; temperature_dc: tenths of a degree Celsius.
    """

    level: int
    status: int
    charger: str
    voltage_uv: int
    current_ua: int
    counter_uah: int
    temperature_dc: int


@dataclass(frozen=True, slots=True)
class Temperatures:
    """Degrees Celsius of the places that zones and services follow."""

    cpu: float
    gpu: float
    skin: float
    battery: float

    def of(self, node: str, offset: float, constant: float) -> float:
        if node == "constant":
            return constant
        value: float = getattr(self, node)
        return value + offset


def raw_current(battery: Battery, current_ua: int) -> int:
    """The current as this maker's gauge writes it: its sign while charging, its unit."""
    signed = current_ua * battery.charging_sign
    return signed if battery.current_unit == "uA" else round(signed / 1000)


def shown_cycles(battery: Battery) -> int:
    """The cycle count as this maker's gauge writes it."""
    return battery.cycles if battery.counts_cycles else 0


def battery_dump(profile: Profile, gauge: Gauge) -> str:
    """`dumpsys battery`."""
    battery = profile.battery
    counter = {"uAh": gauge.counter_uah, "mAh": gauge.counter_uah // 1000, "none": 0}[battery.counter_unit]
    lines = [
        f"AC powered: {_yes(gauge.charger == 'ac')}",
        f"USB powered: {_yes(gauge.charger == 'usb')}",
        "Wireless powered: false",
        *(["Dock powered: false"] if profile.sdk >= 33 else []),
        f"Max charging current: {0 if gauge.charger == 'none' else 500000 if gauge.charger == 'usb' else 3000000}",
        f"Max charging voltage: {0 if gauge.charger == 'none' else 5000000}",
        f"Charge counter: {counter}",
        f"status: {gauge.status}",
        f"health: {HEALTH_CODES[battery.health]}",
        "present: true",
        f"level: {gauge.level}",
        "scale: 100",
        f"voltage: {gauge.voltage_uv // 1000}",
        f"temperature: {gauge.temperature_dc}",
        "technology: Li-ion",
    ]
    if battery.style == "samsung":
        lines += [
            "batterySWSelfDischarging: false",
            "batteryMiscEvent: 0",
            f"batteryCurrentEvent: {0 if gauge.charger == 'none' else 32}",
            "LED Charging: true",
            "LED Low Battery: true",
            f"current now: {raw_current(battery, gauge.current_ua)}",
            f"charge counter: {counter}",
            "Adaptive Fast Charging Settings: true",
        ]
    elif profile.sdk >= 34:
        lines += [f"Charging state: {1 if gauge.status == STATUS_CHARGING else 0}", "Charging policy: 1"]
        if profile.sdk >= 35:
            lines.append("Capacity level: 3")
    text = "Current Battery Service state:\n" + "".join(f"  {line}\n" for line in lines)
    if battery.style == "samsung":
        text += _samsung_tail(gauge)
    return text


def _samsung_tail(gauge: Gauge) -> str:
    """Lines after the state that hold `level:` and `temperature:` again, from earlier moments."""
    earlier = max(1, gauge.level - 3)
    return (
        "USE_FAKE_BATTERY: false\nSEC_FEATURE_BATTERY_SIMULATION: false\n"
        "BatteryInfoBackUp\n  mSavedBatteryAsoc: 97\n  mSavedBatteryUsage: 8801\n"
        f"battery change history\n  (earlier) level:{earlier}, status:3, temperature:{gauge.temperature_dc + 12}\n"
    )


def uevent(profile: Profile, gauge: Gauge) -> str:
    """`uevent` of the battery in sysfs."""
    battery = profile.battery
    pairs = [
        "POWER_SUPPLY_NAME=battery",
        f"POWER_SUPPLY_STATUS={STATUS_NAMES[gauge.status]}",
        f"POWER_SUPPLY_HEALTH={battery.health}",
        "POWER_SUPPLY_PRESENT=1",
        f"POWER_SUPPLY_CAPACITY={gauge.level}",
        f"POWER_SUPPLY_VOLTAGE_NOW={gauge.voltage_uv}",
        # A phone that hides its current hides it here, too.
        *(
            [f"POWER_SUPPLY_CURRENT_NOW={raw_current(battery, gauge.current_ua)}"]
            if battery.current == "readable"
            else []
        ),
        f"POWER_SUPPLY_TEMP={gauge.temperature_dc}",
        f"POWER_SUPPLY_CHARGE_COUNTER={gauge.counter_uah}",
        f"POWER_SUPPLY_CHARGE_FULL={battery.charge_full_mah * 1000}",
        f"POWER_SUPPLY_CHARGE_FULL_DESIGN={battery.design_mah * 1000}",
        f"POWER_SUPPLY_CYCLE_COUNT={shown_cycles(battery)}",
        "POWER_SUPPLY_TECHNOLOGY=Li-ion",
        *(f"POWER_SUPPLY_{extra}" for extra in battery.uevent_extra),
    ]
    return "\n".join(pairs) + "\n"


def status_of(entry: HalTemperature, celsius: float) -> int:
    """Throttling severity: the highest threshold that the temperature has reached."""
    if entry.type not in _COUNTED:
        return 0
    reached = [level for level, limit in enumerate(entry.hot) if limit is not None and celsius >= limit]
    return max(reached, default=0)


def thermalservice_dump(profile: Profile, temperatures: Temperatures) -> str:
    """`dumpsys thermalservice`; what stands as cached is older and warmer, as on phones."""
    service = profile.thermalservice
    current = [(entry, temperatures.of(entry.node, entry.offset_c, entry.value)) for entry in service.temperatures]
    status = max((status_of(entry, value) for entry, value in current if entry.type == _SKIN), default=0)
    indent = service.indent
    lines = ["IsStatusOverride: false"]
    for title, count in (("ThermalEventListeners", 2), ("ThermalStatusListeners", service.listeners)):
        lines += [f"{title}:", f"{indent}callbacks: {count}", f"{indent}killed: false", f"{indent}broadcasts count: -1"]
    lines += [f"Thermal Status: {0 if service.lying_status else status}", "Cached temperatures:"]
    for entry, value in reversed(current):
        stale = value if entry.node == "constant" else value + service.cached_c
        lines.append(indent + _temperature(entry, stale))
    lines += ["HAL Ready: true", "HAL connection:", f"{indent}{service.hal}", "Current temperatures from HAL:"]
    lines += [indent + _temperature(entry, value) for entry, value in current]
    lines.append("Current cooling devices from HAL:")
    lines.append("Temperature static thresholds from HAL:")
    lines += [indent + _threshold(entry) for entry, _ in current if entry.hot]
    return "\n".join(lines) + "\n"


def _temperature(entry: HalTemperature, value: float) -> str:
    return (
        f"Temperature{{mValue={value:.1f}, mType={entry.type}, mName={entry.name}, mStatus={status_of(entry, value)}}}"
    )


def _threshold(entry: HalTemperature) -> str:
    hot = ", ".join("NaN" if limit is None else f"{limit}" for limit in entry.hot)
    cold = ", ".join(["NaN"] * 7)
    return (
        f"TemperatureThreshold{{mType={entry.type}, mName={entry.name}, mHotThrottlingThresholds=[{hot}], "
        f"mColdThrottlingThresholds=[{cold}]}}"
    )


def power_dump(*, charger: str, stay_on: int, level: int, awake: bool, saver: bool) -> str:
    """The part of `dumpsys power` that tells whether the phone is awake and will stay so."""
    plug = {"none": 0, "ac": 1, "usb": 2}[charger]
    return (
        "POWER MANAGER (dumpsys power)\n\nPower Manager State:\n"
        f"  mWakefulness={'Awake' if awake else 'Asleep'}\n"
        f"  mIsPowered={_yes(charger != 'none')}\n  mPlugType={plug}\n  mBatteryLevel={level}\n"
        f"  mStayOn={_yes(bool(stay_on & (1 if plug == 1 else 2 if plug == 2 else 0)))}\n"
        f"  mIsLowPowerModeEnabled={_yes(saver)}\n\nSettings and Configuration:\n"
        f"  mStayOnWhilePluggedInSetting={stay_on}\n  mScreenOffTimeoutSetting=60000\n"
    )


def cpuinfo(profile: Profile) -> str:
    """/proc/cpuinfo of the SoC."""
    blocks, number = [], 0
    for cluster in profile.clusters:
        for _ in range(cluster.cores):
            blocks.append(
                f"processor\t: {number}\nBogoMIPS\t: 49.15\n"
                "Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm asimddp\n"
                f"CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: {cluster.part}\n"
                "CPU revision\t: 0\n"
            )
            number += 1
    return "\n".join(blocks) + f"\nHardware\t: {profile.soc_manufacturer} {profile.soc_model} (virtual)\n"


def _yes(value: bool) -> str:
    return "true" if value else "false"

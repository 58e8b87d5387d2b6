"""What the phone's gauge says: `dumpsys battery` and the kernel's power_supply uevent.

Current keeps the sign and the unit of its source; which sign means charging differs between makers and is
calibrated per phone, and the unit is never guessed from the size of the number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from device_agents.android.telemetry.text import EINVAL, first_values, lines, missing, number, pairs, whole, within
from harness.model import Measured, Reading, Unavailable

TEMPERATURE_C = (-30.0, 100.0)
"""A phone switches itself off inside these limits, so a battery outside them is a wrong reading."""
VOLTAGE_V = (2.0, 10.0)
"""From a deeply discharged cell to two cells in series."""
CURRENT_A = (-30.0, 30.0)
CAPACITY_MAH = (200.0, 40_000.0)
"""Full charge of anything sold as a phone or tablet."""

STATUS_CODES: Mapping[str, int] = {"Unknown": 1, "Charging": 2, "Discharging": 3, "Not charging": 4, "Full": 5}
"""power_supply status text → BatteryManager.BATTERY_STATUS_*, as `dumpsys battery` numbers it."""

_Convert = Callable[[float], Reading]
_POWERED = re.compile(r"^(?:AC|USB|Wireless|Dock|POGO) powered$")
_BATTERY_NAMES = (
    "battery_level_pct",
    "battery_temperature_c",
    "battery_voltage_v",
    "battery_current_a",
    "charge_counter_mah",
    "battery_status",
    "battery_health",
    "power_state_external",
)


def parse_dumpsys_battery(data: bytes) -> dict[str, Reading]:
    """Read `dumpsys battery`.

    Returns:
        battery_level_pct, battery_temperature_c, battery_voltage_v, battery_current_a (Samsung's "current now"; AOSP
        gives none), charge_counter_mah, battery_status and battery_health (BatteryManager codes), power_state_external
        (1 when AC, USB, wireless or dock power is reported, else 0), battery_override (1 when `dumpsys battery set` or
        `unplug` froze the report: then all others are unavailable).
    """
    override = any("UPDATES STOPPED" in line for line in lines(data))
    readings: dict[str, Reading]
    if override:
        frozen = Unavailable(
            "the battery report is frozen by `dumpsys battery set` or `unplug`; end that with `dumpsys battery reset`"
        )
        readings = dict.fromkeys(_BATTERY_NAMES, frozen)
    else:
        readings = _battery_state(first_values(data, ":"))
    known = override or any(isinstance(reading, Measured) for reading in readings.values())
    readings["battery_override"] = (
        Measured(float(override), "", "dumpsys battery")
        if known
        else Unavailable("this is no answer of dumpsys battery")
    )
    return readings


def _battery_state(state: Mapping[str, str]) -> dict[str, Reading]:
    source = "dumpsys battery"
    if state.get("present", "").lower() == "false":
        return dict.fromkeys(_BATTERY_NAMES, Unavailable(f"{source}: no battery is present"))
    level = _level(number(state.get("level")), number(state.get("scale")), source)
    voltage = number(state.get("voltage"))
    current = number(state.get("current now"))
    return {
        "battery_level_pct": level,
        "battery_temperature_c": temperature_reading(number(state.get("temperature")), f"{source} temperature"),
        "battery_voltage_v": missing(source, "voltage")
        if voltage is None
        else within(voltage / 1000, "V", f"{source} voltage (mV)", VOLTAGE_V, 0.001),
        "battery_current_a": Unavailable(f"{source} gives no current on this phone")
        if current is None
        else within(current / 1000, "A", f"{source} current now (mA)", CURRENT_A, 0.001),
        "charge_counter_mah": charge_reading(
            number(state.get("Charge counter")), level, f"{source} Charge counter (µAh)"
        ),
        "battery_status": _code(state.get("status"), f"{source} status", (1, 5)),
        "battery_health": _code(state.get("health"), f"{source} health", (1, 7)),
        "power_state_external": _powered(state, source),
    }


def parse_uevent(data: bytes) -> dict[str, Reading]:
    """Read /sys/class/power_supply/battery/uevent, with or without the POWER_SUPPLY_ prefix.

    Units are those of the kernel's power_supply class: µV, µA, µAh and 0.1 °C. A key that is given twice with different
    values is unavailable, and so is -22 (EINVAL).

    Returns:
        battery_level_pct, battery_temperature_c, battery_voltage_v, battery_current_a, charge_counter_mah,
        charge_full_mah, charge_full_design_mah, battery_status, cycle_count.
    """
    event = _Uevent(data)
    level = event.read("CAPACITY", lambda raw: _level(raw, 100.0, "uevent CAPACITY"))
    return {
        "battery_level_pct": level,
        "battery_temperature_c": event.read("TEMP", lambda raw: temperature_reading(raw, "uevent TEMP")),
        "battery_voltage_v": event.read(
            "VOLTAGE_NOW", lambda raw: within(raw / 1e6, "V", "uevent VOLTAGE_NOW (µV)", VOLTAGE_V, 1e-6)
        ),
        "battery_current_a": event.read(
            "CURRENT_NOW", lambda raw: within(raw / 1e6, "A", "uevent CURRENT_NOW (µA)", CURRENT_A, 1e-6)
        ),
        "charge_counter_mah": event.read(
            "CHARGE_COUNTER", lambda raw: charge_reading(raw, level, "uevent CHARGE_COUNTER (µAh)")
        ),
        "charge_full_mah": event.read(
            "CHARGE_FULL", lambda raw: within(raw / 1000, "mAh", "uevent CHARGE_FULL (µAh)", CAPACITY_MAH, 0.001)
        ),
        "charge_full_design_mah": event.read(
            "CHARGE_FULL_DESIGN",
            lambda raw: within(raw / 1000, "mAh", "uevent CHARGE_FULL_DESIGN (µAh)", CAPACITY_MAH, 0.001),
        ),
        "battery_status": event.status(),
        "cycle_count": event.read("CYCLE_COUNT", lambda raw: within(raw, "", "uevent CYCLE_COUNT", (0, 20_000), 1)),
    }


class _Uevent:
    """Keys of a uevent with every value they were given."""

    def __init__(self, data: bytes) -> None:
        self._values: dict[str, list[str]] = {}
        for key, value in pairs(data, "="):
            name = key.removeprefix("POWER_SUPPLY_")
            if value not in self._values.setdefault(name, []):
                self._values[name].append(value)

    def _one(self, key: str) -> str | Unavailable:
        values = self._values.get(key, [])
        if not values:
            return missing("uevent", key)
        if len(values) > 1:
            return Unavailable(f"uevent gives {key} more than once with different values: {', '.join(values[:4])}")
        return values[0]

    def read(self, key: str, convert: _Convert) -> Reading:
        text = self._one(key)
        if isinstance(text, Unavailable):
            return text
        raw = number(text)
        if raw is None:
            return Unavailable(f"uevent {key} is not a number: {text[:40]!r}")
        if raw == EINVAL:
            return Unavailable(f"uevent {key} is -22: the driver answers EINVAL, it has no value")
        return convert(raw)

    def status(self) -> Reading:
        text = self._one("STATUS")
        if isinstance(text, Unavailable):
            return text
        code = STATUS_CODES.get(text)
        return Unavailable(f"uevent STATUS is unknown: {text[:40]!r}") if code is None else _status(code)


def _status(code: int) -> Reading:
    return Measured(float(code), "", "uevent STATUS")


def _level(level: float | None, scale: float | None, source: str) -> Reading:
    if level is None:
        return missing(source, "level")
    if scale is None:
        scale = 100.0
    if scale <= 0:
        return Unavailable(f"{source} gives the level on a scale of {scale:g}")
    return within(100 * level / scale, "%", source, (0, 100), 100 / scale)


def temperature_reading(tenths: float | None, source: str) -> Reading:
    if tenths is None:
        return Unavailable(f"{source} is not given")
    if tenths == 0:
        return Unavailable(f"{source} is exactly 0: what a gauge without a sensor gives")
    return within(tenths / 10, "°C", f"{source} (0.1 °C)", TEMPERATURE_C, 0.1)


def charge_reading(raw_uah: float | None, level: Reading, source: str) -> Reading:
    """A charge is true only if it fits a battery of possible size at the reported level."""
    if raw_uah is None:
        return Unavailable(f"{source} is not given")
    charge = raw_uah / 1000
    if charge <= 0:
        return Unavailable(f"{source} gives {raw_uah:g}: a gauge that does not count, or counts from an unknown zero")
    low, high = CAPACITY_MAH
    share = level.value / 100 if isinstance(level, Measured) else None
    if share is None or share < 0.01:
        # Without a level the size of the battery cannot be checked, only what no battery holds.
        return within(charge, "mAh", source, (low / 100, high), 0.001)
    full = charge / share
    if low <= full <= high:
        return Measured(charge, "mAh", source, 0.001)
    return Unavailable(
        f"{source} gives {raw_uah:g} at a level of {100 * share:g} %: a full battery would hold {full:.3g} mAh, "
        "so the unit or the zero is not the documented one; calibrate it against the design capacity"
    )


def _code(text: str | None, source: str, limits: tuple[float, float]) -> Reading:
    value = whole(text)
    return Unavailable(f"{source} is not given") if value is None else within(float(value), "", source, limits, 1)


def _powered(state: Mapping[str, str], source: str) -> Reading:
    answers = [value.lower() for key, value in state.items() if _POWERED.match(key)]
    known = [answer for answer in answers if answer in {"true", "false"}]
    if not known:
        return missing(source, "power source")
    return Measured(float("true" in known), "", f"{source} powered")

"""The battery of an iPhone as its IORegistry describes it (AppleSmartBattery), and as lockdown's battery domain does.

Units, as the diagnostics relay gives them: mA (signed, negative while discharging), mV, 0.01 °C, mAh. The values are
renewed about every 20 s: `UpdateTime` says when.
"""

from __future__ import annotations

import plistlib
from collections.abc import Iterator, Mapping
from typing import Any

from device_agents.android.telemetry.battery import (
    CAPACITY_MAH,
    CURRENT_A,
    STATUS_CODES,
    TEMPERATURE_C,
    VOLTAGE_V,
    charge_reading,
)
from device_agents.android.telemetry.loose import documents, mappings
from device_agents.android.telemetry.text import MAX_BYTES, Ignored, listed, within
from harness.model import Measured, Reading, Unavailable

_SOURCE = "IORegistry"
_FULL = ("AppleRawMaxCapacity", "NominalChargeCapacity", "FullChargeCapacity")
"""Keys of the charge of a full battery; the first is the newest estimate, the second is smoothed."""
_KEYS = frozenset(
    {"InstantAmperage", "Amperage", "Voltage", "AppleRawBatteryVoltage", "Temperature", "CurrentCapacity"}
    | {"MaxCapacity", "AppleRawCurrentCapacity", "AppleRawMaxCapacity", "DesignCapacity", "FullChargeCapacity"}
    | {"CycleCount", "ExternalConnected", "AppleRawExternalConnected", "IsCharging", "FullyCharged", "UpdateTime"}
    | {"BatteryCurrentCapacity", "BatteryIsCharging", "NominalChargeCapacity"}
)
_OF_OTHERS = frozenset({"AdapterDetails", "AppleRawAdapterDetails", "BatteryData", "ChargerData", "LifetimeData"})
"""Mappings inside the battery's that hold a Voltage, a Current or a CycleCount of another part or time."""

_Mapping = Mapping[str, Any]


def parse_ioregistry(data: bytes) -> dict[str, Reading]:
    """Read an AppleSmartBattery entry: property list (XML or binary), JSON, ioreg's text or Python's repr.

    Returns:
        battery_level_pct, battery_temperature_c, battery_voltage_v, battery_current_a, charge_counter_mah,
        charge_full_mah, charge_full_design_mah, cycle_count, battery_status (as BatteryManager numbers it),
        power_state_external, update_time_s (Unix time of these values).
    """
    battery = _Battery(_find(_documents(data)))
    level = battery.level()
    return {
        "battery_level_pct": level,
        "battery_temperature_c": battery.scaled(("Temperature",), 100, "°C", "0.01 °C", TEMPERATURE_C),
        "battery_voltage_v": battery.scaled(("Voltage", "AppleRawBatteryVoltage"), 1000, "V", "mV", VOLTAGE_V),
        "battery_current_a": battery.scaled(("InstantAmperage", "Amperage"), 1000, "A", "mA", CURRENT_A),
        "charge_counter_mah": battery.charge(level),
        "charge_full_mah": battery.scaled(_FULL, 1, "mAh", "mAh", CAPACITY_MAH),
        "charge_full_design_mah": battery.scaled(("DesignCapacity",), 1, "mAh", "mAh", CAPACITY_MAH),
        "cycle_count": battery.scaled(("CycleCount",), 1, "", "cycles", (0, 20_000)),
        "battery_status": battery.status(),
        "power_state_external": battery.flag(("ExternalConnected", "AppleRawExternalConnected")),
        "update_time_s": battery.scaled(("UpdateTime",), 1, "s", "Unix time", (1e9, 1e10)),
    }


def ignored_ioregistry(data: bytes) -> tuple[Ignored, ...]:
    """What the answer holds and no reading uses, with the reason."""
    return listed(_ignored(data))


def _ignored(data: bytes) -> Iterator[Ignored]:
    found = _documents(data)
    chosen = _find(found)
    for document in found:
        for name, inner in mappings(document):
            for key, value in inner.items():
                if isinstance(value, dict | list) or (inner is chosen and key in _KEYS):
                    continue
                entry = f"{key}={str(value)[:80]}"
                if inner is chosen:
                    yield Ignored(entry, "no reading is taken from it")
                else:
                    yield Ignored(entry, f"it stands in {name or 'another part'}, not with the battery's own values")


def _documents(data: bytes) -> list[dict[str, object]]:
    if not data.startswith(b"bplist00"):
        return documents(data)
    try:
        made = plistlib.loads(data[:MAX_BYTES], fmt=plistlib.FMT_BINARY)
    except Exception:  # noqa: BLE001 - a torn binary list may raise anything
        return []
    return [made] if isinstance(made, dict) else []


def _find(found: list[dict[str, object]]) -> _Mapping | None:
    """The outermost mapping that holds the battery's values; empty where the answer has none, None for no answer."""
    for document in found:
        for name, inner in mappings(document):
            if name not in _OF_OTHERS and any(key in _KEYS for key in inner):
                return inner
    return {} if found else None


class _Battery:
    def __init__(self, values: _Mapping | None) -> None:
        self._values = values or {}
        self._nothing = (
            f"this is no answer of the {_SOURCE}"
            if values is None
            else ""
            if values
            else f"the {_SOURCE} holds nothing of a battery, though it answered"
        )

    def _number(self, key: str) -> float | None:
        value = self._values.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def _missing(self, keys: tuple[str, ...]) -> Unavailable:
        return Unavailable(self._nothing or f"{_SOURCE} gives no {' or '.join(keys)}")

    def scaled(
        self, keys: tuple[str, ...], divisor: float, unit: str, given: str, limits: tuple[float, float]
    ) -> Reading:
        """The first of `keys` that is given, in `unit`."""
        for key in keys:
            value = self._number(key)
            if value is not None:
                return within(value / divisor, unit, f"{_SOURCE} {key} ({given})", limits, 1 / divisor)
        return self._missing(keys)

    def level(self) -> Reading:
        """CurrentCapacity counts in units of MaxCapacity, which is 100 on iPhones: it is a percentage then."""
        now, full = self._number("CurrentCapacity"), self._number("MaxCapacity")
        if now is None:
            return self.scaled(("BatteryCurrentCapacity", "CurrentCapacity"), 1, "%", "%", (0, 100))
        if full is None:
            return within(now, "%", f"{_SOURCE} CurrentCapacity (%)", (0, 100), 1)
        if full <= 0:
            return Unavailable(f"{_SOURCE} gives a MaxCapacity of {full:g}")
        return within(100 * now / full, "%", f"{_SOURCE} CurrentCapacity / MaxCapacity", (0, 100), 100 / full)

    def charge(self, level: Reading) -> Reading:
        now, full = self._number("AppleRawCurrentCapacity"), self._number("AppleRawMaxCapacity")
        if now is None:
            return self._missing(("AppleRawCurrentCapacity",))
        source = f"{_SOURCE} AppleRawCurrentCapacity (mAh)"
        if isinstance(level, Measured):
            return charge_reading(now * 1000, level, source)
        if full is not None and now > 1.25 * full:
            return Unavailable(f"{source} gives {now:g}, more than the {full:g} of a full battery")
        return within(now, "mAh", source, (1, CAPACITY_MAH[1]), 1)

    def flag(self, keys: tuple[str, ...]) -> Reading:
        for key in keys:
            value = self._values.get(key)
            if value in (0, 1):
                return Measured(float(value), "", f"{_SOURCE} {key}")
        return self._missing(keys)

    def status(self) -> Reading:
        charging = self.flag(("IsCharging", "BatteryIsCharging"))
        full, external = self.flag(("FullyCharged",)), self.flag(("ExternalConnected", "AppleRawExternalConnected"))
        if isinstance(full, Measured) and full.value and isinstance(external, Measured) and external.value:
            return Measured(float(STATUS_CODES["Full"]), "", full.source)
        if isinstance(charging, Unavailable):
            return charging
        if charging.value:
            return Measured(float(STATUS_CODES["Charging"]), "", charging.source)
        if isinstance(external, Unavailable):
            return Unavailable(f"{charging.source}: not charging; whether power is attached is not given")
        word = "Not charging" if external.value else "Discharging"
        return Measured(float(STATUS_CODES[word]), "", f"{charging.source}, {external.source}")

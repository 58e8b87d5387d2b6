"""Heat: `dumpsys thermalservice` and the kernel's thermal zones.

Only current values of the hardware layer (HAL) are used: the cached list before them may be hours old.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from device_agents.android.telemetry.text import Ignored, lines, listed, number, whole, within
from harness.model import Measured, Reading, Unavailable

SOURCE = "dumpsys thermalservice"
TYPE_CPU, TYPE_BATTERY, TYPE_SKIN = 0, 2, 3
"""android.os.Temperature types; 6, 7 and 8 (battery current limit) are mV, mA and %, not temperatures."""

_CURRENT_LIMIT = (6, 7, 8)

SENSOR_C = (-30.0, 124.9)
"""What a sensor of a running phone can say; 125 and -274 are what drivers give without a value."""
ZONE_C = (5.0, 124.9)
"""What a zone of a phone in a lab can say; the unit of a zone is told from it."""

_HAL_HEADER = "Current temperatures from HAL:"
_ENTRY = re.compile(r"^\s*Temperature\{(.{1,400})\}\s*$")
_FIELD_BREAK = re.compile(r",\s*(?=m[A-Z][A-Za-z]{0,20}=)")
_STATUS = re.compile(r"^\s*Thermal Status:\s*(-?[0-9]{1,3})\s*$")
_LISTED = ("Temperature{", "CoolingDevice{", "TemperatureThreshold{", "{.")
_MAIN_SKIN = frozenset({"SKIN", "VIRTUAL-SKIN"})


@dataclass(frozen=True, slots=True)
class HalSensor:
    """One current entry of the HAL list; `status` is None where the phone prints none."""

    name: str
    type: int
    value: float
    status: int | None


def hal_sensors(data: bytes) -> tuple[HalSensor, ...]:
    """The entries under "Current temperatures from HAL:", whatever the order of their fields; torn ones are
    left out."""
    return tuple(
        sensor
        for section, text in _entries(data)
        if section == _HAL_HEADER and (sensor := _sensor_of(text)) is not None
    )


def _entries(data: bytes) -> Iterator[tuple[str, str]]:
    """(heading it stands under, text) of every line that is no heading. A torn entry does not end its list."""
    section = ""
    for line in lines(data):
        text = line.strip()
        if not text:
            continue
        if text.endswith(":") or not text.startswith(_LISTED):
            section = text
        yield section, text


def _sensor_of(text: str) -> HalSensor | None:
    entry = _ENTRY.match(text)
    return _sensor(entry.group(1)) if entry is not None else None


def _sensor(body: str) -> HalSensor | None:
    fields = dict(part.partition("=")[::2] for part in _FIELD_BREAK.split(body))
    value, kind = number(fields.get("mValue")), whole(fields.get("mType"))
    name = fields.get("mName", "").strip()
    if value is None or kind is None or not name:
        return None
    return HalSensor(name, kind, value, whole(fields.get("mStatus")))


def parse_thermalservice(data: bytes) -> dict[str, Reading]:
    """Read `dumpsys thermalservice`.

    Returns:
        thermal_status: the effective one, max(global status, status of current HAL skin sensors); 0 none … 6 shutdown.
        skin_temperature_c: of the sensor SKIN or VIRTUAL-SKIN, else the hottest of type skin.
        cpu_temperature_c: the hottest current sensor of type CPU.
        hal_battery_temperature_c: the hottest current sensor of type battery (0.0 means absent).
        thermal_override: 1 when `cmd thermalservice override-status` is in force (then thermal_status is unavailable).
    """
    texts = [line.strip() for line in lines(data)]
    sensors = hal_sensors(data)
    header = _HAL_HEADER in texts
    skins = [sensor for sensor in sensors if sensor.type == TYPE_SKIN]
    named = [sensor for sensor in skins if sensor.name in _MAIN_SKIN]
    return {
        "thermal_status": _effective_status(texts, skins),
        "skin_temperature_c": _hottest(named or skins, "skin", header, texts),
        "cpu_temperature_c": _hottest((s for s in sensors if s.type == TYPE_CPU), "CPU", header, texts),
        "hal_battery_temperature_c": _hottest((s for s in sensors if s.type == TYPE_BATTERY), "battery", header, texts),
        "thermal_override": _override(texts),
    }


def _override(texts: list[str]) -> Reading:
    if "IsStatusOverride: true" in texts:
        return Measured(1.0, "", SOURCE)
    if "IsStatusOverride: false" in texts:
        return Measured(0.0, "", SOURCE)
    return Unavailable(f"{SOURCE} does not say whether the status is overridden")


def _effective_status(texts: list[str], skins: list[HalSensor]) -> Reading:
    if "IsStatusOverride: true" in texts:
        return Unavailable("the thermal status is overridden; end that with `cmd thermalservice reset`")
    found = next((match for text in texts if (match := _STATUS.match(text))), None)
    if found is None:
        return Unavailable(f"{SOURCE} gives no Thermal Status")
    overall = int(found.group(1))
    if not 0 <= overall <= 6:
        return Unavailable(f"{SOURCE} gives status {overall}, which does not exist (0 to 6 do)")
    if overall == 0 and "HAL Ready: false" in texts:
        return Unavailable(f"{SOURCE}: the thermal HAL is not ready, so its status 0 says nothing")
    of_skin = [sensor.status for sensor in skins if sensor.status is not None and 0 <= sensor.status <= 6]
    if not of_skin:
        return Measured(float(overall), "", f"{SOURCE} Thermal Status (no skin status)", 1)
    return Measured(float(max(overall, *of_skin)), "", f"{SOURCE} max(Thermal Status, SKIN mStatus)", 1)


def _hottest(sensors: Iterable[HalSensor], what: str, header: bool, texts: list[str]) -> Reading:
    candidates = list(sensors)
    if not candidates:
        if "HAL Ready: false" in texts:
            return Unavailable(f"{SOURCE}: the thermal HAL is not ready")
        if not header:
            return Unavailable(f"{SOURCE} gives no current HAL values (cached ones are stale and not used)")
        return Unavailable(f"{SOURCE} lists no current {what} sensor")
    # Exactly 0.0 is how phones list a sensor that is not fitted.
    true = [s for s in candidates if s.value != 0 and SENSOR_C[0] <= s.value <= SENSOR_C[1]]
    if not true:
        seen = ", ".join(f"{s.name} {s.value:g}" for s in candidates[:4])
        return Unavailable(f"{SOURCE}: no current {what} value can be true ({seen})")
    hottest = max(true, key=lambda s: s.value)
    return Measured(hottest.value, "°C", f"{SOURCE} {hottest.name}")


def ignored_thermalservice(data: bytes) -> tuple[Ignored, ...]:
    """What `dumpsys thermalservice` lists and no reading uses, with the reason."""
    used = {
        reading.source.removeprefix(f"{SOURCE} ")
        for name, reading in parse_thermalservice(data).items()
        if isinstance(reading, Measured) and name.endswith("_c")
    }
    return listed(
        Ignored(text, why)
        for section, text in _entries(data)
        if text.startswith(_LISTED) and (why := _why_ignored(section, text, used))
    )


def _why_ignored(section: str, text: str, used: set[str]) -> str:
    if text.startswith("CoolingDevice{"):
        return "the state of a cooling device, not a temperature"
    if not text.startswith("Temperature{"):
        return "a threshold, not a reading"
    if section.startswith("Cached"):
        return "a cached value, which may be hours old"
    if section != _HAL_HEADER:
        return f'it does not stand under "{_HAL_HEADER}"'
    sensor = _sensor_of(text)
    if sensor is None:
        return "it is torn or has no name, type and number"
    return "" if sensor.name in used else _why_unused(sensor)


def _why_unused(sensor: HalSensor) -> str:
    if sensor.type in _CURRENT_LIMIT:
        return f"type {sensor.type} is a battery current limit (mV, mA or %), not a temperature"
    if sensor.type not in (TYPE_CPU, TYPE_BATTERY, TYPE_SKIN):
        return f"a sensor of type {sensor.type}, which no reading is taken from"
    if sensor.value == 0:
        return "exactly 0: a sensor that is not fitted"
    if not SENSOR_C[0] <= sensor.value <= SENSOR_C[1]:
        return f"{sensor.value:g} °C cannot be true"
    return "another sensor of its type is hotter, or is the skin sensor by name"


# --- thermal zones ----------------------------------------------------------------------------------------------------

ZoneRole = Literal["cpu", "skin", "battery", "other"]

_NOT_TEMPERATURES = (
    (re.compile(r"lmh-dcvs"), "a limits driver's zone, constant 75 °C"),
    (re.compile(r"hw-trip"), "a trip point, constant near 105 °C"),
    (re.compile(r"-(?:step|lowf)$"), "a governor's step, not a temperature"),
    (re.compile(r"ibat|vbat|vph|bcl|^soc$"), "a battery current limit channel (mV, mA or %), not a temperature"),
    (re.compile(r"vdroop|batoilo|smpl|(?:^|_)ocp"), "a power alarm, not a temperature"),
    (re.compile(r"cycle"), "a count of charge cycles, not a temperature"),
)
_ROLES: tuple[tuple[re.Pattern[str], ZoneRole], ...] = (
    (re.compile(r"skin|quiet[-_]therm"), "skin"),
    (re.compile(r"^(?:battery|batt|bms|maxfg)"), "battery"),
    (
        re.compile(r"^(?:cpu|big$|mid$|little$|middle$|apc|mtktscpu|soc_max|tsens_tz_sensor|x86_pkg_temp)", re.ASCII),
        "cpu",
    ),
)
_ZONE_LINE = re.compile(r"^thermal_zone([0-9]{1,4})\s+(\S(?:.{0,100}?\S)?)(?:\s+(-?[0-9]{1,10}))?\s*$")


def zone_lie(zone_type: str) -> str:
    """Why a zone of this type is not a temperature, or ""."""
    name = zone_type.lower()
    return next((reason for pattern, reason in _NOT_TEMPERATURES if pattern.search(name)), "")


def zone_role(zone_type: str) -> ZoneRole:
    """What a zone of this type measures; indices differ between phones of one SoC, types do not."""
    name = zone_type.lower()
    return next((role for pattern, role in _ROLES if pattern.search(name)), "other")


def zone_divisor(raw: float) -> int | None:
    """Raw units in a degree Celsius: phones give m°C, 0.1 °C or °C, and the ranges of a running phone in a lab (5 to
    125 °C) do not overlap but for 50–125, where 0.1 °C would mean under 12.5 °C. None when no unit makes it true."""
    for low, high, divisor in ((5_000, 124_900, 1000), (125.1, 1249, 10), (5, 124.9, 1)):
        if low <= raw <= high:
            return divisor
    return None


def zone_temperature(zone_type: str, raw: float, source: str) -> Reading:
    """One raw value of a zone in °C, or why it is none."""
    lie = zone_lie(zone_type)
    if lie:
        return Unavailable(f"{source} ({zone_type}) is {lie}")
    divisor = zone_divisor(raw)
    if divisor is None:
        return Unavailable(f"{source} ({zone_type}) gives {raw:g}, which is no temperature of a running phone")
    return within(raw / divisor, "°C", f"{source} ({zone_type})", ZONE_C, 1 / divisor)


def parse_thermal_zones(data: bytes) -> Mapping[str, Reading]:
    """Read lines of "thermal_zoneN TYPE [RAW]".

    Returns: per zone "zone.TYPE.temperature"; a second zone of one type is "zone.TYPE@N.temperature".
    """
    readings: dict[str, Reading] = {}
    for line in lines(data):
        match = _ZONE_LINE.match(line)
        if match is None:
            continue
        index, zone_type, raw = match.groups()
        name = zone_name(zone_type, index, readings)
        value = number(raw)
        readings[name] = (
            Unavailable(f"thermal_zone{index} ({zone_type}) gives no value")
            if value is None
            else zone_temperature(zone_type, value, f"thermal_zone{index}")
        )
    return readings


def zone_name(zone_type: str, index: str, taken: Iterable[str]) -> str:
    """The channel of a zone: keyed by type, told apart by index only where a type repeats."""
    name = f"zone.{zone_type}.temperature"
    return f"zone.{zone_type}@{index}.temperature" if name in taken else name

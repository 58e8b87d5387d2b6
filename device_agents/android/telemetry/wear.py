"""How worn a battery is: the kernel's files of its power supply one by one, and its uevent where those are denied.

Names and units are those of the kernel's power_supply class (Documentation/ABI/testing/sysfs-class-power): µAh, cycles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from device_agents.android.telemetry.battery import HEALTH_CODES, capacity_reading, cycle_reading
from device_agents.android.telemetry.text import EINVAL, lines, number
from harness.model import Measured, Reading, Unavailable

FILES = ("health", "cycle_count", "charge_full", "charge_full_design")
"""Of /sys/class/power_supply/battery. A listing of them has a line for each: "NAME=VALUE", or "NAME" and a word of
`_WHY_NOT`."""

_WHY_NOT: Mapping[str, str] = {
    "denied": "the phone denies it to the shell",
    "empty": "its driver gives no value",
    "absent": "the phone has no such file, or hides it",
}


def parse_power_supply(data: bytes) -> dict[str, Reading]:
    """Read a listing of `FILES`.

    Returns:
        battery_health (BatteryManager code), cycle_count, charge_full_mah, charge_full_design_mah; each read, or
        unavailable with the reason.
    """
    said: dict[str, str | Unavailable] = {}
    for line in lines(data):
        name, found, value = line.partition("=")
        if found:
            said.setdefault(name.strip(), value.strip())
            continue
        name, _, word = line.strip().partition(" ")
        if word in _WHY_NOT:
            said.setdefault(name, Unavailable(f"power_supply {name}: {_WHY_NOT[word]}"))
    return {
        "battery_health": _health(said),
        "cycle_count": _number(said, "cycle_count", cycle_reading),
        "charge_full_mah": _number(said, "charge_full", capacity_reading),
        "charge_full_design_mah": _number(said, "charge_full_design", capacity_reading),
    }


def wear_of(
    dumpsys: Mapping[str, Reading], supply: Mapping[str, Reading], uevent: Mapping[str, Reading]
) -> dict[str, Reading]:
    """The readings of `parse_power_supply`, each from the first source that tells it, else every source's reason.

    Args:
        dumpsys, supply, uevent: what `parse_dumpsys_battery`, `parse_power_supply` and `parse_uevent` gave.
    """
    return {
        name: _first(_known(name, source[name]) for source in (dumpsys, supply, uevent) if name in source)
        for name in supply
    }


def _known(name: str, reading: Reading) -> Reading:
    if name == "battery_health" and isinstance(reading, Measured) and reading.value == HEALTH_CODES["Unknown"]:
        return Unavailable(f"{reading.source}: the phone says that it does not know")
    return reading


def _first(readings: Iterable[Reading]) -> Reading:
    reasons: list[str] = []
    for reading in readings:
        if isinstance(reading, Measured):
            return reading
        reasons.append(reading.reason)
    return Unavailable("; ".join(dict.fromkeys(reasons)))


def _given(said: Mapping[str, str | Unavailable], name: str) -> str | Unavailable:
    return said.get(name) or Unavailable(f"power_supply {name} was not told")


def _health(said: Mapping[str, str | Unavailable]) -> Reading:
    word = _given(said, "health")
    if isinstance(word, Unavailable):
        return word
    code = HEALTH_CODES.get(word)
    if code is None:
        return Unavailable(f"power_supply health is unknown: {word[:40]!r}")
    return Measured(float(code), "", "power_supply health")


def _number(said: Mapping[str, str | Unavailable], name: str, convert: Callable[[float, str], Reading]) -> Reading:
    text = _given(said, name)
    if isinstance(text, Unavailable):
        return text
    raw = number(text)
    if raw is None:
        return Unavailable(f"power_supply {name} is not a number: {text[:40]!r}")
    if raw == EINVAL:
        return Unavailable(f"power_supply {name} is -22: the driver answers EINVAL, it has no value")
    return convert(raw, f"power_supply {name}")

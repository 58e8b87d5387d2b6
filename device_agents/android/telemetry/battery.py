"""What the phone's gauge says: `dumpsys battery` and the kernel's power_supply uevent.

Current keeps the sign and the unit of its source; which sign means charging differs between makers and is
calibrated per phone, and the unit is never guessed from the size of the number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from device_agents.android.telemetry.text import EINVAL, Ignored, lines, listed, missing, number, pairs, whole, within
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

HEALTH_CODES: Mapping[str, int] = {
    "Unknown": 1,
    "Good": 2,
    "Overheat": 3,
    "Dead": 4,
    "Over voltage": 5,
    "Unspecified failure": 6,
    "Cold": 7,
}
"""power_supply health text → BatteryManager.BATTERY_HEALTH_*."""

_BATTERY = "battery"
_UEVENT_KEYS = frozenset(
    {"NAME", "CAPACITY", "TEMP", "VOLTAGE_NOW", "CURRENT_NOW", "CHARGE_COUNTER", "CHARGE_FULL", "CHARGE_FULL_DESIGN"}
    | {"STATUS", "HEALTH", "CYCLE_COUNT"}
)

_Convert = Callable[[float], Reading]
_POWERED = re.compile(r"^(?:AC|USB|Wireless|Dock|POGO) powered$")
_HEADING = "Current Battery Service state:"
_NUMBERS = frozenset({"level", "scale", "voltage", "temperature", "current now", "Charge counter", "status", "health"})
"""Keys of `dumpsys battery` whose value is a whole number."""
_NOT_READ: Mapping[str, str] = {
    "Capacity level": "a class of charge, not the level",
    "charge counter": "the maker's second charge counter; the one in capitals is the system's",
    "Max charging current": "a limit, not a current that flows",
    "Max charging voltage": "a limit, not the battery's voltage",
}
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
        readings = _battery_state(_state(data))
    known = override or any(isinstance(reading, Measured) for reading in readings.values())
    readings["battery_override"] = (
        Measured(float(override), "", "dumpsys battery")
        if known
        else Unavailable("this is no answer of dumpsys battery")
    )
    return readings


def raw_charge_counter(data: bytes) -> Reading:
    """The charge counter of `dumpsys battery` as the phone gives it, without a unit: the documented one is µAh, some
    phones give mAh. Unavailable where the report is frozen."""
    source = "dumpsys battery Charge counter"
    if any("UPDATES STOPPED" in line for line in lines(data)):
        return Unavailable("the battery report is frozen")
    counter = number(_state(data).get("Charge counter"))
    return missing("dumpsys battery", "Charge counter") if counter is None else Measured(counter, "", source, 1.0)


def _state(data: bytes) -> dict[str, str]:
    """Key → value of the first line that gives it as it is given by the service: numbers stand alone on their line.
    What stands before the heading, and what comes again (makers append a history), is not the state."""
    texts = lines(data)
    start = next((index for index, line in enumerate(texts) if line.strip() == _HEADING), -1) + 1
    state: dict[str, str] = {}
    for line in texts[start:]:
        key, found, value = line.partition(":")
        name, text = key.strip(), value.strip()
        if found and len(key) <= 128 and (name not in _NUMBERS or whole(text) is not None):
            state.setdefault(name, text)
    return state


def ignored_battery(data: bytes) -> tuple[Ignored, ...]:
    """What `dumpsys battery` prints and no reading uses, with the reason."""
    return listed(_ignored_lines(data, _state(data)))


def _ignored_lines(data: bytes, state: Mapping[str, str]) -> Iterator[Ignored]:
    taken: set[str] = set()
    for line in lines(data):
        key, found, value = line.partition(":")
        name, text = key.strip(), value.strip()
        read = name in _NUMBERS or name == "present" or _POWERED.match(name) is not None
        if not line.strip() or line.strip() == _HEADING:
            continue
        if read and found and state.get(name) == text and name not in taken:
            taken.add(name)
        elif read and name in taken:
            yield Ignored(line, f"{name} comes again: the first one is the state, what follows is history")
        elif read:
            yield Ignored(line, "it is no whole number, or stands before the state")
        elif "UPDATES STOPPED" not in line:
            yield Ignored(line, _NOT_READ.get(name, "no reading is taken from it"))


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
    """Read /sys/class/power_supply/battery/uevent, with or without the POWER_SUPPLY_ prefix; of several supplies the
    battery.

    Units are those of the kernel's power_supply class: µV, µA, µAh and 0.1 °C. A key that is given twice with different
    values is unavailable, and so is -22 (EINVAL).

    Returns:
        battery_level_pct, battery_temperature_c, battery_voltage_v, battery_current_a, charge_counter_mah,
        charge_full_mah, charge_full_design_mah, battery_status, battery_health, cycle_count.
    """
    event = _Uevent(data)
    level = event.read("CAPACITY", lambda raw: _level(raw, 100.0, "uevent CAPACITY"))
    full = event.read("CHARGE_FULL", lambda raw: capacity_reading(raw, "uevent CHARGE_FULL"))
    design = event.read("CHARGE_FULL_DESIGN", lambda raw: capacity_reading(raw, "uevent CHARGE_FULL_DESIGN"))
    counter = event.read("CHARGE_COUNTER", lambda raw: charge_reading(raw, level, "uevent CHARGE_COUNTER (µAh)"))
    return {
        "battery_level_pct": level,
        "battery_temperature_c": event.read("TEMP", lambda raw: temperature_reading(raw, "uevent TEMP")),
        "battery_voltage_v": event.read(
            "VOLTAGE_NOW", lambda raw: within(raw / 1e6, "V", "uevent VOLTAGE_NOW (µV)", VOLTAGE_V, 1e-6)
        ),
        "battery_current_a": event.read(
            "CURRENT_NOW", lambda raw: within(raw / 1e6, "A", "uevent CURRENT_NOW (µA)", CURRENT_A, 1e-6)
        ),
        "charge_counter_mah": _held(counter, full, design),
        "charge_full_mah": full,
        "charge_full_design_mah": design,
        "battery_status": event.coded("STATUS", STATUS_CODES),
        "battery_health": event.coded("HEALTH", HEALTH_CODES),
        "cycle_count": event.read("CYCLE_COUNT", lambda raw: cycle_reading(raw, "uevent CYCLE_COUNT")),
    }


def ignored_uevent(data: bytes) -> tuple[Ignored, ...]:
    """What a uevent holds and no reading uses, with the reason."""
    return listed(_Uevent(data).ignored())


def capacity_reading(raw_uah: float, source: str) -> Reading:
    """Charge of a full battery, as the kernel gives it."""
    return within(raw_uah / 1000, "mAh", f"{source} (µAh)", CAPACITY_MAH, 0.001)


def cycle_reading(raw: float, source: str) -> Reading:
    """Charge cycles; 0 is the kernel's word for a count that its driver does not keep."""
    if raw == 0:
        return Unavailable(f"{source} is 0: what the kernel gives where the cycles are not counted")
    return within(raw, "", source, (1, 20_000), 1)


def _held(counter: Reading, full: Reading, design: Reading) -> Reading:
    """A charge counter that is far above what the battery holds when full counts something else."""
    sizes = [size.value for size in (full, design) if isinstance(size, Measured)]
    if isinstance(counter, Measured) and sizes and counter.value > 1.25 * max(sizes):
        return Unavailable(
            f"{counter.source} gives {counter.value:g} mAh, more than the {max(sizes):g} mAh of a full battery"
        )
    return counter


class _Uevent:
    """Keys of a uevent with every value they were given."""

    def __init__(self, data: bytes) -> None:
        self._values: dict[str, list[str]] = {}
        self._others: list[str] = []
        for supply, key, value in _supplies(data):
            if supply:
                self._others.append(f"{supply}: {key}={value}")
            elif value not in self._values.setdefault(key, []):
                self._values[key].append(value)

    def ignored(self) -> Iterator[Ignored]:
        for key, values in self._values.items():
            if len(values) > 1:
                yield Ignored(f"{key}={', '.join(values[:4])}", "it is given more than once with different values")
            elif values[0] == str(EINVAL):
                yield Ignored(f"{key}={EINVAL}", "the driver answers EINVAL: it has no value")
            elif key not in _UEVENT_KEYS:
                yield Ignored(f"{key}={values[0]}", "no reading is taken from it")
        yield from (Ignored(entry, "another power supply than the battery") for entry in self._others)

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

    def coded(self, key: str, codes: Mapping[str, int]) -> Reading:
        text = self._one(key)
        if isinstance(text, Unavailable):
            return text
        code = codes.get(text)
        if code is None:
            return Unavailable(f"uevent {key} is unknown: {text[:40]!r}")
        return Measured(float(code), "", f"uevent {key}")


def _supplies(data: bytes) -> list[tuple[str, str, str]]:
    """(supply, key, value) of every line; supply is "" for the battery, and where only one supply is described."""
    found: list[tuple[str, str, str]] = []
    names: list[str] = []
    for key, value in pairs(data, "="):
        name = key.removeprefix("POWER_SUPPLY_")
        if name == "NAME":
            names.append(value)
        found.append((names[-1] if names else "", name, value))
    if len(set(names)) < 2 or _BATTERY not in names:
        return [("", key, value) for _, key, value in found]
    return [
        ("" if supply == _BATTERY else supply or "before the first name", key, value) for supply, key, value in found
    ]


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
    if not isinstance(level, Measured) and raw_uah <= high:
        # Without a level the size of the battery cannot be checked; such a number may be mAh as well.
        return Unavailable(f"{source} gives {raw_uah:g} and no level to check it by: it may count mAh")
    share = level.value / 100 if isinstance(level, Measured) else None
    if share is None or share < 0.01:
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

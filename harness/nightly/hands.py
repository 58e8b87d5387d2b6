"""What only a person can do, at a phone or at a hub. Pure: from the inventory, what is attached, and earlier looks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.model import (
    Attached,
    Device,
    HandNeeded,
    HealthProblem,
    HealthRecord,
    Inventory,
    Measured,
    UsbPort,
    battery_word,
)
from harness.plan import resolve_devices, usable

BAD_BATTERY = frozenset({"dead", "over voltage", "unspecified failure"})
"""Words of a battery that is done for."""

CAPACITY_LEAST_PCT = 60.0
"""Of the design: a lithium-ion battery below it ages fast, sags under load and often swells."""

STORAGE_LEAST_MB = 2000.0
"""A phone with less free space has no room for a model of a billion parameters beside what it runs."""

LEVEL_LEAST_PCT = 25.0
"""A phone below it that nothing charges measures nothing tonight; as the gates have it."""

FORGOTTEN_S = 14 * 86_400.0
"""Of an entry that means several phones, one that was not seen for so long counts as taken away on purpose."""

_SWOLLEN = "take it off its power, look whether its back has risen or its screen lifts, and replace the battery"
_HUB = "look at the hub's own power supply and at its cable to this machine, then plug it in again"


@dataclass(frozen=True, slots=True)
class Missing:
    """A phone that was there and is not listed now. Args: record: its newest look. port: it hangs at, or None."""

    record: HealthRecord
    port: UsbPort | None

    @property
    def problem(self) -> HealthProblem:
        when = f"{datetime.fromtimestamp(self.record.at, UTC):%Y-%m-%d}"
        where = f" (USB port {self.port.port} of hub {self.port.hub})" if self.port is not None else ""
        return HealthProblem(f"not attached; last seen {when}", f"switch it on, and look at its cable and port{where}")


@dataclass(frozen=True, slots=True)
class Listed:
    """An attached phone under its name. Args: device_id: in the inventory, else its serial. entry: None without one.
    record: newest look at it, None without."""

    device_id: str
    entry: Device | None
    attached: Attached
    record: HealthRecord | None

    @property
    def problems(self) -> tuple[HealthProblem, ...]:
        """Why it cannot be used, then what the newest look shows to be wrong."""
        state = self.attached.state.value.replace("_", " ")
        unusable = () if usable(self.attached) else (HealthProblem(state, self.attached.advice),)
        return (*unusable, *(condition_problems(self.record) if self.record is not None else ()))


def hands_needed(
    inventory: Inventory,
    attached: Iterable[Attached],
    known: Mapping[str, HealthRecord],
    *,
    now: float,
    held: frozenset[UsbPort] = frozenset(),
) -> tuple[HandNeeded, ...]:
    """What a person has to do so that every phone of the inventory can work again, hubs first.

    A phone that never was there is no finding, and neither is one that farm itself keeps off its power.

    Args:
        known: identity → newest look (`looks.known_phones`).
        now: Unix seconds. held: hub ports that farm keeps off to hold a charge.
    """
    here = listed(inventory, attached, known)
    gone = [each for each in missing(inventory, here, known, now=now) if each.port is None or each.port not in held]
    hubs = lost_hubs(here, gone)
    found = []
    for hub, devices in hubs.items():
        problem = hub_problem(hub, devices)
        found.append(HandNeeded(devices, problem.text, problem.advice))
    alone = [each for each in gone if each.port is None or each.port.hub not in hubs]
    found += [_needed(each.record.device_id, each.problem) for each in alone]
    for phone in here:
        if phone.entry is not None:
            found += [_needed(phone.device_id, problem) for problem in phone.problems if problem.hands]
    return tuple(found)


def listed(inventory: Inventory, attached: Iterable[Attached], known: Mapping[str, HealthRecord]) -> tuple[Listed, ...]:
    """Every attached phone under its name; one that does not answer is told by a serial it had at its newest look."""
    seen = tuple(attached)
    entries = {entry.id: entry for entry in inventory.devices}
    resolved = {device.attached.serial: device for device in resolve_devices(inventory, seen)}

    def named(each: Attached) -> Listed:
        record = known.get(each.facts.identity) if each.facts is not None else _by_serial(each, known)
        device = resolved.get(each.serial)
        if device is not None:
            return Listed(device.id, device.entry, each, record)
        entry = entries.get(record.entry) if record is not None and each.facts is None else None
        return Listed(record.device_id if record is not None and entry else each.serial, entry, each, record)

    return tuple(named(each) for each in seen)


def missing(
    inventory: Inventory, here: Sequence[Listed], known: Mapping[str, HealthRecord], *, now: float
) -> tuple[Missing, ...]:
    """Phones of the inventory that were there once and are not listed now, in the inventory's order.

    Args: here: what `listed` gave. known, now: as for `hands_needed`.
    """
    present = {phone.record.identity for phone in here if phone.record is not None}
    filled = {phone.entry.id for phone in here if phone.entry is not None}

    def gone() -> Iterator[Missing]:
        for entry in inventory.devices:
            for record in known.values():
                if record.entry != entry.id or record.identity in present or not _is_meant(entry, record):
                    continue
                if entry.id not in filled or now - record.at < FORGOTTEN_S:
                    yield Missing(record, entry.usb)

    return tuple(gone())


def lost_hubs(here: Iterable[Listed], gone: Iterable[Missing]) -> Mapping[str, tuple[str, ...]]:
    """Hub → ids of its phones, where there are two or more and every one of them is gone."""
    lost: dict[str, list[str]] = {}
    for each in gone:
        if each.port is not None:
            lost.setdefault(each.port.hub, []).append(each.record.device_id)
    alive = {phone.entry.usb.hub for phone in here if phone.entry is not None and phone.entry.usb is not None}
    return {hub: tuple(devices) for hub, devices in lost.items() if len(devices) > 1 and hub not in alive}


def hub_problem(hub: str, devices: Sequence[str]) -> HealthProblem:
    """All phones of a hub are gone."""
    return HealthProblem(f"hub {hub}: all {len(devices)} phones at it are gone", _HUB)


def condition_problems(record: HealthRecord) -> tuple[HealthProblem, ...]:
    """What a look shows to be wrong: the battery first, then storage."""
    found = (_battery(record), _capacity(record), _starving(record), _storage(record))
    return tuple(problem for problem in found if problem is not None)


def _needed(device_id: str, problem: HealthProblem) -> HandNeeded:
    return HandNeeded((device_id,), problem.text, problem.advice)


def _by_serial(attached: Attached, known: Mapping[str, HealthRecord]) -> HealthRecord | None:
    serials = {attached.serial, *attached.transports}
    found = [record for record in known.values() if serials & {record.identity, *record.serials}]
    return max(found, key=lambda record: record.at, default=None)


def _is_meant(entry: Device, record: HealthRecord) -> bool:
    """Whether the entry still means that phone: one that names a serial may mean another phone by now."""
    return entry.match.serial is None or entry.match.serial in {record.identity, *record.serials}


def _battery(record: HealthRecord) -> HealthProblem | None:
    word = battery_word(record.reading("battery_health"))
    if word in BAD_BATTERY:
        return HealthProblem(f"its battery reports {word}", _SWOLLEN)
    if word == "overheat":
        cure = f"let it cool off its power; if it comes again, {_SWOLLEN}"
        return HealthProblem("its battery reports overheat", cure)
    if word == "cold":
        return HealthProblem("its battery reports cold", "warm the room", hands=False)
    return None


def _capacity(record: HealthRecord) -> HealthProblem | None:
    capacity = record.reading("capacity_pct")
    if not isinstance(capacity, Measured) or capacity.value >= CAPACITY_LEAST_PCT:
        return None
    return HealthProblem(f"its battery holds {capacity.value:.0f} % of its design", _SWOLLEN)


def _starving(record: HealthRecord) -> HealthProblem | None:
    level, power = record.reading("battery_level_pct"), record.reading("power_state_external")
    if not isinstance(level, Measured) or not isinstance(power, Measured) or power.value:
        return None
    if level.value >= LEVEL_LEAST_PCT:
        return None
    return HealthProblem(f"battery {level.value:.0f} % and nothing charges it", "plug it in; look at cable and hub")


def _storage(record: HealthRecord) -> HealthProblem | None:
    free = record.reading("storage_free_mb")
    if not isinstance(free, Measured) or free.value >= STORAGE_LEAST_MB:
        return None
    return HealthProblem(f"{free.value / 1000:.1f} GB of storage free", "remove apps and files from it")

"""Looks at the health of phones, each kept in the store with its phone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from device_agents.base import DeviceAgent
from harness import limits
from harness.errors import FarmError
from harness.leases import blocker, identity_of_this_process
from harness.model import (
    HEALTH_READINGS,
    MEGABYTE,
    Attached,
    Device,
    HealthRecord,
    Inventory,
    LeaseInfo,
    Measured,
    Reading,
    Unavailable,
)
from harness.phone_memory import REST_S, PhoneMemory
from harness.plan import ResolvedDevice, resolve_devices
from harness.store import DeviceRecord, Store

HEALTH = "health"
"""Kind of the device records that hold looks; their key is the night, "" for a look by hand."""

QUIET_PCT = 10.0
"""Load by others up to which a phone is at rest, % of all cores; as the gates have it."""

CAPACITY_PCT = (5.0, 130.0)
"""What a battery can hold against its design; outside it, one of the two numbers is of something else."""

LEARNT_AFTER = 100
"""Cycles after which no battery holds exactly what it was designed for."""

_MOST_AT_ONCE = 8

OpenAgent = Callable[[ResolvedDevice], DeviceAgent]


@dataclass(frozen=True, slots=True)
class Look:
    """How a look at a phone went. Args: record: what was seen, or None with the `reason`."""

    device_id: str
    record: HealthRecord | None
    reason: str = ""


def look_at(
    agent: DeviceAgent, device: ResolvedDevice, *, at: float, night: str = "", listed: bool = True, rested: bool = True
) -> HealthRecord:
    """Ask a phone for everything that tells of its health; changes nothing on it.

    Args:
        at: now, Unix seconds. night: that the look belongs to.
        listed: its entry stands in the inventory. rested: nothing of farm worked on it for some minutes.

    Raises:
        FarmError: it cannot be asked.
    """
    found = dict(agent.telemetry.snapshot(limit_s=limits.SHELL_S))
    seen = agent.conditions.read(limit_s=limits.SHELL_S, quiet_pct=QUIET_PCT).readings
    facts, attached = device.facts, device.attached
    found["capacity_pct"] = capacity_of(found)
    found["temperature_rest_c"] = _at_rest(found["battery_temperature_c"], seen["other_load_pct"], rested)
    found["storage_free_mb"] = seen.get("storage_free_mb") or _free(facts.storage_free_bytes)
    return HealthRecord(
        identity=facts.identity,
        device_id=device.id,
        entry=device.entry.id if listed else "",
        tier=device.entry.tier,
        kind=facts.kind,
        model=facts.model,
        serials=tuple(dict.fromkeys((attached.serial, *attached.transports))),
        at=at,
        night=night,
        readings={name: found[name] for name in HEALTH_READINGS},
    )


def capacity_of(readings: Mapping[str, Reading]) -> Reading:
    """What the full battery holds against what it was designed for, %.

    A gauge that never learns gives its design back as the charge of the full battery: that measures nothing.

    Args: readings: charge_full_mah, charge_full_design_mah, cycle_count.
    """
    full, design, cycles = (readings[name] for name in ("charge_full_mah", "charge_full_design_mah", "cycle_count"))
    if isinstance(full, Unavailable):
        return full
    if isinstance(design, Unavailable):
        return design
    if full.value == design.value and isinstance(cycles, Measured) and cycles.value >= LEARNT_AFTER:
        return Unavailable(
            f"{full.source} is exactly the design capacity after {cycles.value:g} cycles: this gauge does not learn it"
        )
    share = 100 * full.value / design.value
    low, high = CAPACITY_PCT
    if not low <= share <= high:
        return Unavailable(
            f"{full.source} gives {full.value:g} mAh and {design.source} {design.value:g} mAh: both cannot be true"
        )
    return Measured(share, "%", f"{full.source} / {design.source}")


def look_at_all(
    store: Store,
    inventory: Inventory,
    attached: Iterable[Attached],
    open_agent: OpenAgent,
    *,
    night: str = "",
    clock: Callable[[], float] = time.time,
) -> tuple[Look, ...]:
    """Look at every attached phone that can be asked and that nobody works on, at once; the looks are stored.

    Args:
        night: that the looks belong to; a phone that was looked at in it already is not asked again.
    """
    devices = phones_of(inventory, attached)
    if not devices:
        return ()
    mine = {entry.id for entry in inventory.devices}

    def look(device: ResolvedDevice) -> Look:
        kept = store.latest_device_record(device.facts.identity, HEALTH, night) if night else None
        if kept is not None and (record := read_record(kept)) is not None:
            return Look(device.id, record)
        listed = device.entry.id in mine
        try:
            return _look(store, device, open_agent, night=night, at=clock(), listed=listed)
        except FarmError as error:
            return Look(device.id, None, error.message)

    with ThreadPoolExecutor(max_workers=min(len(devices), _MOST_AT_ONCE)) as pool:
        return tuple(pool.map(look, devices))


def phones_of(inventory: Inventory, attached: Iterable[Attached]) -> tuple[ResolvedDevice, ...]:
    """Attached devices that answer: those of the inventory, then the others, which go by their serial."""
    seen = tuple(attached)
    resolved = resolve_devices(inventory, seen)
    known = {device.attached.serial for device in resolved}
    others = (
        ResolvedDevice(each.serial, Device(each.serial, each.platform, ""), each)
        for each in seen
        if each.serial not in known
    )
    return tuple(device for device in (*resolved, *others) if device.attached.facts is not None)


def known_phones(store: Store) -> Mapping[str, HealthRecord]:
    """Identity → newest look, of every phone that was ever looked at."""
    found: dict[str, HealthRecord] = {}
    for stored in store.device_records(kind=HEALTH):
        record = read_record(stored)
        if record is not None and (record.identity not in found or found[record.identity].at <= record.at):
            found[record.identity] = record
    return found


def read_record(stored: DeviceRecord) -> HealthRecord | None:
    """The look in a device record; None for one that another version of farm wrote in another form."""
    try:
        return HealthRecord.from_json(stored.value)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def held_by(store: Store, agent: DeviceAgent, identity: str, *, own_person: bool, now: float) -> LeaseInfo | None:
    """Who works on a phone or has reserved it, by the database and by the phone itself; None: it is free.

    Args: own_person: the reservation of the person who runs this process does not count.
    Raises: FarmError: the phone cannot be asked.
    """
    me = identity_of_this_process()
    leases = (
        store.lease(identity),
        store.lease(identity, reserved=True),
        agent.lease.read(limit_s=limits.SHELL_S),
    )
    for lease in leases:
        if lease is None or lease.expires_at <= now:
            continue
        if blocker(me, lease, now=now) is not None or (lease.reserved and not own_person):
            return lease
    return None


def _look(store: Store, device: ResolvedDevice, open_agent: OpenAgent, *, night: str, at: float, listed: bool) -> Look:
    identity = device.facts.identity
    agent = open_agent(device)
    try:
        holder = held_by(store, agent, identity, own_person=True, now=at)
        if holder is not None:
            return Look(device.id, None, f"in use by {holder.owner}: not looked at")
        rested = PhoneMemory(store, identity, lambda: at).rested()
        record = look_at(agent, device, at=at, night=night, listed=listed, rested=rested)
    finally:
        agent.close()
    store.add_device_record(identity, HEALTH, night, at, record.to_json())
    return Look(device.id, record)


def _at_rest(temperature: Reading, load: Reading, rested: bool) -> Reading:
    if isinstance(temperature, Unavailable):
        return temperature
    if not rested:
        return Unavailable(f"farm has worked on the phone within the last {REST_S / 60:.0f} min")
    if isinstance(load, Measured) and load.value > QUIET_PCT:
        return Unavailable(f"others keep {load.value:.0f} % of its cores busy")
    return temperature


def _free(free_bytes: int | None) -> Reading:
    if free_bytes is None:
        return Unavailable("the device does not tell its free space")
    return Measured(free_bytes / MEGABYTE, "MB", "free space when it was found")

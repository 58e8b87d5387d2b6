"""The charge of phones at switched hub ports, held between two levels while nobody works with them.

Where the cable that feeds a phone also carries adb, a phone whose port is off cannot be asked: its level is then what
it was, less what it loses in that time, and none stays out of sight longer than `MOST_OFF_S`. What is off is written
down first (`device_agents.ports_off`), so that whoever takes phones next switches it on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from device_agents import ports_off, power
from device_agents.base import DeviceAgent
from device_agents.charging import BACK_S, NOTICE_S, HubCharging, reader
from device_agents.ports_off import PortOff
from harness import limits
from harness.errors import FarmError
from harness.lease_keeper import LeaseKeeper
from harness.leases import identity_of_this_process, is_alive
from harness.model import Attached, Charge, Device, Inventory, Measured, Reading, RunStatus, Unavailable, UsbPort
from harness.nightly.looks import OpenAgent, held_by, known_phones
from harness.phone_memory import USB_PORT
from harness.plan import ResolvedDevice, resolve_devices, usable
from harness.store import Store

MOST_OFF_S = 12 * 3600.0
"""How long a port stays off at most; a phone that rests unseen for longer may have been forgotten."""

UNKNOWN_DRAIN_PCT_PER_H = 10.0
"""What a phone loses where nobody knows: with its screen lit and its radio on, a small battery loses no more."""

IDLE_DRAIN = "idle_drain"
"""Kind of the device record of what a phone lost while its port was off, {pct_per_h, hours, before_pct, after_pct}."""

LEARNT_FROM_S = 3600.0
"""A shorter time off tells nothing: the level has steps of 1 %."""

_DRAINS = 5
"""Newest records of which the largest drain is taken."""

_RISE_PCT = 2.0
"""Higher by so much after a time off: the port did not cut the power. A battery at rest may gain 1 %."""

_POWER_S = 90.0
_LINK_GONE_S = 5.0
"""For how long a link has to be lost to have gone with the power."""

_LOOK_S = 1.0

PortWanted = Literal["on", "off", "keep"]
Discover = Callable[[], tuple[Attached, ...]]


@dataclass(frozen=True, slots=True)
class HeldCharge:
    """What was done about the charge of one phone.

    Args:
        action: "on" or "off": its port was switched; "keep": it stays as it is; "skipped", "failed": `text` says why.
        level_pct: of the battery, None where it is not known. estimated: it was not read but follows from the time off.
    """

    device_id: str
    action: Literal["on", "off", "keep", "skipped", "failed"]
    text: str
    level_pct: float | None = None
    estimated: bool = False
    advice: str = ""


def port_wanted(
    level: float | None,
    charging: bool,
    low: float,
    high: float,
    off_s: float = 0.0,
    drain_pct_per_h: float | None = None,
) -> PortWanted:
    """What is to become of the port of a phone: it charges up to `high`, then rests down to `low`. Pure.

    Args:
        level: percent, as it was read last; None where it is not known: then the phone charges.
        charging: its port is on.
        off_s: seconds without power since the level was read.
        drain_pct_per_h: what the phone loses in an hour without power; None: as much as any may lose.
    """
    if charging:
        return "off" if level is not None and level >= high else "keep"
    left = level_left(level, off_s, drain_pct_per_h)
    return "on" if left is None or left <= low or off_s >= MOST_OFF_S else "keep"


def level_left(level: float | None, off_s: float, drain_pct_per_h: float | None) -> float | None:
    """Percent that a phone has left at least after a time without power. Args: as for `port_wanted`."""
    if level is None:
        return None
    drain = UNKNOWN_DRAIN_PCT_PER_H if drain_pct_per_h is None else drain_pct_per_h
    return max(0.0, level - drain * off_s / 3600)


def hold_once(
    store: Store,
    inventory: Inventory,
    discover: Discover,
    open_agent: OpenAgent,
    *,
    clock: Callable[[], float] = time.time,
    run: power.Run | None = None,
    back_s: float = BACK_S,
) -> tuple[HeldCharge, ...]:
    """Look once at every phone that has a hub port in the inventory, and switch what is to be switched.

    A phone that is leased, reserved, or part of a run that is under way is left alone.

    Args:
        inventory: nothing is done where its `nightly.charge` is not given.
        discover: finds what is attached. open_agent: opens the agent of a phone.
        run: runs uhubctl; None: the one that is installed. back_s: how long a phone may take to be listed again.
    """
    charge = inventory.nightly.charge
    if charge is None:
        return ()
    me = identity_of_this_process()
    keeper = LeaseKeeper(store, replace(me, owner=f"{me.owner}, holds the charge"))
    try:
        holding = _Holding(store, inventory, charge, discover, open_agent, keeper, clock, run, back_s)
        return tuple(holding.every_phone())
    finally:
        keeper.close()


@dataclass(frozen=True, slots=True)
class _Holding:
    """One pass over the phones; arguments as for `hold_once`."""

    store: Store
    inventory: Inventory
    charge: Charge
    discover: Discover
    open_agent: OpenAgent
    keeper: LeaseKeeper
    clock: Callable[[], float]
    run: power.Run | None
    back_s: float

    def every_phone(self) -> Iterator[HeldCharge]:
        resolved = resolve_devices(self.inventory, self.discover())
        notes = {entry.port: entry for entry in ports_off.noted()}
        at_work = _at_work(self.store)
        for entry in self.inventory.devices:
            if entry.usb is None:
                continue
            phones = [device for device in resolved if device.entry.id == entry.id]
            try:
                yield self._one(entry, entry.usb, phones, notes.get(entry.usb), at_work)
            except FarmError as error:
                yield HeldCharge(entry.id, "failed", error.message, advice=error.advice)

    def _one(
        self,
        entry: Device,
        port: UsbPort,
        phones: Sequence[ResolvedDevice],
        note: PortOff | None,
        at_work: frozenset[str],
    ) -> HeldCharge:
        if len(phones) > 1:
            return HeldCharge(entry.id, "skipped", "its entry means several phones, and one port feeds one")
        if note is not None and _is_anothers(note):
            return HeldCharge(entry.id, "skipped", f"its port is in the hands of process {note.pid}")
        phone = phones[0] if phones else None
        if note is not None and (phone is None or phone.attached.over_network):
            return self._in_the_dark(entry, port, phone, note)
        if note is not None:
            # It is listed over its cable: somebody has switched the port on, or the hub lost its own power.
            power.switch(port, True, limit_s=_POWER_S, run=self.run)
        if phone is None:
            return HeldCharge(entry.id, "skipped", "not attached")
        if not usable(phone.attached):
            return HeldCharge(phone.id, "skipped", phone.attached.state.value.replace("_", " "))
        if phone.facts.identity in at_work:
            return HeldCharge(phone.id, "skipped", "it takes part in a run that is under way")
        return self._at_its_power(phone, port)

    def _at_its_power(self, phone: ResolvedDevice, port: UsbPort) -> HeldCharge:
        """A phone whose port is on."""
        proof = self.store.latest_device_record(phone.facts.identity, USB_PORT, f"{port.hub}:{port.port}")
        if proof is not None and proof.value.get("proven") is False:
            return HeldCharge(phone.id, "skipped", f"its port does not cut its power: {proof.value.get('text')}")
        agent = self.open_agent(phone)
        try:
            holder = held_by(self.store, agent, phone.facts.identity, own_person=False, now=self.clock())
            if holder is not None:
                return HeldCharge(phone.id, "skipped", f"in use by {holder.owner}")
            level = _level(agent)
            if isinstance(level, Unavailable):
                return HeldCharge(phone.id, "keep", f"it charges; its level is not known: {level.reason}")
            if port_wanted(level.value, True, self.charge.low_pct, self.charge.high_pct) == "keep":
                return HeldCharge(phone.id, "keep", f"it charges up to {self.charge.high_pct:g} %", level.value)
            return self._switch_off(phone, agent, port, level.value)
        finally:
            agent.close()

    def _switch_off(self, phone: ResolvedDevice, agent: DeviceAgent, port: UsbPort, level: float) -> HeldCharge:
        control = HubCharging(port, reader(agent), run=self.run, notice_s=NOTICE_S, gone_s=_LINK_GONE_S, held_pct=level)
        reason = control.impossible()
        if reason:
            return HeldCharge(phone.id, "skipped", reason, level)
        holder = self.keeper.acquire(phone, agent)
        if holder is not None:
            return HeldCharge(phone.id, "skipped", f"in use by {holder.owner}", level)
        try:
            cut = control.off(limit_s=_POWER_S, away_s=MOST_OFF_S)
        finally:
            self.keeper.release(phone, agent)
        return HeldCharge(phone.id, "off", cut.text, level)

    def _in_the_dark(self, entry: Device, port: UsbPort, phone: ResolvedDevice | None, note: PortOff) -> HeldCharge:
        """A phone whose port is off; it can be asked only where another way leads to it."""
        off_s = max(0.0, self.clock() - note.since)
        fresh = self._ask(phone) if phone is not None and usable(phone.attached) else None
        estimated = not isinstance(fresh, Measured)
        # What was read a moment ago needs no guess at what was lost since.
        level, since_s = (fresh.value, 0.0) if isinstance(fresh, Measured) else (note.held_pct, off_s)
        drain = self._drain(entry)
        left = level_left(level, since_s, drain)
        wanted = port_wanted(level, False, self.charge.low_pct, self.charge.high_pct, since_s, drain)
        if wanted == "keep":
            text = f"off its power for {off_s / 3600:.1f} h; on again at {self.charge.low_pct:g} %"
            return HeldCharge(entry.id, "keep", text, left, estimated)
        power.switch(port, True, limit_s=_POWER_S, run=self.run)
        back = self._await_back(entry)
        if back is None:
            return HeldCharge(
                entry.id,
                "failed",
                f"its port is on again, but it was not listed within {self.back_s:g} s",
                advice="look at its cable and hub; a phone that ran empty takes some minutes to start",
            )
        seen = self._ask(back)
        if isinstance(seen, Unavailable):
            return HeldCharge(back.id, "on", f"its port is on again; its level is not known: {seen.reason}")
        return self._after(back, port, note, off_s, seen.value)

    def _after(self, phone: ResolvedDevice, port: UsbPort, note: PortOff, off_s: float, level: float) -> HeldCharge:
        """Learn from a time off, now that the phone can be asked again."""
        if note.held_pct is None or off_s < LEARNT_FROM_S:
            return HeldCharge(phone.id, "on", "its port is on again", level)
        identity, hours = phone.facts.identity, off_s / 3600
        if level >= note.held_pct + _RISE_PCT:
            text = f"it went from {note.held_pct:g} to {level:g} % in {hours:.1f} h with its port off"
            key = f"{port.hub}:{port.port}"
            self.store.add_device_record(identity, USB_PORT, key, self.clock(), {"proven": False, "text": text})
            advice = "check `usb` of the device against `uhubctl`; then: farm doctor --prove-power"
            return HeldCharge(phone.id, "failed", f"its port does not cut its power: {text}", level, advice=advice)
        # One percent more than was seen: both levels are rounded.
        lost = {"pct_per_h": max(0.0, note.held_pct - level) / hours + 1 / hours, "hours": hours}
        lost |= {"before_pct": note.held_pct, "after_pct": level}
        self.store.add_device_record(identity, IDLE_DRAIN, "", self.clock(), lost)
        text = f"its port is on again after {hours:.1f} h, in which it lost {note.held_pct - level:.0f} %"
        return HeldCharge(phone.id, "on", text, level)

    def _drain(self, entry: Device) -> float | None:
        """What the phone of an entry loses in an hour without power, at most; None where it was never seen."""
        phones = [record for record in known_phones(self.store).values() if record.entry == entry.id]
        newest = max(phones, key=lambda record: record.at, default=None)
        if newest is None:
            return None
        seen = self.store.device_records(newest.identity, IDLE_DRAIN)[-_DRAINS:]
        return max((float(record.value["pct_per_h"]) for record in seen), default=None)

    def _ask(self, phone: ResolvedDevice) -> Reading:
        try:
            agent = self.open_agent(phone)
            try:
                return _level(agent)
            finally:
                agent.close()
        except FarmError as error:
            return Unavailable(error.message)

    def _await_back(self, entry: Device) -> ResolvedDevice | None:
        """The phone of an entry as soon as it answers over its cable; None when it does not."""
        deadline = time.monotonic() + self.back_s
        while True:
            for device in resolve_devices(self.inventory, self.discover()):
                if device.entry.id == entry.id and usable(device.attached):
                    return device
            if time.monotonic() >= deadline:
                return None
            threading.Event().wait(_LOOK_S)


def _level(agent: DeviceAgent) -> Reading:
    found = agent.telemetry.snapshot(limit_s=limits.SHELL_S)
    return found.get("battery_level_pct", Unavailable("the phone does not tell its level"))


def _is_anothers(note: PortOff) -> bool:
    """Whether another process that lives has switched the port off."""
    me = identity_of_this_process()
    return (note.host, note.pid) != (me.host, me.pid) and note not in ports_off.left_off()


def _at_work(store: Store) -> frozenset[str]:
    """Identities of the phones of runs that other living processes drive."""
    me = identity_of_this_process()
    found = [
        run
        for run in store.runs()
        if run.status is RunStatus.RUNNING
        and (run.host, run.pid) != (me.host, me.pid)
        and is_alive(run.host, run.pid, run.pid_started)
    ]
    return frozenset(case.identity for run in found for case in store.cases(run.id))

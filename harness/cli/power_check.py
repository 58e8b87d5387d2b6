"""What `farm doctor` says of a phone's power: whether energy can be measured on it, and the proof of its hub port."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal

from harness.cli import compose
from harness.errors import FarmError

if TYPE_CHECKING:
    from device_agents.base import DeviceAgent
    from harness.analysis.gauge import GaugeCalibration
    from harness.cli.main import Context
    from harness.lease_keeper import LeaseKeeper
    from harness.model import Inventory, Reading
    from harness.plan import ResolvedDevice
    from harness.store import Store

Row = tuple[str, Literal["ok", "warning", "problem"], str, str]
"""Subject, level, text and advice of a finding."""

GAUGE_RECORD = "gauge"

_ASK_S = 10.0
_OTHERS_DO = "every other figure can be measured as it is"


def energy_rows(context: Context, inventory: Inventory, devices: Iterable[ResolvedDevice]) -> Iterator[Row]:
    """Whether energy can be measured on each phone, and why; asks the phones, switches nothing."""
    from harness.model import Platform
    from harness.plan import usable

    for device in devices:
        if device.entry.platform is Platform.LOCAL or not usable(device.attached):
            continue
        try:
            yield _energy_row(context, inventory, device)
        except FarmError as error:
            yield f"energy on {device.id}", "warning", error.message, error.advice


def _energy_row(context: Context, inventory: Inventory, device: ResolvedDevice) -> Row:
    from device_agents.power import switchable
    from harness.energy_outlook import energy_outlook

    usb = device.entry.usb
    reason = switchable(usb) if usb is not None else ""
    proven, gauge = known(context, device)
    outlook = energy_outlook(
        platform=device.entry.platform,
        kind=device.facts.kind,
        over_network=device.attached.over_network,
        usb=None if reason else usb,
        proven=proven,
        external=_external(compose.opener(inventory)(device)),
        gauge=gauge,
    )
    text = f"{outlook.why}; {reason}" if reason else outlook.why
    if outlook.possible and not reason:
        return f"energy on {device.id}", "ok", f"can be measured: {text}", ""
    word = "can be measured" if outlook.possible else "cannot be measured now"
    return (
        f"energy on {device.id}",
        "warning",
        f"{word}: {text}",
        "" if outlook.possible else "other figures do not need it",
    )


def known(context: Context, device: ResolvedDevice) -> tuple[bool | None, GaugeCalibration | None]:
    """Whether its port was proven, and the calibration of its gauge, as stored."""
    from harness.analysis.gauge import GaugeCalibration
    from harness.phone_memory import USB_PORT
    from harness.store import Store

    usb, identity = device.entry.usb, device.facts.identity
    if not Store.exists(context.db_url):
        return None, None
    with Store.open(context.db_url) as store:
        proof = store.latest_device_record(identity, USB_PORT, f"{usb.hub}:{usb.port}") if usb is not None else None
        record = store.latest_device_record(identity, GAUGE_RECORD)
    try:
        gauge = GaugeCalibration.from_json(record.value) if record is not None else None
    except (ValueError, TypeError):
        gauge = None
    return (None if proof is None else proof.value.get("proven")), gauge


def _external(agent: DeviceAgent) -> Reading:
    from device_agents.charging import reader

    try:
        return reader(agent)(_ASK_S)
    finally:
        agent.close()


def proof_rows(context: Context, inventory: Inventory, devices: Iterable[ResolvedDevice]) -> Iterator[Row]:
    """Switch the hub port of each phone that has one off and on, and say what the phone noticed; kept in the database.

    A phone that somebody uses is left alone.
    """
    from harness.lease_keeper import LeaseKeeper
    from harness.leases import identity_of_this_process
    from harness.model import Platform
    from harness.plan import usable
    from harness.store import Store

    chosen = [
        device
        for device in devices
        if device.entry.usb is not None and device.entry.platform is Platform.ANDROID and usable(device.attached)
    ]
    if not chosen:
        yield (
            "USB power",
            "warning",
            "no attached phone has a hub port in the inventory",
            "name it as `usb` of the device",
        )
        return
    with Store.open(context.db_url) as store:
        keeper = LeaseKeeper(store, identity_of_this_process())
        try:
            for device in chosen:
                agent = compose.opener(inventory)(device)
                try:
                    yield _proof_row(store, keeper, device, agent)
                except FarmError as error:
                    yield f"USB power of {device.id}", "problem", error.message, error.advice
                finally:
                    agent.close()
        finally:
            keeper.close()


def _proof_row(store: Store, keeper: LeaseKeeper, device: ResolvedDevice, agent: DeviceAgent) -> Row:
    from device_agents.charging import prove_port
    from device_agents.samples import parse_samples
    from harness.phone_memory import USB_PORT

    usb, subject = device.entry.usb, f"USB power of {device.id}"
    assert usb is not None
    holder = keeper.acquire(device, agent)
    if holder is not None:
        return subject, "warning", f"not tried: {holder.owner} uses the phone", "try again when it is free"
    try:
        proof = prove_port(agent, usb, parse_samples)
    finally:
        keeper.release(device, agent)
    if proof.proven is not None:
        value = {"proven": proof.proven, "text": proof.text}
        store.add_device_record(device.facts.identity, USB_PORT, f"{usb.hub}:{usb.port}", time.time(), value)
        return subject, "ok" if proof.proven else "problem", proof.text, "" if proof.proven else _WRONG_PORT
    return subject, "warning", f"could not be told: {proof.text}", "see to it and prove it again"


_WRONG_PORT = "check `usb` of the device against `uhubctl`, or use a hub that really switches power"

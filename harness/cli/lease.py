"""farm reserve, release: keep a phone for yourself, in the database and on the phone itself."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from harness import limits
from harness.errors import ErrorClass, Transient, UsageError

if TYPE_CHECKING:
    from device_agents.base import DeviceAgent
    from harness.cli.main import Context
    from harness.model import LeaseInfo
    from harness.plan import ResolvedDevice

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_LONGEST_S = 30 * 86_400


class Span(click.ParamType[float]):
    """A length of time: "90m", "2h", "1d"; seconds as float."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)", str(value).strip())
        if found is None:
            self.fail(f"{value!r} is no length of time: write 90m, 2h or 1d", param, ctx)
        seconds = float(found[1]) * _UNITS[found[2]]
        if not 0 < seconds <= _LONGEST_S:
            self.fail(f"{value!r} is not between 1s and 30d", param, ctx)
        return seconds


@click.command()
@click.argument("device", metavar="ID")
@click.option("--for", "span", type=Span(), default="2h", show_default=True, help="How long: 90m, 2h, 1d.")
@click.pass_obj
def reserve(context: Context, device: str, span: float) -> None:
    """Keep a phone for yourself: nobody else's run takes it, yours still do."""
    from harness.cli import words
    from harness.leases import identity_of_this_process
    from harness.store import Store

    expires_at = time.time() + span
    resolved, agent = _open(context, device)
    lease = replace(identity_of_this_process(), identity=resolved.facts.identity, expires_at=expires_at, reserved=True)
    try:
        with Store.open(context.db_url) as store:
            _refuse(resolved, lease, store.acquire_lease(lease))
            try:
                _refuse(resolved, lease, _on_device(agent, lease))
            except BaseException:
                store.release_lease(lease)
                raise
    finally:
        agent.close()
    if context.json:
        words.print_json({"device": resolved.id, "owner": lease.owner, "expires_at": lease.expires_at})
    else:
        click.echo(f"{resolved.id} is reserved for {lease.owner} until {words.moment(expires_at)}")


@click.command()
@click.argument("device", metavar="ID")
@click.pass_obj
def release(context: Context, device: str) -> None:
    """Give a reserved phone back."""
    from harness.cli import words
    from harness.leases import identity_of_this_process, person
    from harness.store import Store

    resolved, agent = _open(context, device)
    me = replace(identity_of_this_process(), identity=resolved.facts.identity, reserved=True)
    try:
        with Store.open(context.db_url) as store:
            found = (store.lease(me.identity, reserved=True), _reservation_on(agent))
            held = [lease for lease in found if lease is not None]
            for lease in held:
                if person(lease) != person(me):
                    raise UsageError(f"{resolved.id} is reserved by {lease.owner}; only they can release it")
            store.release_lease(me)
            for lease in held:
                agent.lease.release(lease, limit_s=limits.SHELL_S)
    finally:
        agent.close()
    if context.json:
        words.print_json({"device": resolved.id, "released": bool(held)})
    else:
        click.echo(f"{resolved.id} is free again" if held else f"{resolved.id} was not reserved")


def _open(context: Context, name: str) -> tuple[ResolvedDevice, DeviceAgent]:
    """The attached, usable device called `name` (id, or id of an entry that means one phone) and its agent."""
    from harness.cli import compose
    from harness.plan import Selection, resolve_devices, select_devices

    inventory = compose.load_inventory(context).inventory
    attached = compose.discover_to_use(inventory)
    chosen = select_devices(inventory, Selection("", devices=(name,)), resolve_devices(inventory, attached))
    usable = compose.require_usable(f"device {name}", chosen, attached)
    if len(usable) > 1:
        raise UsageError(f"{name} means several phones: {', '.join(device.id for device in usable)}")
    return usable[0], compose.opener(inventory)(usable[0])


def _refuse(device: ResolvedDevice, lease: LeaseInfo, holder: LeaseInfo) -> None:
    """Raises Transient, naming the holder, unless it is `lease`."""
    if holder == lease:
        return
    from harness.cli import words

    raise Transient(
        f"{'reserved' if holder.reserved else 'in use'} by {holder.owner} until {words.moment(holder.expires_at)}",
        error_class=ErrorClass.DEVICE_LEASED,
        advice="wait, ask them to give it back, or take another phone",
        device=device.id,
    )


def _on_device(agent: DeviceAgent, lease: LeaseInfo) -> LeaseInfo:
    """Put the reservation on the phone, in place of an older one of the same person; returns the holder."""
    from harness.leases import person

    holder = agent.lease.acquire(lease, limit_s=limits.SHELL_S)
    if holder != lease and holder.reserved and person(holder) == person(lease):
        agent.lease.release(holder, limit_s=limits.SHELL_S)
        holder = agent.lease.acquire(lease, limit_s=limits.SHELL_S)
    return holder


def _reservation_on(agent: DeviceAgent) -> LeaseInfo | None:
    """The reservation that the phone itself holds, unless it has run out."""
    held = agent.lease.read(limit_s=limits.SHELL_S)
    return held if held is not None and held.reserved and held.expires_at > time.time() else None

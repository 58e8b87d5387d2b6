"""`farm quarantine`: phones whose results are kept apart."""

from __future__ import annotations

import difflib
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from harness.errors import FarmError, UsageError

if TYPE_CHECKING:
    from harness.cli.main import Context
    from harness.model import Quarantine


@click.group()
def quarantine() -> None:
    """Phones whose results are kept apart: show them, put one there, let one out."""


@quarantine.command()
@click.pass_obj
def show(context: Context) -> None:
    """List the phones in quarantine, since when and why."""
    from harness.cli import output, words

    held = current(context)
    if context.json:
        words.print_json({"quarantined": [asdict(each) for each in held.values()]})
    elif held:
        body = [(each.device_id, words.moment(each.since), each.author, each.reason) for each in held.values()]
        output.print_table("In quarantine", ("phone", "since", "by", "why"), body)
    else:
        click.echo("no phone is in quarantine")


@quarantine.command(name="set")
@click.argument("device", metavar="ID")
@click.option("--reason", required=True, help="Why its figures are not to be trusted.")
@click.pass_obj
def put(context: Context, device: str, reason: str) -> None:
    """Keep the results of a phone apart from now on; it is measured all the same."""
    from harness.cli import words
    from harness.leases import identity_of_this_process
    from harness.model import Quarantine
    from harness.nightly import quarantine as rules
    from harness.store import Store

    if not reason.strip():
        raise UsageError("--reason: say in words why")
    identity, device_id = _phone(context, device)
    held = Quarantine(identity, device_id, reason.strip(), time.time(), identity_of_this_process().owner)
    with Store.open(context.db_url) as store:
        rules.put(store, held)
    if context.json:
        words.print_json(asdict(held))
    else:
        click.echo(words.visible(f"{device_id} is in quarantine: {held.reason}"))


@quarantine.command()
@click.argument("device", metavar="ID")
@click.option("--reason", default="", help="Why its figures are to be trusted again.")
@click.pass_obj
def lift(context: Context, device: str, reason: str) -> None:
    """Let a phone out; what was known before does not put it back."""
    from harness.cli import words
    from harness.leases import identity_of_this_process
    from harness.nightly import quarantine as rules
    from harness.store import Store

    inside = current(context).values()
    held = [each for each in inside if device in (each.device_id, each.identity)]
    if not held:
        there = ", ".join(each.device_id for each in inside) or "none"
        raise UsageError(f"{device!r} is not in quarantine (there are: {there})")
    if len(held) > 1:
        serials = ", ".join(each.identity for each in held)
        raise UsageError(f"{device!r} means several phones; name one by its serial: {serials}")
    with Store.open(context.db_url) as store:
        rules.lift(store, held[0], author=identity_of_this_process().owner, reason=reason.strip(), at=time.time())
    if context.json:
        words.print_json({"device_id": held[0].device_id, "identity": held[0].identity, "lifted": True})
    else:
        click.echo(words.visible(f"{held[0].device_id} is out of quarantine"))


def current(context: Context) -> Mapping[str, Quarantine]:
    """Identity → quarantine of now; empty without a database."""
    from harness.nightly import quarantine as rules
    from harness.store import Store

    if not Store.exists(context.db_url):
        return {}
    with Store.open(context.db_url) as store:
        return rules.current(store)


def _phone(context: Context, name: str) -> tuple[str, str]:
    """(identity, id) of the phone called `name`: as it is attached now, else as it was when it was looked at last.

    Raises UsageError where there is none, or several.
    """
    seen: list[str] = []
    for ids in (_attached(context), _known(context)):
        found = [identity for identity, device_id in ids.items() if name in (device_id, identity)]
        if len(found) == 1:
            return found[0], ids[found[0]]
        if found:
            raise UsageError(f"{name!r} means several phones; name one by its serial: {', '.join(found)}")
        seen += ids.values()
    near = difflib.get_close_matches(name, seen, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    there = ", ".join(dict.fromkeys(seen)) or "none"
    raise UsageError(f"no phone {name!r} is attached or known{hint} (there are: {there})")


def _attached(context: Context) -> dict[str, str]:
    """Identity → id of the phones that are attached now; none where nobody can be asked."""
    from harness.cli import compose
    from harness.model import Inventory
    from harness.nightly.looks import phones_of

    loaded = compose.inventory_if_any(context)
    inventory = loaded.inventory if loaded else Inventory(version=1)
    try:
        return {device.facts.identity: device.id for device in phones_of(inventory, compose.discover(inventory))}
    except FarmError:
        return {}


def _known(context: Context) -> dict[str, str]:
    """Identity → id of the phones that were ever looked at; of several with one id the newest."""
    from harness.nightly.looks import known_phones
    from harness.store import Store

    if not Store.exists(context.db_url):
        return {}
    with Store.open(context.db_url) as store:
        records = sorted(known_phones(store).values(), key=lambda record: record.at)
    newest = {record.device_id: record.identity for record in records}
    return {identity: device_id for device_id, identity in newest.items()}

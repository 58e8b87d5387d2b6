"""`farm devices` and `farm init`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.main import Context

if TYPE_CHECKING:
    from harness.model import Attached, Inventory, Quarantine


@click.command()
@click.pass_obj
def devices(context: Context) -> None:
    """Show every attached phone and what to do about it."""
    from harness.cli import compose, quarantine

    loaded = compose.inventory_if_any(context)
    inventory = loaded.inventory if loaded else None
    rows = _rows(inventory, compose.discover(inventory), quarantine.current(context))
    if context.json:
        click.echo(json.dumps({"devices": rows}, ensure_ascii=False))
        return
    _print(rows)
    _print_held(inventory)


def _rows(
    inventory: Inventory | None, attached: tuple[Attached, ...], quarantined: Mapping[str, Quarantine]
) -> list[dict[str, Any]]:
    from harness.plan import resolve_devices

    known = {}
    if inventory is not None:
        known = {device.attached.serial: device for device in resolve_devices(inventory, attached)}
    rows = []
    for device in attached:
        entry, facts = known.get(device.serial), device.facts
        apart = quarantined.get(facts.identity) if facts else None
        advice = device.advice
        if not advice and inventory is not None and entry is None:
            advice = "not in the inventory: add it (`farm init` drafts an entry)"
        rows.append(
            {
                "id": entry.id if entry else None,
                "serial": device.serial,
                "transports": list(device.transports),
                "platform": device.platform.value,
                "kind": facts.kind.value if facts else None,
                "model": facts.model if facts else None,
                "soc": facts.soc or None if facts else None,
                "os_version": facts.os_version if facts else None,
                "abis": list(facts.abis) if facts else None,
                "ram_bytes": facts.ram_bytes if facts else None,
                "storage_free_bytes": facts.storage_free_bytes if facts else None,
                "tier": entry.entry.tier if entry else None,
                "state": device.state.value,
                "advice": advice,
                "quarantine": apart.reason if apart else None,
                "checks": [asdict(check) for check in device.checks],
            }
        )
    return rows


def _print(rows: list[dict[str, Any]]) -> None:
    from harness.cli import output
    from harness.model import DeviceKind

    if not rows:
        click.echo(
            "no phone is attached. Plug one in (Android: switch on USB debugging in its developer options; iPhone:"
        )
        click.echo("tap Trust), or try virtual ones: farm lab up")
        return
    body = []
    for row in rows:
        kind = DeviceKind(row["kind"]) if row["kind"] else DeviceKind.PHONE
        body.append(
            (
                output.device_name(row["id"] or "-", kind),
                row["serial"],
                row["model"] or "unknown",
                row["soc"] or "unknown",
                _os_of(row),
                ", ".join(row["abis"] or ()) or "unknown",
                output.gigabytes(row["ram_bytes"]),
                output.gigabytes(row["storage_free_bytes"]),
                row["tier"] or "-",
                row["state"] + (", quarantined" if row["quarantine"] else ""),
                row["advice"] or _apart(row),
            )
        )
    titles = ("id", "serial", "model", "SoC", "OS", "ABI", "RAM", "free", "tier", "state", "what to do")
    output.print_table("Attached devices", titles, body)


def _apart(row: dict[str, Any]) -> str:
    """What a quarantine means for a phone that is else in order."""
    return f"its results are kept apart: {row['quarantine']}" if row["quarantine"] else ""


def _print_held(inventory: Inventory | None) -> None:
    """Say which phones are not listed because farm keeps their ports off."""
    from device_agents.ports_off import held_ports

    held = held_ports()
    ids = [entry.id for entry in inventory.devices if entry.usb in held] if inventory is not None else []
    if ids:
        click.echo(f"off their power to hold their charge: {', '.join(ids)}; any run takes them back")


def _os_of(row: dict[str, Any]) -> str:
    """Name and version of the system."""
    from harness.model import Platform

    version = row["os_version"]
    return f"{Platform(row['platform']).system} {version}" if version else "unknown"


@click.command()
@click.option("-o", "--out", type=click.Path(path_type=Path), help="File to write.  [default: the global --inventory]")
@click.option("--force", is_flag=True, help="Overwrite the file.")
@click.pass_obj
def init(context: Context, out: Path | None, force: bool) -> None:
    """Draft an inventory from the attached phones, with a proposed tier for each and why."""
    from harness.cli import compose
    from harness.drafting import draft, render
    from harness.errors import NoDeviceError, UsageError

    target = out or context.inventory
    if target.exists() and not force:
        raise UsageError(f"{target} exists already; write elsewhere with -o FILE, or overwrite it with --force")
    attached = compose.discover(None)
    usable = [device for device in attached if device.facts is not None]
    if not usable:
        raise NoDeviceError(
            f"no phone that answers is attached:\n{compose.describe_attached(attached)}\n"
            "  what to do: `farm devices` says what each needs; virtual phones: `farm lab up`"
        )
    drafted = draft(usable)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(render(drafted), encoding="utf-8")
    if context.json:
        rows = [{"id": each.id, "serial": each.serial, "tier": each.tier, "why": each.why} for each in drafted]
        click.echo(json.dumps({"inventory": str(target), "devices": rows}, ensure_ascii=False))
        return
    for each in drafted:
        click.echo(f"{each.id}: {each.tier}, because {each.why}")
    click.echo(f"wrote {target}; look it over, then: farm doctor")

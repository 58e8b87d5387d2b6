"""`farm lab up|status|down`: virtual phones on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from device_agents.virtual.iphone.lab import IphoneInfo
    from device_agents.virtual.lab import LabInfo, LabPhone, Wish

DEFAULT_PHONES = 3
_NAME = click.option("--name", default="default", show_default=True, help="Several labs may be up, told apart by name.")


@click.group()
def lab() -> None:
    """Virtual phones and iPhones: real protocols and real processes, simulated sensors. No root, no Docker."""


@lab.command()
@_NAME
@click.option(
    "--phones", type=click.IntRange(1, 32), help=f"How many.  [default: {DEFAULT_PHONES}, or those of --phone]"
)
@click.option("--profile", "profiles", multiple=True, help="Model of the phones, taken in turn; repeatable.")
@click.option("--behaviour", "behaviours", multiple=True, help="Habit of all of them, e.g. deny_settings; repeatable.")
@click.option(
    "--phone",
    "single",
    multiple=True,
    metavar="PROFILE[@IOS][+BEHAVIOUR...]",
    help="One phone with its own habits, e.g. iphone-15-pro or iphone-14@16+locked; repeatable.",
)
@click.option(
    "--inventory-out", type=click.Path(path_type=Path, dir_okay=False), help="Write an inventory of these phones."
)
@click.pass_context
def up(
    ctx: click.Context,
    name: str,
    phones: int | None,
    profiles: tuple[str, ...],
    behaviours: tuple[str, ...],
    single: tuple[str, ...],
    inventory_out: Path | None,
) -> None:
    """Start a lab; returns when every phone answers.

    Without --profile the shipped Android models are taken in turn, flagships first. iPhones are asked for by name.
    """
    from device_agents.virtual.lab import Lab

    started = Lab(name)
    info = started.up(_wishes(phones, profiles, behaviours, single))
    info = started.status() or info
    if inventory_out is not None:
        inventory_out.parent.mkdir(parents=True, exist_ok=True)
        inventory_out.write_text(inventory_text(info), encoding="utf-8")
    if ctx.obj.json:
        click.echo(json.dumps({**_as_json(info), "inventory": str(inventory_out) if inventory_out else None}))
        return
    _print(info)
    if inventory_out is not None:
        click.echo(f"inventory written: {inventory_out}  (farm --inventory {inventory_out} run --tier TIER)")
        if info.iphones:
            click.echo(f"their app: farm --inventory {inventory_out} runners build --target virtual-iphone")
    else:
        tools = [*(["adb"] if info.phones else []), *(["pymobiledevice3 and libimobiledevice"] if info.iphones else [])]
        click.echo(f"for {' and '.join(tools)} in this terminal:")
        for key, value in info.env.items():
            click.echo(f"  export {key}={value}")
    click.echo("take it down with: farm lab down" + ("" if name == "default" else f" --name {name}"))


def _wishes(
    phones: int | None, profiles: Sequence[str], behaviours: Sequence[str], single: Sequence[str]
) -> list[Wish]:
    from device_agents.virtual.errors import LabError
    from device_agents.virtual.lab import parse_wish, wishes
    from harness.errors import UsageError

    count = phones if phones is not None else 0 if single else max(DEFAULT_PHONES, len(profiles))
    try:
        return [*(parse_wish("+".join([text, *behaviours])) for text in single), *wishes(count, profiles, behaviours)]
    except LabError as unknown:
        raise UsageError(f"{unknown.message}: {unknown.advice}") from unknown


@lab.command()
@_NAME
@click.pass_context
def status(ctx: click.Context, name: str) -> None:
    """Show the phones of a lab and how they are."""
    from device_agents.virtual.lab import Lab, all_labs

    info = Lab(name).status()
    if ctx.obj.json:
        click.echo(json.dumps(_as_json(info) if info else {"name": name, "up": False}))
        return
    if info is not None:
        _print(info)
        return
    others = [other.name for other in all_labs() if other.name != name and other.status() is not None]
    click.echo(f"the lab {name!r} is not up" + (f" (up: {', '.join(others)})" if others else ""))


@lab.command()
@_NAME
@click.option("--all", "every", is_flag=True, help="Every lab of this user.")
@click.pass_context
def down(ctx: click.Context, name: str, every: bool) -> None:
    """End a lab with everything in it, or clean up after one that was killed."""
    from device_agents.virtual.lab import Lab, all_labs

    labs = all_labs() if every else [Lab(name)]
    ended = [each.name for each in labs if each.down()]
    if ctx.obj.json:
        click.echo(json.dumps({"down": ended}))
    else:
        click.echo(f"down: {', '.join(ended)}" if ended else "nothing was up")


def inventory_text(info: LabInfo) -> str:
    """The inventory of a lab: its phones by serial, where they are reached, the app of its iPhones, and all else as
    shipped."""
    from harness.artifacts.binaries import host_abi
    from harness.drafting import Drafted, render
    from harness.model import AdbEndpoint, Platform
    from harness.model import Lab as LabEntry
    from harness.supply import virtual_ipa

    why = "as its profile says"
    drafted = [
        Drafted(phone.id, phone.serial, phone.tier, why, Platform.ANDROID, f"{phone.title} (virtual phone)")
        for phone in info.phones
    ] + [
        Drafted(phone.id, phone.udid, phone.tier, why, Platform.IOS, f"{phone.title}, iOS {phone.ios} (virtual phone)")
        for phone in info.iphones
    ]
    lab = LabEntry(
        name=f"virtual lab {info.name}",
        adb=AdbEndpoint(host="127.0.0.1", port=info.adb_port) if info.adb_port else AdbEndpoint(),
        usbmux=info.usbmux or None,
        tunneld=info.tunneld or None,
    )
    name = virtual_ipa.app_id("llama.cpp", host_abi())
    app = {"id": name, "runtime": "llama.cpp", "platform": virtual_ipa.PLATFORM, "abi": host_abi()}
    return render(drafted, lab, runners=({**app, "path": f"runners/{name}.ipa"},) if info.iphones else ())


def _as_json(info: LabInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "up": True,
        "pid": info.pid,
        "adb": {"host": "127.0.0.1", "port": info.adb_port} if info.adb_port else None,
        "usbmux": info.usbmux or None,
        "tunneld": info.tunneld or None,
        "env": dict(info.env),
        "phones": [*map(_phone_as_json, info.phones), *map(_iphone_as_json, info.iphones)],
    }


def _phone_as_json(phone: LabPhone) -> dict[str, Any]:
    return {
        "id": phone.id,
        "kind": "virtual",
        "platform": "android",
        "serial": phone.serial,
        "adb_serials": list(phone.adb_serials),
        "profile": phone.profile,
        "model": phone.model,
        "tier": phone.tier,
        "behaviours": sorted(phone.behaviours),
        "plugged": phone.plugged,
        "running": phone.running,
        "pid": phone.pid,
        **phone.readings,
    }


def _iphone_as_json(phone: IphoneInfo) -> dict[str, Any]:
    return {
        "id": phone.id,
        "kind": "virtual",
        "platform": "ios",
        "serial": phone.udid,
        "profile": phone.profile,
        "model": phone.title,
        "os_version": phone.ios,
        "tier": phone.tier,
        "behaviours": sorted(phone.behaviours),
        "plugged": phone.plugged,
        **phone.readings,
    }


def _print(info: LabInfo) -> None:
    from harness.cli.output import print_table

    rows = [
        (
            f"{phone.id} (virtual phone)",
            phone.title,
            phone.tier,
            ", ".join(phone.adb_serials),
            phone.serial,
            ", ".join(sorted(phone.behaviours)) or "-",
            _condition(phone),
        )
        for phone in info.phones
    ] + [
        (
            f"{phone.id} (virtual phone)",
            f"{phone.title}, iOS {phone.ios}",
            phone.tier,
            "-",
            phone.udid,
            ", ".join(sorted(phone.behaviours)) or "-",
            _condition_of_iphone(phone),
        )
        for phone in info.iphones
    ]
    columns = ("phone", "model", "tier", "adb", "serial", "behaviours", "state")
    where = [f"adb server at 127.0.0.1:{info.adb_port}"] if info.adb_port else []
    where += [f"usbmuxd at {info.usbmux}, tunneld at {info.tunneld or 'none'}"] if info.usbmux else []
    print_table(f"lab {info.name}: {', '.join(where)}", columns, rows)


def _condition(phone: LabPhone) -> str:
    if phone.pid == 0:
        return "lets nobody in"
    if not phone.running:
        return "rebooting"
    if not phone.plugged:
        return "unplugged"
    if not phone.readings:
        return "up"
    values = phone.readings
    return (
        f"{float(values['temperature_c']):.0f} °C, battery {float(values['battery_level']):.0f} %, {values['charger']}"
    )


def _condition_of_iphone(phone: IphoneInfo) -> str:
    if not phone.plugged:
        return "unplugged"
    if not phone.readings:
        return "up"
    values = phone.readings
    return f"{values['thermal_state']}, battery {float(values['battery_level']):.0f} %, {values['charger']}"

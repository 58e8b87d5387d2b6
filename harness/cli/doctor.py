"""`farm doctor`: checks what a run stands on; each finding says what to do."""

from __future__ import annotations

import json
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from harness.cli.main import Context
from harness.errors import ErrorClass, FarmError, UsageError

if TYPE_CHECKING:
    from harness.inventory import LoadedInventory
    from harness.model import Attached, ErrorInfo, Inventory, ModelFile, RunnerBuild
    from harness.plan import Assets

MIN_FREE_BYTES = 2_000_000_000
"""Free disk for the database and fetched samples of a night."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: "ok", "warning" (a run works), "problem" (some case cannot run)."""

    subject: str
    level: Literal["ok", "warning", "problem"]
    text: str
    advice: str = ""


@click.command()
@click.option(
    "--prove-power",
    is_flag=True,
    help="Switch the hub port of each phone off and on for some seconds, and see what the phone itself says.",
)
@click.pass_obj
def doctor(context: Context, prove_power: bool) -> None:
    """Check host, adb server, phones, runners, models, disk."""
    findings = list(_examine(context, prove_power=prove_power))
    worst = any(finding.level == "problem" for finding in findings)
    if context.json:
        click.echo(json.dumps({"ok": not worst, "findings": [asdict(each) for each in findings]}, ensure_ascii=False))
    else:
        for finding in findings:
            sign = {"ok": "✓", "warning": "!", "problem": "✗"}[finding.level]
            click.echo(f"{sign} {finding.subject}: {finding.text}")
            if finding.advice:
                click.echo(f"    what to do: {finding.advice}")
    sys.exit(1 if worst else 0)


def _examine(context: Context, *, prove_power: bool) -> Iterator[Finding]:
    from harness.cli import compose, power_check
    from harness.plan import resolve_devices

    yield _host()
    yield _disk(context.state_dir)
    yield from _guarded("database", lambda: _database(context))
    loaded = None
    if context.inventory.is_file():
        try:
            loaded = compose.load_inventory(context)
            yield Finding("inventory", "ok", f"{context.inventory.name} is valid")
        except (FarmError, UsageError) as error:
            yield _failed("inventory", error)
    else:
        yield Finding("inventory", "warning", f"there is no {context.inventory}", "farm init drafts one")
    inventory = loaded.inventory if loaded else None
    yield from _power_left_off(inventory)
    try:
        attached = compose.discover(inventory)
    except (FarmError, UsageError) as error:
        yield _failed("phones", error)
        attached = ()
    else:
        yield Finding("phones", "ok", f"adb and the muxer answer; {len(attached)} devices")
    attached = tuple(_prepared(device, inventory) for device in attached)
    for device in attached:
        yield _device(device)
        yield from _checks(device)
    if loaded is not None:
        yield from _entries(loaded, attached)
        devices = resolve_devices(loaded.inventory, attached)
        if prove_power:
            for row in power_check.proof_rows(context, loaded.inventory, devices):
                yield Finding(*row)
        for row in power_check.energy_rows(context, loaded.inventory, devices):
            yield Finding(*row)
        yield from model_files(loaded, attached)
    elif prove_power:
        yield Finding("USB power", "problem", "not tried: there is no valid inventory", "name each phone's port there")


def _power_left_off(inventory: Inventory | None) -> Iterator[Finding]:
    """Hub ports that a farm which was killed has left off are switched on first: their phones are not even listed."""
    from harness.cli import compose

    try:
        for text, advice in compose.give_back_power(inventory):
            yield Finding("USB power", "problem" if advice else "warning", text, advice)
    except (FarmError, UsageError) as error:
        yield _failed("USB power", error)


def _guarded(subject: str, look: Callable[[], Finding]) -> Iterator[Finding]:
    try:
        yield look()
    except (FarmError, UsageError) as error:
        yield _failed(subject, error)


def _failed(subject: str, error: FarmError | UsageError) -> Finding:
    if isinstance(error, FarmError):
        return Finding(subject, "problem", error.message, error.advice)
    return Finding(subject, "problem", str(error), "correct it, then run farm doctor again")


def _host() -> Finding:
    return Finding("host", "ok", f"{platform.system()} {platform.machine()}, Python {platform.python_version()}")


def _disk(folder: Path) -> Finding:
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < MIN_FREE_BYTES:
        return Finding(
            "disk", "problem", f"{free / 1e9:.1f} GB free for results", "make room, or name another place with --db"
        )
    return Finding("disk", "ok", f"{free / 1e9:.1f} GB free for results")


def _database(context: Context) -> Finding:
    from harness.store import Store

    if not Store.exists(context.db_url):
        return Finding("database", "ok", "none yet; the first run makes it")
    with Store.open(context.db_url) as store:
        return Finding("database", "ok", f"{len(store.runs())} runs")


def _device(device: Attached) -> Finding:
    from harness.model import NOT_A_PHONE, DeviceState

    name = f"{device.serial} ({device.facts.model})" if device.facts else device.serial
    if device.state is not DeviceState.READY or device.facts is None:
        return Finding(name, "problem", device.state.value.replace("_", " "), device.advice)
    mark = f", {NOT_A_PHONE[device.facts.kind]}" if device.facts.kind in NOT_A_PHONE else ""
    free = device.facts.storage_free_bytes
    if free is not None and free < MIN_FREE_BYTES:
        return Finding(name, "warning", f"{free / 1e9:.1f} GB of storage free{mark}", "remove apps or files from it")
    return Finding(name, "ok", f"answers{mark}")


def _prepared(device: Attached, inventory: Inventory | None) -> Attached:
    """The device after what farm itself can do for it: an iPhone is asked for trust, and gets its developer image, for
    which the first time needs the internet."""
    from device_agents.ios.discovery import can_prepare, prepare
    from harness.model import Lab

    return prepare(device, inventory.lab if inventory is not None else Lab()) if can_prepare(device) else device


def _checks(device: Attached) -> Iterator[Finding]:
    """What a phone was looked at for."""
    for check in device.checks:
        level: Literal["ok", "warning", "problem"] = "warning" if check.level == "unknown" else check.level
        yield Finding(f"{device.serial} {check.name}", level, check.text, check.advice)


def _entries(loaded: LoadedInventory, attached: tuple[Attached, ...]) -> Iterator[Finding]:
    from harness.plan import resolve_devices

    resolved = resolve_devices(loaded.inventory, attached)
    here = {device.entry.id for device in resolved}
    known = {device.attached.serial for device in resolved}
    for entry in loaded.inventory.devices:
        if entry.id not in here:
            yield Finding(f"device {entry.id}", "warning", "is not attached", "attach it, or leave it out of the run")
    for device in attached:
        if device.facts is not None and device.serial not in known:
            yield Finding(device.serial, "warning", "is in no device entry", "farm init drafts an entry")


def model_files(loaded: LoadedInventory, attached: Sequence[Attached] = ()) -> Iterator[Finding]:
    """Models and runners of the inventory; `attached` decides whether the app for iPhones is missed."""
    from harness.cli import compose
    from harness.model import ErrorInfo
    from harness.plan import models_of

    assets = compose.check_assets(
        loaded.inventory.models, loaded.inventory.runners, loaded.path.resolve().parent, fetch=False
    )
    suite = loaded.inventory.suites.get("standard")
    usual = {model.id for model in models_of(loaded.inventory, (), suite)} if suite else set(assets.models)
    unmade = [name for name, found in assets.models.items() if name not in usual and _is_missing(found)]
    if unmade:
        text = f"{len(unmade)} that only other suites than standard need are not here (farm models list)"
        yield Finding("other models", "warning", text, "farm models make --family F --quant Q, or fetch, or copy them")
    unneeded = _not_needed(loaded, assets, attached)
    for kind, checked in (("model", assets.models), ("runner", assets.runners)):
        for name, found in checked.items():
            if name in unmade:
                continue
            if isinstance(found, ErrorInfo):
                level: Literal["warning", "problem"] = "warning" if name in unneeded else "problem"
                yield Finding(f"{kind} {name}", level, found.message, found.advice)
            else:
                yield Finding(
                    f"{kind} {name}", "ok", f"{found.artifact.size / 1e6:.1f} MB, {found.artifact.sha256[:12]}"
                )


def _not_needed(loaded: LoadedInventory, assets: Assets, attached: Sequence[Attached]) -> frozenset[str]:
    """Runners that are not here and that no attached phone could use: apps of iPhones where there is no iPhone."""
    from harness.model import Platform

    if any(device.platform is Platform.IOS for device in attached):
        return frozenset()
    apps = (runner.id for runner in loaded.inventory.runners if runner.platform is Platform.IOS)
    return frozenset(name for name in apps if _is_missing(assets.runners[name]))


def _is_missing(found: ModelFile | RunnerBuild | ErrorInfo) -> bool:
    from harness.model import ErrorInfo

    absent = (ErrorClass.MODEL_MISSING.value, ErrorClass.RUNNER_MISSING.value)
    return isinstance(found, ErrorInfo) and found.error_class in absent

"""`farm selftest`: runs of known truth through the whole chain."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.main import Context

if TYPE_CHECKING:
    from device_agents.virtual.lab import LabInfo
    from harness.plan import ResolvedDevice
    from harness.selftest.checks import Check
    from harness.selftest.runs import Bench, OpenAgent
    from harness.store import Store

OWN_LAB = "selftest"
KIND = "qualification"
"""Kind of the record of a phone in which its last self-test stands."""


@click.command()
@click.option("--device", "devices", multiple=True, help="Device id of the inventory; may be repeated.")
@click.option("--lab", "lab_name", help="A running virtual lab.  [default: default when it is up, else one of its own]")
@click.option("--checks", help="Groups of checks, separated by commas.  [default: all that the devices can do]")
@click.option(
    "--minutes",
    type=click.FloatRange(min=1.5, max=120),
    default=3.0,
    show_default=True,
    help="Length of the runs that drain or heat a virtual phone.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per check, a line each.")
@click.pass_obj
def selftest(
    context: Context, devices: tuple[str, ...], lab_name: str | None, checks: str | None, minutes: float, as_json: bool
) -> None:
    """Measure what is known, and compare: truth, measured, error, allowed.

    Without --device it runs on virtual phones, whose truth the simulation writes down. On a real phone it runs what is
    possible there; the result is kept as the phone's qualification.
    """
    from harness.selftest import suite
    from harness.selftest.checks import holds
    from harness.selftest.task import Task
    from harness.selftest.virtual import running_phones

    groups = _groups(checks)
    as_json = as_json or context.json
    with ExitStack() as stack:
        chosen, open_agent = stack.enter_context(_devices(context, devices, lab_name))
        bench, store = stack.enter_context(_bench(context, open_agent))
        _require_free(chosen, open_agent)
        task = Task(chosen, groups or suite.default_groups(chosen), running_phones(), minutes)
        found = suite.run(bench, task, say=lambda text: _say(context, text))
        if store is not None:
            for device in chosen:
                _remember(store, device, [check for check in found if check.device == device.id])
        ended = bench.cancel.is_set()
    _show(found, as_json)
    sys.exit(130 if ended else 0 if holds(found) else 1)


def _groups(text: str | None) -> tuple[str, ...]:
    from harness.errors import UsageError
    from harness.selftest.suite import GROUPS

    names = tuple(name.strip() for name in (text or "").split(",") if name.strip())
    unknown = [name for name in names if name not in GROUPS]
    if unknown:
        raise UsageError(f"--checks: no {unknown[0]!r} (there are: {', '.join(GROUPS)})")
    return names


def _say(context: Context, text: str) -> None:
    if context.verbosity >= 0:
        click.echo(text, err=True)


@contextmanager
def _devices(
    context: Context, names: Sequence[str], lab_name: str | None
) -> Iterator[tuple[tuple[ResolvedDevice, ...], OpenAgent]]:
    """The devices to test and how to open them: those of the inventory, or a lab's."""
    from harness.cli import compose

    if names:
        from harness.plan import Selection, resolve_devices, select_devices

        inventory = compose.load_inventory(context).inventory
        attached = compose.discover_to_use(inventory)
        selection = Selection("", devices=tuple(names))
        resolved = select_devices(inventory, selection, resolve_devices(inventory, attached))
        yield compose.require_usable(", ".join(names), resolved, attached), compose.opener(inventory)
        return
    with _lab(context, lab_name) as info:
        from device_agents import agents
        from harness.model import AdbEndpoint, Lab, Platform
        from harness.plan import ResolvedDevice, usable
        from harness.selftest.runs import entry_for

        lab = Lab(
            adb=AdbEndpoint(host="127.0.0.1", port=info.adb_port),
            usbmux=info.usbmux or None,
            tunneld=info.tunneld or None,
        )
        ids = {
            **{phone.serial: (phone.id, Platform.ANDROID) for phone in info.phones},
            **{phone.udid: (phone.id, Platform.IOS) for phone in info.iphones},
        }
        attached = agents.discover(lab, {platform for _, platform in ids.values()})
        found = [each for each in attached if usable(each) and each.facts is not None]
        named = {each.facts.identity: each for each in found if each.facts is not None}
        phones = tuple(
            ResolvedDevice(name, entry_for(name, platform), named[key])
            for key, (name, platform) in ids.items()
            if key in named
        )
        compose.require_usable("the virtual lab", phones, found)
        yield phones, lambda device: agents.open_agent(device.attached, lab)


def _require_free(devices: Sequence[ResolvedDevice], open_agent: OpenAgent) -> None:
    """Raises Transient when somebody works on one of the devices: its heat and charger must not change under them."""
    from harness import limits
    from harness.errors import ErrorClass, Transient
    from harness.leases import blocker, identity_of_this_process

    for device in devices:
        agent = open_agent(device)
        try:
            held = agent.lease.read(limit_s=limits.SHELL_S)
        finally:
            agent.close()
        holder = blocker(identity_of_this_process(), held, now=time.time())
        if holder is not None:
            raise Transient(
                f"in use by {holder.owner}",
                error_class=ErrorClass.DEVICE_LEASED,
                advice="wait until that run has ended, or take other phones",
                device=device.id,
            )


@contextmanager
def _lab(context: Context, name: str | None) -> Iterator[LabInfo]:
    """A running lab, or one of its own for the time of the self-test; its environment is this process's meanwhile."""
    from device_agents.virtual.lab import Lab
    from harness.errors import UsageError
    from harness.selftest.virtual import own_wishes

    lab = Lab(name or "default")
    info = lab.status()
    own = info is None
    if info is None and name:
        raise UsageError(f"--lab: no lab {name!r} is up; start it: farm lab up --name {name}")
    if info is None:
        wishes = own_wishes()
        lab = Lab(f"{OWN_LAB}-{os.getpid()}")
        _say(context, f"starting virtual phones: {', '.join(wish.profile for wish in wishes)}")
        info = lab.up(wishes, die_with=os.getpid())
    before = dict(os.environ)
    os.environ.update(info.env)
    try:
        yield info
    finally:
        os.environ.clear()
        os.environ.update(before)
        if own:
            lab.down()


@contextmanager
def _bench(context: Context, open_agent: OpenAgent) -> Iterator[tuple[Bench, Store | None]]:
    """What the runs need, and the database that keeps the outcome: the one that is there or was asked for."""
    from harness.cli import interrupts
    from harness.lease_keeper import LeaseKeeper
    from harness.leases import identity_of_this_process
    from harness.selftest.runs import Bench
    from harness.store import Store
    from harness.supply import calibration

    with ExitStack() as stack:
        work_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="farm-selftest-")))
        runs = stack.enter_context(Store.open(f"sqlite:///{work_dir / 'selftest.db'}"))
        kept: Store | None = None
        if context.db or Store.exists(context.db_url):
            kept = stack.enter_context(Store.open(context.db_url))
        me = identity_of_this_process()
        keeper = LeaseKeeper(kept or runs, replace(me, owner=f"{me.owner}, self-test"))
        stack.callback(keeper.close)
        cancel = stack.enter_context(interrupts.until_signalled())
        yield (
            Bench(
                store=runs,
                keeper=keeper,
                open_agent=open_agent,
                build_for=calibration.build,
                native_for=calibration.build_native,
                model=calibration.model(),
                work_dir=work_dir,
                cancel=cancel,
            ),
            kept,
        )


def _remember(store: Store, device: ResolvedDevice, checks: Sequence[Check]) -> None:
    """Keep the outcome with the phone, under the OS build that it was found with."""
    from harness.selftest.checks import summary

    facts = device.facts
    value = {
        **summary(checks),
        "harness_version": version("farm"),
        "os_fingerprint": facts.os_fingerprint,
        "device_kind": facts.kind.value,
    }
    store.add_device_record(facts.identity, KIND, "", time.time(), value)


def _show(checks: Sequence[Check], as_json: bool) -> None:
    from harness.cli.output import print_table
    from harness.selftest import table
    from harness.selftest.checks import was_run

    if as_json:
        for check in checks:
            click.echo(json.dumps(check.to_json(), ensure_ascii=False))
        return
    print_table("self-test", table.COLUMNS, (table.row(check) for check in checks))
    ran = [check for check in checks if was_run(check)]
    held, left = sum(check.ok for check in ran), len(checks) - len(ran)
    click.echo(f"{held} of {len(ran)} checks hold" + (f", {left} were not run" if left else ""))

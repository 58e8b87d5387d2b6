"""`farm baseline`: the build that each runner is compared with in every night."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.words import moment, print_json, visible
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.cli.main import Context
    from harness.model import Inventory, Runner


@click.group()
def baseline() -> None:
    """The build that each runner is compared with in every night."""


@baseline.command()
@click.pass_obj
def show(context: Context) -> None:
    """Show the pinned build of each runner: since when, by whom, and why."""
    from harness.cli.output import print_table
    from harness.inventory import load
    from harness.store import Store

    lab = load(context.inventory).inventory.lab.name
    pinned = []
    if Store.exists(context.db_url):
        with Store.open(context.db_url) as store:
            pinned = sorted(store.nights.baselines(lab).values(), key=lambda one: one.runner)
    if context.json:
        print_json([asdict(one) for one in pinned])
    elif pinned:
        print_table(
            "Pinned builds",
            ("runner", "build", "sha256", "since", "by", "why", "copy"),
            [
                (one.runner, one.name, one.sha256[:12], moment(one.at), one.author, one.reason, one.path)
                for one in pinned
            ],
        )
    else:
        click.echo(
            "no build is pinned yet: the first `farm nightly` pins what it measures, `farm baseline set` another"
        )


@baseline.command(name="set")
@click.argument("runner", metavar="RUNNER")
@click.argument("build", metavar="BUILD")
@click.option("--reason", required=True, help="Why this one, for those who read of it later.")
@click.option("--author", help="Who pins it.  [default: you]")
@click.pass_obj
def set_(context: Context, runner: str, build: str, reason: str, author: str | None) -> None:
    """Pin the build that a runner is compared with from the next night on; farm keeps a copy of it.

    RUNNER is its id in the inventory. BUILD is the name of an entry of the runner's folder of builds, or the path of a
    folder, .tar.gz, .zip or .ipa. The series of the runner begin anew: what was measured against another build is no
    measure of them.
    """
    from harness.inventory import load
    from harness.leases import identity_of_this_process
    from harness.nightly.baseline import pin
    from harness.nightly.builds import runner_of
    from harness.store import Store

    if not reason.strip():
        raise UsageError("--reason is empty: say why this build")
    inventory = load(context.inventory).inventory
    lab, base_dir = inventory.lab.name, context.inventory.resolve().parent
    entry = runner_of(inventory, runner)
    name, path = _build(inventory, base_dir, entry, build)
    author = author or identity_of_this_process().owner
    with Store.open(context.db_url) as store:
        before = store.nights.baselines(lab).get(entry.id)
        pinned = pin(store, lab, entry, path, name, author, reason.strip(), context.state_dir, base_dir, at=time.time())
    if context.json:
        print_json(asdict(pinned))
        return
    click.echo(
        visible(f"{entry.id} is compared with {pinned.name} (sha256 {pinned.sha256[:12]}, kept in {pinned.path})")
    )
    if before is not None and before.sha256 != pinned.sha256:
        click.echo(visible(f"  it was {before.name} until now; the series of {entry.id} begin anew"))


def _build(inventory: Inventory, base_dir: Path, runner: Runner, name: str) -> tuple[str, Path]:
    """Name and path of a build: a path as given, else of an entry of the runner's folder of builds.

    Raises:
        UsageError: it is neither.
    """
    from harness.nightly.builds import builds_of, find_build

    path = Path(name)
    try:
        if path.exists():
            return path.resolve().name, path.resolve()
    except OSError as wrong:
        raise UsageError(f"BUILD: {name!r} is no usable path: {wrong.strerror or wrong}") from wrong
    build = find_build(inventory, base_dir, builds_of(inventory, base_dir, runner.id), name, "BUILD")
    return build.name, build.path

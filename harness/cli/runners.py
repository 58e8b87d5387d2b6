"""`farm runners`: build, fetch and list builds of the programs that run a model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.main import Context
from harness.cli.supply_view import COLUMNS, Row, beside, chosen, examine

if TYPE_CHECKING:
    from harness.model import Runner

_OUT_HELP = "Folder.  [default: runners/ beside the inventory]"


@click.group()
def runners() -> None:
    """Build, fetch and list runner binaries."""


@runners.command()
@click.option("--target", type=click.Choice(["host"]), default="host", show_default=True, help="Machine to build for.")
@click.option("--jobs", "-j", type=click.IntRange(min=1), help="Parallel compilations.  [default: one per core]")
@click.option("--again", is_flag=True, help="Build even if there is a build.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help=_OUT_HELP)
@click.pass_obj
def build(context: Context, target: str, jobs: int | None, again: bool, out: Path | None) -> None:
    """Build llama.cpp from its source for this host; takes minutes, once."""
    import os

    from harness.supply import host_build
    from harness.supply.folders import place

    def say(text: str) -> None:
        if context.verbosity >= 0:
            click.echo(f"llama.cpp for this {target}: {text}", err=True)

    built = host_build.build(jobs=jobs or os.cpu_count() or 1, again=again, say=say)
    _done(context, place(built, (out or beside(context, "runners")) / host_build.NAME))


@runners.command()
@click.argument("ids", nargs=-1, metavar="[ID]…")
@click.option("--virtual", is_flag=True, help="llama.cpp for the virtual phones, from Debian's packages.")
@click.option("--refresh", is_flag=True, help="With --virtual: fetch the newest packages again.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help=f"With --virtual: {_OUT_HELP}")
@click.pass_obj
def fetch(context: Context, ids: tuple[str, ...], virtual: bool, refresh: bool, out: Path | None) -> None:
    """Download the runners that the inventory gives by URL, or (--virtual) the one of the virtual phones."""
    if not virtual:
        from harness.cli.fetching import fetch_entries
        from harness.inventory import load

        sys.exit(fetch_entries(context, chosen(load(context.inventory).inventory.runners, ids, "runner")))
    from harness.supply import debian_tools
    from harness.supply.folders import place

    folder = debian_tools.runner_folder(refresh=refresh)
    _done(context, place(folder, (out or beside(context, "runners")) / folder.name))


def _done(context: Context, folder: Path) -> None:
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    if context.json:
        click.echo(json.dumps({"runners": [{"path": str(folder), "size": size}]}, ensure_ascii=False))
    else:
        click.echo(f"{folder}  {size / 1e6:.1f} MB")


@runners.command(name="list")
@click.pass_obj
def list_(context: Context) -> None:
    """Show each runner build of the inventory: whether it is here, its size, SHA-256, programs and ABI."""
    from harness.cli.output import print_table
    from harness.inventory import load

    loaded = load(context.inventory)
    base_dir = loaded.path.resolve().parent
    rows = [_row(runner, base_dir) for runner in loaded.inventory.runners]
    if context.json:
        click.echo(json.dumps({"runners": [row.as_json() for row in rows]}, ensure_ascii=False))
    else:
        print_table("Runner builds", COLUMNS, (row.as_cells() for row in rows))


def _row(runner: Runner, base_dir: Path) -> Row:
    from harness.artifacts import check_runner

    def check() -> tuple[int, str, str]:
        found = check_runner(runner, base_dir, fetch=False)
        details = f"{runner.runtime}, {found.abi or 'scripts'}: {', '.join(sorted(found.programs))}"
        return found.artifact.size, found.artifact.sha256, details

    return examine(runner, check, runner.path or runner.url or "")

"""`farm runners`: build, fetch and list builds of the programs that run a model."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.main import Context
from harness.cli.supply_view import Row, beside, chosen, examine, show

if TYPE_CHECKING:
    from harness.model import Runner

_OUT_HELP = "Folder.  [default: runners/ beside the inventory]"


@click.group()
def runners() -> None:
    """Build, fetch and list runner binaries."""


@runners.command()
@click.option(
    "--target",
    type=click.Choice(["host", "android-arm64", "virtual-iphone"]),
    default="host",
    show_default=True,
    help="Build for what.",
)
@click.option(
    "--runtime",
    type=click.Choice(["llama.cpp", "executorch"]),
    default="llama.cpp",
    show_default=True,
    help="Runtime inside the runner.",
)
@click.option("--isa", metavar="VARIANT", help="Instruction set of arm64, e.g. armv8.2-a+dotprod.")
@click.option(
    "--from-source", is_flag=True, help="llama.cpp from its source, for this host itself; takes minutes, once."
)
@click.option("--stock", is_flag=True, help="llama.cpp's own programs for this host in place of farm's runner.")
@click.option("--jobs", "-j", type=click.IntRange(min=1), help="Parallel compilations.  [default: one per core]")
@click.option("--again", is_flag=True, help="Build even if there is a build.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help=_OUT_HELP)
@click.pass_obj
def build(
    context: Context,
    target: str,
    runtime: str,
    isa: str | None,
    from_source: bool,
    stock: bool,
    jobs: int | None,
    again: bool,
    out: Path | None,
) -> None:
    """Build farm's runner around a runtime, or (--stock) llama.cpp's own programs.

    For the host it is built against Debian's llama.cpp or the ExecuTorch wheel and runs on the virtual phones; for
    android-arm64 from llama.cpp's source, with the Android NDK of ANDROID_NDK_HOME, else with ziglang. virtual-iphone
    is the host's, packed as an app. The app of a real iPhone is built on a Mac: docs/ios.md.
    """
    from harness.errors import UsageError
    from harness.supply.folders import place

    jobs = jobs or os.cpu_count() or 1

    def say(text: str) -> None:
        if context.verbosity >= 0:
            click.echo(f"{runtime} for {target}: {text}", err=True)

    if stock:
        from harness.supply import host_build

        if target != "host" or runtime != "llama.cpp" or isa or from_source:
            raise UsageError(
                "--stock is llama.cpp for this host: leave --target, --runtime, --isa and --from-source out"
            )
        built = host_build.build(jobs=jobs, again=again, say=say)
        _done(context, place(built, (out or beside(context, "runners")) / host_build.NAME))
        return
    from harness.supply import native_build, virtual_ipa

    if target == virtual_ipa.TARGET:
        if isa or from_source:
            raise UsageError("the app of the virtual iPhones is the host's runner: leave --isa and --from-source out")
        app = virtual_ipa.build(runtime, jobs=jobs, again=again, say=say)
        file = place(app.file, (out or beside(context, "runners")) / app.file.name)
        _done(context, file, _entry(context, (app.id, runtime, virtual_ipa.PLATFORM, app.abi), file))
        return
    made = native_build.build(target, runtime, isa=isa, from_source=from_source, jobs=jobs, again=again, say=say)
    folder = place(made.folder, (out or beside(context, "runners")) / made.id)
    _done(context, folder, _entry(context, (made.id, runtime, made.platform, made.abi), folder))


def _entry(context: Context, words: tuple[str, str, str, str], placed: Path) -> dict[str, str]:
    """The build's entry in an inventory, of its id, runtime, platform and ABI; the path relative to the inventory where
    it is below it."""
    base = context.inventory.resolve().parent
    where = placed.resolve()
    path = str(where.relative_to(base)) if where.is_relative_to(base) else str(where)
    return {**dict(zip(("id", "runtime", "platform", "abi"), words, strict=True)), "path": path}


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


def _done(context: Context, placed: Path, entry: Mapping[str, str] | None = None) -> None:
    files = placed.iterdir() if placed.is_dir() else (placed,)
    size = sum(file.stat().st_size for file in files if file.is_file())
    if context.json:
        told = {"path": str(placed), "size": size, **({"inventory": dict(entry)} if entry else {})}
        click.echo(json.dumps({"runners": [told]}, ensure_ascii=False))
        return
    click.echo(f"{placed}  {size / 1e6:.1f} MB")
    if entry:
        words = ", ".join(f"{key}: {value}" for key, value in entry.items())
        click.echo(f"in the inventory, below runners:\n  - {{{words}}}")


@runners.command(name="list")
@click.pass_obj
def list_(context: Context) -> None:
    """Show each runner build of the inventory: whether it is here, its size, SHA-256, programs and ABI."""
    from harness.inventory import load

    loaded = load(context.inventory)
    base_dir = loaded.path.resolve().parent
    show(context, "Runner builds", "runners", [_row(runner, base_dir) for runner in loaded.inventory.runners])


def _row(runner: Runner, base_dir: Path) -> Row:
    from harness.artifacts import check_runner

    def check() -> tuple[int, str, str]:
        found = check_runner(runner, base_dir, fetch=False)
        details = f"{runner.runtime}, {found.abi or 'scripts'}: {', '.join(sorted(found.programs))}"
        return found.artifact.size, found.artifact.sha256, details

    return examine(runner, check, runner.path or runner.url or "")

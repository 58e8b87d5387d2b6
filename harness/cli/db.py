"""farm db: check, back up and vacuum the database of results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.cli.main import Context
    from harness.store.check import Checked

_DAMAGED = 1


@click.group()
def db() -> None:
    """Take care of the database: check, backup, vacuum. None of them migrates it."""


@db.command()
@click.pass_obj
def check(context: Context) -> None:
    """Look at every page, reference and blob; exit code 1 when something is damaged."""
    from harness.cli import words
    from harness.store import check as checks

    try:
        found = checks.check(context.db_url)
    except StoreError as error:
        if not context.json:
            raise
        words.print_json(
            {"database": _name(context), "sound": False, "error": error.message, "advice": error.advice, "checks": []}
        )
        sys.exit(_DAMAGED)
    damaged = any(each.damage for each in found)
    if context.json:
        rows = [
            {"check": each.name, "looked_at": each.looked_at, "damage": list(each.damage), "note": each.note}
            for each in found
        ]
        advice = checks.ADVICE if damaged else ""
        words.print_json(
            {"database": _name(context), "sound": not damaged, "error": "", "advice": advice, "checks": rows}
        )
    else:
        click.echo(_name(context))
        _print(found)
        if damaged:
            click.echo(f"damaged\n  what to do: {checks.ADVICE}", err=True)
        else:
            click.echo("sound")
    if damaged:
        sys.exit(_DAMAGED)


def _print(found: Sequence[Checked]) -> None:
    from harness.cli import words

    for each in found:
        mark = "DAMAGED" if each.damage else "ok"
        note = f" ({each.note})" if each.note else ""
        click.echo(f"  {mark:<7}  {each.name}: {each.looked_at}{note}")
        for line in each.damage:
            click.echo(words.visible(f"           {line}"))


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE.")
@click.pass_obj
def backup(context: Context, file: Path, force: bool) -> None:
    """Copy the database to FILE as it stands at one moment, also while a run writes to it."""
    from harness.cli import words
    from harness.store import care

    made = care.backup(context.db_url, file, force=force)
    if context.json:
        words.print_json({"file": str(made.file), "bytes": made.size_bytes, "runs": made.runs})
    else:
        runs = "1 run" if made.runs == 1 else f"{made.runs} runs"
        click.echo(f"{made.file}: {runs}, {made.size_bytes / 1e6:.1f} MB, checked")


@db.command()
@click.pass_obj
def vacuum(context: Context) -> None:
    """Give the space of what was deleted back to the disk; refused while a run is going on."""
    from harness.cli import words
    from harness.store import care

    done = care.vacuum(context.db_url)
    if context.json:
        words.print_json({"database": _name(context), "before": done.before_bytes, "after": done.after_bytes})
    else:
        click.echo(f"{_name(context)}: {done.before_bytes / 1e6:.1f} MB before, {done.after_bytes / 1e6:.1f} MB after")


def _name(context: Context) -> str:
    """The database as it is called in output, without a password."""
    from harness.store import engine

    return engine.name_of(context.db_url)

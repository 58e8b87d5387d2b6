"""farm db: check, back up, prune and vacuum the database of results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.errors import StoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.cli.main import Context
    from harness.store.check import Checked

_DAMAGED = 1


@click.group()
def db() -> None:
    """Take care of the database. check, backup and vacuum do not migrate it."""


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


@db.command()
@click.option(
    "--older-than",
    "days",
    type=click.IntRange(min=1),
    metavar="DAYS",
    help="Telemetry of runs that are older.  [default: nightly.keep_telemetry_days of the inventory]",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped.")
@click.pass_obj
def prune(context: Context, days: int | None, dry_run: bool) -> None:
    """Drop samples, inter-token times and logs of old runs; their figures stay.

    Kept are those of unfinished runs, of the newest run of each suite, and of the nights that an open confirmed change
    rests on. `farm db vacuum` gives the space back to the disk.
    """
    import time

    from harness.cli import lookup, words
    from harness.nightly.pruning import prune_telemetry

    chosen = _days(context) if days is None else days
    with lookup.open_existing(context) as store:
        done = prune_telemetry(store, now=time.time(), days=chosen, dry_run=dry_run)
    if context.json:
        words.print_json(
            {
                "database": _name(context),
                "older_than_days": chosen,
                "dry_run": dry_run,
                "runs": list(done.runs),
                "measurements": done.measurements,
                "bytes": done.size_bytes,
            }
        )
        return
    verb = "would be dropped" if dry_run else "were dropped"
    runs = "1 run" if len(done.runs) == 1 else f"{len(done.runs)} runs"
    click.echo(
        f"{_name(context)}: {done.size_bytes / 1e6:.1f} MB of telemetry {verb}, of {done.measurements} measurements in "
        f"{runs} older than {chosen} days"
    )


def _days(context: Context) -> int:
    """As the inventory says. Raises UsageError where there is none, or it keeps everything."""
    from harness.cli import compose

    loaded = compose.inventory_if_any(context)
    if loaded is None:
        raise UsageError("no inventory says how long telemetry is kept: --older-than DAYS")
    days = loaded.inventory.nightly.keep_telemetry_days
    if days is None:
        raise UsageError("the inventory keeps telemetry for ever (nightly.keep_telemetry_days): --older-than DAYS")
    return days


def _name(context: Context) -> str:
    """The database as it is called in output, without a password."""
    from harness.store import engine

    return engine.name_of(context.db_url)

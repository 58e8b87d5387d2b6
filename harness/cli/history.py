"""farm runs, show, export, compare: what was measured before. None of them touches a device."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.cli.main import Context


@click.command()
@click.pass_obj
def runs(context: Context) -> None:
    """List the runs, oldest first."""
    from harness.cli import history_views as views
    from harness.cli import words
    from harness.store import Store

    if not Store.exists(context.db_url):
        if context.json:
            words.print_json([])
        else:
            click.echo("no runs yet: `farm run` makes the first")
        return
    with Store.open(context.db_url) as store:
        listed = views.listed_runs(store)
    if context.json:
        words.print_json([views.run_json(item) for item in listed])
    elif listed:
        views.print_runs(listed)
    else:
        click.echo("no runs yet: `farm run` makes the first")


@click.command()
@click.argument("name", metavar="RUN|CASE|CASE.REPEAT")
@click.option("--command", is_flag=True, help="Print the plain commands that repeat the case by hand.")
@click.pass_obj
def show(context: Context, name: str, command: bool) -> None:
    """Show one run, one case over its repetitions, or one measurement.

    The beginning of an id is enough where it is unique.
    """
    from harness.cli import history_views as views
    from harness.cli import lookup, words

    with lookup.open_existing(context) as store:
        found = lookup.find(store, name)
        if command:
            lines = views.commands(store, found)
            if context.json:
                words.print_json(list(lines))
            else:
                click.echo("\n".join(lines))
        elif context.json:
            words.print_json(views.found_json(store, found))
        elif found.key:
            views.print_measurement(store, found)
        elif found.case:
            views.print_case(store, found)
        else:
            views.print_run(store, found.run)


@click.command()
@click.option("--format", "form", type=click.Choice(["csv", "jsonl", "parquet"]), required=True)
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write.  [default: stdout]")
@click.option("--run", "run_name", help="Only this run (its id or a unique beginning).")
@click.pass_obj
def export(context: Context, form: str, out: Path | None, run_name: str | None) -> None:
    """Write results as CSV, JSON lines or Parquet: a row for each case and repetition, by start."""
    from harness.cli import lookup, words
    from harness.export import WRITERS, records

    if out is None and form == "parquet":
        raise UsageError("--format parquet needs -o FILE: it is no text for a terminal or a pipe")
    if out is None and context.json and form != "jsonl":
        raise UsageError(f"--json and --format {form} both want standard output: name a file with -o")
    with lookup.open_existing(context) as store:
        run = lookup.find_run(store, run_name) if run_name else None
        if out is None:
            WRITERS[form](records(store, run), sys.stdout.buffer)
            return
        with _replacing(out) as file:
            count = WRITERS[form](records(store, run), file)
    if context.json:
        words.print_json({"file": str(out), "rows": count})
    else:
        click.echo(f"{out}: {count} rows", err=True)


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when it is complete; a failure leaves what was there."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


@click.command()
@click.argument("first")
@click.argument("second")
@click.pass_obj
def compare(context: Context, first: str, second: str) -> None:
    """Put two runs side by side, matched by device, model, runner and workload."""
    from harness.cli import compare_view, lookup, words

    with lookup.open_existing(context) as store:
        found = compare_view.compare_runs(store, lookup.find_run(store, first), lookup.find_run(store, second))
    if context.json:
        words.print_json(compare_view.as_json(found))
    else:
        compare_view.print_runs(found)

"""farm export: results, telemetry and traces for other programs. Touches no device."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.cli.main import Context
    from harness.store import Store

FORMATS = ("csv", "jsonl", "parquet")

_Chosen = tuple[str | None, str | None, str | None]
"""Run, case and measurement; None for all."""


@click.command()
@click.option("--format", "form", type=click.Choice(FORMATS), help="Rows as CSV, JSON lines or Parquet.")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write.  [default: stdout]")
@click.option("--telemetry", is_flag=True, help="Samples in long format in place of results.")
@click.option(
    "--perfetto",
    type=click.Path(path_type=Path),
    metavar="FILE|FOLDER",
    help="Traces for ui.perfetto.dev: of one repetition to a file, of several to a folder.",
)
@click.option("--run", "run_name", metavar="RUN", help="Only this run (its id or a unique beginning).")
@click.option("--case", "case_name", metavar="CASE|CASE.REPEAT", help="Only this case, or one repetition of it.")
@click.pass_obj
def export(
    context: Context,
    form: str | None,
    out: Path | None,
    telemetry: bool,
    perfetto: Path | None,
    run_name: str | None,
    case_name: str | None,
) -> None:
    """Write results, a row for each case and repetition by start; their telemetry; or a trace of each.

    --format and --perfetto exclude each other.
    """
    from harness.cli import lookup

    _check_options(context, form, out, telemetry, perfetto)
    with lookup.open_existing(context) as store:
        chosen = _chosen(store, run_name, case_name)
        if perfetto is not None:
            _write_traces(context, store, chosen, perfetto)
        else:
            assert form is not None
            _write_rows(context, out, _rows_writer(store, chosen, form, telemetry=telemetry))


def _check_options(
    context: Context, form: str | None, out: Path | None, telemetry: bool, perfetto: Path | None
) -> None:
    if (form is None) == (perfetto is None):
        raise UsageError(f"say what to write: --format {'|'.join(FORMATS)}, or --perfetto FILE (not both)")
    if perfetto is not None:
        if out is not None or telemetry:
            raise UsageError("--perfetto names its file itself and has telemetry in it: leave -o and --telemetry out")
        return
    if out is None and form == "parquet":
        raise UsageError("--format parquet needs -o FILE: it is no text for a terminal or a pipe")
    if out is None and context.json and form != "jsonl":
        raise UsageError(f"--json and --format {form} both want standard output: name a file with -o")


def _chosen(store: Store, run_name: str | None, case_name: str | None) -> _Chosen:
    """What --run and --case name. Raises UsageError when there is no such thing."""
    from harness.cli import lookup

    run = lookup.find_run(store, run_name) if run_name else None
    if case_name is None:
        return run, None, None
    found = lookup.find(store, case_name)
    if not found.case:
        raise UsageError(f"--case {case_name} names a run: use --run")
    if run not in (None, found.run):
        raise UsageError(f"case {found.case} is of run {found.run}, not of {run}")
    return found.run, found.case, found.key or None


# --- rows -------------------------------------------------------------------------------------------------------------


def _rows_writer(store: Store, chosen: _Chosen, form: str, *, telemetry: bool) -> Callable[[IO[bytes]], int]:
    """What writes the rows to a file and returns how many they are."""
    if telemetry:
        from harness import telemetry_export

        return lambda file: telemetry_export.WRITERS[form](telemetry_export.blocks(store, *chosen), file)
    from harness.export import WRITERS, records

    return lambda file: WRITERS[form](records(store, *chosen), file)


def _write_rows(context: Context, out: Path | None, write: Callable[[IO[bytes]], int]) -> None:
    from harness.cli import words

    if out is None:
        write(sys.stdout.buffer)
        return
    with replacing(out) as file:
        count = write(file)
    if context.json:
        words.print_json({"file": str(out), "rows": count})
    else:
        click.echo(f"{out}: {count} rows", err=True)


# --- traces -----------------------------------------------------------------------------------------------------------


def _write_traces(context: Context, store: Store, chosen: _Chosen, target: Path) -> None:
    """A trace of every repetition that began."""
    from harness.cli import words
    from harness.export import finished
    from reports import perfetto

    # Their keys, not the rows: a run may have thousands.
    keys = [row.planned.key for row in finished(store, *chosen) if row.attempt]
    if not keys:
        raise UsageError("nothing of that was ever begun, so there is no trace of it")
    folder = target.is_dir() or len(keys) > 1
    if folder and target.exists() and not target.is_dir():
        raise UsageError(
            f"{target} is a file, and {len(keys)} repetitions need a folder (--case CASE.REPEAT names one)"
        )
    files = [target / f"{key}.json" for key in keys] if folder else [target]
    if folder:
        _make(target)
    for key, path in zip(keys, files, strict=True):
        with replacing(path) as file:
            perfetto.write(perfetto.load(store, key), file)
    if context.json:
        words.print_json({"files": [str(path) for path in files]})
    else:
        told = str(files[0]) if len(files) == 1 else f"{target}: {len(files)} traces"
        click.echo(f"{told}; open in https://ui.perfetto.dev (it sends nothing anywhere)", err=True)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made: {error.strerror or error}") from error


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
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

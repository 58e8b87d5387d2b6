"""What `farm models` and `farm runners` share: progress on standard error, and the table of an inventory's files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from harness.cli.main import Context
from harness.errors import ErrorClass, FarmError
from harness.model import MEGABYTE, Model, Runner

_Entry = TypeVar("_Entry", Model, Runner)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One model or runner of the inventory as it is on this host.

    Args:
        source: its path, or its URL.
        present: it is on this host.
        size, sha256: of what a phone would get; None where it cannot be checked.
        finding: "ok", or what is wrong. advice: what to do about it.
        details: what was read from it, in words.
    """

    id: str
    source: str
    present: bool
    size: int | None
    sha256: str | None
    finding: str
    advice: str = ""
    details: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def as_cells(self) -> tuple[str, ...]:
        """id, present, size, SHA-256, check, details."""
        size = "" if self.size is None else f"{self.size / MEGABYTE:.1f} MB"
        finding = f"{self.finding} — {self.advice}" if self.advice else self.finding
        return (self.id, "yes" if self.present else "no", size, (self.sha256 or "")[:12], finding, self.details)


_COLUMNS = ("id", "here", "size", "sha256", "check", "")


def show(context: Context, title: str, key: str, rows: Sequence[Row]) -> None:
    """A table of the rows, or with --json one object that has them by `key`."""
    import json

    import click

    from harness.cli.output import print_table

    if context.json:
        click.echo(json.dumps({key: [row.as_json() for row in rows]}, ensure_ascii=False))
    else:
        print_table(title, _COLUMNS, (row.as_cells() for row in rows))


def examine(entry: Model | Runner, check: Callable[[], tuple[int, str, str]], source: str) -> Row:
    """Run a check that returns (size, sha256, details) and put down how it went."""
    try:
        size, sha256, details = check()
    except FarmError as error:
        absent = error.error_class in (ErrorClass.MODEL_MISSING, ErrorClass.RUNNER_MISSING)
        kind = "model" if isinstance(entry, Model) else "runner"
        said = error.message.removeprefix(f"{kind} {entry.id}: ")
        return Row(entry.id, source, not absent, None, None, said, error.advice)
    return Row(entry.id, source, True, size, sha256, "ok", details=details)


@contextlib.contextmanager
def progress_line(context: Context) -> Iterator[Progress]:
    """A progress bar per thing that is made or fetched, on standard error; silent with -q."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.text import Text

    from harness.cli.output import stderr_console

    console = stderr_console(context)
    tasks: dict[str, Any] = {}
    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=context.verbosity < 0 or not console.is_terminal,
    )

    def show(name: str, done: int, total: int) -> None:
        if name not in tasks:
            tasks[name] = bars.add_task(Text(name).plain, total=total or None)
        bars.update(tasks[name], completed=done, total=total or None)

    with bars:
        yield show


def beside(context: Context, folder: str) -> Path:
    """A folder beside the inventory, where the shipped inventory looks for it."""
    return context.inventory.resolve().parent / folder


def chosen(entries: Sequence[_Entry], ids: Sequence[str], what: str) -> list[_Entry]:
    """The entries with these ids, all when none is named.

    Raises:
        UsageError: an id is not in the inventory.
    """
    from harness.errors import UsageError

    known = {entry.id for entry in entries}
    for name in ids:
        if name not in known:
            raise UsageError(f"the inventory has no {what} {name!r}; it has: {', '.join(sorted(known)) or 'none'}")
    return [entry for entry in entries if not ids or entry.id in ids]

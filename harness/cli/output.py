"""Tables and consoles of the command line. rich is imported only where something is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from harness.cli.main import Context
from harness.cli.words import visible
from harness.model import NOT_A_PHONE, DeviceKind

if TYPE_CHECKING:
    from rich.console import Console

WIDTH_WHERE_NO_TERMINAL = 200
"""Columns of a table that goes to a file or a pipe; a cell is never cut there."""


def stderr_console(context: Context) -> Console:
    """Console for progress: standard error, so that standard output stays clean for JSON."""
    from rich.console import Console

    return Console(stderr=True, quiet=False, soft_wrap=True, highlight=context.verbosity > 0)


def stdout_console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH_WHERE_NO_TERMINAL)


def device_name(device_id: str, kind: DeviceKind) -> str:
    """The id, marked when the device is not a real phone."""
    return f"{device_id} ({NOT_A_PHONE[kind]})" if kind in NOT_A_PHONE else device_id


def gigabytes(size: int | None) -> str:
    """Bytes as GB (10^9), "unknown" for None."""
    return "unknown" if size is None else f"{size / 1e9:.1f} GB"


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table to standard output; every cell is plain text, never markup."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    stdout_console().print(table)

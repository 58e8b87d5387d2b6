"""What every command prints with: tables, marks for what is no phone, JSON. rich is imported when it is used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from harness.model import NOT_A_PHONE, DeviceKind, Measured, Reading

if TYPE_CHECKING:
    from rich.console import Console

    from harness.cli.main import Context

_WIDE = 1000
"""Columns of a table that goes to a file or pipe: nothing is cut there."""


def device_name(device: str, kind: DeviceKind) -> str:
    """The device as it is shown: everything that is no phone carries its mark."""
    mark = NOT_A_PHONE.get(kind)
    return f"{device} ({mark})" if mark else device


def gigabytes(size: int | None) -> str:
    """Bytes in GB (10^9), "unknown" for None."""
    return "unknown" if size is None else f"{size / 1e9:.1f} GB"


def number(reading: Reading | None) -> str:
    """A reading with four digits and its unit, or "-"."""
    if not isinstance(reading, Measured):
        return "-"
    return f"{reading.value:.4g} {reading.unit}".rstrip()


def moment(seconds: float | None) -> str:
    """Unix seconds as local date and time, "-" for None."""
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float | None) -> str:
    """Seconds in words: "4.2 s", "3 min 05 s", "2 h 05 min"."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def visible(text: str) -> str:
    """Text whose control characters cannot reach the terminal: each becomes its escape."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def print_table(title: str, titles: Sequence[str], body: Sequence[Sequence[str]]) -> None:
    """Print a table to standard output: fitted to a terminal, uncut elsewhere. Cells are text, never markup."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDE)
    table = Table(title=Text(visible(title), style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in titles:
        table.add_column(Text(name), overflow="fold")
    for cells in body:
        table.add_row(*(Text(visible(cell)) for cell in cells))
    console.print(table)


def stderr_console(context: Context) -> Console:
    """The console for progress and notes; silent with -q."""
    from rich.console import Console

    return Console(stderr=True, quiet=context.verbosity < 0, highlight=False)


def print_json(value: Any) -> None:
    """One JSON document to standard output; a NaN in it is a defect and raises ValueError."""
    click.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))

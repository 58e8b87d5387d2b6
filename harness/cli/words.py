"""Figures and moments in words, and text that cannot reach into the terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click

from harness.model import Measured, Reading


def number(reading: Reading | None) -> str:
    """A reading with four digits and its unit, "-" where nothing was measured."""
    if not isinstance(reading, Measured):
        return "-"
    return f"{reading.value:.4g} {reading.unit}".rstrip()


def moment(seconds: float | None) -> str:
    """Unix seconds as local date and time, "-" for None."""
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float | None) -> str:
    """Seconds in words: "4.2 s", "3 min 05 s", "2 h 05 min"; "-" for None."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def visible(text: str) -> str:
    """Text in which every control character but a line end is shown as its escape."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def print_json(value: Any) -> None:
    """One JSON document to standard output; a NaN in it is a defect and raises ValueError."""
    click.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))

"""`farm parse`: what farm reads from a saved phone output, so that an operator can show why a phone is misread."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.exits import MEASURED, USAGE
from harness.cli.words import visible

if TYPE_CHECKING:
    from device_agents.android.telemetry.sources import Source

NAMES = (
    "dumpsys-battery",
    "dumpsys-thermalservice",
    "uevent",
    "dumpsys-meminfo",
    "proc-status",
    "df",
    "jetsam",
    "ioregistry",
    "cpuinfo",
)
"""The sources by name, so that the help imports no parser."""

READ_MAX = 4 * 1024 * 1024
"""Bytes of a file that are read; no such output is as long, and the parsers look at less."""


@click.command()
@click.argument("source", type=click.Choice(NAMES))
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.pass_context
def parse(ctx: click.Context, source: str, files: tuple[Path, ...]) -> None:
    """Show what farm reads from saved phone outputs of the kind SOURCE.

    Prints one line of JSON per file: the readings, each with its unit or with the reason why there is none, and the
    lines and entries that were seen and not used. Needs no phone.
    """
    from device_agents.android.telemetry.sources import SOURCES

    code = MEASURED
    for file in files:
        try:
            with file.open("rb") as opened:
                data = opened.read(READ_MAX)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            click.echo(f"farm parse: {visible(str(file))} cannot be read: {reason}", err=True)
            code = USAGE
            continue
        click.echo(json.dumps(_line(source, SOURCES[source], str(file), data), ensure_ascii=False))
    ctx.exit(code)


def _line(name: str, source: Source, file: str, data: bytes) -> dict[str, Any]:
    from harness.model import Unavailable

    readings: dict[str, dict[str, object]] = {}
    for key, reading in source.parse(data).items():
        if isinstance(reading, Unavailable):
            readings[key] = {"unavailable": reading.reason}
        else:
            readings[key] = {"value": reading.value, "unit": getattr(reading, "unit", "")}
    return {
        "source": name,
        "file": file,
        "readings": readings,
        "ignored": [{"entry": ignored.entry, "why": ignored.why} for ignored in source.ignored(data)],
    }

"""`farm models fetch` and `farm runners fetch`: the entries of an inventory that are given by URL."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from harness.cli import exits
from harness.cli.main import Context
from harness.cli.supply_view import progress_line
from harness.errors import ErrorClass, FarmError
from harness.model import Model, Runner
from harness.supply.download import fetch_url
from harness.supply.folders import cache_dir


def fetch_entries(context: Context, entries: Sequence[Model | Runner]) -> int:
    """Download what has a URL; one that fails does not stop the others.

    Returns:
        The exit code.
    """
    rows: list[dict[str, str | int]] = []
    with progress_line(context) as show:
        for entry in entries:
            if entry.url is None:
                continue
            missing = ErrorClass.MODEL_MISSING if isinstance(entry, Model) else ErrorClass.RUNNER_MISSING

            def report(done: int, total: int, name: str = entry.id) -> None:
                show(name, done, total)

            try:
                path = fetch_url(entry.url, entry.sha256, cache_dir(), missing=missing, progress=report)
            except FarmError as error:
                rows.append({"id": entry.id, "url": entry.url, "error": error.message, "advice": error.advice})
            else:
                rows.append({"id": entry.id, "url": entry.url, "path": str(path), "size": path.stat().st_size})
    failed = any("error" in row for row in rows)
    if context.json:
        click.echo(json.dumps({"fetched": rows}, ensure_ascii=False))
        return exits.INCOMPLETE if failed else exits.MEASURED
    if not rows:
        click.echo("nothing to fetch: no entry of the inventory has a url")
    for row in rows:
        if "error" in row:
            click.echo(f"{row['id']}: {row['error']}\n  what to do: {row['advice']}", err=True)
        else:
            click.echo(f"{row['path']}  {int(row['size']) / 1e6:.1f} MB")
    return exits.INCOMPLETE if failed else exits.MEASURED

"""farm report: the HTML of a run, from the database alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from harness.cli.main import Context


@click.command()
@click.option("--tier", "tiers", multiple=True, metavar="T", help="This tier only (repeatable).  [default: all]")
@click.option("--run", "run_id", metavar="RUN", help="Which run, or a unique beginning of its id.  [default: newest]")
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder to write to.  [default: .farm/reports beside the inventory]",
)
@click.pass_obj
def report(context: Context, tiers: tuple[str, ...], run_id: str | None, out: Path | None) -> None:
    """Write the report of a run: one HTML file per tier and index.html; prints their paths, the index first."""
    import reports
    from harness.cli import compose, lookup, words
    from harness.cli.night_view import night_input

    loaded = compose.inventory_if_any(context)
    with lookup.open_existing(context) as store:
        run = None if run_id is None else lookup.find_run(store, run_id)
        nights = night_input(store, loaded.inventory) if loaded is not None else None
        paths = reports.write(
            store, run=run, tiers=tiers or None, out=out or context.state_dir / "reports", nights=nights
        )
    if context.json:
        words.print_json({"report": [str(path) for path in paths]})
        return
    for path in paths:
        click.echo(path)

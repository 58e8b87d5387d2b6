"""`farm nightly`: one night of the lab, from new builds to its summary."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from harness.cli.main import Context


@click.command()
@click.option("--tier", "tiers", multiple=True, help="Tier; may be repeated.  [default: the inventory's]")
@click.option("--suite", help="Suite of the inventory.  [default: the inventory's]")
@click.option("--until", metavar="HH:MM", help="When it has to be over.  [default: the inventory's]")
@click.option("--night", "name", metavar="DATE", help="Name of the night.  [default: the day on which it begins]")
@click.option(
    "--pairs-minutes",
    type=click.FloatRange(min=0),
    help="Spent on pairs of builds that decide suspicions.  [default: the inventory's]",
)
@click.option(
    "--gates",
    type=click.Choice(["strict", "record", "off"]),
    help="Before each case: wait and refuse, wait and mark, or only look.  [default: the inventory's]",
)
@click.option("--report", "report_dir", type=click.Path(path_type=Path), help="Folder for the HTML report.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write JUnit XML.")
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Write a summary for a CI page.")
@click.pass_obj
def nightly(
    context: Context,
    /,
    tiers: tuple[str, ...],
    suite: str | None,
    until: str | None,
    name: str | None,
    pairs_minutes: float | None,
    gates: str | None,
    report_dir: Path | None,
    junit: Path | None,
    markdown: Path | None,
) -> None:
    """Measure the newest builds, judge them over the nights, confirm what got worse; one at a time.

    A night that was killed goes on where it was. Exit code: 3 no device, 5 a confirmed regression is open, 1 something
    failed, 0 fine.
    """
    from harness.cli import compose, exits, interrupts, night_told
    from harness.cli.night_work import NightWork, Wish
    from harness.nightly import lock, window
    from harness.plan import Selection, check_selection
    from harness.store import Store

    loaded = compose.load_inventory(context)
    section = loaded.inventory.nightly
    now = datetime.now().astimezone()
    end = until or section.until
    wish = Wish(
        night=window.as_night(name) if name is not None else window.night_of(now),
        until=window.until(end, now).timestamp() if end is not None else None,
        tiers=tiers or section.tiers,
        suite=suite or section.suite,
        gates=gates,
        pairs_s=60 * (section.pairs_minutes if pairs_minutes is None else pairs_minutes),
        report_dir=report_dir or context.state_dir / "reports",
    )
    check_selection(loaded.inventory, Selection(wish.suite, tiers=wish.tiers))
    outputs = night_told.Outputs(junit, markdown)
    outputs.check()
    with lock.held(context.state_dir), Store.open(context.db_url) as store, interrupts.until_signalled() as asked:
        summary = NightWork(context, store, loaded, wish, asked).go()
        if summary is None:
            click.echo(f"night {wish.night} was interrupted; farm nightly --night {wish.night} goes on", err=True)
            sys.exit(exits.INTERRUPTED)
        sys.exit(night_told.tell(context, store, loaded, summary, outputs))

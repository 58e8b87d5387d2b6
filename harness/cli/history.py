"""farm runs, show, compare: what was measured before. None of them touches a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

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

"""farm notify: post the summary of a night to a webhook."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.cli.main import Context
    from harness.model import NightRecord, NightSummary, RunStatus
    from harness.store import Store


@click.command()
@click.option("--night", metavar="DATE", help="Which night: the date on which it began.  [default: the newest]")
@click.option(
    "--url",
    envvar="FARM_WEBHOOK_URL",
    metavar="URL",
    help="Where to, also as FARM_WEBHOOK_URL.  [default: nightly.webhook of the inventory]",
)
@click.pass_obj
def notify(context: Context, night: str | None, url: str | None) -> None:
    """Post the summary of a night to a webhook: a line for a chat, and all of it as JSON.

    Where nightly.webhook.secret_env names a variable of the environment, the post is signed with what it holds.
    """
    from harness.cli import compose, lookup, words
    from harness.nightly import notify as sending

    loaded = compose.inventory_if_any(context)
    webhook = loaded.inventory.nightly.webhook if loaded else None
    address = url or (webhook.url if webhook else "")
    if not address:
        raise UsageError("no webhook: name one as nightly.webhook.url in the inventory, as FARM_WEBHOOK_URL or --url")
    secret = sending.secret_of(webhook, os.environ)
    with lookup.open_existing(context) as store:
        record, summary = _night(store, loaded.inventory.lab.name if loaded else None, night)
    done = sending.post(summary, address, secret)
    if context.json:
        words.print_json({"night": record.night, "host": done.host, "status": done.status, "attempts": done.attempts})
    else:
        tries = "" if done.attempts == 1 else f" (try {done.attempts})"
        click.echo(f"posted the night of {record.night} to {done.host}{tries}")


def _night(store: Store, lab: str | None, date: str | None) -> tuple[NightRecord, NightSummary]:
    """The night that is asked for, or the newest one. Raises UsageError when it has no summary."""
    records = store.nights.all(lab)
    if not records:
        where = f" of {lab}" if lab else ""
        raise UsageError(f"there was no night{where} yet: `farm nightly` makes one")
    chosen = [record for record in records if date in (None, record.night)]
    if not chosen:
        newest = ", ".join(record.night for record in records[:-6:-1])
        raise UsageError(f"there is no night {date!r} (newest: {newest})")
    record = chosen[-1]
    if record.summary is None:
        raise UsageError(f"the night of {record.night} has no summary: {_why(record.status)}")
    return record, record.summary


def _why(status: RunStatus) -> str:
    return {
        "running": "it is not over yet",
        "interrupted": "it was interrupted; `farm nightly` goes on with it",
        "finished": "it was written by another version of farm",
    }[status.value]

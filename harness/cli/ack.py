"""`farm ack`: a person's word that a change of a series is known."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from harness.cli.words import print_json, visible
from harness.errors import UsageError
from harness.model import Ack, Change, ChangeState, SeriesId, ids_meant

if TYPE_CHECKING:
    from harness.cli.main import Context
    from harness.nightly.judging import LabNights
    from harness.store import Store

_LISTED = 8
_OPEN = (ChangeState.SUSPECT, ChangeState.REGRESSION, ChangeState.IMPROVEMENT)


@click.command()
@click.argument("series", metavar="SERIES")
@click.option("--reason", required=True, help="Why the level is another one now, for those who read of it later.")
@click.option("--author", help="Who says so.  [default: you]")
@click.option(
    "--night",
    type=click.DateTime(formats=["%Y-%m-%d"]),
    metavar="DATE",
    help="The newest night that was looked at.  [default: the newest there is]",
)
@click.pass_obj
def ack(context: Context, series: str, reason: str, author: str | None, night: datetime | None) -> None:
    """Say that a change is known: it is no open regression any more, and its new level is learnt.

    SERIES is TIER/MODEL/RUNNER/WORKLOAD/METRIC, as the report and `farm nightly` name it, or a part or pattern of it
    that means only one series with a change.
    """
    from harness.cli import lookup
    from harness.inventory import load
    from harness.leases import identity_of_this_process

    if not reason.strip():
        raise UsageError("--reason is empty: say why the change is known")
    inventory = load(context.inventory).inventory
    lab, nightly = inventory.lab.name, inventory.nightly
    with lookup.open_existing(context) as store:
        read = _read(store, lab, nightly.metrics, series, night.date().isoformat() if night else None)
        if not read.values:
            when = f"up to {night:%Y-%m-%d}" if night else "yet: `farm nightly` makes one"
            raise UsageError(f"lab {lab!r} has no night {when}")
        change = _meant(series, read, nightly.pairs)
        newest = max(value.night for value in read.values[change.series])
        said = Ack(change.series, newest, author or identity_of_this_process().owner, reason.strip(), time.time())
        store.nights.add_ack(lab, said)
    if context.json:
        words = {"night": said.night, "author": said.author, "reason": said.reason, "at": said.at}
        print_json({"series": said.series.key, **words, "change": change.to_json()})
    else:
        click.echo(visible(f"{said.series.key} is known to {said.author} as of {said.night}: {said.reason}"))
        click.echo(visible(f"  it was {change.state.value}: {change.reason}"))


def _read(store: Store, lab: str, metrics: Sequence[str], name: str, upto: str | None) -> LabNights:
    """The series of a lab, or only those of one model and metric where `name` is the whole name of one of them: that
    takes a fraction of the time."""
    from harness.nightly.judging import read_lab

    try:
        series = SeriesId.parse(name)
    except ValueError:
        return read_lab(store, lab, metrics, upto=upto)
    narrow = [metric for metric in metrics if metric == series.metric]
    read = read_lab(store, lab, narrow, upto=upto, models=(series.model,))
    return read if series in read.values else read_lab(store, lab, metrics, upto=upto)


def _meant(name: str, read: LabNights, wanted: int) -> Change:
    """The one series with a change that is meant.

    Args:
        name: key, part of it, or pattern. wanted: pairs per phone of a suspicion.
    Raises:
        UsageError: none or several are meant, or what is meant has no change; the text says which there are.
    """
    by_key = {series.key: series for series in read.values}
    keys = (name,) if name in by_key else ids_meant(f"*{name}*", sorted(by_key))
    if not keys:
        raise UsageError(f"there is no series {name!r}{_near(name, by_key)}")
    judged = [read.judge(by_key[key], wanted) for key in keys]
    changed = [change for change in judged if change.state in _OPEN]
    if len(changed) == 1:
        return changed[0]
    if changed:
        raise UsageError(f"{name!r} means several series with a change:{_lines([one.series.key for one in changed])}")
    if len(judged) == 1:
        (only,) = judged
        raise UsageError(visible(f"{only.series.key} has no open change: {only.state.value}: {only.reason}"))
    raise UsageError(f"none of the {len(judged)} series that {name!r} means has an open change")


def _near(name: str, keys: Iterable[str]) -> str:
    """A question after keys, or parts of them, that are spelt alike."""
    names = dict.fromkeys(word for key in keys for word in (key, *key.split("/")))
    found = difflib.get_close_matches(name, names, 3)
    return f"; did you mean{_lines(found)}" if found else ""


def _lines(keys: Sequence[str]) -> str:
    """A line for each, safe for a terminal."""
    listed = [visible(key) for key in keys[:_LISTED]]
    rest = [f"… and {len(keys) - _LISTED} more"] if len(keys) > _LISTED else []
    return "".join(f"\n  {line}" for line in (*listed, *rest))

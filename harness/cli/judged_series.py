"""What judging says of series, for `farm history`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis.nights import PAIRS, percent
from harness.inventory import load
from harness.model import Change, PlannedCase, RunRecord, SeriesId
from harness.nightly.judging import read_lab

if TYPE_CHECKING:
    from harness.analysis.over_runs import SeriesOverRuns
    from harness.store import Store


def judged(
    store: Store, records: Sequence[RunRecord], metric: str, found: Sequence[SeriesOverRuns], inventory: Path
) -> list[Change | None]:
    """What the nights say of the series of the tier that each of these belongs to; None where no night measured it.

    Args:
        records: runs that `found` comes from. metric: its name.
        inventory: path of the file that says how many pairs a suspicion gets; it may be missing.
    """
    lab_of = {record.id: record.lab for record in records}
    names = [(lab_of[one.values[-1].run], _series(one.planned, metric)) for one in found]
    labs = {record.lab for record in records if record.options.get("nightly")}
    if not labs:
        return [None] * len(found)
    wanted = load(inventory).inventory.nightly.pairs if inventory.is_file() else PAIRS
    changes: dict[tuple[str, SeriesId], Change] = {}
    for lab in labs:
        own = {series for where, series in names if where == lab}
        read = read_lab(store, lab, (metric,), models={series.model for series in own})
        changes |= {(lab, series): read.judge(series, wanted) for series in own if series in read.values}
    return [changes.get(name) for name in names]


def _series(planned: PlannedCase, metric: str) -> SeriesId:
    return SeriesId(planned.tier, planned.model.id, planned.runner.id, planned.workload_id, metric)


def in_words(change: Change | None) -> str:
    """State of a series, and the change that it speaks of; "" for None."""
    if change is None or change.step is None:
        return change.state.value if change else ""
    word = "worse" if change.step.delta > 0 else "better"
    return f"{change.state.value}: {word} by {percent(change.step.delta)} since {change.since}"


def as_json(change: Change | None) -> dict[str, Any] | None:
    """State, first bad night ("" without a change) and height (logarithm, + is worse; None without a change)."""
    if change is None:
        return None
    delta = change.step.delta if change.step else None
    return {"state": change.state.value, "since": change.since, "delta": delta}

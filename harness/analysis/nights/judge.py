"""What is said of one series after its newest night."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from harness.analysis.nights.epochs import Panel, direction, panel
from harness.analysis.nights.pairs import PAIRS
from harness.analysis.nights.pool import LEAST_NIGHTS
from harness.analysis.nights.scan import Scan, Suspicion, scan
from harness.model import Ack, Change, ChangeState, NightValue, PairSet, SeriesId

NEAR = 3
"""Nights around a step whose events are told with it."""
RECENT = 7
"""Nights whose events are told where there is no step."""


def judge(
    series: SeriesId,
    values: Iterable[NightValue],
    acks: Iterable[Ack] = (),
    pairs: Iterable[PairSet] = (),
    *,
    wanted: int = PAIRS,
) -> Change:
    """Judge a series after its newest night. The same input says the same at any time.

    Args:
        values: all nights of all phones of the tier, in any order; those of quarantined phones left out.
        acks: those of other series are left out.
        pairs: that were run for this series.
        wanted: pairs per phone that a suspicion gets.
    """
    if not direction(series.metric):
        reason = f"neither direction of {series.metric} is better, so it is not judged"
        return Change(series, ChangeState.INSUFFICIENT, 0, (), reason=reason)
    table = panel(series.metric, values)
    if not table.nights:
        return Change(series, ChangeState.INSUFFICIENT, 0, (), reason="no night has a value")
    found = scan(table, [ack for ack in acks if ack.series == series], list(pairs), wanted=wanted)
    return _change(series, table, found)


def _change(series: SeriesId, table: Panel, found: Scan) -> Change:
    state, change = found.state, found.change
    assert found.known is not None
    last = len(table.nights) - 1
    judged = tuple(phone for phone, is_known in zip(table.phones, found.known.known, strict=True) if is_known)
    own = tuple(f"{table.nights[at]}: {words}" for at, words in found.events if at >= last - RECENT)
    if change is None:
        events = table.events_near(last - RECENT, last) + own
        return Change(series, state, len(table.nights), judged, events=events, reason=_plain_reason(found))
    start = change.step.index
    earlier = found.opened if found.opened is not None and found.opened is not change else None
    if earlier is not None:
        own += (f"{table.nights[earlier.night]}: {_told(earlier)} is open as well",)
    return Change(
        series,
        state,
        len(table.nights),
        judged or change.phones,
        change.step,
        change.step.night,
        change.good,
        table.builds[start],
        change.bad,
        change.result,
        state is ChangeState.SUSPECT and change.good != change.bad,
        found.regression,
        table.events_near(start - NEAR, start + NEAR) + own,
        _reason(state, change, found),
        table.nights[change.night],
    )


def _plain_reason(found: Scan) -> str:
    if found.state is ChangeState.ACKNOWLEDGED and found.ack:
        return f"known to {found.ack.author}: {found.ack.reason}; the new level is being learnt"
    if found.state is ChangeState.INSUFFICIENT:
        return f"{_learnt(found)} of {LEAST_NIGHTS} nights that can be compared"
    return "the level holds"


def _learnt(found: Scan) -> int:
    """Nights that the phone with most has in the present epoch, on the present level."""
    columns = found.base + found.pending
    epoch = found.epoch[:, columns]
    present = found.known.epoch[:, None] if found.known is not None else epoch
    counts = np.count_nonzero((epoch == present) & (epoch >= 0), axis=1)
    return min(int(counts.max(initial=0)), LEAST_NIGHTS - 1)


def _reason(state: ChangeState, change: Suspicion, found: Scan) -> str:
    told = _told(change)
    if state is ChangeState.ACKNOWLEDGED and found.ack:
        return f"{told}, known to {found.ack.author}: {found.ack.reason}"
    if state is ChangeState.SUSPECT and change.good == change.bad:
        return f"{told}; the build is the same before and after, so pairs of builds cannot tell: look at the events"
    if change.result is None:
        return f"{told}; no pairs were run yet"
    verdict = {
        ChangeState.CLEARED: "the pairs do not agree",
        ChangeState.SUSPECT: "the pairs are not complete",
    }.get(state, "the pairs agree")
    return f"{told}; {verdict}: {change.result.reason}"


def _told(change: Suspicion) -> str:
    word = "worse" if change.side > 0 else "better"
    return f"{word} by {percent(change.step.delta)} since {change.step.night}"


def percent(delta: float) -> str:
    """Size of a change in words, e.g. "3.1 %". Args: delta: logarithm."""
    return f"{100 * math.expm1(min(abs(delta), 700.0)):.1f} %"

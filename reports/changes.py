"""What changed in a tier over the nights: each change with all that is known of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from harness.analysis.nights import LEAST_NIGHTS
from harness.model import (
    Ack,
    BuildFound,
    Change,
    ChangeState,
    LevelStep,
    NightSummary,
    PairOutcome,
    PairResult,
    SeriesId,
)
from reports.inputs import NightInput, SeriesNights
from reports.matrix import Cell, Marks
from reports.night_chart import night_chart
from reports.night_views import Changed, ChangeGroup, ChangeMark, ChangeView, NightChart
from reports.nights import (
    STATES,
    Phones,
    anchor,
    how_much,
    href,
    interval,
    listed_changes,
    metric_title,
    state_of,
)
from reports.numbers import DASH, day, moment, plural
from reports.views import Named, Tally

MOST_CHARTS = 16
"""Changes of a tier that are drawn, the worst first: a picture takes some 6 kB of a page that stays below 3 MB."""

_OPENED = (ChangeState.REGRESSION, ChangeState.SUSPECT)
_UNREAD = "the values of its nights were not read for this page"
_MANY = f"only the first {MOST_CHARTS} changes are drawn, to keep this file small"
_MARKED = (ChangeState.REGRESSION, ChangeState.SUSPECT, ChangeState.IMPROVEMENT, ChangeState.ACKNOWLEDGED)
_AGREE: Mapping[PairOutcome, str] = {
    PairOutcome.CONFIRMED: "they agree",
    PairOutcome.CLEARED: "they do not agree",
    PairOutcome.UNDECIDED: "not decided yet",
}


def changed(nights: NightInput, tier: str, phones: Phones) -> Changed | None:
    """The changes of a tier; None where no night has said anything yet."""
    told = nights.told
    if told is None and not nights.judged:
        return None
    ours = [change for change in listed_changes(nights) if change.series.tier == tier]
    views = [
        (state_of(change), _view(change, nights, told, phones, place < MOST_CHARTS))
        for place, change in enumerate(ours)
    ]
    groups = [(STATES[state], state, [view for own, view in views if own is state]) for state in STATES]
    return Changed(
        summary=_summary(nights, tier, len(ours)),
        short=_short(nights, tier),
        pending=_pending(told),
        groups=tuple(
            ChangeGroup(words.word, words.style, words.explained, tuple(rows)) for words, _, rows in groups if rows
        ),
        tally=change_tally(nights, tier),
    )


def change_tally(nights: NightInput, tier: str) -> tuple[Tally, ...]:
    """How many series of a tier have a change, by its state."""
    states = [state_of(change) for change in nights.changes if change.series.tier == tier]
    return tuple(Tally(words.word, states.count(state), words.style) for state, words in STATES.items())


def change_marks(nights: NightInput | None, tier: str) -> Mapping[Cell, Marks]:
    """Changes that are marked where their series stands in another table: by model, runner and workload."""
    found: dict[Cell, Marks] = {}
    for change in listed_changes(nights) if nights else ():
        series, state = change.series, state_of(change)
        if series.tier == tier and state in _MARKED:
            words = STATES[state]
            mark = ChangeMark(href(series), words.word, words.style, metric_title(series))
            cell = (series.model, series.runner, series.workload)
            found[cell] = (*found.get(cell, ()), mark)
    return found


# --- one change -------------------------------------------------------------------------------------------------------


def _view(change: Change, nights: NightInput, told: NightSummary | None, phones: Phones, draw: bool) -> ChangeView:
    series, state, step = change.series, state_of(change), change.step
    words = STATES[state]
    again = state is not change.state and change.state is ChangeState.SUSPECT
    mark = phones.pooled(change.phones)
    drawn = next((one for one in nights.series if one.series == series), None) if draw else None
    ack = next((one for one in reversed(nights.acks) if one.series == series), None)
    search = next((one for one in told.bisections if one.series == series.key), None) if told else None
    chart = _chart(change, drawn, mark)
    good, bad = told.builds_of(change) if told else (_build(told, change.good_build), _build(told, change.bad_build))
    paired = _build(told, change.pair_build)
    return ChangeView(
        anchor=anchor(series),
        href=href(series),
        word=f"{words.word}, suspect again" if again else words.word,
        style=words.style,
        opened=state in _OPENED,
        metric=metric_title(series),
        model=series.model,
        workload=series.workload,
        runner=series.runner,
        mark=mark,
        delta=how_much(step.delta) if step else "",
        interval=interval(step.delta, step.low, step.high) if step else "",
        nights=str(change.nights),
        since=change.since,
        between=_between(step),
        good=good,
        bad=bad,
        pairs=_pairs(change.ab),
        next=_next(change, state, _build(told, change.good_build), paired),
        command=_command(series, state),
        reason=change.reason,
        facts=_facts(change, search, ack if change.state is ChangeState.ACKNOWLEDGED else None, paired),
        events=tuple(sorted({*change.events, *(chart.happened if chart else ())})),
        chart=chart,
        no_chart="" if chart else _UNREAD if draw else _MANY,
    )


def _chart(change: Change, drawn: SeriesNights | None, mark: str) -> NightChart | None:
    if drawn is None:
        return None
    series = change.series
    title = f"{metric_title(series)} of {series.model}, {series.workload}, {series.runner}, over the nights"
    return night_chart(change, drawn, f"chart-{anchor(series)}", f"{title} ({mark})" if mark else title, mark)


def _build(told: NightSummary | None, sha256: str) -> str:
    return told.build_name(sha256) if told else sha256[:12]


def _between(step: LevelStep | None) -> str:
    if step is None:
        return ""
    if step.earliest == step.latest:
        return "no other night comes into question"
    return f"between {day(step.earliest)} and {day(step.latest)}"


def _pairs(ab: PairResult | None) -> str:
    if ab is None:
        return ""
    text = f"{plural(ab.pairs, 'pair')} on {plural(ab.phones, 'phone')}"
    if ab.delta is not None:
        text += f": {how_much(ab.delta)}"
        if ab.low is not None and ab.high is not None:
            text += f" ({interval(ab.delta, ab.low, ab.high)})"
    if ab.p_value is not None:
        text += f", {_p(ab.p_value)}"
    return f"{text}; {_AGREE[ab.outcome]}"


def _p(value: float) -> str:
    return ("p < 0.0001" if value < 0.0001 else f"p = {value:.2g}").replace(" ", "\u00a0")


def _next(change: Change, state: ChangeState, good: str, paired: str) -> str:
    """What happens next, or what a person can do."""
    if change.state is ChangeState.SUSPECT:
        if change.wants_pairs:
            return (
                f"Pairs of {good or 'the last good build'} and {paired or 'the newest build'} are due; farm runs them."
            )
        return "Pairs of builds cannot tell, the build is the same before and after: look at the events."
    return {
        ChangeState.REGRESSION: "It stays open until it is acknowledged, or four nights are back at the old level.",
        ChangeState.IMPROVEMENT: "Nothing to do: later nights are compared with the new level.",
        ChangeState.CLEARED: "Nothing to do: the old level goes on.",
        ChangeState.ACKNOWLEDGED: "Nothing to do: the new level is learnt, and later nights are compared with it.",
    }[state]


def _command(series: SeriesId, state: ChangeState) -> str:
    """What acknowledges a change that is open."""
    return f"farm ack {shlex.quote(series.key)} --reason …" if state in _OPENED else ""


def _facts(change: Change, search: BuildFound | None, ack: Ack | None, paired: str) -> tuple[Named, ...]:
    facts = [Named("series", change.series.key, mono=True), Named("phones judged", str(len(change.phones)))]
    if paired:
        facts.append(Named("build of the night of the suspicion", paired))
    if search is not None:
        facts.append(Named("search for the first bad build", _search(search)))
    if ack is not None:
        facts.append(Named("acknowledged", f"by {ack.author}, {moment(ack.at)}, after the night of {ack.night}"))
        facts.append(Named("its reason", ack.reason))
    return tuple(facts)


def _search(found: BuildFound) -> str:
    parts = []
    if found.first_bad:
        word = "first bad" if found.confidence is not None else "so far the first bad is"
        parts.append(f"{word} {found.first_bad}")
    if found.last_good:
        parts.append(f"last good {found.last_good}")
    if found.confidence is not None:
        parts.append(f"confidence {100 * found.confidence:.1f} %")
    if found.untried:
        parts.append(f"could not be tried: {', '.join(found.untried)}")
    return "; ".join([*parts, found.reason] if found.reason else parts)


# --- the section ------------------------------------------------------------------------------------------------------


def _summary(nights: NightInput, tier: str, count: int) -> str:
    """How many series were judged, and what of those that are not listed."""
    after = f"After the night of {day((nights.told or nights.night).night)}"
    what = f"{count} series of this tier {'has' if count == 1 else 'have'} a change" if count else "no series changed"
    judged = [change for change in nights.judged if change.series.tier == tier]
    if not judged:
        return f"{after} {what}."
    steady = sum(state_of(change) is ChangeState.STEADY for change in judged)
    return f"{after} {what}; {steady} of {len(judged)} judged series hold their level."


def _short(nights: NightInput, tier: str) -> str:
    """Of the series that have too few nights, once for all of them."""
    if not nights.judged:
        known = len(nights.before) + 1
        least = f"a series is judged from its {LEAST_NIGHTS}th night on"
        return f"Insufficient data: {plural(known, 'night')} so far, {least}." if known < LEAST_NIGHTS else ""
    judged = [change for change in nights.judged if change.series.tier == tier]
    short = [change.nights for change in judged if state_of(change) is ChangeState.INSUFFICIENT]
    if not short:
        return ""
    have = str(min(short)) if min(short) == max(short) else f"{min(short)} {DASH} {max(short)}"
    which = "all" if len(short) == len(judged) else f"{len(short)} of {len(judged)}"
    return (
        f"Insufficient data: {which} series have fewer than {LEAST_NIGHTS} nights that can be compared "
        f"(nights with a value: {have})."
    )


def _pending(told: NightSummary | None) -> str:
    if told is None or not told.pairs_left:
        return ""
    return f"{plural(told.pairs_left, 'suspicion')} of the lab did not get all pairs in this night: the next goes on."

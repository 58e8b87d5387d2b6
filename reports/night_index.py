"""The newest night as the index tells it: one sentence, hands needed, flips, the phones in short, and all nights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from harness.analysis.nights_words import measured
from harness.model import (
    NOT_A_PHONE,
    Change,
    ChangeState,
    NightRecord,
    NightSummary,
    RunRecord,
    RunStatus,
    VerdictFlip,
)
from reports.cases import Case, case_name
from reports.fleet import fleet_tally
from reports.inputs import NightInput
from reports.night_views import (
    DriftRow,
    FleetHealth,
    FlipRow,
    ListedChange,
    NightHead,
    NightRow,
    OwnerFlips,
    RunLink,
)
from reports.nights import (
    STATES,
    Phones,
    apart_row,
    hand,
    how_much,
    href,
    listed_changes,
    metric_title,
    state_of,
)
from reports.numbers import clock, day, duration, iso, moment, plural, significant
from reports.verdicts import WORDS, limit_words, target_title

STALE_S = 26 * 3600.0
"""Age of the newest night from which on it is old: a night that should have ended did not."""
NEWEST = 31
"""Nights of the history that are shown at once."""
MOST_RUNS = 3
"""Runs that are named with a night; the first one measures, a search for a build takes a dozen."""
NO_OWNER = "no owner named"

_LISTED = (ChangeState.REGRESSION, ChangeState.SUSPECT, ChangeState.IMPROVEMENT)

Where = tuple[str, str, str, str, str]
"""Tier, device, model, runner, workload."""


@dataclass(frozen=True, slots=True)
class Around:
    """What the index has beside the nights.

    Args:
        run: that the report is about. cases: of it, by tier.
        files: tier → name of its file. fleet: name of the fleet's page, "" without one.
        runs: ids of the runs that the index lists.
    """

    run: RunRecord
    cases: Mapping[str, Sequence[Case]]
    files: Mapping[str, str]
    fleet: str
    runs: frozenset[str]


def night_head(nights: NightInput, around: Around, phones: Phones, generated_at: float) -> NightHead:
    """What the index says of nights. Args: generated_at: Unix seconds."""
    newest, told = nights.night, nights.told
    ended = newest.started_at if newest.ended_at is None else newest.ended_at
    old = generated_at - ended
    rows = tuple(_row(one, around.runs) for one in (newest, *reversed(nights.before)))
    return NightHead(
        headline=headline(nights),
        tone="bad" if old > STALE_S else _tone(nights),
        ended=ended,
        stale_s=STALE_S,
        age=_age(old) if old > STALE_S else "",
        details=_details(newest),
        aside=_aside(nights, around.run),
        changes=tuple(_listed(one, around.files, phones) for one in listed_changes(nights) if state_of(one) in _LISTED),
        hands=tuple(hand(one, phones) for one in told.hands) if told else (),
        since=_since(nights),
        flips=_flips(told, around, phones),
        notes=told.notes if told else (),
        health=_health(nights, around.fleet, phones),
        history=rows[:NEWEST],
        older=rows[NEWEST:],
    )


def _age(seconds: float) -> str:
    """In whole hours, from three days on in days, as the script of the page says it."""
    hours = int(seconds // 3600)
    return f"{hours} h" if hours < 72 else f"{hours // 24} days"


# --- one sentence -----------------------------------------------------------------------------------------------------


def headline(nights: NightInput) -> str:
    """The newest night in one sentence."""
    night, summary = nights.night, nights.night.summary
    start = f"Night of {day(night.night)}, {_ended(night)}"
    if summary is None:
        return f"{start}: {_why_untold(night)}."
    parts = [measured(summary), _changes(nights)]
    if summary.hands:
        first, *others = summary.hands
        more = f" and {len(others)} more" if others else ""
        parts.append(f"hands needed: {_who(first.devices)}, {first.advice or first.problem}{more}")
    return f"{start}: {'; '.join(parts)}."


def _ended(night: NightRecord) -> str:
    if night.status is RunStatus.INTERRUPTED:
        return "interrupted" if night.ended_at is None else f"interrupted {clock(night.ended_at)}"
    if night.ended_at is None:
        return f"running since {clock(night.started_at)}"
    return f"ended {clock(night.ended_at)}"


def _why_untold(night: NightRecord) -> str:
    if night.status is RunStatus.RUNNING:
        return "it goes on, and what follows is from the night before"
    if night.status is RunStatus.INTERRUPTED:
        return "it left no summary; `farm nightly` goes on with it"
    return "its summary cannot be read by this version of farm"


def _changes(nights: NightInput) -> str:
    """ "1 regression confirmed, 2 suspect"."""
    states = [state_of(change) for change in nights.changes]
    confirmed, suspect, improved = (states.count(state) for state in _LISTED)
    parts = [f"{plural(confirmed, 'regression')} confirmed" if confirmed else "no regression confirmed"]
    parts += [f"{count} {word}" for count, word in ((suspect, "suspect"), (improved, "improved")) if count]
    return ", ".join(parts)


def _who(devices: Sequence[str]) -> str:
    """The first phone, and how many more have the same."""
    if not devices:
        return "the lab"
    return devices[0] if len(devices) == 1 else f"{devices[0]} and {len(devices) - 1} more"


def _tone(nights: NightInput) -> str:
    """Of a night that is young: an interrupted one, one that measured nothing and a regression are red."""
    summary = nights.night.summary
    if nights.night.status is RunStatus.INTERRUPTED:
        return "bad"
    if summary is None:
        return "warn"
    states = {state_of(change) for change in nights.changes}
    if ChangeState.REGRESSION in states or not summary.measured:
        return "bad"
    open_ends = summary.failed or summary.refused or summary.left or summary.hands or summary.quarantined
    return "warn" if open_ends or ChangeState.SUSPECT in states else "good"


def _details(night: NightRecord) -> str:
    """What did not fit into the sentence."""
    parts = [f"began {moment(night.started_at)}"]
    if night.ended_at is not None:
        parts.append(f"took {duration(night.ended_at - night.started_at)}")
    summary = night.summary
    if summary is not None:
        counts = {"failed": summary.failed, "refused": summary.refused, "left for the next night": summary.left}
        parts += [f"{count} {word}" for word, count in counts.items() if count]
        parts.append(f"{plural(summary.phones, 'phone')} of {plural(len(summary.tiers), 'tier')}")
    return "; ".join(parts)


def _aside(nights: NightInput, run: RunRecord) -> str:
    """Said where the run of the report is not one of the newest night."""
    told = nights.told
    if told is not None and run.id in told.runs:
        return ""
    return "The tables below are of a run that is not part of this night."


# --- lists ------------------------------------------------------------------------------------------------------------


def _listed(change: Change, files: Mapping[str, str], phones: Phones) -> ListedChange:
    series, words = change.series, STATES[state_of(change)]
    parts = [metric_title(series), series.model, series.workload, series.runner, series.tier]
    if change.step is not None:
        parts.append(f"{how_much(change.step.delta)} since {day(change.since)}")
    file = files.get(series.tier, "")
    return ListedChange(
        href=f"{file}{href(series)}" if file else "",
        word=words.word,
        style=words.style,
        text=", ".join(parts),
        mark=phones.pooled(change.phones),
    )


def _since(nights: NightInput) -> str:
    """The night before the newest that has a summary."""
    told = [one.night for one in (*nights.before, nights.night) if one.summary is not None]
    return day(told[-2]) if len(told) > 1 else ""


def _flips(told: NightSummary | None, around: Around, phones: Phones) -> tuple[OwnerFlips, ...]:
    """By owner of the model; models without one stand last."""
    links: dict[Where, str] = {}
    for tier, members in around.cases.items():
        for case in members:
            planned = case.planned
            where = (tier, planned.device_id, planned.model.id, planned.runner.id, planned.workload_id)
            links[where] = f"{around.files[tier]}{case_name(case).href}"
    by_owner: dict[str, list[FlipRow]] = {}
    for flip in told.flips if told else ():
        by_owner.setdefault(flip.owner, []).append(_flip(flip, links, phones))
    return tuple(
        OwnerFlips(owner or NO_OWNER, tuple(rows))
        for owner, rows in sorted(by_owner.items(), key=lambda group: (not group[0], group[0]))
    )


def _flip(flip: VerdictFlip, links: Mapping[Where, str], phones: Phones) -> FlipRow:
    name = replace(phones.name(flip.device_id), mark=NOT_A_PHONE.get(flip.kind, ""))
    return FlipRow(
        href=links.get((flip.tier, flip.device_id, flip.model, flip.runner, flip.workload), ""),
        model=flip.model,
        device=name,
        tier=flip.tier,
        runner=flip.runner,
        workload=flip.workload,
        target=target_title(flip.target),
        before=flip.before.value,
        before_word=WORDS[flip.before],
        after=flip.after.value,
        after_word=WORDS[flip.after],
        value="" if flip.value is None else f"{significant(flip.value)} {flip.unit}".strip(),
        limit="" if flip.limit is None else limit_words(flip.target, flip.limit, flip.unit),
    )


# --- phones and nights ------------------------------------------------------------------------------------------------


def _health(nights: NightInput, fleet: str, phones: Phones) -> FleetHealth:
    told = nights.told
    apart = [row.quarantine for row in nights.fleet if row.quarantine]
    if not nights.fleet and told is not None:
        apart = list(told.quarantined)
    return FleetHealth(
        href=fleet,
        tally=fleet_tally(nights.fleet),
        apart=tuple(apart_row(one, phones) for one in apart),
        drifts=tuple(
            DriftRow(
                phones.name(one.device_id),
                f"{how_much(one.delta)} on its own reference over {plural(one.nights, 'night')}",
            )
            for one in (told.drifts if told else ())
            if one.drifted
        ),
    )


def _row(night: NightRecord, listed: frozenset[str]) -> NightRow:
    summary = night.summary
    runs = summary.runs if summary else ()
    counts: tuple[int, ...] = ()
    if summary is not None:
        states = [state_of(change) for change in summary.changes]
        counts = (
            summary.measured,
            summary.failed,
            summary.refused,
            summary.left,
            states.count(ChangeState.REGRESSION),
            states.count(ChangeState.SUSPECT),
            len(summary.bisections),
        )
    return NightRow(
        night=night.night,
        started=moment(night.started_at),
        started_iso=iso(night.started_at),
        length="" if night.ended_at is None else duration(night.ended_at - night.started_at),
        status=night.status.value,
        counts=counts,
        absent="" if summary else "no summary",
        runs=tuple(RunLink(run, run_href(run) if run in listed else "") for run in runs[:MOST_RUNS]),
        more_runs=f"{len(runs) - MOST_RUNS} more" if len(runs) > MOST_RUNS else "",
    )


def run_anchor(run: str) -> str:
    """The id of a run's row on the index."""
    return "run=" + quote(run, safe="")


def run_href(run: str) -> str:
    return "#" + quote(run_anchor(run), safe="=")

"""Inputs → the view model of the index; pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.analysis.repeats import RepeatPolicy
from harness.model import CaseStatus, RunRecord, RunStatus, Targets, Tier
from reports.cases import STATUS_WORDS, Case, Notes, count_statuses, gather
from reports.changes import change_tally
from reports.inputs import NightInput, RunInput
from reports.night_index import Around, night_head, run_anchor
from reports.nights import phones_of
from reports.numbers import moment, plural
from reports.page_views import IndexPage, RunRow, TierRow
from reports.pages import device_rows, notice, run_facts
from reports.verdicts import target_heads, verdict_rows, verdict_tally
from reports.views import DeviceName


def index_page(
    run: RunInput,
    files: Mapping[str, str],
    history: Sequence[RunRow],
    generated_at: float,
    nights: NightInput | None = None,
    fleet: str = "",
) -> IndexPage:
    """The page that leads to the others.

    Args:
        files: tier → name of its file beside the index.
        nights: of the lab; None: it has none. fleet: name of the fleet's page, "" without one.
    """
    cases = {tier: gather(run, tier) for tier in files}
    everything = [case for members in cases.values() for case in members]
    around = Around(run.record, cases, files, fleet, frozenset(row.run.key for row in history))
    phones = phones_of(run, nights.fleet if nights else ())
    return IndexPage(
        headline=headline(run, everything),
        tone=_tone(run, everything),
        run=run_facts(run.record),
        generated=moment(generated_at),
        notice=notice(case.planned.kind for case in everything),
        tiers=tuple(_tier_row(run, tier, cases[tier], href, nights) for tier, href in files.items()),
        devices=tuple(row for tier in files for row in device_rows(run, cases[tier])),
        history=tuple(history),
        night=night_head(nights, around, phones, generated_at) if nights else None,
    )


def headline(run: RunInput, cases: Sequence[Case]) -> str:
    """The run in one sentence."""
    counts = count_statuses(one for case in cases for one in case.repetitions)
    due = sum(count for status, count in counts.items() if status != "skipped")
    others = [
        f"{counts[status]} {STATUS_WORDS[status]}" for status in ("failed", "refused", "unfinished") if counts[status]
    ]
    ended = run.record.ended_at
    when = f"ended {moment(ended)}" if ended is not None else run.record.status.value
    text = f"{counts['measured']} of {due} measured"
    return f"Run of {moment(run.record.started_at)[:10]}, {when}: " + "; ".join([text, *others]) + "."


def _tone(run: RunInput, cases: Sequence[Case]) -> str:
    counts = count_statuses(one for case in cases for one in case.repetitions)
    if run.record.status is RunStatus.INTERRUPTED or not counts["measured"]:
        return "bad"
    return "warn" if counts["failed"] or counts["refused"] or counts["unfinished"] else "good"


def _tier_row(run: RunInput, tier: str, cases: Sequence[Case], href: str, nights: NightInput | None) -> TierRow:
    entry = run.record.tiers.get(tier) or Tier(title=tier, targets=Targets())
    names = {case.device.id: case.device for case in cases}
    return TierRow(
        name=tier,
        title=entry.title,
        href=href,
        targets=target_heads(entry.targets),
        verdicts=verdict_tally(verdict_rows(cases, entry.targets, Notes(), RepeatPolicy.of_run(run.record))),
        counts=tuple(count_statuses(one for case in cases for one in case.repetitions).values()),
        devices=_device_count(names.values()),
        changes=change_tally(nights, tier) if nights else (),
    )


def _device_count(names: Iterable[DeviceName]) -> str:
    devices = list(names)
    marks = [device.mark for device in devices if device.mark]
    marks += ["kept apart" for device in devices if device.apart]
    text = plural(len(devices), "device")
    if not marks:
        return text
    told = [f"{marks.count(mark)} × {mark}" for mark in dict.fromkeys(marks)]
    return f"{text} ({', '.join(told)})"


def history_row(record: RunRecord, counts: Mapping[CaseStatus, int], shown: bool) -> RunRow:
    """A run on the index, `shown` when it is the one this report is about."""
    final = (CaseStatus.MEASURED, CaseStatus.FAILED, CaseStatus.REFUSED, CaseStatus.SKIPPED)
    told = [counts.get(status, 0) for status in final]
    unfinished = sum(count for status, count in counts.items() if status not in final)
    return RunRow(run_facts(record), (*told, unfinished), shown, run_anchor(record.id))

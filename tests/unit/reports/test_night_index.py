"""The newest night at the top of the index."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.model import ChangeState, HandNeeded, RunStatus
from reports.index import history_row, index_page
from reports.inputs import NightInput
from reports.night_index import NEWEST, NO_OWNER, headline
from reports.night_views import NightHead
from tests.unit.reports.night_sample import ENDED, LAST, NIGHTS, change, earlier, night_input, series
from tests.unit.reports.sample import RUN, run_input

FILES = {"flagship": "flagship.html", "budget": "budget.html"}
HOUR = 3600.0


@pytest.fixture(scope="module")
def nights() -> NightInput:
    return night_input()


def head(nights: NightInput, at: float = ENDED + HOUR, fleet: str = "fleet.html") -> NightHead:
    run, _ = run_input(repeats=1)
    rows = [history_row(run.record, {}, True)]
    night = index_page(run, FILES, rows, at, nights, fleet).night
    assert night is not None
    return night


def told(nights: NightInput, **changed: object) -> NightInput:
    """With another summary of the newest night, and only its changes."""
    summary = nights.night.summary
    assert summary is not None
    return replace(nights, night=replace(nights.night, summary=replace(summary, **changed)), judged=())  # type: ignore[arg-type]


QUIET: dict[str, object] = {"changes": (), "hands": (), "failed": 0, "refused": 0, "left": 0, "quarantined": ()}


def test_the_night_in_one_sentence(nights: NightInput) -> None:
    assert headline(nights) == (
        "Night of 20 Nov, ended 07:00 UTC: 412 of 430 measured; 1 regression confirmed, 1 suspect, 1 improved; "
        "hands needed: s24-ultra-a, authorize it and 1 more."
    )
    quiet = told(nights, **QUIET, measured=430)
    assert headline(quiet) == "Night of 20 Nov, ended 07:00 UTC: 430 of 430 measured; no regression confirmed."
    hub = told(nights, **{**QUIET, "hands": (HandNeeded(("a", "b", "c"), "hub 1 is lost", ""),)})
    assert headline(hub).endswith("hands needed: a and 2 more, hub 1 is lost.")
    lab = told(nights, **{**QUIET, "hands": (HandNeeded((), "the disk is full", "make room"),)})
    assert headline(lab).endswith("hands needed: the lab, make room.")


def test_an_acknowledged_change_is_no_regression(nights: NightInput) -> None:
    known = told(nights, **{**QUIET, "changes": (change(ChangeState.ACKNOWLEDGED, series()),)})
    assert "no regression confirmed" in headline(known)
    assert head(known).tone == "good"


@pytest.mark.parametrize(
    ("changed", "tone"),
    [
        ({}, "good"),
        ({"failed": 1}, "warn"),
        ({"left": 3}, "warn"),
        ({"hands": (HandNeeded(("a",), "offline", "plug it in"),)}, "warn"),
        ({"changes": (change(ChangeState.SUSPECT, series()),)}, "warn"),
        ({"changes": (change(ChangeState.REGRESSION, series(), regressed=True),)}, "bad"),
        ({"measured": 0}, "bad"),
    ],
)
def test_the_tone_is_that_of_the_worst(nights: NightInput, changed: dict[str, object], tone: str) -> None:
    assert head(told(nights, **{**QUIET, **changed})).tone == tone


def test_a_night_older_than_26_hours_is_red_and_says_how_old(nights: NightInput) -> None:
    quiet = told(nights, **QUIET)
    young, old, ancient = (head(quiet, ENDED + hours * HOUR) for hours in (25.9, 26.1, 24 * 5))
    assert (young.tone, young.age) == ("good", "")
    assert (old.tone, old.age) == ("bad", "26 h")
    assert (ancient.tone, ancient.age) == ("bad", "5 days")
    assert (old.ended, old.stale_s) == (ENDED, 26 * HOUR)


@pytest.mark.parametrize(
    ("status", "ended", "words", "tone"),
    [
        (RunStatus.INTERRUPTED, ENDED, "interrupted 07:00 UTC: it left no summary", "bad"),
        (RunStatus.INTERRUPTED, None, "interrupted: it left no summary", "bad"),
        (RunStatus.RUNNING, None, "running since 22:00 UTC: it goes on", "warn"),
        (RunStatus.FINISHED, ENDED, "ended 07:00 UTC: its summary cannot be read", "warn"),
    ],
)
def test_a_night_without_a_summary_says_why(
    nights: NightInput, status: RunStatus, ended: float | None, words: str, tone: str
) -> None:
    untold = replace(nights, judged=(), night=replace(nights.night, status=status, ended_at=ended, summary=None))
    assert words in headline(untold)
    found = head(untold)
    assert found.tone == tone
    assert found.changes == ()
    assert found.history[0].absent == "no summary"
    assert found.since == "18 Nov", "the newest with a summary is of the 19th"


def test_an_interrupted_night_is_red_also_with_a_summary(nights: NightInput) -> None:
    cut = told(nights, **QUIET)
    assert head(replace(cut, night=replace(cut.night, status=RunStatus.INTERRUPTED))).tone == "bad"


def test_a_lost_hub_is_one_finding(nights: NightInput) -> None:
    phone, hub = head(nights).hands
    assert ([name.id for name in phone.devices], phone.advice) == (["s24-ultra-a"], "authorize it")
    assert phone.devices[0].marks == "virtual phone, kept apart: drifts"
    assert (len(hub.devices), hub.problem) == (8, "hub 2-1 is lost")


def test_only_flips_are_listed_by_owner_and_lead_to_their_case(nights: NightInput) -> None:
    found = head(nights)
    assert found.since == "19 Nov"
    assert [(group.owner, len(group.rows)) for group in found.flips] == [("speech", 1), (NO_OWNER, 1)]
    flip, other = (group.rows[0] for group in found.flips)
    assert (flip.before_word, flip.after_word, flip.value, flip.limit) == ("pass", "fail", "51.2 ms", "≤ 50 ms")
    assert flip.href.startswith("flagship.html#case=")
    assert (other.device.mark, other.value, other.after_word) == ("virtual phone", "", "not measured")


def test_the_first_night_has_nothing_to_flip_from(nights: NightInput) -> None:
    assert head(replace(nights, before=())).since == ""


def test_changes_lead_to_the_file_of_their_tier(nights: NightInput) -> None:
    words = [(one.word, one.href.partition("#")[0]) for one in head(nights).changes]
    assert words == [("confirmed", "flagship.html"), ("suspect", "flagship.html"), ("improved", "flagship.html")]
    run, _ = run_input(repeats=1)
    alone = index_page(run, {"budget": "budget.html"}, (), ENDED, nights).night
    assert alone is not None
    assert {one.href for one in alone.changes} == {""}
    assert "5.3 % worse since 11 Nov" in alone.changes[0].text


def test_of_many_runs_the_first_are_named_and_the_others_counted(nights: NightInput) -> None:
    told = nights.night.summary
    assert told is not None
    many = replace(nights, night=replace(nights.night, summary=replace(told, runs=tuple(f"r{n}" for n in range(9)))))
    newest, *_ = head(many).history
    assert ([run.key for run in newest.runs], newest.more_runs) == (["r0", "r1", "r2"], "6 more")


def test_every_night_has_a_row_with_its_runs(nights: NightInput) -> None:
    found = head(nights)
    assert len(found.history) == NIGHTS <= NEWEST
    newest, *_ = found.history
    assert newest.night == LAST.isoformat()
    assert newest.counts == (412, 2, 2, 14, 1, 1, 1)
    assert [(run.key, run.href) for run in newest.runs] == [(RUN, f"#run={RUN}")]
    assert found.history[1].runs[0].href == "", "that run is not in the list of runs"
    assert [row.night for row in found.history if row.absent] == ["2025-10-30"]
    year = head(replace(nights, before=earlier(364)))
    assert (len(year.history), len(year.older)) == (NEWEST, 365 - NEWEST)


def test_a_run_of_another_night_is_said(nights: NightInput) -> None:
    assert head(nights).aside == ""
    assert "not part of this night" in head(told(nights, runs=("another",))).aside


def test_the_fleet_in_short(nights: NightInput) -> None:
    health = head(nights).health
    assert [(item.label, item.count) for item in health.tally] == [("fine", 3), ("need hands", 2), ("kept apart", 1)]
    (apart,) = health.apart
    assert (apart.name.id, apart.name.mark, apart.reason) == ("s24-ultra-a", "virtual phone", "drifts")
    assert [(row.name.id, row.text) for row in health.drifts] == [
        ("s24-ultra-a", "7.4 % worse on its own reference over 28 nights")
    ]
    bare = head(replace(nights, fleet=()), fleet="").health
    assert bare.tally == ()
    assert [row.reason for row in bare.apart] == ["drifts"], "as the summary tells it"


def test_without_nights_the_index_is_as_it_was() -> None:
    run, _ = run_input(repeats=1)
    page = index_page(run, FILES, (), ENDED)
    assert page.night is None
    assert page.tiers[0].changes == ()
    with_nights = index_page(run, FILES, (), ENDED, night_input())
    assert [(item.label, item.count) for item in with_nights.tiers[0].changes if item.count] == [
        ("confirmed", 1),
        ("suspect", 1),
        ("improved", 1),
        ("cleared", 1),
        ("acknowledged", 1),
    ]


def test_details_say_what_the_sentence_leaves_out(nights: NightInput) -> None:
    assert head(nights).details == (
        "began 2025-11-20 22:00:00 UTC; took 9 h 0 min; 2 failed; 2 refused; 14 left for the next night; "
        "11 phones of 2 tiers"
    )

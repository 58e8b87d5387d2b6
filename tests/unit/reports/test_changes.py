"""What a tier's page says of changes over the nights."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.model import Change, ChangeState, PairOutcome, RunStatus
from reports.changes import MOST_CHARTS, change_marks, changed
from reports.inputs import NightInput
from reports.night_views import Changed, ChangeView
from reports.nights import how_much, interval, phones_of
from reports.pages import tier_page
from tests.unit.reports.night_sample import (
    GOOD,
    NIGHTS,
    PHONES,
    STEP,
    change,
    night_input,
    night_of,
    pairs,
    series,
)
from tests.unit.reports.sample import MODELS, RUNNER, START, run_input


@pytest.fixture(scope="module")
def nights() -> NightInput:
    return night_input()


def told(nights: NightInput, tier: str = "flagship") -> Changed:
    run, _ = run_input(repeats=1)
    found = changed(nights, tier, phones_of(run, nights.fleet))
    assert found is not None
    return found


def row(nights: NightInput, word: str) -> ChangeView:
    (group,) = [group for group in told(nights).groups if group.word == word]
    (found,) = group.rows
    return found


def only(nights: NightInput, *listed: Change) -> NightInput:
    return replace(nights, judged=listed)


def test_the_worst_comes_first_and_steady_series_are_counted_only(nights: NightInput) -> None:
    found = told(nights)
    assert [group.word for group in found.groups] == ["confirmed", "suspect", "improved", "cleared", "acknowledged"]
    assert [(item.label, item.count) for item in found.tally] == [(group.word, 1) for group in found.groups]
    assert found.summary == (
        "After the night of 20 Nov 5 series of this tier have a change; 6 of 13 judged series hold their level."
    )


def test_short_series_are_said_once_with_their_nights(nights: NightInput) -> None:
    assert told(nights).short == (
        "Insufficient data: 2 of 13 series have fewer than 14 nights that can be compared (nights with a value: 3 – 9)."
    )
    few = replace(nights, judged=(), before=nights.before[-4:])
    assert told(few).short == "Insufficient data: 5 nights so far, a series is judged from its 14th night on."
    assert told(replace(nights, judged=())).short == ""


def test_a_confirmed_change_has_everything_that_is_known_of_it(nights: NightInput) -> None:
    found = row(nights, "confirmed")
    assert (found.metric, found.model, found.workload, found.runner) == ("Decode", MODELS[0].id, "chat", RUNNER.id)
    assert (found.delta, found.interval) == ("5.3 % worse", "4.1 – 6.6 %")
    assert (found.since, found.between) == (
        night_of(STEP),
        "between 10 Nov and 11 Nov",
    )
    assert (found.good, found.bad) == ("llama.cpp-b7301", "llama.cpp-b7312")
    assert found.pairs == "36 pairs on 3 phones: 5.0 % worse (4.4 – 5.7 %), p\u00a0=\u00a00.00021; they agree"
    assert found.nights == str(NIGHTS - 1)
    assert found.opened
    facts = {item.label: item.value for item in found.facts}
    assert facts["search for the first bad build"] == (
        "first bad llama.cpp-b7312; last good llama.cpp-b7301; confidence 99.2 %; could not be tried: llama.cpp-b7308; "
        "12 pairs at each of 3 builds"
    )
    assert found.chart is not None
    assert found.command.startswith("farm ack flagship/")


def test_pooled_phones_that_are_no_phones_are_marked(nights: NightInput) -> None:
    found = row(nights, "confirmed")
    assert found.mark == "1 of 3 × virtual phone, 1 of 3 × not a phone"
    assert found.chart is not None
    assert found.chart.mark == found.mark
    alone = row(only(nights, change(ChangeState.SUSPECT, series(), phones=("s24-ultra-a",))), "suspect")
    assert alone.mark == "virtual phone"
    real = row(only(nights, change(ChangeState.SUSPECT, series(), phones=("pixel-8-pro",))), "suspect")
    assert real.mark == ""


def test_a_suspect_says_what_happens_next(nights: NightInput) -> None:
    due = row(nights, "suspect")
    assert due.next == "Pairs of llama.cpp-b7301 and llama.cpp-b7312 are due; farm runs them."
    assert due.pairs == ""
    assert told(nights).pending == "1 suspicion of the lab did not get all pairs in this night: the next goes on."
    same = change(ChangeState.SUSPECT, series(), bad_build=GOOD, pair_build=GOOD, wants_pairs=False)
    assert row(only(nights, same), "suspect").next.startswith("Pairs of builds cannot tell")
    begun = change(ChangeState.SUSPECT, series(), wants_pairs=True, ab=pairs(PairOutcome.UNDECIDED))
    assert row(only(nights, begun), "suspect").pairs.endswith("not decided yet")


def test_a_regression_that_moves_again_stays_confirmed(nights: NightInput) -> None:
    again = change(ChangeState.SUSPECT, series(), regressed=True, wants_pairs=True)
    found = row(only(nights, again), "confirmed")
    assert found.word == "confirmed, suspect again"
    assert found.next.startswith("Pairs of")


def test_better_is_never_called_worse(nights: NightInput) -> None:
    assert row(nights, "improved").delta == "8.3 % better"
    assert how_much(-0.05) == "5.1 % better"
    assert interval(-0.05, -0.06, 0.01) == "\u22121.0 – 6.2 %"
    assert interval(0.05, 0.04, 0.06) == "4.1 – 6.2 %"


def test_who_acknowledged_is_told_only_while_it_is(nights: NightInput) -> None:
    facts = {item.label: item.value for item in row(nights, "acknowledged").facts}
    assert facts["acknowledged"] == f"by Ada, 2025-11-20 07:00:00 UTC, after the night of {night_of(25)}"
    assert facts["its reason"] == "on purpose"
    old = replace(nights, acks=tuple(replace(ack, series=series()) for ack in nights.acks))
    assert "acknowledged" not in {item.label for item in row(old, "confirmed").facts}


def test_what_is_not_dated_has_no_number(nights: NightInput) -> None:
    bare = Change(series(), ChangeState.ACKNOWLEDGED, 20, PHONES, reason="the new level is being learnt")
    found = row(replace(only(nights, bare), series=()), "acknowledged")
    assert (found.delta, found.interval, found.since, found.good, found.bad) == ("", "", "", "", "")
    assert found.chart is None
    assert found.no_chart.startswith("the values of its nights were not read")


def test_the_builds_are_those_that_a_search_found(nights: NightInput) -> None:
    searched = change(ChangeState.REGRESSION, series(), regressed=True, good_build="ab" * 32)
    assert row(only(nights, searched), "confirmed").good == "llama.cpp-b7301"
    again = row(only(nights, replace(searched, state=ChangeState.SUSPECT)), "confirmed")
    assert again.good == "ab" * 6, "the search was for what is open already"


def test_beyond_the_budget_the_worst_are_drawn(nights: NightInput) -> None:
    many = [change(ChangeState.SUSPECT, series(model=f"m{number}")) for number in range(MOST_CHARTS + 3)]
    drawn = tuple(replace(nights.series[0], series=one.series) for one in many)
    (group,) = told(replace(only(nights, *many), series=drawn)).groups
    assert [one.chart is not None for one in group.rows] == [True] * MOST_CHARTS + [False] * 3
    assert group.rows[-1].no_chart == f"only the first {MOST_CHARTS} changes are drawn, to keep this file small"


def test_a_build_without_a_name_is_named_by_its_hash(nights: NightInput) -> None:
    unknown = change(ChangeState.REGRESSION, series("prefill_tps"), regressed=True, bad_build="ef" * 32)
    assert row(only(nights, unknown), "confirmed").bad == "efefefefefef"
    untold = replace(only(nights, unknown), night=replace(nights.night, summary=None), before=())
    assert row(untold, "confirmed").good == GOOD[:12]


def test_without_what_was_judged_the_summary_tells_the_changes(nights: NightInput) -> None:
    found = told(replace(nights, judged=()))
    assert [group.word for group in found.groups] == ["confirmed", "suspect", "improved", "cleared", "acknowledged"]
    assert found.summary == "After the night of 20 Nov 5 series of this tier have a change."
    assert told(nights, "budget").summary.startswith("After the night of 20 Nov no series changed")


def test_a_night_without_a_word_leaves_the_section_out(nights: NightInput) -> None:
    untold = NightInput(replace(nights.night, status=RunStatus.INTERRUPTED, summary=None))
    run, samples = run_input(repeats=1)
    assert changed(untold, "flagship", phones_of(run)) is None
    assert tier_page(run, "flagship", samples, START, nights=untold).changed is None
    assert tier_page(run, "flagship", samples, START).changed is None


def test_the_matrix_leads_to_the_change(nights: NightInput) -> None:
    marks = change_marks(nights, "flagship")
    (decode, ttft, load) = marks[MODELS[0].id, RUNNER.id, "chat"]
    assert (decode.word, decode.metric, ttft.word, load.word) == ("confirmed", "Decode", "suspect", "improved")
    assert [mark.word for mark in marks[MODELS[1].id, RUNNER.id, "chat"]] == ["acknowledged"]
    assert change_marks(nights, "budget") == {}
    assert change_marks(None, "flagship") == {}
    run, samples = run_input(repeats=1)
    page = tier_page(run, "flagship", samples, START, nights=nights)
    cells = {
        (line.model, line.mark, name): cell.changes
        for line in page.matrix.rows
        for name, cell in zip(page.matrix.workloads, line.cells, strict=True)
    }
    assert cells[MODELS[0].id, "", "chat"] == (decode, ttft, load)
    assert cells[MODELS[0].id, "", "bench"] == ()
    assert page.changed is not None
    anchors = {"#" + one.anchor.replace("%", "%25") for group in page.changed.groups for one in group.rows}
    assert {decode.href, ttft.href, load.href} <= anchors

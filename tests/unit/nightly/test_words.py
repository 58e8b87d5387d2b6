"""The one sentence of a night, and what is said of a change."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from typing import Any

import pytest

from harness.analysis.nights_words import day, headline, moved, plain, told
from harness.model import ChangeState, HandNeeded, LevelStep, PairOutcome, PairResult
from tests.unit.nightly.summaries import HOSTILE, change, series, summary

BEGIN = "Night of 21 Nov, ended 05:52: "


def test_the_sentence_of_the_issue() -> None:
    assert headline(summary(), UTC) == (
        "Night of 21 Nov, ended 05:52: 412 of 430 measured; 1 regression confirmed, 2 suspect; "
        "hands needed: phone X, authorize"
    )


def test_the_end_is_told_by_the_clock_of_the_lab() -> None:
    assert "ended 11:22:" in headline(summary(), timezone(timedelta(hours=5, minutes=30)))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"changes": (), "hands": ()}, "412 of 430 measured; no change"),
        (
            {"changes": (change(), change(series=series("x"))), "hands": ()},
            "412 of 430 measured; 2 regressions confirmed",
        ),
        ({"changes": (change(ChangeState.IMPROVEMENT),), "hands": ()}, "412 of 430 measured; 1 improved"),
        ({"changes": (change(ChangeState.ACKNOWLEDGED),), "hands": ()}, "412 of 430 measured; no change"),
        ({"phones": 0, "changes": (), "hands": ()}, "no phone took part; no change"),
        (
            {"measured": 0, "failed": 0, "refused": 0, "left": 0, "changes": (), "hands": ()},
            "nothing was due; no change",
        ),
    ],
)
def test_what_is_left_out_and_what_is_said_instead(more: dict[str, Any], said: str) -> None:
    assert headline(summary(**more), UTC) == BEGIN + said


def test_an_open_regression_counts_while_a_further_change_is_suspect() -> None:
    both = change(ChangeState.SUSPECT, regressed=True)
    assert "1 regression confirmed, 1 suspect" in headline(summary(changes=(both,)), UTC)


def test_a_lost_hub_is_one_finding_and_many_findings_are_counted() -> None:
    hub = HandNeeded(tuple(f"p{number}" for number in range(8)), "hub 1-1 is gone", "plug it in")
    others = tuple(HandNeeded((f"q{number}",), "locked", "") for number in range(4))
    said = headline(summary(hands=(hub, *others)), UTC).partition("hands needed: ")[2]
    assert said == "p0, p1, p2 and 5 more, plug it in; q0, locked; q1, locked; and 2 more"


def test_foreign_text_stays_on_its_line() -> None:
    said = headline(summary(hands=(HandNeeded((HOSTILE,), "x", HOSTILE * 9),)), UTC)
    assert said.isprintable() and len(said) < 400
    assert plain("a\r\n\tb\x00\u202e c") == "a b\ufffd\ufffd c"
    assert plain("x" * 200) == "x" * 119 + "…"


def test_day_and_direction() -> None:
    assert (day("2026-01-02"), day("2026-12-31")) == ("2 Jan", "31 Dec")
    assert (moved(0.1), moved(-0.1)) == ("10.5 % worse", "10.5 % better")
    assert moved(1e9).endswith("% worse")


def test_how_far_it_moved_is_the_word_of_the_pairs_once_they_agree() -> None:
    assert told(change()) == "10.5 % worse (8.3 to 12.7 %)"
    assert told(change(ChangeState.IMPROVEMENT)) == "10.5 % better (8.3 to 12.7 %)"
    few = PairResult(PairOutcome.UNDECIDED, 0.5, 0.1, 0.9, 0.2, 3, 1, "3 of 24")
    assert told(change(ChangeState.SUSPECT, ab=few)) == "12.7 % worse (5.1 to 22.1 %)"
    assert told(change(ChangeState.SUSPECT, step=None)) == ""


def test_an_interval_with_both_signs_says_both() -> None:
    step = LevelStep("2026-11-12", 11, 0.01, -0.02, 0.04, "2026-11-11", "2026-11-13")
    assert told(change(ChangeState.SUSPECT, step=step)) == "1.0 % worse (2.0 % better to 4.1 % worse)"

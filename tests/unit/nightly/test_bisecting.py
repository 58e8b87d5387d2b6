"""The search for the first bad build, on simulated phones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from harness.analysis.nights import BisectAction
from harness.model import SeriesId
from harness.nightly.bisecting import TRIAL, Bisection, bisect_series
from harness.nightly.build_line import BuildLine
from tests.unit.nightly.shelf import SimulatedLab, checked, phone

ORDER = tuple(f"b{number}" for number in range(9))
SERIES = SeriesId("flagship", "m", "r", "bench", "ms_per_token").key


def line(refused: Sequence[str] = ()) -> BuildLine:
    return BuildLine(tuple(checked(name, "it holds no program" if name in refused else "") for name in ORDER))


def lab(bad_from: str, phones: int = 2, **changes: Any) -> SimulatedLab:
    return SimulatedLab(tuple(phone(f"p{number}") for number in range(phones)), ORDER, bad_from, **changes)


def search(of: SimulatedLab, **changes: Any) -> Bisection:
    given = {"line": line(), **changes}
    return bisect_series(of, of.search(given["line"], given.get("metric", "ms_per_token")), given.get("deadline"))


@pytest.mark.parametrize("bad_from", ORDER[1:])
def test_the_first_bad_build_is_found_wherever_it_is(bad_from: str) -> None:
    found = search(lab(bad_from))
    assert found.found
    assert found.name(found.step.first_bad) == bad_from
    assert found.name(found.step.last_good) == ORDER[ORDER.index(bad_from) - 1]
    assert found.step.delta == pytest.approx(0.1, abs=0.02)
    assert found.step.confidence is not None
    assert found.step.confidence > 0.9
    told = found.told(SERIES)
    assert (told.series, told.runner, told.first_bad, told.untried) == (SERIES, "r", bad_from, ())
    assert "% worse (95 % interval" in told.reason


def test_a_rate_that_fell_is_as_bad_as_a_time_that_grew() -> None:
    found = search(lab("b4"), metric="decode_tps")
    assert found.name(found.step.first_bad) == "b4"


def test_only_the_ends_and_what_lies_on_the_way_are_measured() -> None:
    used = lab("b4")
    found = search(used)
    assert [name for name, _ in used.asked[::2]] == ["b8", "b4", "b2", "b3"]
    assert [pairs for _, pairs in used.asked[:2]] == [
        {"serial-p0": TRIAL, "serial-p1": TRIAL},
        {"serial-p0": 8 - TRIAL, "serial-p1": 8 - TRIAL},
    ]
    pairs = {one.build.name: one.pairs for one in found.builds}
    assert pairs == {"b0": 0, "b1": 0, "b2": 16, "b3": 16, "b4": 16, "b5": 0, "b6": 0, "b7": 0, "b8": 16}
    (last,) = [one for one in found.builds if one.build.name == "b8"]
    assert last.phones == 2
    assert last.low is not None and last.high is not None
    assert last.low < 0.1 < last.high


def test_builds_that_are_all_alike_have_no_step() -> None:
    found = search(lab(""))
    assert (found.found, found.stopped, found.step.action) == (False, "", BisectAction.NO_STEP)
    told = found.told(SERIES)
    assert (told.first_bad, told.last_good, told.confidence) == ("", "", None)
    assert told.reason == "the pairs do not show that the bad end is worse than the good one"


def test_builds_that_do_not_run_are_tried_around() -> None:
    used = lab("b4", crash=("b3", "b4"))
    found = search(used, line=line(refused=("b2",)))
    assert found.name(found.step.first_bad) == "b5"
    assert [found.name(key) for key in found.step.untried] == ["b2", "b3", "b4"]
    assert found.name(found.step.last_good) == "b1"
    problems = {one.build.name: one.problem for one in found.builds if one.problem}
    assert problems == {"b2": "it holds no program", "b3": "b3 crashed", "b4": "b4 crashed"}
    crashed = [row for row in used.rows if row.error is not None]
    assert len(crashed) == 2 * TRIAL * len(used.devices), "what does not run costs no more than a trial"


def test_an_end_that_does_not_run_ends_the_search() -> None:
    found = search(lab("b4", crash=("b8",)))
    assert found.stopped == "the bad end does not run: b8 crashed"
    good = search(lab("b4", crash=("b0",)))
    assert good.stopped == "no phone gives a pair: p0: b0 crashed; p1: b0 crashed"
    assert good.told(SERIES).reason == good.stopped
    assert good.told(SERIES).first_bad == ""


def test_a_phone_that_gives_nothing_is_left_out() -> None:
    used = lab("b4", phones=3, lost=("p1",))
    found = search(used)
    assert found.name(found.step.first_bad) == "b4"
    assert found.dropped == {"p1": "p1 is hot"}
    assert all("serial-p1" not in pairs for _, pairs in used.asked[1:])
    nobody = search(lab("b4", lost=("p0", "p1")))
    assert nobody.stopped == "no phone gives a pair: p0: p0 is hot; p1: p1 is hot"


def test_what_a_phone_that_was_left_out_said_before_does_not_count() -> None:
    alone = lab("b4", phones=1, crash=("b4",))
    search(alone)
    of_b4 = [run for run, (name, _) in zip(alone.nights, alone.asked, strict=True) if name == "b4"]
    crashed = [row for row in alone.rows if row.planned.run in of_b4]
    both = lab("b4", lost=("p0",), rows=crashed, nights=dict(alone.nights))

    def lose_the_other() -> None:
        both.lost = ("p0", "p1") if both.asked[-1][0] == "b4" else ("p0",)

    both.on_run = lose_the_other
    assert search(both).stopped == "no phone gives a pair: p0: p0 is hot; p1: p1 is hot"


def test_a_metric_that_nothing_gives_says_so() -> None:
    found = search(lab("b4"), metric="ttft_ms")
    assert found.stopped == "no phone gives a pair: p0: it gave no ttft_ms; p1: it gave no ttft_ms"


def test_a_search_that_was_killed_goes_on() -> None:
    whole = lab("b4", scatter=0.0)
    expected = search(whole)
    for moment in range(0, len(whole.rows), 7):
        used = lab("b4", scatter=0.0, stop_after=moment)
        with pytest.raises(KeyboardInterrupt):
            search(used)
        before = [row.planned.key for row in used.rows]
        used.stop_after = None
        found = search(used)
        assert found.step == expected.step
        assert [row.planned.key for row in used.rows][: len(before)] == before
        # The half of a pair that was under way is run again with its other half.
        halves = len(used.devices) * 2
        assert len(used.rows) <= len(whole.rows) + halves


def test_the_operator_and_the_clock_end_it() -> None:
    used = lab("b4")

    def press() -> None:
        used.interrupted = len(used.nights) == 2

    used.on_run = press
    found = search(used)
    assert found.stopped == "it was interrupted"
    assert len(used.rows) == 2 * TRIAL * 2
    late = lab("b4")
    assert search(late, deadline=time.monotonic() - 1).stopped == "its time is up"
    assert late.rows == []
    used.interrupted, used.on_run = False, lambda: None
    assert search(used).found


def test_pairs_of_phones_that_are_not_here_do_not_count() -> None:
    used = lab("b4", phones=2)
    search(used)
    alone = SimulatedLab(used.devices[:1], ORDER, "b4", rows=list(used.rows), nights=dict(used.nights))
    found = search(alone)
    assert found.found
    assert alone.asked == [], "that phone has all its pairs already"
    other = SimulatedLab((phone("p9"),), ORDER, "b4", rows=list(used.rows), nights=dict(used.nights))
    assert search(other).found
    assert {identity for _, pairs in other.asked for identity in pairs} == {"serial-p9"}

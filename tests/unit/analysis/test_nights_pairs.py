"""What interleaved pairs decide, and where a bisection goes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from harness.analysis.nights import PAIRS, BisectAction, BisectStep, bisect_step, decide
from harness.analysis.nights.bisect import LOOKS
from harness.analysis.nights.pairs import LEAST, p_above, shift
from harness.model import PairOutcome, PairSet
from tests.unit.analysis.nights import pairs

ratios = st.lists(st.floats(-1, 1).filter(lambda value: abs(value) > 1e-9), min_size=1, max_size=20, unique_by=abs)


@given(ratios)
def test_one_phone_is_the_textbook_test(values: list[float]) -> None:
    expected = wilcoxon(values, alternative="greater", method="exact").pvalue
    assert p_above([values]) == pytest.approx(expected)


def test_several_phones_with_ties_and_zeros_are_counted_out() -> None:
    phones = [[0.0, 0.1, 0.1, -0.2], [0.3, -0.1, 0.3]]
    # Doubled ranks by hand: a zero keeps the lowest rank and counts for no side.
    ranks = [(5, 5, 8), (5, 2, 5)]
    observed = 5 + 5 + 5 + 5
    sums = [
        sum(rank for rank, sign in zip(ranks[0] + ranks[1], signs, strict=True) if sign)
        for signs in itertools.product((0, 1), repeat=6)
    ]
    assert p_above(phones) == pytest.approx(sum(total >= observed for total in sums) / len(sums))


@given(st.lists(ratios, min_size=1, max_size=4), st.floats(-0.5, 0.5))
def test_shift_moves_with_the_values_and_turns_with_them(phones: list[list[float]], moved: float) -> None:
    middle, low, high = shift(phones)
    assert low <= middle <= high
    assert shift([[value + moved for value in one] for one in phones])[0] == pytest.approx(middle + moved)
    turned = shift([[-value for value in one] for one in phones])
    assert turned == pytest.approx((-middle, -high, -low))


def test_interval_holds_the_truth_as_often_as_it_says() -> None:
    source = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        phones = [0.03 + scale * source.standard_normal(12) for scale in (0.02, 0.05, 0.07)]
        _, low, high = shift(phones)
        held += low <= 0.03 <= high
    assert 0.92 <= held / 400 <= 0.98


def test_three_per_cent_is_confirmed_and_nothing_is_cleared() -> None:
    confirmed = [decide(pairs("n", "g", "b", 0.03, seed=seed), 1).outcome for seed in range(60)]
    nothing = [decide(pairs("n", "g", "b", 0.0, seed=seed), 1).outcome for seed in range(200)]
    assert confirmed.count(PairOutcome.CONFIRMED) >= 57
    assert nothing.count(PairOutcome.CONFIRMED) <= 6
    assert PairOutcome.UNDECIDED not in nothing + confirmed


def test_change_to_the_other_side_is_not_confirmed() -> None:
    assert decide(pairs("n", "g", "b", 0.05), -1).outcome is PairOutcome.CLEARED
    assert decide(pairs("n", "g", "b", -0.05), -1).outcome is PairOutcome.CONFIRMED


@pytest.mark.parametrize("others", [1, 7])
def test_one_wild_phone_confirms_nothing(others: int) -> None:
    confirmed = 0
    for seed in range(40):
        wild = pairs("n", "g", "b", 5.0, phones=[0], seed=seed)
        calm = pairs("n", "g", "b", 0.0, phones=range(1, others + 1), seed=100 + seed)
        confirmed += decide(wild + calm, 1).outcome is PairOutcome.CONFIRMED
    assert confirmed <= (2 if others == 7 else 12)


def test_nothing_is_decided_before_the_pairs_are_complete() -> None:
    some = pairs("n", "g", "b", 0.3, count=PAIRS - 1)
    assert decide(some, 1).outcome is PairOutcome.UNDECIDED
    assert decide(some, 1, nights=3).outcome is PairOutcome.CONFIRMED
    assert "did not bring more" in decide(some, 1, nights=3).reason
    assert decide(pairs("n", "g", "b", 0.3, count=LEAST - 1), 1, nights=9).outcome is PairOutcome.UNDECIDED
    full = pairs("n", "g", "b", 0.3, phones=[0, 1])
    assert decide(full, 1, phones=["serial0", "serial1", "serial2"]).outcome is PairOutcome.UNDECIDED
    assert decide([], 1).outcome is PairOutcome.UNDECIDED
    assert decide([], 1, nights=9).p_value is None


def test_what_is_no_number_is_left_out() -> None:
    odd = [PairSet("a", "n", "g", "b", (math.nan, math.inf, 0.1)), PairSet("b", "n", "g", "b", ())]
    found = decide(odd, 1)
    assert (found.pairs, found.phones, found.outcome) == (1, 1, PairOutcome.UNDECIDED)


class Line:
    """A line of builds, the first bad one known. Measures what it is asked for and keeps every pair."""

    def __init__(self, builds: int, first_bad: int, delta: float, scatter: float = 0.02, seed: int = 5) -> None:
        self.builds = [f"b{number:02d}" for number in range(builds)]
        self.first_bad, self.delta, self.scatter = first_bad, delta, scatter
        self.source = np.random.default_rng(seed)
        self.sets: list[PairSet] = []

    def run(self, phones: Sequence[str] = ("p", "q"), broken: Sequence[str] = ()) -> BisectStep:
        for _ in range(200):
            said = bisect_step(self.builds, self.sets, broken=broken, phones=phones)
            if said.action is not BisectAction.MEASURE:
                return said
            assert said.build not in broken
            level = self.delta if self.builds.index(said.build) >= self.first_bad else 0.0
            for phone in phones:
                have = sum(len(one.ratios) for one in self.sets if one.bad == said.build and one.identity == phone)
                drawn = level + self.scatter * self.source.standard_normal(said.pairs - have)
                self.sets.append(PairSet(phone, "n", self.builds[0], said.build, tuple(drawn.tolist())))
        raise AssertionError("the bisection does not end")


@pytest.mark.parametrize("first_bad", [1, 2, 7, 11, 15])
def test_bisection_finds_the_first_bad_build(first_bad: int) -> None:
    line = Line(16, first_bad, 0.05)
    found = line.run()
    assert found.action is BisectAction.FOUND
    assert (found.first_bad, found.last_good) == (f"b{first_bad:02d}", f"b{first_bad - 1:02d}")
    assert found.confidence is not None
    assert found.confidence > 0.9
    assert len({one.bad for one in line.sets}) <= 5
    assert found.delta == pytest.approx(0.05, abs=0.02)


def test_bisection_stops_early_when_it_is_clear() -> None:
    clear, faint = Line(8, 3, 0.5), Line(8, 3, 0.03)
    clear.run()
    faint.run()
    assert max(len(one.ratios) for one in clear.sets) == LOOKS[0]
    assert len(faint.sets) > len(clear.sets)


@pytest.mark.parametrize("delta", [0.0, -0.05])
def test_bisection_says_when_there_is_no_step(delta: float) -> None:
    found = Line(8, 3, delta).run()
    assert (found.action, found.confidence) == (BisectAction.NO_STEP, None)
    assert "not show" in found.reason


def test_confidence_is_as_often_right_as_it_says() -> None:
    found = [(Line(8, 3, 0.02, scatter=0.03, seed=seed), seed) for seed in range(40)]
    ended = [line.run() for line, _ in found]
    right = [one.first_bad == "b03" for one in ended if one.action is BisectAction.FOUND]
    said = [one.confidence for one in ended if one.confidence is not None]
    assert len(right) >= 20
    assert sum(right) / len(right) >= sum(said) / len(said) - 0.15


def test_builds_that_cannot_be_tried_stay_in_doubt() -> None:
    found = Line(8, 4, 0.05).run(broken=["b03", "b04"])
    assert (found.last_good, found.first_bad, found.untried) == ("b02", "b05", ("b03", "b04"))
    assert "2 builds" in found.reason


def test_bisection_goes_on_from_what_was_measured() -> None:
    line = Line(16, 9, 0.05)
    found = line.run()
    for cut in range(0, len(line.sets), 2):
        again = bisect_step(line.builds, line.sets[:cut], phones=("p", "q"))
        assert again.action is BisectAction.MEASURE
        assert again.build == line.sets[cut].bad
    assert bisect_step(line.builds, line.sets[::-1], phones=("p", "q")) == found


def test_two_neighbours_need_only_their_own_pairs() -> None:
    assert Line(2, 1, 0.05).run().first_bad == "b01"
    with pytest.raises(ValueError, match="good build and a bad one"):
        bisect_step(["only"], [])

"""Centre, interval and comparison of few repetitions."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.compare import Decision, by_chance, compare, in_words
from harness.analysis.statistics import centre, coefficient_of_variation, student_t


def test_quantiles_of_student_match_published_tables() -> None:
    # Two-sided 95 %: 12.706, 4.303, 2.776, 2.145 for 1, 2, 4, 14 degrees of freedom.
    assert [round(student_t(degrees), 3) for degrees in (1, 2, 4, 14)] == [12.706, 4.303, 2.776, 2.145]


def test_interval_of_a_worked_example() -> None:
    # ln of 100, 102, 104: mean 4.624845, stddev 0.019611; half width 4.30265 * 0.019611 / sqrt(3) = 0.048716.
    found = centre([100, 104, 102])
    assert found is not None
    assert found.value == 102
    assert found.low == pytest.approx(math.exp(4.624845 - 0.048716), rel=1e-5)
    assert found.high == pytest.approx(math.exp(4.624845 + 0.048716), rel=1e-5)
    assert found.cv == pytest.approx(2 / 102)


def test_no_value_and_one_value() -> None:
    assert centre([]) is None
    one = centre([3])
    assert one is not None
    assert (one.value, one.low, one.high, one.cv) == (3, None, None, None)


def test_values_of_zero_or_less_are_not_put_on_a_logarithm() -> None:
    found = centre([0, 1, 2])
    assert found is not None
    assert found.low is not None
    assert found.low < 0
    assert coefficient_of_variation([-1, 1]) is None


def test_intervals_hold_the_true_centre_in_95_of_100_cases() -> None:
    source = random.Random(7)
    for n in (2, 5, 15):
        held = 0
        for _ in range(600):
            found = centre([math.exp(source.gauss(0, 0.03)) for _ in range(n)])
            assert found is not None
            assert found.low is not None
            assert found.high is not None
            held += found.low <= 1 <= found.high
        # 600 draws at 95 %: standard error 0.9 points. Widening to hold the median may only add to it.
        assert 0.92 <= held / 600 <= 0.985, n


@given(st.lists(st.floats(1e-150, 1e150), min_size=2, max_size=15))
def test_the_interval_is_finite_and_holds_the_median(values: list[float]) -> None:
    found = centre(values)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low <= found.value <= found.high < math.inf


def test_a_shown_difference_is_better_or_worse_in_the_sense_of_the_metric() -> None:
    before, after = [50.0, 50.5, 49.8, 50.2], [55.0, 55.4, 54.8, 55.1]
    slower = compare(before, after, "lower")
    assert slower.decision is Decision.WORSE
    assert slower.ratio == pytest.approx(55.05 / 50.1)
    assert slower.interval is not None
    assert 1 < slower.interval[0] < slower.interval[1]
    assert compare(after, before, "lower").decision is Decision.BETTER
    assert compare(before, after, "higher").decision is Decision.BETTER
    assert compare(before, after, "").decision is Decision.DIFFERENT


def test_a_wide_interval_that_holds_1_is_inconclusive() -> None:
    found = compare([50, 53, 48], [51, 49, 54], "lower")
    assert found.decision is Decision.INCONCLUSIVE
    assert found.interval is not None
    assert found.interval[0] < 1 < found.interval[1]
    assert "wider than ±2 %" in found.reason


def test_a_narrow_interval_around_1_shows_no_difference() -> None:
    found = compare([50, 50.1, 49.9], [50.05, 50, 49.95], "lower")
    assert found.decision is Decision.NO_DIFFERENCE_SHOWN
    assert found.reason == ""


def test_a_difference_below_the_precision_of_a_case_is_named_small() -> None:
    found = compare([50, 50.01, 49.99], [50.5, 50.51, 50.49], "lower")
    assert found.decision is Decision.WORSE
    assert found.reason == "by less than 2 %"


def test_readers_are_told_faster_and_slower() -> None:
    assert in_words(Decision.BETTER, "tok/s") == in_words(Decision.BETTER, "ms") == "faster"
    assert in_words(Decision.WORSE, "ms") == "slower"
    assert in_words(Decision.WORSE, "MB") == "worse"
    assert in_words(Decision.INCONCLUSIVE, "ms") == "inconclusive"
    assert by_chance(40) == pytest.approx(2)


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ([], [1.0], "the first run"),
        ([1.0], [], "the second run"),
        ([1.0], [1, 2], "two or more"),
        ([0, 1], [1, 2], "0"),
    ],
)
def test_what_cannot_be_compared_says_why(before: list[float], after: list[float], why: str) -> None:
    found = compare(before, after, "lower")
    assert found.decision is Decision.NOT_COMPARABLE
    assert why in found.reason


def test_exact_repetitions_compare_exactly() -> None:
    assert compare([100, 100], [100, 100], "lower").decision is Decision.NO_DIFFERENCE_SHOWN
    assert compare([100, 100], [101, 101], "lower").decision is Decision.WORSE


def test_no_difference_is_rarely_claimed_where_there_is_none() -> None:
    source = random.Random(11)

    def draw() -> list[float]:
        return [math.exp(source.gauss(0, 0.03)) for _ in range(5)]

    open_or_alike = (Decision.NO_DIFFERENCE_SHOWN, Decision.INCONCLUSIVE)
    claimed = sum(compare(draw(), draw(), "lower").decision not in open_or_alike for _ in range(600))
    assert claimed / 600 <= 0.08

"""How many repetitions `repeats: auto` takes, and what it calls stable."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.repeats import (
    AUTO_LEAST,
    AUTO_MOST,
    HEADLINE,
    WITHIN,
    Agreement,
    RepeatPolicy,
    counted,
    half_width,
    headline_values,
    more_repeats,
    needed,
    stability,
)
from harness.analysis.statistics import centre
from harness.model import METRICS, CaseStatus, Suite, Unavailable, WorkloadKind
from tests.unit.analysis.repetitions import ended, row, rows
from tests.unit.store import samples

AUTO = RepeatPolicy(auto=True)
CLOSE = [30.0, 30.1, 29.9, 30.05, 29.95]
WANDERING = [30.0, 33.0, 27.0, 31.5, 28.5]


def repeat_until_done(draw: Callable[[], float]) -> list[float]:
    """As a scheduler does: the first repetitions, then as many as are asked for."""
    values = [draw() for _ in range(AUTO_LEAST)]
    while (decision := needed({"decode_tps": values}, made=len(values))).outcome == "more":
        values += [draw() for _ in range(decision.n_more)]
    return values


def log_normal(source: random.Random, cv: float) -> Callable[[], float]:
    return lambda: 30 * math.exp(source.gauss(0, cv))


@pytest.mark.parametrize(
    ("cv", "fewest", "most", "stable_share"),
    [
        (0.01, 5.0, 5.5, 0.99),
        (0.015, 5.5, 6.7, 0.99),
        (0.02, 7.0, 8.8, 0.93),
        (0.035, 12.5, 14.2, 0.2),
        (0.05, 14.2, 15.0, 0.0),
    ],
)
def test_noise_of_phones_takes_about_as_many_repetitions_as_known(
    cv: float, fewest: float, most: float, stable_share: float
) -> None:
    # Published for a fixed count: 4, 5, 7, 16, 30; here never fewer than 5 nor more than 15.
    draw = log_normal(random.Random(17), cv)
    runs = [repeat_until_done(draw) for _ in range(250)]
    assert fewest <= sum(map(len, runs)) / len(runs) <= most
    assert all(AUTO_LEAST <= len(values) <= AUTO_MOST for values in runs)
    stable = [values for values in runs if half_width(values) <= WITHIN]
    assert len(stable) / len(runs) >= stable_share
    assert all(len(values) == AUTO_MOST for values in runs if values not in stable)
    held = sum(
        found.low <= 30 <= found.high for values in runs if (found := centre(values)) and found.low and found.high
    )
    # 250 draws at 95 %: standard error 1.4 points; stopping at a narrow interval costs up to two points.
    assert held / len(runs) >= 0.89


def test_a_case_known_within_the_limit_is_enough_at_five() -> None:
    decision = needed({"decode_tps": CLOSE}, made=5)
    assert (decision.outcome, decision.n_more) == ("enough", 0)
    assert "decode known within ±0.3 %" in decision.reason


def test_the_widest_headline_metric_decides() -> None:
    decision = needed({"decode_tps": CLOSE, "prefill_tps": [100.0, 104.0, 97.0, 101.0, 99.0]}, made=5)
    assert decision.outcome == "more"
    assert "prefill" in decision.reason and "decode" not in decision.reason


@pytest.mark.parametrize("seldom", [[100.0], [100.0, 100.1]])
def test_a_metric_that_few_repetitions_have_is_not_known(seldom: list[float]) -> None:
    assert needed({"decode_tps": CLOSE, "prefill_tps": seldom}, made=5).outcome == "more"
    after = needed({"decode_tps": [30.0] * 15, "prefill_tps": seldom}, made=15)
    assert after.outcome == "unstable"
    assert "prefill not measured often enough" in after.reason


def test_what_wanders_after_fifteen_is_unstable_with_its_width() -> None:
    decision = needed({"decode_tps": WANDERING * 3}, made=15)
    assert decision.outcome == "unstable"
    assert "more than ±2 %, after 15 repetitions" in decision.reason


@given(st.lists(st.floats(1e-6, 1e9), max_size=18), st.integers(0, 5))
def test_it_always_ends_and_never_asks_beyond_fifteen(values: list[float], failed: int) -> None:
    made = len(values) + failed
    decision = needed({"decode_tps": values}, made=made)
    assert (decision.outcome == "more") is (decision.n_more > 0)
    assert made + decision.n_more <= max(AUTO_MOST, made)
    if made >= AUTO_MOST:
        assert decision.outcome != "more"


def test_headline_metrics_exist_for_every_kind_of_workload() -> None:
    assert set(HEADLINE) == set(WorkloadKind)
    assert all(name in METRICS for names in HEADLINE.values() for name in names)
    energy = headline_values(
        rows(CLOSE, kind=WorkloadKind.BATTERY, more={"energy_per_token_j": Unavailable("plugged")})
    )
    assert list(energy) == ["decode_tps"]


# --- repetitions that failed --------------------------------------------------------------------------------------


def test_a_failed_repetition_is_made_up_for() -> None:
    case = [*rows(CLOSE[:4]), *ended(CaseStatus.FAILED, 5)]
    assert more_repeats(AUTO, case) == 1
    assert more_repeats(AUTO, [*case, row(6, {"decode_tps": 30.0})]) == 0


def test_what_mostly_fails_is_given_up_and_says_so() -> None:
    case = [*rows(CLOSE[:2]), *ended(CaseStatus.FAILED, 3, 4), *ended(CaseStatus.REFUSED, 5)]
    assert more_repeats(AUTO, case) == 0
    found = stability(AUTO, case)
    assert found.agreement is Agreement.UNSTABLE
    assert found.reason == "only 2 of 5 repetitions have a figure"


def test_what_never_works_is_not_repeated() -> None:
    failed = ended(CaseStatus.FAILED, 1, 2, 3, 4, 5)
    assert more_repeats(AUTO, failed) == 0
    assert stability(AUTO, failed).agreement is Agreement.NOT_MEASURED
    refused = ended(CaseStatus.REFUSED, 1)
    assert more_repeats(AUTO, refused) == 0
    assert stability(AUTO, refused).agreement is Agreement.NOT_MEASURED
    assert stability(AUTO, refused).reason == "it crashed"


def test_repetitions_still_to_come_are_taken_off() -> None:
    assert more_repeats(AUTO, [*rows(CLOSE[:2]), *ended(CaseStatus.PLANNED, 3, 4, 5)]) == 0
    assert more_repeats(AUTO, rows(CLOSE[:2])) == 3
    cut = stability(AUTO, [*rows(CLOSE[:2]), *ended(CaseStatus.PLANNED, 3, 4, 5)])
    assert cut.agreement is Agreement.UNFINISHED
    assert "2 of at least 5" in cut.reason


# --- policy -------------------------------------------------------------------------------------------------------


def test_a_fixed_count_never_asks() -> None:
    fixed = RepeatPolicy.of(Suite(("chat",), repeats=3))
    assert more_repeats(fixed, rows(WANDERING)) == 0
    assert stability(fixed, rows(WANDERING)).agreement is Agreement.FIXED


def test_a_count_on_the_command_line_is_exact() -> None:
    suite = Suite(("chat",), repeats="auto", warm_up=True)
    assert RepeatPolicy.of(suite) == RepeatPolicy(auto=True, warm_up=True)
    assert RepeatPolicy.of(suite, 2) == RepeatPolicy(auto=False, warm_up=True)


def test_the_policy_survives_the_store() -> None:
    for policy in (AUTO, RepeatPolicy(warm_up=True), RepeatPolicy()):
        assert RepeatPolicy.from_json(policy.to_json()) == policy
        run = replace(samples.run_record(), options={"repeats": policy.to_json()})
        assert RepeatPolicy.of_run(run) == policy
    for silent in ({"report": None}, {"repeats": 5}, {"repeats": {}}):
        assert RepeatPolicy.of_run(replace(samples.run_record(), options=silent)) == RepeatPolicy()
    assert RepeatPolicy.of_run(None) == RepeatPolicy()


def test_a_warm_up_is_the_first_measured_repetition_and_only_where_asked_for() -> None:
    case = [*ended(CaseStatus.FAILED, 1), *rows([10.0, *CLOSE])[1:], row(7, {"decode_tps": 10.0})]
    assert counted(case, warm_up=False) == tuple(case)
    assert [one.planned.repeat for one in counted(reversed(case), warm_up=True)] == [7, 6, 5, 4, 3, 1]
    cold_first = rows([10.0, *CLOSE])
    assert stability(RepeatPolicy(auto=True, warm_up=True), cold_first).agreement is Agreement.STABLE
    assert more_repeats(AUTO, cold_first) > 0
    assert more_repeats(RepeatPolicy(auto=True, warm_up=True), rows(CLOSE)) == 1

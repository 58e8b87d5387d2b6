"""Verdicts over repetitions."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.analysis.repeats import RepeatPolicy
from harness.analysis.statistics import centre
from harness.analysis.verdict import VerdictInfo, judge
from harness.model import CaseStatus, Targets, TargetVerdict, Unavailable
from harness.store import MeasurementRow
from tests.unit.analysis import repetitions
from tests.unit.analysis.repetitions import ended, row


def rows(values: Sequence[float], metric: str = "ms_per_token") -> list[MeasurementRow]:
    return repetitions.rows(values, metric)


def speed(values: Sequence[float], limit: float = 50) -> VerdictInfo:
    return judge(Targets(ms_per_token_max=limit), rows(values))["ms_per_token_max"]


def test_pass_and_fail_need_the_whole_interval_on_one_side() -> None:
    passed = speed([40, 41, 40.5])
    assert passed.verdict is TargetVerdict.PASS
    assert passed.value == 40.5
    assert passed.n == 3
    assert passed.interval is not None
    assert passed.interval[0] < 40.5 < passed.interval[1] < 50
    assert passed.reason == ""
    assert speed([60, 61, 60.5]).verdict is TargetVerdict.FAIL


def test_an_interval_over_the_target_is_inconclusive() -> None:
    found = speed([49, 51, 48.5])
    assert found.verdict is TargetVerdict.INCONCLUSIVE
    assert "holds the target 50 ms" in found.reason
    assert "3 repetitions" in found.reason


def test_one_repetition_is_inconclusive_however_far_from_the_target() -> None:
    for only in (1, 5000):
        found = speed([only])
        assert found.verdict is TargetVerdict.INCONCLUSIVE
        assert found.value == only
        assert found.interval is None
        assert "one repetition" in found.reason


def test_identical_repetitions_on_the_target_meet_it() -> None:
    assert speed([50, 50, 50]).verdict is TargetVerdict.PASS


def test_an_interval_that_touches_the_target_meets_it_from_the_good_side_only() -> None:
    values = [44.0, 46.0, 45.0]
    found = centre(values)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert speed(values, found.high).verdict is TargetVerdict.PASS
    # The best value still meets the target, all others miss it: not wholly on one side.
    assert speed(values, found.low).verdict is TargetVerdict.INCONCLUSIVE
    assert speed(values, found.low * 0.9999).verdict is TargetVerdict.FAIL


def test_an_unstable_case_says_so_and_keeps_its_verdict() -> None:
    rates = [30.0, 33.0, 27.0] * 5
    case = [row(number, {"ms_per_token": 1000 / rate, "decode_tps": rate}) for number, rate in enumerate(rates, 1)]
    auto = RepeatPolicy(auto=True)
    passed = judge(Targets(ms_per_token_max=50), case, auto)["ms_per_token_max"]
    assert passed.verdict is TargetVerdict.PASS
    assert passed.reason.startswith("unstable: decode known within ±")
    opened = judge(Targets(ms_per_token_max=33.3), case, auto)["ms_per_token_max"]
    assert opened.verdict is TargetVerdict.INCONCLUSIVE
    assert "more repetitions narrow it; unstable: " in opened.reason
    assert judge(Targets(ms_per_token_max=50), case)["ms_per_token_max"].reason == ""
    unmeasured = judge(Targets(peak_memory_mb_max=50), case, auto)["peak_memory_mb_max"]
    assert "unstable" not in unmeasured.reason


def test_a_warm_up_does_not_count() -> None:
    found = judge(Targets(ms_per_token_max=50), rows([900, 40, 41]), RepeatPolicy(warm_up=True))["ms_per_token_max"]
    assert (found.verdict, found.n) == (TargetVerdict.PASS, 2)


def test_a_rate_and_its_reciprocal_lead_to_the_same_interval() -> None:
    times = [44.0, 52.0, 47.0, 49.5]
    direct = speed(times).interval
    inverse = speed([1000 / time for time in times]).interval
    assert direct is not None
    assert inverse is not None
    assert [1000 / end for end in reversed(inverse)] == pytest.approx(direct)


def test_only_measured_repetitions_count() -> None:
    planned = row(4, {"ms_per_token": 900}, status=CaseStatus.PLANNED)
    mixed = [*rows([40, 41]), *ended(CaseStatus.FAILED, 3), planned]
    found = judge(Targets(ms_per_token_max=50), mixed)["ms_per_token_max"]
    assert (found.n, found.value) == (2, 40.5)


def test_what_was_not_measured_says_why() -> None:
    targets = Targets(ms_per_token_max=50, peak_memory_mb_max=300, quality_retention_min=0.9)
    nothing = judge(targets, ended(CaseStatus.FAILED, 1))
    assert {info.verdict for info in nothing.values()} == {TargetVerdict.NOT_MEASURED}
    assert nothing["ms_per_token_max"].reason == "no repetition was measured"
    denied = judge(targets, [row(more={"peak_memory_mb": Unavailable("the process ended first")})])
    assert denied["peak_memory_mb_max"].reason == "the process ended first"
    assert denied["quality_retention_min"].verdict is TargetVerdict.NOT_MEASURED
    assert denied["quality_retention_min"].reason


def test_only_targets_that_the_tier_sets_are_judged() -> None:
    assert judge(Targets(), rows([1, 2])) == {}
    assert list(judge(Targets(peak_memory_mb_max=300), rows([1, 2], "peak_memory_mb"))) == ["peak_memory_mb_max"]

"""From measurements to pairs."""

from __future__ import annotations

import math

import pytest

from harness.model import CaseStatus, PairSet, Unavailable
from harness.nightly.pair_plan import PairPlan, PairWish
from harness.nightly.pair_sets import pair_sets
from tests.unit.nightly.shelf import Row, checked, failed, measured, phone, plan, sha

GOOD, BAD, NIGHTS = sha("good"), sha("bad"), {"run": "2026-11-21", "later": "2026-11-22"}


def cases(run: str = "run", other: str = "bad"):  # type: ignore[no-untyped-def]
    wish = PairWish("m", "r", "bench", GOOD, sha(other))
    pairs = {"serial-p1": 2, "serial-p2": 2}
    found = plan(wish, pairs, (phone("p1"), phone("p2")), (checked("good"), checked(other)), run=run)
    assert isinstance(found, PairPlan)
    return found.cases


def rows(run: str = "run", other: str = "bad", slower: float = 1.1) -> list[Row]:
    return [
        measured(case, decode_tps=50 / (slower if case.runner_sha256 != GOOD else 1) * case.repeat, load_ms=100.0)
        for case in cases(run, other)
    ]


def test_a_pair_is_one_repetition_of_both_on_one_phone() -> None:
    found = pair_sets(rows(), GOOD, BAD, NIGHTS, ["decode_tps", "load_ms"])
    assert found["decode_tps"] == [
        PairSet(f"serial-{name}", "2026-11-21", GOOD, BAD, pytest.approx((math.log(1.1),) * 2)) for name in ("p1", "p2")
    ], "+ is worse, so a lower rate is +"
    assert found["load_ms"] == [PairSet(f"serial-{name}", "2026-11-21", GOOD, BAD, (0.0, 0.0)) for name in ("p1", "p2")]


def test_nights_come_in_order_and_other_builds_and_runs_are_passed_over() -> None:
    mixed = rows("later") + rows("run") + rows("run", other="third") + rows("elsewhere")
    found = pair_sets(mixed, GOOD, BAD, NIGHTS, ["decode_tps"])["decode_tps"]
    assert [(one.night, one.identity) for one in found] == [
        (night, identity) for night in sorted(NIGHTS.values()) for identity in ("serial-p1", "serial-p2")
    ]
    assert {len(one.ratios) for one in found} == {2}


def test_half_a_pair_is_none() -> None:
    (first, *others) = cases()
    whole = [measured(case, decode_tps=50.0) for case in others]
    for half in (failed(first, "crashed"), measured(first), measured(first, decode_tps=0.0), Row(first)):
        found = pair_sets([half, *whole], GOOD, BAD, NIGHTS, ["decode_tps"])["decode_tps"]
        assert [(one.identity, len(one.ratios)) for one in found] == [("serial-p1", 1), ("serial-p2", 2)]
    absent = Row(measured(first).planned, {"decode_tps": Unavailable("it has no clock")})
    assert absent.status is CaseStatus.MEASURED
    assert len(pair_sets([absent, *whole], GOOD, BAD, NIGHTS, ["decode_tps"])["decode_tps"][0].ratios) == 1


def test_a_metric_without_a_direction_has_no_pairs() -> None:
    hot = [measured(case, temperature_start_c=30.0) for case in cases()]
    assert pair_sets(hot, GOOD, BAD, NIGHTS, ["temperature_start_c"]) == {"temperature_start_c": []}
    assert pair_sets([], GOOD, BAD, NIGHTS, ["decode_tps"]) == {"decode_tps": []}

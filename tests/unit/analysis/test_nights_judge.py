"""What is said of a series after its newest night."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.analysis.nights import judge
from harness.analysis.nights.epochs import panel
from harness.analysis.nights.scan import scan
from harness.model import Ack, Change, ChangeState, NightValue, PairSet
from tests.unit.analysis.nights import (
    RATE,
    SERIES,
    build_of,
    flat,
    night_of,
    pairs,
    series,
    step,
    together,
    without,
)

FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def confirmed(rows: list[NightValue], delta: float) -> Change:
    """Judged once more with the pairs that the suspicion asks for."""
    night = first_suspicion(rows)
    suspect = judge(SERIES, [row for row in rows if row.night <= night])
    assert suspect.state is ChangeState.SUSPECT
    assert suspect.wants_pairs
    return judge(SERIES, rows, pairs=pairs(night, suspect.good_build, suspect.pair_build, delta))


def first_suspicion(rows: list[NightValue]) -> str:
    table = panel(SERIES.metric, rows)
    return table.nights[scan(table).suspicions[0].night]


def test_a_suspicion_that_waits_for_pairs_is_told_with_its_intervals() -> None:
    rows = series(60, step(25, 0.1))
    for found in (judge(SERIES, rows), judge(SERIES, rows, [ack(59)])):
        assert found.step is not None
        assert found.step.low < found.step.delta < found.step.high
        assert found.step.earliest <= found.since <= found.step.latest
        assert night_of(int(found.good_build[5:]) + 1) == found.step.earliest
        assert found.pair_build == build_of(59)


def test_a_phone_that_comes_back_later_changes_nothing_of_what_was_decided_without_it() -> None:
    rows = series(40, step(25, 0.1))
    night = first_suspicion(rows)
    rows = without(rows, lambda row: row.identity == "serial3" and night_of(25) <= row.night <= night)
    assert first_suspicion(rows) == night
    early = [row for row in rows if row.night <= night]
    suspect = judge(SERIES, early)
    run = pairs(night, suspect.good_build, suspect.pair_build, 0.1, phones=[0, 1, 2, 4, 5, 6, 7])
    assert judge(SERIES, early, pairs=run).state is ChangeState.REGRESSION
    later = [row for row in rows if row.night <= night_of(int(suspect.pair_build[5:]) + 1)]
    assert {row.identity for row in later if row.night > night} >= {"serial3"}
    assert judge(SERIES, later, pairs=run).state is ChangeState.REGRESSION


def ack(night: int) -> Ack:
    return Ack(SERIES, night_of(night), "ann", "larger cache on purpose")


def test_under_fourteen_nights_nothing_is_said() -> None:
    found = judge(SERIES, series(13, step(10, 0.3)))
    assert (found.state, found.nights) == (ChangeState.INSUFFICIENT, 13)
    assert found.reason == "13 of 14 nights that can be compared"
    assert judge(SERIES, series(14)).state is ChangeState.STEADY
    assert judge(SERIES, []).state is ChangeState.INSUFFICIENT


def test_metric_without_a_better_direction_is_not_judged() -> None:
    found = judge(replace(SERIES, metric="temperature_start_c"), series(40, step(20, 0.5)))
    assert found.state is ChangeState.INSUFFICIENT
    assert "temperature_start_c" in found.reason
    assert judge(replace(SERIES, metric="no such metric"), series(40)).state is ChangeState.INSUFFICIENT


@pytest.mark.parametrize("seed", range(5))
def test_nothing_happens_in_a_quiet_quarter(seed: int) -> None:
    assert judge(SERIES, series(90, seed=seed)).state is ChangeState.STEADY


@pytest.mark.parametrize("seed", range(6))
def test_five_per_cent_is_suspect_and_dated(seed: int) -> None:
    found = judge(SERIES, series(46, step(40, 0.05), seed=seed))
    assert found.state is ChangeState.SUSPECT
    assert found.step is not None
    assert abs(found.step.index - 40) <= 1
    assert found.step.earliest <= night_of(40) <= found.step.latest
    assert found.step.low <= 0.05 <= found.step.high
    assert found.since == found.step.night
    assert found.good_build < build_of(40) <= found.pair_build


def test_pairs_make_it_a_regression_or_clear_it() -> None:
    rows = series(50, step(40, 0.05))
    found = confirmed(rows, 0.05)
    assert (found.state, found.regressed, found.wants_pairs) == (ChangeState.REGRESSION, True, False)
    assert found.pairs == 96
    assert found.p_value is not None
    assert found.p_value < 0.01
    cleared = confirmed(series(46, step(40, 0.05)), 0.0)
    assert (cleared.state, cleared.regressed) == (ChangeState.CLEARED, False)


def test_an_open_regression_is_as_large_as_all_its_nights_say() -> None:
    rows = series(70, together(step(40, 0.1), step(43, 0.1)))
    night = first_suspicion(rows)
    early, late = (confirmed([row for row in rows if row.night <= until], 0.15) for until in (night, night_of(69)))
    assert early.step is not None and late.step is not None
    assert early.step.delta == pytest.approx(0.1, abs=0.03)
    assert late.step.delta == pytest.approx(0.2, abs=0.02)
    assert late.step.low < late.step.delta < late.step.high
    assert replace(late.step, delta=0, low=0, high=0) == replace(early.step, delta=0, low=0, high=0), "its date stays"
    assert (late.good_build, late.ab) == (early.good_build, early.ab), "and what was paired"


def test_a_further_step_is_no_part_of_the_open_one() -> None:
    rows = series(70, together(step(40, 0.06), step(65, 0.3)))
    first = scan(panel(SERIES.metric, rows)).suspicions[0]
    found = scan(panel(SERIES.metric, rows), pairs=pairs(night_of(first.night), first.good, first.bad, 0.06))
    assert found.opened is not None and found.suspicion is not None
    assert found.opened.step.delta == pytest.approx(0.06, abs=0.015)


def test_without_pairs_each_night_dates_again() -> None:
    rows = series(60, together(step(38, 0.03), step(44, 0.1)))
    early = judge(SERIES, [row for row in rows if row.night <= night_of(43)])
    late = judge(SERIES, rows)
    assert early.state is ChangeState.SUSPECT
    assert late.state is ChangeState.SUSPECT
    assert early.step is not None
    assert late.step is not None
    assert late.step.index == 44
    assert late.step.delta > early.step.delta
    assert (early.pair_build, late.pair_build) == (build_of(43), build_of(59))


def test_pairs_of_other_builds_or_nights_before_do_not_count() -> None:
    rows = series(46, step(40, 0.05))
    suspect = judge(SERIES, rows)
    for other in (
        pairs(first_suspicion(rows), suspect.good_build, "another", 0.05),
        pairs(night_of(30), suspect.good_build, suspect.pair_build, 0.05),
    ):
        assert judge(SERIES, rows, pairs=other) == suspect


def test_pairs_arrive_over_nights() -> None:
    rows = series(48, step(40, 0.05))
    suspicion = scan(panel(SERIES.metric, rows)).suspicions[0]
    first, builds = suspicion.night, (suspicion.good, suspicion.bad)

    def after(nights: int, per_night: int) -> Change:
        sets = [
            one
            for night in range(first, first + nights)
            for one in pairs(night_of(night), *builds, 0.05, count=per_night, seed=night)
        ]
        until = [row for row in rows if row.night <= night_of(first + nights - 1)]
        return judge(SERIES, until, pairs=sets)

    assert [after(nights, 4).state for nights in (1, 2, 3)] == ["suspect", "suspect", "regression"]
    assert [after(nights, 3).state for nights in (2, 3)] == ["suspect", "regression"]
    assert after(3, 1).state is ChangeState.SUSPECT
    assert "24 of 96" in after(3, 1).reason


def test_improvement_is_told_as_one_and_becomes_the_level() -> None:
    rows = series(80, step(40, -0.06))
    early = [row for row in rows if row.night <= night_of(46)]
    suspect = judge(SERIES, early)
    proof = pairs(first_suspicion(rows), suspect.good_build, suspect.pair_build, -0.06)
    assert judge(SERIES, early, pairs=proof).state is ChangeState.IMPROVEMENT
    assert judge(SERIES, rows, pairs=proof).state is ChangeState.STEADY


def test_regression_stays_until_acknowledged_or_gone() -> None:
    rows = series(75, step(40, 0.06))
    assert confirmed(rows, 0.06).state is ChangeState.REGRESSION
    fixed = series(75, step(40, 0.06, until=60))
    found = confirmed(fixed, 0.06)
    assert (found.state, found.regressed) == (ChangeState.STEADY, False)


def test_half_a_fix_leaves_the_regression_open() -> None:
    rows = series(74, together(step(40, 0.1), step(65, -0.04)))
    sets: list[PairSet] = []
    for delta in (0.1, -0.04):
        table = panel(SERIES.metric, rows)
        newest = scan(table, pairs=sets).suspicions[-1]
        sets += pairs(table.nights[newest.night], newest.good, newest.bad, delta)
    found = judge(SERIES, rows, pairs=sets)
    assert (found.state, found.regressed) == (ChangeState.REGRESSION, True)
    assert any("better again since" in event for event in found.events)


def test_further_suspicion_does_not_hide_an_open_regression() -> None:
    rows = series(70, together(step(40, 0.06), step(65, 0.06)))
    first = scan(panel(SERIES.metric, rows)).suspicions[0]
    proof = pairs(night_of(first.night), first.good, first.bad, 0.06)
    found = judge(SERIES, rows, pairs=proof)
    assert (found.state, found.regressed, found.wants_pairs) == (ChangeState.SUSPECT, True, True)
    assert any("is open as well" in event for event in found.events)


def test_acknowledged_step_is_silent_and_a_further_one_is_not() -> None:
    rows = series(90, together(step(40, 0.06), step(75, 0.06)))
    known = [ack(47)]

    def at(night: int) -> Change:
        return judge(SERIES, [row for row in rows if row.night <= night_of(night)], known)

    assert at(47).state is ChangeState.ACKNOWLEDGED
    assert "larger cache on purpose" in at(47).reason
    assert {at(night).state for night in (60, 70, 74)} == {ChangeState.STEADY}
    further = at(82)
    assert further.state is ChangeState.SUSPECT
    assert further.step is not None
    assert abs(further.step.index - 75) <= 1
    assert judge(SERIES, rows, [replace(known[0], series=RATE)]).step != further.step


def test_change_that_was_announced_is_never_suspect() -> None:
    rows = series(70, step(40, 0.2))
    table = panel(SERIES.metric, rows)
    assert scan(table, [ack(40)]).suspicions == []
    assert judge(SERIES, rows, [ack(40)]).state is ChangeState.STEADY
    later = judge(SERIES, series(46, step(40, 0.2)), [ack(60)])
    assert later.state is ChangeState.ACKNOWLEDGED


def test_cleared_series_is_left_in_peace_and_then_found_again() -> None:
    rows = series(60, step(40, 0.05))
    first = scan(panel(SERIES.metric, rows)).suspicions[0]
    proof = pairs(night_of(first.night), first.good, first.bad, 0.0)

    def at(night: int) -> ChangeState:
        return judge(SERIES, [row for row in rows if row.night <= night_of(night)], pairs=proof).state

    assert {at(night) for night in range(first.night, first.night + 7)} == {ChangeState.CLEARED}
    assert at(first.night + 7) is ChangeState.STEADY
    assert at(first.night + 12) is ChangeState.SUSPECT


def test_update_of_the_system_that_moves_both_builds_is_no_change() -> None:
    rows = series(80, both=lambda phone, night: 0.1 * (night >= 40 + phone // 4))
    rows = [replace(row, os="os2") if row.night >= night_of(40) else row for row in rows]
    table = panel(SERIES.metric, rows)
    assert scan(table).suspicions == []
    assert "operating system of phone0 changed" in {words for _, words in table.events}


def test_without_a_reference_an_update_begins_anew() -> None:
    rows = [
        replace(row, reference=None, reference_build="", os="os2" if row.night >= night_of(40) else "os1")
        for row in series(60, both=step(40, 0.1))
    ]
    assert judge(SERIES, [row for row in rows if row.night < night_of(45)]).state is ChangeState.INSUFFICIENT
    assert judge(SERIES, rows).state is ChangeState.STEADY
    same = [replace(row, os="os1") for row in rows]
    assert scan(panel(SERIES.metric, same)).suspicions


@pytest.mark.parametrize("what", ["contract", "reference_build"])
def test_epoch_ends(what: str) -> None:
    other = {"contract": 2, "reference_build": "other"}[what]
    rows = [replace(row, **{what: other}) if row.night >= night_of(40) else row for row in series(60, step(40, 0.3))]
    assert judge(SERIES, [row for row in rows if row.night < night_of(45)]).state is ChangeState.INSUFFICIENT
    assert judge(SERIES, rows).state is ChangeState.STEADY


@pytest.mark.parametrize("hot", [0.1, 0.3, 2.0])
def test_one_throttled_night_never_alarms(hot: float) -> None:
    for length in range(31, 40):
        assert judge(SERIES, series(length, step(30, hot, until=31))).state is ChangeState.STEADY


def test_one_wild_phone_does_not_decide_and_is_named() -> None:
    for wild in (0, 3, 7):
        rows = series(70, lambda phone, night, wild=wild: 0.5 if phone == wild and night >= 40 else 0.0)  # type: ignore[misc]
        found = scan(panel(SERIES.metric, rows))
        assert found.suspicions == []
        assert [words.split(" on ")[0] for _, words in found.events] == [f"phone{wild} alone changed its level"]
    alone = judge(SERIES, without(rows, lambda row: row.identity != "serial7"))
    assert alone.state is ChangeState.SUSPECT


def test_replaced_phone_begins_its_own_epoch() -> None:
    rows = [
        replace(row, identity="new", value=2 * row.value)
        if row.device_id == "phone2" and row.night >= night_of(40)
        else row
        for row in series(48)
    ]
    found = judge(SERIES, rows)
    assert found.state is ChangeState.STEADY
    assert "new" not in found.phones
    assert any(words == "phone2 is another phone" for _, words in panel(SERIES.metric, rows).events)


def test_same_build_before_and_after_gets_no_pairs() -> None:
    rows = [
        replace(row, build="same", model_sha256="new" if row.night >= night_of(40) else "old")
        for row in series(46, step(40, 0.05))
    ]
    found = judge(SERIES, rows)
    assert (found.state, found.wants_pairs) == (ChangeState.SUSPECT, False)
    assert "model file of phone0 changed" in " ".join(found.events)
    assert "pairs of builds cannot tell" in found.reason


def test_verdict_survives_storage() -> None:
    for found in (judge(SERIES, series(30)), confirmed(series(46, step(40, 0.05)), 0.05)):
        assert Change.from_json(json.loads(json.dumps(found.to_json()))) == found


@FEW
@given(st.floats(1e-3, 1e3), st.randoms(use_true_random=False))
def test_scale_and_order_do_not_matter(factor: float, source: object) -> None:
    rows = series(46, step(40, 0.05))
    plain = judge(SERIES, rows)
    scaled = [replace(row, value=factor * row.value) for row in rows]
    source.shuffle(scaled)  # type: ignore[attr-defined]
    found = judge(SERIES, scaled)
    assert (found.state, found.since, found.good_build) == (plain.state, plain.since, plain.good_build)
    assert found.step is not None
    assert plain.step is not None
    assert found.step.delta == pytest.approx(plain.step.delta, abs=1e-9)


@FEW
@given(st.permutations(range(8)))
def test_names_of_phones_do_not_matter(order: list[int]) -> None:
    rows = series(46, step(40, 0.05))
    renamed = [replace(row, identity=f"x{order[int(row.identity[6:])]}") for row in rows]
    plain, found = judge(SERIES, rows), judge(SERIES, renamed)
    assert found.step is not None
    assert plain.step is not None
    assert (found.state, found.since) == (plain.state, plain.since)
    assert found.step.delta == pytest.approx(plain.step.delta, abs=1e-9)


@FEW
@given(st.integers(1, 45), st.integers(1, 60))
def test_a_gap_in_the_calendar_changes_nothing(at: int, long: int) -> None:
    rows = series(46, step(40, 0.05))
    later = [replace(row, night=night_of(n + long if n >= at else n)) for row in rows if (n := int(row.build[5:])) >= 0]
    plain, found = judge(SERIES, rows), judge(SERIES, later)
    assert found.step is not None
    assert plain.step is not None
    assert (found.state, found.step.index, found.step.delta) == (plain.state, plain.step.index, plain.step.delta)


@FEW
@given(st.integers(0, 30), st.sampled_from([0.06, -0.06]))
def test_mirrored_series_swaps_worse_and_better(seed: int, delta: float) -> None:
    rows = series(46, step(40, delta), seed=seed)
    mirrored = [replace(row, value=row.reference or 1.0, reference=row.value) for row in rows]
    plain, found, as_rate = judge(SERIES, rows), judge(SERIES, mirrored), judge(RATE, mirrored)
    assert plain.state == found.state == as_rate.state
    assert plain.since == found.since == as_rate.since
    if plain.step and found.step and as_rate.step:
        assert found.step.delta == pytest.approx(-plain.step.delta, abs=1e-9)
        assert as_rate.step.delta == pytest.approx(plain.step.delta, abs=1e-9)


def test_more_of_a_time_and_less_of_a_rate_are_worse() -> None:
    rows = series(46, step(40, 0.06))
    for metric, word in ((SERIES, "worse"), (RATE, "better")):
        found = judge(metric, rows)
        assert found.state is ChangeState.SUSPECT
        assert found.reason.startswith(f"{word} by ")


odd = st.one_of(st.floats(allow_nan=False), st.sampled_from([0.0, -1.0, math.inf, 5e-324, 1.7e308]))
values = st.builds(
    NightValue,
    night=st.sampled_from([night_of(index) for index in range(40)]),
    identity=st.sampled_from(["a", "b", ""]),
    device_id=st.sampled_from(["a", "<script>", "💥"]),
    value=odd,
    reference=st.none() | odd,
    repeats=st.integers(0, 5),
    build=st.sampled_from(["", "x", "y"]),
    reference_build=st.sampled_from(["", "pinned"]),
    model_sha256=st.sampled_from(["", "m"]),
    os=st.sampled_from(["", "o", "p"]),
    contract=st.integers(0, 2),
    marks=st.sampled_from([(), ("throttled",), ("",)]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(values, max_size=60))
def test_odd_values_are_no_error(rows: list[NightValue]) -> None:
    background = [replace(row, identity="c", device_id="c") for row in series(40, flat, phones=1)]
    for every in (rows, rows + background):
        found = judge(SERIES, every)
        assert json.dumps(found.to_json())
        assert found.nights <= 40

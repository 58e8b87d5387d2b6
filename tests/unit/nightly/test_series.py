"""From figures of nights to values and pairs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from harness.model import Baseline, NightValue, Quarantine, SeriesId
from harness.nightly.pinned import baseline_id
from harness.nightly.series import pairs_of, values_of
from harness.nightly.spans import Span
from harness.store import NightFigure
from tests.unit.nightly.nights import NEW, OLD, PINNED, REFERENCE, RUNNER, figure, night_of, reference, run_of

SERIES = SeriesId("flagship", "m", RUNNER, "chat", "decode_tps")


def held(since: float, until: float = math.inf) -> Span:
    return Span(Quarantine("serial of pixel", "pixel", "drifts", since), until)


def only(figures: list[NightFigure], **given: object) -> list[NightValue]:
    """Values of the one series that these figures make."""
    found = values_of(figures, **given)  # type: ignore[arg-type]
    assert list(found) == [SERIES]
    return found[SERIES]


def test_a_night_gives_the_median_of_its_repetitions_and_of_the_reference() -> None:
    run = run_of()
    rows = [figure(run, k, value) for k, value in enumerate((40.0, 44.0, 41.0), start=1)]
    (value,) = only([*(reference(run, k, each) for k, each in ((1, 50.0), (2, 52.0))), *rows])
    assert value == NightValue(
        night_of(0), "serial of pixel", "pixel", 41.0, 51.0, 3, OLD, PINNED, "m" * 64, "os1", run.contract, ()
    )


def test_builds_that_serve_as_reference_are_no_series() -> None:
    assert baseline_id(RUNNER) == REFERENCE
    assert values_of([reference(run_of())]) == {}


def test_gaps_are_no_values() -> None:
    runs = [run_of(index) for index in (0, 1, 3)]
    rows = [figure(runs[0]), figure(runs[1], value=None), figure(runs[2])]
    assert [value.night for value in only(rows)] == [night_of(0), night_of(3)]


def test_metrics_phones_and_tiers_are_kept_apart() -> None:
    run = run_of()
    other = {"identity": "serial of s24", "device_id": "s24"}
    rows = [
        figure(run, values={"decode_tps": 40.0, "load_ms": 900.0}),
        figure(run, value=30.0, **other),
        figure(run, value=20.0, tier="budget", identity="serial of moto"),
    ]
    found = values_of(rows)
    assert [value.value for value in found[SERIES]] == [40.0, 30.0]
    assert [value.value for value in found[replace(SERIES, metric="load_ms")]] == [900.0]
    assert [value.value for value in found[replace(SERIES, tier="budget")]] == [20.0]


def test_without_a_reference_in_the_inventory_there_is_none() -> None:
    (value,) = only([figure(run_of())])
    assert (value.reference, value.reference_build) == (None, "")


def test_a_failed_reference_leaves_its_newest_known_build() -> None:
    first, second = run_of(0), run_of(1)
    elsewhere = reference(second, identity="serial of s24", runner_sha256=NEW)
    rows = [reference(first), figure(first), figure(second), elsewhere]
    assert [(value.reference, value.reference_build) for value in only(rows)] == [(50.0, PINNED), (None, NEW)]
    assert [value.reference_build for value in only(rows[:3])] == [PINNED, PINNED]


def test_a_reference_that_failed_in_its_first_night_is_the_pinned_one() -> None:
    run = run_of(1)
    pins = [
        Baseline(RUNNER, OLD, "b1", "p", "ann", "why", run.started_at - 9),
        Baseline("other", "d" * 64, "b1", "p", "ann", "why", run.started_at - 5),
        Baseline(RUNNER, PINNED, "b2", "p", "ann", "why", run.started_at - 1),
        Baseline(RUNNER, NEW, "b3", "p", "ann", "why", run.started_at + 1),
    ]
    assert [value.reference_build for value in only([figure(run)], pinned=pins)] == [PINNED]
    assert [value.reference_build for value in only([figure(run)], pinned=pins[3:])] == [""], "pinned later"


def test_a_metric_that_only_the_candidate_has_is_not_compared() -> None:
    run = run_of()
    rows = [reference(run, value=None), figure(run)]
    assert [(value.reference, value.reference_build) for value in only(rows)] == [(None, PINNED)]


@pytest.mark.parametrize("changed", [{"model_sha256": "n" * 64}, {"run": replace(run_of(), contract=99)}])
def test_a_reference_of_another_model_file_or_contract_is_not_compared(changed: dict[str, Any]) -> None:
    run = run_of()
    assert [value.reference for value in only([replace(reference(run), **changed), figure(run)])] == [None]


def test_the_first_measured_repetition_of_each_run_may_be_a_warm_up() -> None:
    first, second = run_of(0, 0, warm_up=True), run_of(0, 1, warm_up=True)
    rows = [
        # Repetition 1 failed: the first that met cold caches is the second.
        figure(first, 3, 41.0),
        figure(first, 2, 10.0),
        reference(first, 1, 10.0),
        reference(first, 2, 50.0),
        figure(second, 1, 10.0),
        figure(second, 2, 43.0),
    ]
    assert [(value.value, value.reference, value.repeats) for value in only(rows)] == [(42.0, 50.0, 2)]
    assert values_of([figure(first, 1)]) == {}, "nothing but the warm-up"


def test_two_runs_of_one_night_are_put_together() -> None:
    first, second = run_of(0, 0), run_of(0, 1)
    rows = [reference(first), figure(first, 1, 40.0), figure(second, 1, 42.0), figure(second, 2, 41.0)]
    assert [(value.value, value.repeats, value.reference) for value in only(rows)] == [(41.0, 3, 50.0)]


def test_of_two_builds_in_one_night_the_newer_counts() -> None:
    first, second = run_of(0, 0), run_of(0, 1)
    rows = [figure(first, 1, 40.0), figure(second, 1, 20.0, runner_sha256=NEW), reference(second)]
    assert [(value.value, value.build, value.reference) for value in only(rows)] == [(20.0, NEW, 50.0)]
    pins = [reference(first, 1, 60.0, runner_sha256=OLD), *rows]
    assert [(value.reference, value.reference_build) for value in only(pins)] == [(50.0, PINNED)]


def test_nights_in_quarantine_are_left_out() -> None:
    runs = [run_of(index) for index in range(5)]
    rows = [row for run in runs for row in (figure(run), figure(run, identity="serial of s24", value=30.0))]
    spans = {"serial of pixel": (held(runs[1].started_at, runs[3].started_at),)}
    found = only(rows, quarantines=spans)
    assert [value.night for value in found if value.identity == "serial of pixel"] == [
        night_of(index) for index in (0, 3, 4)
    ]
    assert len([value for value in found if value.identity == "serial of s24"]) == 5


def test_a_quarantine_that_begins_within_a_night_leaves_what_was_measured_before() -> None:
    run = run_of()
    rows = [figure(run, k, 40.0 + k) for k in (1, 2, 3)]
    (value,) = only(rows, quarantines={"serial of pixel": (held(rows[1].started_at),)})
    assert (value.value, value.repeats) == (41.0, 1)


def test_marks_are_told_by_name_and_those_of_the_reference_too() -> None:
    run = run_of()
    rows = [
        reference(run, marks=("throttled: from 12 s on",)),
        figure(run, 1, marks=("not_cooled: skin 41.2 °C (wanted: at most 36 °C)", "other_load: 30 %")),
        figure(run, 2, marks=("not_cooled: skin 40 °C", "heat_unknown")),
    ]
    (value,) = only(rows)
    assert value.marks == ("heat_unknown", "not_cooled", "other_load", "throttled")


def test_hostile_names_stay_what_they_are() -> None:
    run = run_of()
    names = {"tier": "a/b%2F", "model_id": "<script>/%", "workload_id": "\x1b[31m", "runner_id": "x@y/z"}
    (series,) = values_of([figure(run, **names)])
    assert series == SeriesId("a/b%2F", "<script>/%", "x@y/z", "\x1b[31m", "decode_tps")
    assert SeriesId.parse(series.key) == series


# --- pairs ------------------------------------------------------------------------------------------------------------


def sides(k: int, good: float | None, bad: float | None, **changes: object) -> list[NightFigure]:
    """Repetition k of both builds; None where it failed."""
    run = changes.pop("run", None) or run_of(7, role="pairs", runner=RUNNER, good=OLD, bad=NEW)
    ends = ((OLD, good), (NEW, bad))
    return [
        figure(run, k, value, runner_id=f"{RUNNER}@{build[:12]}", runner_sha256=build, **changes)  # type: ignore[arg-type]
        for build, value in ends
        if value is not None
    ]


def test_each_repetition_is_a_pair_and_plus_is_worse() -> None:
    rows = [*sides(1, 50.0, 40.0), *sides(2, 50.0, 50.0)]
    both = [replace(row, values={**row.values, "load_ms": 2 * row.values["decode_tps"]}) for row in rows]
    found = pairs_of(both)
    assert set(found) == {SERIES, replace(SERIES, metric="load_ms")}
    (rate,), (load,) = found[SERIES], found[replace(SERIES, metric="load_ms")]
    assert (rate.identity, rate.night, rate.good, rate.bad) == ("serial of pixel", night_of(7), OLD, NEW)
    assert rate.ratios == pytest.approx((math.log(50 / 40), 0.0)), "a lower rate is worse"
    assert load.ratios == pytest.approx((math.log(40 / 50), 0.0)), "a lower time is better"


def test_a_repetition_that_failed_on_one_side_gives_no_pair() -> None:
    rows = [*sides(1, 50.0, None), *sides(2, None, 40.0), *sides(3, 50.0, 45.0), *sides(4, 50.0, 0.0)]
    (found,) = pairs_of(rows)[SERIES]
    assert found.ratios == pytest.approx((math.log(50 / 45),))
    assert pairs_of(sides(1, 50.0, None)) == {}
    absent = [replace(row, values={}) if row.runner_sha256 == NEW else row for row in sides(1, 50.0, 40.0)]
    assert pairs_of(absent) == {}


def test_phones_and_runs_have_sets_of_their_own() -> None:
    later = run_of(8, role="bisect", runner=RUNNER, good=OLD, bad=NEW)
    other = {"identity": "serial of s24"}
    rows = [*sides(1, 50.0, 40.0), *sides(1, 50.0, 45.0, **other), *sides(1, 50.0, 42.0, run=later)]
    assert [(one.identity, one.night, len(one.ratios)) for one in pairs_of(rows)[SERIES]] == [
        ("serial of pixel", night_of(7), 1),
        ("serial of s24", night_of(7), 1),
        ("serial of pixel", night_of(8), 1),
    ]


def test_pairs_of_metrics_without_a_direction_say_nothing() -> None:
    rows = [replace(row, values={"temperature_start_c": 30.0}) for row in sides(1, 50.0, 40.0)]
    assert pairs_of(rows) == {}


@pytest.mark.parametrize("asked", [{}, {"runner": RUNNER}, {"runner": RUNNER, "good": OLD, "bad": OLD}])
def test_a_run_that_does_not_say_which_build_is_good_gives_no_pairs(asked: dict[str, str]) -> None:
    assert pairs_of(sides(1, 50.0, 40.0, run=run_of(7, role="pairs", **asked))) == {}


def test_warm_ups_and_quarantines_are_no_pairs() -> None:
    run = run_of(7, role="pairs", warm_up=True, runner=RUNNER, good=OLD, bad=NEW)
    rows = [row for k in (1, 2, 3) for row in sides(k, 50.0, 40.0 + k, run=run)]
    (found,) = pairs_of(rows)[SERIES]
    assert found.ratios == pytest.approx((math.log(50 / 42), math.log(50 / 43)))
    assert pairs_of(rows, {"serial of pixel": (held(0.0),)}) == {}

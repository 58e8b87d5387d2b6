"""Repetitions far from the others are marked, with the cause where telemetry shows one, and stay in."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from typing import Any

import pytest

from harness.analysis.outliers import LIMITS, Cause, cap_summary, modified_z, outliers
from harness.model import CaseStatus, Channel, Measured, Trace
from harness.store import MeasurementRow
from tests.unit.analysis.repetitions import ended, rows

SLOW = [30.0, 30.2, 29.8, 27.6, 30.1, 29.9]
"""The fourth is 8 % slower: 23 robust deviations."""


def case(values: list[float] = SLOW, **of_the_fourth: Any) -> list[MeasurementRow]:
    """Repetitions that all started at 36 °C with 2 % of other load; the fourth is changed."""
    usual = {"temperature_start_c": 36.0, "other_load_pct": 2.0, "thermal_status_max": 0.0}
    found = [
        replace(one, metrics={**one.metrics, **{name: Measured(value, "", "x") for name, value in usual.items()}})
        for one in rows(values)
    ]
    figures = {name: Measured(value, "", "x") for name, value in of_the_fourth.get("figures", {}).items()}
    noted = of_the_fourth.get("provenance", {})
    found[3] = replace(found[3], metrics={**found[3].metrics, **figures}, provenance=noted)
    return found


def test_nothing_is_marked_among_few_or_alike() -> None:
    assert outliers([]) == ()
    assert outliers(rows([30, 30, 10])) == ()
    assert outliers(rows([30.0, 30.1, 29.9, 30.05, 29.95])) == ()
    assert outliers(rows([30.0, 30.0, 30.0, 30.0, 30.3])) == (), "1 % away is of no interest"


def test_the_score_of_a_worked_example() -> None:
    # Logs 0, 1, 2, 3, 10: median 2, distances 2 1 0 1 8, median 1.
    scores = modified_z([math.exp(value) for value in (0, 1, 2, 3, 10)])
    assert scores == pytest.approx([1.349, 0.6745, 0, 0.6745, 5.396])
    assert modified_z([5, 5, 5, 6]) == [0, 0, 0, math.inf]


def test_without_a_cause_it_is_unexplained() -> None:
    (mark,) = outliers(case())
    assert (mark.repeat, mark.metric, mark.value) == (4, "decode_tps", 27.6)
    assert [one.cause for one in mark.evidence] == [Cause.UNEXPLAINED]
    assert mark.text == "repetition 4: decode 8 % lower (unexplained)"
    assert json.loads(json.dumps(mark.to_json()))["evidence"] == [{"cause": "unexplained", "detail": ""}]


@pytest.mark.parametrize(
    ("change", "cause", "detail"),
    [
        ({"figures": {"temperature_start_c": 44.0}}, Cause.HOT, "44.0 °C at the start, the others 36.0 °C"),
        ({"figures": {"thermal_status_max": 2.0}}, Cause.HOT, "thermal status 2, the others 0"),
        ({"figures": {"other_load_pct": 31.0}}, Cause.OTHER_LOAD, "31 % of all cores, in the others 2 %"),
        ({"provenance": {"gate": {"marks": ["not_cooled: skin 41.2 °C"]}}}, Cause.HOT, "skin 41.2 °C"),
        ({"provenance": {"gate": {"marks": ["power_saver: on"]}}}, Cause.GATE, "power_saver: on"),
        ({"provenance": {"marks": ["placement_unplugged: cores 6-7"]}}, Cause.FEWER_CORES, "cores 6-7"),
        ({"provenance": {"marks": ["placement_changed: then 0-3"]}}, Cause.OTHER_CORES, "then 0-3"),
        ({"provenance": {"marks": ["throttled: cap at 62 %", "memory_risk: 9 MB"]}}, Cause.CAPPED, "cap at 62 %"),
    ],
)
def test_the_cause_is_what_telemetry_shows(change: dict[str, Any], cause: Cause, detail: str) -> None:
    (mark,) = outliers(case(**change))
    assert [(one.cause, one.detail) for one in mark.evidence] == [(cause, detail)]


def test_a_lower_cap_than_in_the_others_is_a_cause() -> None:
    found = [replace(one, provenance={"caps": {"policy4": 2900.0, "policy0": 1800.0}}) for one in case()]
    found[3] = replace(found[3], provenance={"caps": {"policy4": 1824.0, "policy0": 1800.0}})
    (mark,) = outliers(found)
    assert mark.text == (
        "repetition 4: decode 8 % lower (capped: policy4 at most 1824 MHz on average, the others 2900 MHz)"
    )


def test_heat_and_load_do_not_explain_a_faster_repetition() -> None:
    faster = case([30.0, 30.2, 29.8, 33.0, 30.1, 29.9], figures={"temperature_start_c": 50.0, "other_load_pct": 60.0})
    (mark,) = outliers(faster)
    assert [one.cause for one in mark.evidence] == [Cause.UNEXPLAINED]


@pytest.mark.parametrize("mark", ["memory_forced: 900 MB asked", "energy_disagrees: 14 % apart", "free words"])
def test_marks_of_memory_and_energy_explain_no_rate(mark: str) -> None:
    (found,) = outliers(case(provenance={"marks": [mark], "gate": {"marks": ["heat_unknown: nothing tells"]}}))
    assert [one.cause for one in found.evidence] == [Cause.UNEXPLAINED]


def test_one_cause_is_told_once() -> None:
    marks = ["other_load: 31 % by others"]
    noted = {"marks": marks, "gate": {"marks": marks}}
    (found,) = outliers(case(figures={"other_load_pct": 31.0}, provenance=noted))
    assert [one.detail for one in found.evidence] == ["31 % of all cores, in the others 2 %"]


def test_a_mark_that_all_repetitions_carry_explains_none() -> None:
    gates = [{"gate": {"marks": [f"screen_on: off since {number}"]}} for number in range(len(SLOW))]
    (mark,) = outliers(replace(one, provenance=gate) for one, gate in zip(case(), gates, strict=True))
    assert [one.cause for one in mark.evidence] == [Cause.UNEXPLAINED]


def test_a_seen_cause_needs_less_distance_than_none() -> None:
    # Score 5.4 of five: one of ten clean cases has as much.
    values = [30 * math.exp(0.01 * step) for step in (0, 1, 2, -6, 3)]
    assert 3.5 < max(modified_z(values)) < LIMITS[5]
    assert outliers(case(values)) == ()
    (mark,) = outliers(case(values, figures={"temperature_start_c": 44.0}))
    assert mark.evidence[0].cause is Cause.HOT


def test_what_was_not_measured_is_not_looked_at() -> None:
    assert outliers([*rows([30.0, 30.1, 29.9]), *ended(CaseStatus.FAILED, 4, 5)]) == ()


@pytest.mark.parametrize(
    "provenance", [{"gate": None}, {"gate": "hot"}, {"marks": 5}, {"caps": [1]}, {"marks": [None]}]
)
def test_notes_of_another_shape_are_passed_over(provenance: dict[str, Any]) -> None:
    (mark,) = outliers(case(provenance=provenance))
    assert mark.evidence[0].cause is Cause.UNEXPLAINED


@pytest.mark.parametrize("count", [5, 8, 15])
def test_few_clean_cases_are_marked(count: int) -> None:
    source = random.Random(5)
    marked = sum(bool(outliers(rows([math.exp(source.gauss(3, 0.03)) for _ in range(count)]))) for _ in range(500))
    assert marked / 500 <= 0.08


def test_the_mean_cap_weighs_time_not_samples() -> None:
    cap = Trace(Channel("policy4.max_freq", "MHz", "x"), (0, 10, 11, 12, 20), (2900, 1000, 1000, 1000, 1000))
    clock = Trace(Channel("policy4.cur_freq", "MHz", "x"), (0, 10), (300, 300))
    denied = Trace(Channel("policy0.max_freq", "MHz", "x", absent="Permission denied"), (), ())
    assert cap_summary([cap, clock, denied], (None, None)) == {"policy4": pytest.approx(1950)}
    assert cap_summary([cap], (10, None)) == {"policy4": 1000}
    assert cap_summary([cap], (20, 20)) == {"policy4": 1000}
    assert cap_summary([cap], (30, 40)) == {}

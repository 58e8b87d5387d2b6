"""Models against workloads: tonight, its spread, and the runs before with their gaps."""

from __future__ import annotations

import re

import pytest

from harness.model import CaseStatus
from reports.inputs import Past
from reports.matrix import MatrixCell
from reports.pages import tier_page
from tests.unit.reports.sample import START, family, planned, repetition, run_input

RUNS = tuple(f"run-{number}" for number in range(6))


def cell(history: dict[str, dict[str, float]], row: int = 0) -> MatrixCell:
    run, samples = family()
    page = tier_page(run, "flagship", samples, START, Past(runs=RUNS, values=history))
    return page.matrix.rows[row].cells[0]


def key_of(quant: str, device: str = "pixel-8-pro") -> str:
    run, _ = family()
    return next(
        one.planned.series_key
        for one in run.repetitions
        if one.planned.model.quant == quant and one.planned.device_id == device
    )


def points(path: str) -> list[int]:
    """How many points each stretch of a path has."""
    return [len(re.findall(r"[\d.]+,[\d.]+", part)) for part in path.split("M") if part]


def test_virtual_phones_have_rows_of_their_own() -> None:
    run, samples = family()
    found = tier_page(run, "flagship", samples, START).matrix
    assert found.workloads == ("chat",)
    assert [(row.model, row.mark) for row in found.rows] == [
        (f"smollm2-135m-{quant}", mark) for quant in ("f16", "q4_k_m", "q8_0") for mark in ("", "virtual phone")
    ]
    assert found.runs == "no earlier run"
    assert found.rows[0].cells[0].spark is None
    assert found.rows[0].cells[0].trend == "no earlier run has it"


def test_the_line_goes_over_the_runs_and_a_gap_stays_a_gap() -> None:
    values = {run: 48.0 for run in RUNS if run != "run-3"}
    found = cell({key_of("F16"): values})
    assert found.spark is not None
    assert points(found.spark.line) == [3, 3]
    assert found.spark.dot is not None
    assert "1 run without a value" in found.spark.label
    assert "over 6 runs" in found.spark.label
    assert found.trend.endswith("% to 5 earlier runs")


def test_a_change_is_told_against_the_runs_before() -> None:
    tonight = float(cell({}).value.value)
    found = cell({key_of("F16"): dict.fromkeys(RUNS, tonight / 1.1)})
    assert float(found.trend.split(" ")[0]) == pytest.approx(10, abs=0.3)
    better = cell({key_of("F16"): dict.fromkeys(RUNS, tonight * 1.1)})
    assert better.trend.startswith("\u22129.")


def test_a_device_missing_in_a_run_moves_nothing() -> None:
    from reports.matrix import _spark

    past = Past(runs=RUNS, values={"slow": dict.fromkeys(RUNS, 100.0), "fast": dict.fromkeys(RUNS[:3], 10.0)})
    spark, trend = _spark(["slow", "fast"], {"slow": 100.0}, past)
    assert spark is not None
    assert {y for _, y in re.findall(r"([\d.]+),([\d.]+)", spark.line)} == {spark.base}
    assert trend == "±0.0 % to 6 earlier runs"


def test_what_was_not_measured_tonight_keeps_its_history() -> None:
    run, samples = run_input(repeats=1)
    one = repetition(planned(status=CaseStatus.PLANNED), START, {})
    past = Past(runs=RUNS, values={one.planned.series_key: dict.fromkeys(RUNS, 20.0)})
    page = tier_page(type(run)(run.record, run.devices, (one,)), "flagship", samples, START, past)
    (found,) = page.matrix.rows[0].cells
    assert (found.value.value, found.value.reason) == ("", "not run yet: the run is unfinished")
    assert found.spark is not None
    assert found.spark.dot is None
    assert found.trend == "6 earlier runs, none tonight"


def test_the_spread_over_the_phones_is_shown() -> None:
    run, samples = run_input(repeats=2)
    row = next(row for row in tier_page(run, "flagship", samples, START).matrix.rows if row.mark == "")
    assert row.cells[0].phones is None, "one phone has no spread"
    assert row.cells[0].count == "1 device"

"""The spread of inter-token times: every token counted, percentiles where they are, burst beside the last third."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from harness.analysis.metrics import percentile
from harness.analysis.repeats import RepeatPolicy
from harness.model import CaseStatus, Measured
from reports.cases import Case, gather
from reports.charts import Scale
from reports.distribution import BINS, BOTTOM, LEFT, RIGHT, TOP, distribution
from reports.inputs import RunInput
from reports.plots import Histogram
from tests.unit.reports.sample import START, Samples, planned, repetition, run_input, sustained

FIXED = RepeatPolicy()


def heights(one: Histogram) -> list[float]:
    return [float(height) for height in re.findall(r"v-([\d.]+)", one.bars)]


def chat(times: list[float], **more: object) -> tuple[Case, Samples]:
    run, samples = run_input(repeats=1)
    one = repetition(planned(), START, {}, **more)
    samples.latencies = {one.planned.key: tuple(times)}
    (case,) = gather(RunInput(run.record, run.devices, (one,)), "flagship")
    return case, samples


def test_bars_count_the_tokens_and_marks_stand_at_the_percentiles() -> None:
    times = [10.0] * 80 + [20.0] * 40
    found = distribution(*chat(times), FIXED)
    (one,) = found.histograms
    assert found.absent == ""
    scale = Scale(10.0, 25.0, LEFT, RIGHT)
    assert [(mark.label, mark.x) for mark in one.marks] == [
        ("p50", pytest.approx(scale(10), abs=0.06)),
        ("p90", pytest.approx(scale(20), abs=0.06)),
        ("p99", pytest.approx(scale(20), abs=0.06)),
    ]
    assert heights(one) == [BOTTOM - TOP, (BOTTOM - TOP) / 2]
    assert one.told == "120 tokens: p50 10 ms, p90 20 ms, p99 20 ms"
    assert "on pixel-8-pro, all tokens: 120 tokens of 1 repetition, 10 to 20 ms" in one.description


def test_tokens_far_out_are_told_and_do_not_press_the_others_together() -> None:
    times = [10 + number / 100 for number in range(1000)] + [5000.0]
    (one,) = distribution(*chat(times), FIXED).histograms
    assert one.told.endswith("; 1 beyond the axis")
    assert "10 to 5000 ms" in one.description
    assert "1 token beyond the axis" in one.description
    assert len(heights(one)) > BINS / 2
    assert all(LEFT <= tick.at <= RIGHT for tick in one.ticks)


def test_equal_times_are_one_bar() -> None:
    (one,) = distribution(*chat([7.0] * 3), FIXED).histograms
    assert heights(one) == [BOTTOM - TOP]
    assert percentile([7.0] * 3, 99) == 7.0


def test_without_token_times_the_reason_is_said() -> None:
    found = distribution(*chat([]), FIXED)
    assert (found.histograms, found.absent) == ((), "the stored result does not hold itl_ms_p50")
    assert distribution(*chat([float("nan"), 0.0]), FIXED).histograms == ()


def test_only_measured_repetitions_that_count_are_in_it() -> None:
    run, samples = run_input(repeats=1)
    rows = [repetition(planned(repeat=number), START + number, {}) for number in range(3)]
    failed = replace(rows[2], row=replace(rows[2].row, planned=replace(rows[2].planned, status=CaseStatus.FAILED)))
    samples.latencies = {one.planned.key: (10.0 + one.planned.repeat,) * 5 for one in rows}
    (case,) = gather(RunInput(run.record, run.devices, (*rows[:2], failed)), "flagship")
    assert distribution(case, samples, FIXED).histograms[0].told.startswith("10 tokens:")
    assert distribution(case, samples, RepeatPolicy(warm_up=True)).histograms[0].told.startswith("5 tokens: p50 11 ms")


def test_burst_and_the_last_third_stand_side_by_side_on_one_axis() -> None:
    run, samples = sustained()
    (case,) = gather(run, "flagship")
    one = case.repetitions[0]
    rates = {"burst_tps": Measured(31.0, "tok/s", "t"), "sustained_tps": Measured(20.5, "tok/s", "t")}
    one = replace(one, row=replace(one.row, metrics={**one.metrics, **rates}))
    samples.latencies[one.planned.key] = tuple([32.0] * 6000 + [48.0] * 8000)
    burst, last = distribution(replace(case, repetitions=(one,)), samples, FIXED).histograms
    assert (burst.title, last.title) == ("First 30 s, 31 tok/s", "Last third, 20.5 tok/s")
    assert burst.ticks == last.ticks
    scale = Scale(30, 60, LEFT, RIGHT)
    assert [part.marks[0].x for part in (burst, last)] == [pytest.approx(scale(at), abs=0.06) for at in (32, 48)]
    assert burst.mark == "virtual phone"
    assert "(virtual phone)" in burst.description
    tokens = [int(part.told.split()[0]) for part in (burst, last)]
    assert tokens == [pytest.approx(30 / 600 * 576_000 / 32, abs=1), pytest.approx(576_000 / 3 / 48, abs=1)]

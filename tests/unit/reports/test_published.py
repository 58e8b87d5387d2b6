"""Figures of others: shown beside what was measured, and counted nowhere."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

import reports
from harness.model import CaseStatus, DeviceKind, Measured
from reports.inputs import RunInput
from reports.pages import tier_page
from reports.views import PublishedRow
from tests.unit.reports.sample import MODELS, PUBLISHED, START, Samples, planned, record, repetition, run_input

LOW, HIGH = "313\u202f131", "424\u202f242"
SECTION = re.compile(r"<h2[^>]*>Published.*?</section>", re.DOTALL)


def kept(run: RunInput, figures: Any) -> RunInput:
    return replace(run, record=replace(run.record, options={"published": figures}))


def rows_of(run: RunInput, samples: Samples, tier: str = "flagship") -> tuple[PublishedRow, ...]:
    return tier_page(run, tier, samples, START).published


def test_beside_a_figure_stands_what_was_measured_on_that_phone_with_that_model() -> None:
    run, samples = run_input(repeats=3)
    tokens, memory = rows_of(run, samples)
    assert (tokens.device, tokens.family, tokens.quant, tokens.runtime) == (
        "pixel 8 pro",
        "SmolLM2-135M",
        "Q4_K_M",
        "llama.cpp",
    )
    assert (tokens.head.title, tokens.value, tokens.note) == ("Decode", f"{LOW} – {HIGH} tok/s", "given as a range")
    assert [(one.workload, one.device.id, one.device.mark) for one in tokens.measured] == [
        ("bench", "pixel-8-pro", ""),
        ("chat", "pixel-8-pro", ""),
    ]
    cases = {case.name.href: case for case in tier_page(run, "flagship", samples, START).cases}
    for one in tokens.measured:
        (told,) = [row.median for row in cases[one.href].metrics if row.head.name == "decode_tps"]
        assert one.value == f"{told.value} tok/s"
    assert memory.value == "777\u202f777 MB"
    assert {one.device.mark for one in memory.measured} == {"virtual phone"}


def test_a_phone_is_told_by_its_model_or_by_the_id_of_its_entry() -> None:
    run, samples = run_input(repeats=1)
    named = [{**PUBLISHED[0], "device": name} for name in ("PIXEL_8_PRO", "pixel-8-pro", "Pixel 8", "")]
    assert [len(row.measured) for row in rows_of(kept(run, named), samples)] == [2, 2, 0, 0]


def test_another_model_runtime_or_metric_has_nothing_beside_it() -> None:
    run, samples = run_input(repeats=1)
    others = [
        {**PUBLISHED[0], "quant": "Q8_0"},
        {**PUBLISHED[0], "runtime": "executorch"},
        {**PUBLISHED[0], "metric": "energy_j", "unit": "J"},
        {**PUBLISHED[0], "family": "Phi-3-mini"},
    ]
    found = rows_of(kept(run, others), samples)
    assert [row.measured for row in found] == [(), (), (), ()]


def test_a_page_shows_figures_about_its_families_and_phones_only() -> None:
    run, samples = run_input(repeats=1)
    other = {**PUBLISHED[0], "family": "Phi-3-mini", "device": "iPhone 13"}
    assert rows_of(kept(run, [other]), samples) == ()
    assert rows_of(kept(run, [{**other, "family": MODELS[1].family}]), samples)
    assert rows_of(kept(run, [{**other, "device": "pixel-8-pro"}]), samples)
    assert rows_of(kept(run, [{**other, "device": "pixel-8-pro"}]), samples, tier="budget") == ()


def test_a_case_that_failed_stands_beside_nothing() -> None:
    row = repetition(planned(status=CaseStatus.FAILED), START, {"decode_tps": Measured(9.0, "tok/s", "x")})
    run = RunInput(record(), (), (row,))
    assert [each.measured for each in rows_of(run, Samples())] == [(), ()]


@pytest.mark.parametrize(
    "figures",
    [
        None,
        5,
        "text",
        {"device": "x"},
        [5, None, "x", []],
        [{}],
        [{**PUBLISHED[0], "metric": "speed"}],
        [{**PUBLISHED[0], "metric": 5}],
        [{**PUBLISHED[0], "unit": "tok/min"}],
        [{**PUBLISHED[0], "low": None}],
        [{**PUBLISHED[0], "low": "3", "high": True}],
        [{**PUBLISHED[1], "value": float("nan")}],
        [{**PUBLISHED[1], "device": None, "family": None}],
    ],
)
def test_what_cannot_be_read_is_left_out(figures: Any) -> None:
    run, samples = run_input(repeats=1)
    assert rows_of(kept(run, figures), samples) == ()


def test_nothing_else_of_a_page_knows_of_them() -> None:
    run, samples = run_input(repeats=2)
    bare, told = kept(run, []), run
    pages = {name: tier_page(each, "flagship", samples, START) for name, each in (("bare", bare), ("told", told))}
    assert pages["told"].published
    assert replace(pages["told"], published=()) == pages["bare"]
    data = pages["told"].data_json + pages["told"].data_csv
    assert not any(str(number) in data for number in (313131, 424242, 777777))
    html = reports.render(run, samples, generated_at=START)
    outside = SECTION.sub("", html["flagship.html"])
    assert LOW in html["flagship.html"]
    assert LOW not in outside
    assert LOW not in html["index.html"]


def test_a_page_without_any_has_no_section() -> None:
    run, samples = run_input(repeats=1)
    assert 'id="published"' not in reports.render(kept(run, []), samples, generated_at=START)["flagship.html"]


def test_a_virtual_phone_beside_a_figure_is_marked() -> None:
    plan = planned(device="pixel-8-pro", kind=DeviceKind.VIRTUAL)
    row = repetition(plan, START, {"decode_tps": Measured(40.0, "tok/s", "x")})
    run = kept(RunInput(record(), (), (row,)), [{**PUBLISHED[0], "device": "pixel-8-pro"}])
    html = reports.render(run, Samples(), generated_at=START)["flagship.html"]
    (section,) = re.findall(r'<section id="published".*?</section>', html, re.DOTALL)
    assert "not measured here" in section
    assert "40 tok/s" in section
    assert "virtual phone" in section

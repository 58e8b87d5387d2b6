"""View models: what a page says of a run."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from random import Random

import pytest

from harness.model import METRICS, CaseStatus, DeviceKind, Model, RunStatus, Unavailable
from reports.cases import tiers_of
from reports.index import index_page
from reports.inputs import RunInput
from reports.page_views import TierPage
from reports.pages import _TABLES, MOST_TIMELINES, tier_page
from tests.unit.reports.sample import START, Samples, family, metrics, planned, repetition, run_input

MARKS = {"s24-ultra-a": "virtual phone", "s24-ultra-b": "virtual phone", "bench-host": "not a phone", "pixel-8-pro": ""}


@pytest.fixture(scope="module")
def sample() -> tuple[RunInput, Samples]:
    return run_input()


@pytest.fixture(scope="module")
def page(sample: tuple[RunInput, Samples]) -> TierPage:
    run, samples = sample
    return tier_page(run, "flagship", samples, START)


def small(*repetitions: object) -> TierPage:
    run, samples = run_input(repeats=1)
    return tier_page(replace(run, repetitions=repetitions), "flagship", samples, START)  # type: ignore[arg-type]


def test_each_case_that_ran_is_judged_once(page: TierPage) -> None:
    names = [(row.case.model, row.case.workload, row.case.device.id) for row in page.verdicts]
    assert len(names) == len(set(names)) == 3 * 2 * 2
    assert [head.limit for head in page.targets] == ["≤ 50 ms", "≤ 1000 MB", "≥ 0.950"]


def test_a_verdict_has_value_interval_and_count(page: TierPage) -> None:
    row = next(row for row in page.verdicts if row.case.device.id == "pixel-8-pro" and "smollm2" in row.case.model)
    speed, memory, quality = row.cells
    assert (speed.verdict, speed.word, speed.count) == ("pass", "pass", "n=5")
    assert speed.value.endswith(" ms")
    assert "\u2013" in speed.interval
    assert memory.verdict == "pass"
    assert quality.verdict == "not_measured"
    assert quality.note > 0
    assert row.overall.word == "pass"
    assert row.overall.count == "2 of 3 targets judged"


def test_every_row_of_a_device_that_is_no_phone_is_marked(page: TierPage) -> None:
    rows = [row.case.device for row in page.verdicts]
    rows += [row.case.device for table in page.metric_tables for row in table.rows]
    rows += [row.case.device for group in page.failures for row in group.rows]
    rows += [row.name for row in page.devices]
    rows += [case.name.device for case in page.cases]
    assert {device.id for device in rows} == {"s24-ultra-a", "bench-host", "pixel-8-pro"}
    assert all(device.mark == MARKS[device.id] for device in rows)
    for case in page.cases:
        pictures = [one.timeline for one in case.repetitions if one.timeline]
        assert all(picture.mark == MARKS[case.name.device.id] for picture in pictures)
        assert all(case.name.device.mark in picture.title for picture in pictures)


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ((DeviceKind.PHONE,), ""),
        ((DeviceKind.VIRTUAL,), "No figure on this page comes from a real phone"),
        ((DeviceKind.PHONE, DeviceKind.HOST), "Some figures on this page come from the lab host itself"),
    ],
)
def test_the_page_says_first_what_is_not_from_a_real_phone(kinds: tuple[DeviceKind, ...], words: str) -> None:
    plans = [planned(device=f"d{kind}", kind=kind) for kind in kinds]
    notice = small(*(repetition(plan, START, {}) for plan in plans)).notice
    assert notice.startswith(words) if words else notice == ""


def test_every_metric_stands_in_exactly_one_table() -> None:
    named = [name for _, _, names in _TABLES for name in names]
    assert sorted(named) == sorted(METRICS)


def test_what_was_not_measured_is_never_a_number(page: TierPage) -> None:
    notes = {note.number: note.text for note in page.notes}
    columns = {head.name: index for index, head in enumerate(page.metric_tables[2].heads)}
    for row in page.metric_tables[2].rows:
        cell = row.cells[columns["energy_j"]]
        assert cell.value == ""
        assert notes[cell.note] == "the phone is powered over USB, so its battery current is not what it uses"


def test_a_measured_zero_is_a_zero(page: TierPage) -> None:
    index = [head.name for head in page.metric_tables[2].heads].index("thermal_status_max")
    assert {row.cells[index].value for row in page.metric_tables[2].rows} == {"0"}


def test_a_metric_the_result_does_not_hold_is_not_measured() -> None:
    case = small(repetition(planned(), START, {})).cases[0]
    assert case.metrics == ()
    assert [title for group in case.absent for title in group.titles.split(", ", 2)][:2] == ["Load", "First load"]
    assert all(group.cell.value == "" and group.cell.note for group in case.absent)
    assert {group.cell.reason for group in case.absent} == {
        f"the stored result does not hold {name}" for name in METRICS
    }


def test_a_reason_is_listed_once(page: TierPage) -> None:
    texts = [note.text for note in page.notes]
    assert len(texts) == len(set(texts))
    assert [note.number for note in page.notes] == list(range(1, len(texts) + 1))


def test_partly_measured_metrics_say_how_many() -> None:
    whole = metrics(20, True, Random(1))
    torn = {**whole, "ttft_ms": Unavailable("the answer was cut")}
    rows = [repetition(planned(repeat=number), START, found) for number, found in enumerate((whole, whole, torn))]
    row = next(row for row in small(*rows).cases[0].metrics if row.head.name == "ttft_ms")
    assert row.median.detail == "n=2"
    assert [cell.value != "" for cell in row.cells] == [True, True, False]


def test_failures_stand_by_class_with_everything_needed(page: TierPage) -> None:
    (group,) = page.failures
    assert (group.error_class, group.count) == ("device_lost", "2 repetitions")
    (row,) = group.rows
    assert row.repetitions == "3 (attempt 1), 4 (attempt 1)"
    assert (row.step, row.case.device.id) == ("run", "s24-ultra-a")
    assert row.message.startswith("the phone left the bus")
    assert row.advice.startswith("plug it in")
    assert "llama_model_load" in row.log_tail


def test_refused_and_skipped_cases_have_their_reasons_and_no_verdict(page: TierPage) -> None:
    (refused,) = page.refused
    assert (refused.error_class, refused.workloads, refused.count) == ("memory_short", "bench, chat", "2 cases")
    (skipped,) = page.skipped
    assert "x86_64" in skipped.message
    assert "llama-3-8b-q8_0" not in {row.case.model for row in page.verdicts}


def test_a_failed_case_is_not_measured_with_its_error() -> None:
    run, _ = run_input(repeats=5)
    failed = [one for one in run.repetitions if one.status is CaseStatus.FAILED]
    row = small(*failed).verdicts[0]
    assert row.overall.word == "not measured"
    assert row.overall.reason.startswith("device_lost:")
    assert row.repetitions == "0 of 2"


def test_an_unfinished_case_is_not_measured_yet() -> None:
    row = small(repetition(planned(status=CaseStatus.PLANNED), START, {})).verdicts[0]
    assert row.overall.reason == "not run yet: the run is unfinished"


def test_a_case_shows_repetitions_steps_and_provenance(page: TierPage) -> None:
    case = next(case for case in page.cases if case.name.workload == "chat" and case.name.device.id == "pixel-8-pro")
    assert [one.number for one in case.repetitions] == [0, 1, 2, 3, 4]
    assert [step.step for step in case.repetitions[0].steps] == [
        "select",
        "check",
        "storage",
        "deploy",
        "warm up",
        "run",
    ]
    assert case.repetitions[0].steps[3].duration == "3.40 s"
    assert case.repetitions[0].steps[3].detail == "pushed_bytes 105000000; memory 6333 MB"
    facts = {item.label: item.value for item in case.provenance}
    assert facts["parameters.flash_attn"] == "left to the runtime"
    assert facts["placement.cpus_allowed"] == "4-8"
    assert facts["device.abis"] == "none"
    assert [(row.label, row.values) for row in case.differing] == [
        ("boot_id", ("3c1f", "3c1f", "77aa", "77aa", "77aa"))
    ]
    assert case.commands[0].startswith("adb -s SERIAL shell")


def test_beyond_the_budget_only_the_typical_repetition_is_drawn() -> None:
    run, samples = run_input(repeats=MOST_TIMELINES // 10)
    page = tier_page(run, "flagship", samples, START)
    for case in page.cases:
        drawn = [one for one in case.repetitions if one.timeline]
        assert len(drawn) == 1
        assert all(one.no_timeline for one in case.repetitions if not one.timeline)


def test_the_pick_has_a_reason_and_phones_stand_apart_from_others() -> None:
    phone, virtual = tier_page(family()[0], "flagship", family()[1], START).picks
    assert [(table.kind, table.mark) for table in (phone, virtual)] == [("stream", ""), ("stream", "virtual phone")]
    (row,) = phone.rows
    assert row.model == "smollm2-135m-q4_k_m"
    assert row.why == ("Lowest time per token, lowest peak memory and lowest size of 3 that can be compared.")
    assert phone.others == tuple(
        f"Not smollm2-135m-{worse}: beaten by {better}."
        for worse, better in (
            ("f16", "smollm2-135m-q4_k_m and smollm2-135m-q8_0"),
            ("q8_0", "smollm2-135m-q4_k_m"),
        )
    )
    energy = [head.name for head in phone.heads].index("energy_per_token_j")
    assert (row.cells[energy].value, row.cells[energy].reason[:20]) == ("", "the phone is powered")


def test_a_pick_that_misses_its_target_says_so_and_stands_last() -> None:
    run, samples = family(slower=4.0)
    (phone, virtual) = tier_page(run, "flagship", samples, START).picks
    assert [row.model for row in phone.rows] == ["smollm2-135m-q8_0", "smollm2-135m-q4_k_m"]
    assert phone.rows[0].why.startswith("Lowest time per token of 3")
    assert phone.rows[1].why == (
        "Lowest peak memory and lowest size of 3 that can be compared. It misses a target in 1 of 1 case."
    )
    assert [item.label for item in phone.rows[1].verdicts] == ["fail"]
    assert all("misses a target" in row.why for row in virtual.rows)


def test_one_alone_and_none_at_all_are_said() -> None:
    (table,) = small(repetition(planned(), START, metrics(20, True, Random(1)))).picks
    assert [row.why for row in table.rows] == ["The only one measured."]
    assert small(repetition(planned(status=CaseStatus.PLANNED), START, {})).picks == ()


def test_each_size_of_a_model_stands_beside_its_original_per_phone() -> None:
    rows = tier_page(family()[0], "flagship", family()[1], START).compression
    assert [(row.case.device.id, row.case.device.mark, row.case.quant) for row in rows] == [
        (device, mark, quant)
        for device, mark in (("pixel-8-pro", ""), ("s24-ultra-a", "virtual phone"))
        for quant in ("F16", "Q8_0", "Q4_K_M")
    ]
    original, _, small = rows[:3]
    assert (original.base, original.beside, original.size_ratio.value) == ("", "the original", "1 ×")
    assert small.base == "smollm2-135m-f16"
    assert (small.size.value, small.size_ratio.value, small.memory_ratio.value) == ("105 MB", "0.387 ×", "0.548 ×")
    assert small.speed_up.value.startswith(("1.9", "2.0"))
    assert (small.quality.value, small.quality.reason) == ("", "nothing that is run here measures it")


def test_models_without_another_of_their_family_have_no_ratio(page: TierPage) -> None:
    assert {row.size_ratio.value for row in page.compression} == {""}
    notes = {note.number: note.text for note in page.notes}
    assert all("no other model of its family" in notes[row.size_ratio.note] for row in page.compression)


def test_data_are_those_of_the_export(page: TierPage, sample: tuple[RunInput, Samples]) -> None:
    rows = json.loads(page.data_json)
    flat = list(csv.DictReader(io.StringIO(page.data_csv)))
    expected = sum(1 for one in sample[0].repetitions if one.planned.tier == "flagship")
    assert len(rows) == len(flat) == expected
    measured = next(row for row in rows if row["status"] == "measured")
    assert set(measured["metrics"]) == set(METRICS)
    assert measured["metrics"]["energy_j"] == {
        "unavailable": "the phone is powered over USB, so its battery current is not what it uses"
    }
    assert measured["verdicts"]["quality_retention_min"] == "not_measured"
    assert measured["agreement"]["agreement"] == "fixed"


def test_the_data_name_the_outliers_that_the_page_names() -> None:
    values = (20.0, 20.2, 19.8, 20.1, 31.0)
    page = small(
        *(
            repetition(planned(repeat=number), START + number, metrics(ms, True, Random(1)))
            for number, ms in enumerate(values, 1)
        )
    )
    rows = json.loads(page.data_json)
    texts = [[one["text"] for one in row["outliers"]] for row in rows]
    assert texts[:4] == [[]] * 4
    assert len(texts[4]) == 2, "prefill and decode"
    (verdict,) = page.verdicts
    assert all(text in verdict.overall.reason for text in texts[4])
    *_, last = csv.DictReader(io.StringIO(page.data_csv))
    assert last["outliers"] == "; ".join(texts[4])


def test_formulas_in_names_stay_text_in_csv() -> None:
    evil = Model("=cmd|' /C calc'!A1", "f", "q", "gguf", path="x")
    page = small(repetition(planned(model=evil), START, metrics(20, True, Random(1))))
    (row,) = csv.DictReader(io.StringIO(page.data_csv))
    assert row["model"].startswith("'=")


def test_index_counts_and_tone(sample: tuple[RunInput, Samples]) -> None:
    run, _ = sample
    index = index_page(run, {"flagship": "flagship.html", "budget": "budget.html"}, (), START)
    assert index.headline == (
        "Run of 2025-11-21, ended 2025-11-21 07:00:00 UTC: 78 of 82 measured; 2 failed; 2 refused."
    )
    assert index.tone == "warn"
    flagship, budget = index.tiers
    assert flagship.counts == (58, 2, 2, 2, 0)
    assert flagship.devices == "3 devices (1 × not a phone, 1 × virtual phone)"
    assert budget.counts == (20, 0, 0, 0, 0)
    states = {row.name.id: row.state for row in index.devices}
    assert states["s24-ultra-a"] == "last measurement failed: device_lost"
    assert states["pixel-8-pro"] == "answered to the end"
    broken = replace(run, record=replace(run.record, status=RunStatus.INTERRUPTED, ended_at=None))
    assert index_page(broken, {}, (), START).tone == "bad"


def test_tiers_come_in_the_order_of_the_inventory(sample: tuple[RunInput, Samples]) -> None:
    run, _ = sample
    stray = repetition(planned(tier="lab-only"), START, {})
    assert tiers_of(replace(run, repetitions=(stray, *run.repetitions))) == ("flagship", "budget", "lab-only")
    page = tier_page(replace(run, repetitions=(stray,)), "lab-only", Samples(), START)
    assert (page.title, page.targets) == ("lab-only", ())

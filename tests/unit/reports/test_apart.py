"""What is kept apart: shown with its reason in every table and picture, counted and picked in none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.model import DeviceKind
from reports.cases import REFERENCE
from reports.index import index_page
from reports.inputs import RunInput
from reports.page_views import TierPage
from reports.pages import tier_page
from tests.unit.reports.night_sample import kept_apart
from tests.unit.reports.sample import RUNNER, START, Samples, family, run_input

WHY = "kept apart: drifts"


@pytest.fixture(scope="module")
def page() -> TierPage:
    run, samples = run_input(repeats=2)
    return tier_page(kept_apart(run, "s24-ultra-a", "drifts"), "flagship", samples, START)


def test_its_rows_are_marked_in_every_table(page: TierPage) -> None:
    rows = [row.case.device for row in page.verdicts]
    rows += [row.case.device for table in page.metric_tables for row in table.rows]
    rows += [row.name for row in page.devices]
    rows += [case.name.device for case in page.cases]
    rows += [row.case.device for row in page.compression]
    assert {device.apart for device in rows if device.id == "s24-ultra-a"} == {WHY}
    assert {device.apart for device in rows if device.id != "s24-ultra-a"} == {""}


def test_its_pictures_are_marked(page: TierPage) -> None:
    for case in page.cases:
        own = case.name.device.id == "s24-ultra-a"
        pictures = [one.timeline for one in case.repetitions if one.timeline]
        assert pictures
        assert all((WHY in picture.mark) is own and (WHY in picture.title) is own for picture in pictures)
        assert all((WHY in drawn.mark) is own for drawn in case.tokens.histograms)


def test_no_tally_counts_it(page: TierPage) -> None:
    run, samples = run_input(repeats=2)
    before = tier_page(run, "flagship", samples, START)
    apart = sum(row.case.device.id == "s24-ultra-a" for row in before.verdicts)
    assert apart == 4
    counted, all_of_them = (sum(item.count for item in one.verdict_tally) for one in (page, before))
    assert counted == all_of_them - apart
    assert page.apart.startswith("4 cases of phones that are kept apart")
    assert before.apart == ""
    assert len(page.verdicts) == len(before.verdicts), "it is shown all the same"
    index = index_page(kept_apart(run, "s24-ultra-a", "drifts"), {"flagship": "flagship.html"}, (), START)
    assert sum(item.count for item in index.tiers[0].verdicts) == counted
    assert index.tiers[0].devices == "3 devices (1 × not a phone, 1 × virtual phone, 1 × kept apart)"


def test_it_is_never_picked_and_has_rows_of_its_own_in_the_matrix() -> None:
    run, samples = family()
    page = tier_page(kept_apart(run, "s24-ultra-a", "drifts"), "flagship", samples, START)
    assert [table.mark for table in page.picks] == [""]
    assert {row.mark for row in page.matrix.rows} == {"", f"virtual phone, {WHY}"}


def reference(run: RunInput) -> RunInput:
    """The run with every case of the virtual phone measured by the pinned build of the runner."""
    pinned = replace(RUNNER, id=RUNNER.id + REFERENCE)
    return replace(
        run,
        repetitions=tuple(
            replace(one, row=replace(one.row, planned=replace(one.planned, runner=pinned)))
            if one.planned.kind is DeviceKind.VIRTUAL
            else one
            for one in run.repetitions
        ),
    )


def test_a_reference_build_is_measured_to_compare_with_and_counts_nowhere() -> None:
    run, _ = family()
    page = tier_page(reference(run), "flagship", Samples(), START)
    assert [table.mark for table in page.picks] == [""]
    assert sum(item.count for item in page.verdict_tally) == 3
    assert {row.apart for row in page.verdicts if row.case.runner.endswith(REFERENCE)} == {"reference build"}
    assert {row.mark for row in page.matrix.rows} == {"", "virtual phone, reference build"}

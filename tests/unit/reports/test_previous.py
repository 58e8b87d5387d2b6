"""Two runs side by side: the figures of `farm compare`, with what they were compared with."""

from __future__ import annotations

from dataclasses import replace

from harness.model import Targets, Tier
from reports.inputs import Past
from reports.page_views import TierPage
from reports.pages import tier_page
from tests.unit.reports.sample import START, family

BEFORE = "20251120-050000-bb22"


def page(*, slower: float, drop: str = "") -> TierPage:
    earlier, _ = family(run=BEFORE, at=START - 86_400)
    rows = tuple(one.row for one in earlier.repetitions if one.planned.model.quant != drop)
    now, samples = family(slower=slower)
    return tier_page(now, "flagship", samples, START, Past(earlier.record, rows))


def test_a_slower_model_is_told_with_ratio_interval_and_decision() -> None:
    view = page(slower=1.3).previous
    assert (view.run, view.started, view.absent) == (BEFORE, "2025-11-20 05:00:00 UTC", "")
    assert [head.name for head in view.heads][:2] == ["ms_per_token", "ttft_ms"]
    found = {(row.case.quant, row.case.device.id): row.cells[0] for row in view.rows}
    assert len(found) == 6
    slow = found["Q4_K_M", "pixel-8-pro"]
    assert (slow.verdict, slow.word, slow.value) == ("fail", "slower", "1.30 ×")
    low, high = (float(end) for end in slow.interval.split("\u2013"))
    assert 1 < low <= 1.3 <= high
    assert found["F16", "pixel-8-pro"].word in ("inconclusive", "no difference shown")
    assert {row.case.device.mark for row in view.rows} == {"", "virtual phone"}
    assert {row.changed for row in view.rows} == {""}
    assert {row.head.name for row in view.others} >= {"decode_tps"}
    assert all(row.cell.word in ("slower", "worse") for row in view.others)
    assert "comparisons show a difference; where nothing changed about" in view.chance


def test_what_has_no_value_is_not_comparable_and_says_why() -> None:
    view = page(slower=1.0).previous
    energy = view.rows[0].cells[-1]
    assert (energy.word, energy.value, energy.reason) == ("not comparable", "", "neither run has a measured value")
    assert energy.note > 0


def test_a_case_of_one_run_alone_is_listed() -> None:
    view = page(slower=1.0, drop="F16").previous
    assert view.only_before == ()
    assert [(one.device.id, one.device.mark) for one in view.only_now] == [
        ("pixel-8-pro", ""),
        ("s24-ultra-a", "virtual phone"),
    ]
    assert view.only_now[0].text.startswith("smollm2-135m-f16, chat, ")


def test_without_an_earlier_run_it_is_said() -> None:
    now, samples = family()
    view = tier_page(now, "flagship", samples, START).previous
    assert (view.run, view.rows) == ("", ())
    assert view.absent == "No earlier run of suite standard that measured this tier is in the database."


def test_runs_with_nothing_in_common_say_so() -> None:
    earlier, _ = family(run=BEFORE, at=START - 86_400)
    now, samples = family()
    record = replace(now.record, tiers={"flagship": Tier("Flagship", Targets())})
    view = tier_page(replace(now, record=record), "flagship", samples, START, Past(earlier.record, ())).previous
    assert (view.rows, view.chance) == ((), "The two measured no case in common.")

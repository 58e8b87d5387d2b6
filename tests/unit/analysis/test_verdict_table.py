"""What the verdict table of a report says of the repetitions behind a verdict."""

from __future__ import annotations

from harness.analysis.repeats import RepeatPolicy
from harness.model import Targets
from harness.store import MeasurementRow
from reports.cases import Case, Notes
from reports.inputs import Repetition
from reports.verdicts import repetition_marks, verdict_row, verdict_rows
from reports.views import DeviceName
from tests.unit.analysis.repetitions import row

TARGETS = Targets(ms_per_token_max=50.0, quality_retention_min=0.9)
AUTO = RepeatPolicy(auto=True)


def measured(rates: list[float]) -> list[MeasurementRow]:
    return [row(number, {"decode_tps": rate, "ms_per_token": 1000 / rate}) for number, rate in enumerate(rates, 1)]


def case(rows: list[MeasurementRow]) -> Case:
    return Case(rows[0].planned, DeviceName("pixel", "", ""), tuple(Repetition(one, "", (), ()) for one in rows))


def test_repetitions_that_agree_need_no_word() -> None:
    steady = case(measured([30.0, 30.1, 29.9, 30.05, 29.95]))
    assert repetition_marks(steady, AUTO) == ()
    found = verdict_row(steady, TARGETS, Notes(), AUTO)
    assert (found.overall.word, found.overall.count, found.overall.note) == ("pass", "1 of 2 targets judged", 0)


def test_an_unstable_case_is_marked_in_its_row() -> None:
    notes = Notes()
    (found,) = verdict_rows([case(measured([30.0, 33.0, 27.0] * 5))], TARGETS, notes, AUTO)
    assert found.overall.count == "1 of 2 targets judged, unstable"
    assert found.overall.verdict == "pass"
    assert "unstable: decode known within ±" in found.overall.reason
    assert found.overall.reason in [note.text for note in notes.listed()]
    assert found.cells[0].reason.startswith("unstable: ")


def test_a_repetition_far_from_the_others_is_named_and_still_counts() -> None:
    odd = case(measured([30.0, 30.2, 29.8, 24.0, 30.1, 29.9]))
    found = verdict_row(odd, TARGETS, Notes())
    assert found.overall.reason == "repetition 4: decode 20 % lower (unexplained)"
    assert found.cells[0].count == "n=6"
    assert "unstable" not in found.overall.count


def test_a_warm_up_is_shown_and_does_not_count() -> None:
    cold = case(measured([10.0, 30.0, 30.1, 29.9, 30.05]))
    found = verdict_row(cold, TARGETS, Notes(), RepeatPolicy(warm_up=True))
    assert found.overall.reason == "repetition 1 is a warm-up and does not count"
    assert (found.repetitions, found.cells[0].count) == ("5 of 5", "n=4")

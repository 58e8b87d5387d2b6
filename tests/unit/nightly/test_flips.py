"""Verdicts that are not what they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.analysis.repeats import RepeatPolicy
from harness.model import CaseStatus, Measured, Targets, TargetVerdict, Tier
from harness.nightly.flips import flips, verdicts_of
from harness.store import MeasurementRow
from tests.unit.store import samples

TIERS = {"flagship": Tier("Flagship", Targets(50.0, 1000.0, 0.95))}


def rows(
    ms: Sequence[float], *, model: str = "m", runner: str = "llama", status: CaseStatus = CaseStatus.MEASURED
) -> list[MeasurementRow]:
    planned = samples.planned_case(model=model, status=status)
    planned = replace(planned, runner=replace(planned.runner, id=runner))
    return [
        MeasurementRow(
            replace(planned, repeat=number),
            1,
            1.0,
            1.0,
            {"ms_per_token": Measured(value, "ms", "test"), "peak_memory_mb": Measured(100.0, "MB", "test")},
            {},
        )
        for number, value in enumerate(ms, 1)
    ]


def verdicts(found: Sequence[MeasurementRow]) -> dict[str, TargetVerdict]:
    (judged,) = verdicts_of(found, TIERS, RepeatPolicy()).values()
    return {target: info.verdict for target, info in judged.verdicts.items()}


FAST, SLOW = [20.0, 20.1, 20.2], [70.0, 70.1, 70.2]


def test_a_verdict_that_turned_is_told_with_its_figure_limit_and_owner() -> None:
    before, after = (verdicts_of(rows(ms), TIERS, RepeatPolicy()) for ms in (FAST, SLOW))
    (flip,) = flips(before, after)
    assert (flip.target, flip.before, flip.after) == ("ms_per_token_max", TargetVerdict.PASS, TargetVerdict.FAIL)
    assert (flip.value, flip.unit, flip.limit, flip.owner, flip.device_id) == (70.1, "ms", 50.0, "team", "pixel")
    assert flips(before, before) == ()


def test_what_failed_tonight_is_not_measured_any_more() -> None:
    before = verdicts_of(rows(FAST), TIERS, RepeatPolicy())
    failed = [replace(row, metrics={}) for row in rows(FAST, status=CaseStatus.FAILED)]
    found = flips(before, verdicts_of(failed, TIERS, RepeatPolicy()))
    assert [(flip.target, flip.after, flip.value) for flip in found] == [
        ("ms_per_token_max", TargetVerdict.NOT_MEASURED, None),
        ("peak_memory_mb_max", TargetVerdict.NOT_MEASURED, None),
    ]


def test_what_nobody_tried_and_pinned_builds_have_no_verdict() -> None:
    left = rows(FAST, status=CaseStatus.PLANNED) + rows(FAST, model="n", status=CaseStatus.SKIPPED)
    assert verdicts_of(left, TIERS, RepeatPolicy()) == {}
    assert verdicts_of(rows(FAST, runner="llama@baseline"), TIERS, RepeatPolicy()) == {}
    assert verdicts_of(rows(FAST), {}, RepeatPolicy()) == {}, "a tier that is not there any more"


def test_a_case_that_only_one_night_has_is_no_flip() -> None:
    one, other = (verdicts_of(rows(ms, model=name), TIERS, RepeatPolicy()) for ms, name in ((FAST, "m"), (SLOW, "n")))
    assert flips(one, other) == ()


def test_the_warm_up_does_not_decide() -> None:
    assert verdicts(rows([70.0, *FAST]))["ms_per_token_max"] is TargetVerdict.INCONCLUSIVE
    (judged,) = verdicts_of(rows([70.0, *FAST]), TIERS, RepeatPolicy(warm_up=True)).values()
    assert judged.verdicts["ms_per_token_max"].verdict is TargetVerdict.PASS

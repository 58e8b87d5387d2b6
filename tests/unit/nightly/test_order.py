"""What a night measures first."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from harness.model import CaseStatus, PlannedCase
from harness.nightly.order import for_a_night
from harness.nightly.pinned import baseline_id, compared_with, is_baseline
from harness.value_order import SeriesPast
from tests.unit.store import samples

SAME = SeriesPast(100.0, None, "a" * 64, "b" * 64)


def case(model: str, runner: str = "llama", repeat: int = 1, *, device: str = "pixel") -> PlannedCase:
    planned = samples.planned_case("now", f"{model} {runner}", repeat, device=device, model=model)
    return replace(planned, runner=replace(planned.runner, id=runner), series_key=f"{device} {model} {runner}")


def both(model: str, repeat: int = 1, *, device: str = "pixel") -> list[PlannedCase]:
    return [case(model, "llama", repeat, device=device), case(model, "llama@baseline", repeat, device=device)]


def names(cases: tuple[PlannedCase, ...]) -> list[str]:
    return [f"{one.model.id} {one.runner.id} {one.repeat}" for one in cases]


def test_a_pinned_build_goes_directly_before_the_one_it_is_compared_with() -> None:
    cases = [*both("a"), *both("b"), *both("a", 2), *both("b", 2)]
    assert names(for_a_night(cases, {})) == [
        "a llama@baseline 1",
        "a llama 1",
        "b llama@baseline 1",
        "b llama 1",
        "a llama@baseline 2",
        "a llama 2",
        "b llama@baseline 2",
        "b llama 2",
    ]


def test_what_is_wanted_most_comes_first_and_takes_its_pinned_build_along() -> None:
    past = {
        "pixel measured llama": replace(SAME, measured_at=300.0),
        "pixel old llama": replace(SAME, measured_at=200.0),
        "pixel failed llama": replace(SAME, failed_at=400.0),
        "pixel changed llama": replace(SAME, runner_sha256="c" * 64),
        # A pinned build that was never measured is no reason.
        "pixel measured llama@baseline": SeriesPast(),
    }
    cases = [each for model in ("measured", "old", "changed", "failed", "new") for each in both(model)]
    ordered = for_a_night(cases, past)
    assert [one.model.id for one in ordered[::2]] == ["new", "failed", "changed", "old", "measured"]
    assert all(is_baseline(one.runner.id) for one in ordered[::2])


def test_what_did_not_fit_is_first_in_the_next_night() -> None:
    past = {f"pixel {model} llama": SAME for model in "abc"}
    cases = [each for model in "abc" for each in both(model)]
    done, left = for_a_night(cases, past)[:4], for_a_night(cases, past)[4:]
    later = past | {one.series_key: replace(SAME, measured_at=200.0) for one in done}
    assert for_a_night(cases, later)[:2] == left


def test_what_is_not_to_be_run_stands_before_the_rest_of_its_device() -> None:
    skipped = replace(case("a"), status=CaseStatus.SKIPPED)
    cases = [*both("b"), skipped, *both("a", device="other")]
    assert names(for_a_night(cases, {}))[:3] == ["a llama 1", "b llama@baseline 1", "b llama 1"]


@given(st.randoms(use_true_random=False))
def test_nothing_is_lost_and_devices_keep_their_order(chance: random.Random) -> None:
    cases = [
        each
        for model in "abcd"
        for repeat in (1, 2)
        for device in ("x", "y")
        for each in both(model, repeat, device=device)
    ]
    chance.shuffle(cases)
    ordered = for_a_night(cases, {})
    assert sorted(map(repr, ordered)) == sorted(map(repr, cases))
    first = list(dict.fromkeys(one.device_id for one in cases))
    assert list(dict.fromkeys(one.device_id for one in ordered)) == first
    rounds = [one.repeat for one in ordered if one.device_id == first[0]]
    assert rounds == sorted(rounds)


def test_names_of_pinned_builds() -> None:
    assert (is_baseline("llama@baseline"), is_baseline("llama")) == (True, False)
    assert baseline_id("llama") == "llama@baseline"
    assert compared_with("llama@baseline") == compared_with("llama") == "llama"

"""Interleaved pairs: their order, what they need, and why there may be none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.model import Change, ChangeState, ErrorInfo, PairSet, SeriesId, Step
from harness.nightly.pair_plan import NoPairs, PairPlan, PairWish, missing_pairs, pair_id
from tests.unit.nightly.shelf import checked, phone, plan, sha

A, B = checked("good"), checked("bad")
WISH = PairWish("m", "r", "bench", sha("good"), sha("bad"))
ONE, TWO = phone("p1"), phone("p2", tier="budget")
BOTH = {"serial-p1": 4, "serial-p2": 4}


def planned(**changes: object) -> PairPlan:
    given: dict[str, object] = {"wish": WISH, "pairs": BOTH, "devices": (ONE, TWO), "builds": (A, B), **changes}
    found = plan(**given)  # type: ignore[arg-type]
    assert isinstance(found, PairPlan), found
    return found


def refused(**changes: object) -> str:
    given: dict[str, object] = {"wish": WISH, "pairs": BOTH, "devices": (ONE, TWO), "builds": (A, B), **changes}
    found = plan(**given)  # type: ignore[arg-type]
    assert isinstance(found, NoPairs)
    return found.reason


def test_the_builds_take_turns_and_change_places() -> None:
    order = [(case.device_id, case.repeat, case.runner.id) for case in planned().cases]
    good, bad = pair_id("r", sha("good")), pair_id("r", sha("bad"))
    turns = [(1, good), (1, bad), (2, bad), (2, good), (3, good), (3, bad), (4, bad), (4, good)]
    assert order == [(device, *turn) for device in ("p1", "p2") for turn in turns]


def test_what_drifts_steadily_cancels() -> None:
    sides = [case.runner_sha256 == sha("bad") for case in planned(devices=(ONE,), pairs={"serial-p1": 12}).cases]
    assert sum(place if is_bad else -place for place, is_bad in enumerate(sides)) == 0


def test_each_build_is_a_runner_of_its_own() -> None:
    found = planned()
    assert set(found.assets.runners) == {pair_id("r", sha("good")), pair_id("r", sha("bad"))}
    assert set(found.assets.models) == {"m"}
    for case in found.cases:
        name = "good" if case.runner_sha256 == sha("good") else "bad"
        assert case.runner.id == f"r@{sha(name)[:12]}"
        assert (case.runner.path, case.runner.url, case.runner.sha256) == (f"/builds/{name}", None, None)
        assert (case.model_sha256, case.workload_id, case.run) == ("a" * 64, "bench", "run")
    assert len({case.key for case in found.cases}) == len(found.cases) == 16


def test_phones_get_what_they_lack() -> None:
    found = planned(pairs={"serial-p1": 1, "serial-p2": 0})
    assert [device.id for device in found.devices] == ["p1"]
    assert [case.repeat for case in found.cases] == [1, 1]
    sets = [PairSet("serial-p1", "n", "g", "b", (0.1,) * 3), PairSet("serial-p1", "o", "g", "b", (0.1,))]
    assert missing_pairs(["serial-p1", "serial-p2"], sets, 12) == {"serial-p1": 8, "serial-p2": 12}
    assert missing_pairs(["serial-p1"], sets, 4) == {}


def test_a_phone_that_cannot_run_them_leaves_the_others_alone() -> None:
    found = planned(devices=(phone("p1", abi="x86_64"), TWO))
    assert [device.id for device in found.devices] == ["p2"]


def test_a_wish_names_tier_and_phones() -> None:
    assert [one.id for one in planned(wish=replace(WISH, tier="budget")).devices] == ["p2"]
    assert [one.id for one in planned(wish=replace(WISH, phones=("serial-p1",))).devices] == ["p1"]
    assert refused(wish=replace(WISH, tier="mid")) == "none of the phones of tier mid is attached"
    assert refused(wish=replace(WISH, phones=("serial-p3",))) == "none of the phones is attached"


def test_a_suspicion_is_a_wish() -> None:
    series = SeriesId("budget", "m", "r", "bench", "decode_tps")
    change = Change(
        series, ChangeState.SUSPECT, 20, ("serial-p2",), good_build=sha("good"), bad_build="x", pair_build=sha("bad")
    )
    assert PairWish.of(change) == replace(WISH, tier="budget", phones=("serial-p2",))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"wish": replace(WISH, model="old")}, "no longer in the inventory: model old"),
        ({"wish": replace(WISH, runner="q", workload="chat")}, "no longer in the inventory: runner q, workload chat"),
        ({"builds": (B,)}, f"build {sha('good')[:12]} of r is no longer on disk"),
        ({"builds": (A, checked("bad", "holds nothing"))}, f"build {sha('bad')[:12]} of r is no longer on disk"),
        ({"wish": replace(WISH, bad=sha("good"))}, "both are the same build of r, so there is nothing to compare"),
        ({"model": ErrorInfo("model_missing", Step.CHECK, "there is no m.gguf")}, "there is no m.gguf"),
        ({"devices": ()}, "none of the phones is attached"),
        ({"pairs": {}}, "p1: no pairs are wanted of it; p2: no pairs are wanted of it"),
        (
            {"devices": (phone("p1", abi="x86_64"),)},
            f"p1: runner {pair_id('r', sha('good'))} is for arm64-v8a, p1 runs x86_64",
        ),
        (
            {"refusal": ErrorInfo("option_unknown", Step.CHECK, "it does not know --x"), "devices": (ONE,)},
            "p1: it does not know --x",
        ),
    ],
)
def test_why_there_is_no_plan(changes: dict[str, object], expected: str) -> None:
    assert refused(**changes) == expected

"""A trial that needs a steady load is made again when the machine of the virtual phones was busy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from harness.selftest.checks import Check, not_run, same
from harness.selftest.steady import TRIES, uneven, unsteady, until_steady
from harness.selftest.truth import Truth


def truth(load: Callable[[float], float], cap: Callable[[float], float] = lambda _: 1.0) -> Truth:
    return Truth([{"uptime_s": 100 + at / 2, "load": load(at / 2), "cap": cap(at / 2)} for at in range(240)])


def test_a_capped_phone_has_a_steady_load() -> None:
    assert unsteady(truth(lambda _: 0.98), 105, 200) == ""
    assert unsteady(truth(lambda at: 1.0 if at < 50 else 0.6, lambda at: 1.0 if at < 50 else 0.6), 105, 200) == ""


@pytest.mark.parametrize(("begin", "share"), [(0, 50), (45, 75), (80, 50)])
def test_ten_seconds_of_other_work_are_seen(begin: float, share: int) -> None:
    busy = truth(lambda at: 0.5 if begin <= at - 5 < begin + 10 else 1.0)
    assert f"{share}% of its usual load" in unsteady(busy, 105, 200)


def test_a_truth_that_tells_no_load_is_not_steady() -> None:
    assert unsteady(Truth([]), 100, 200) and unsteady(truth(lambda _: 0.0), 100, 200)


def test_what_a_verdict_compares_has_to_have_had_the_same_share_of_the_machine() -> None:
    def cap(at: float) -> float:
        return 1.0 if at < 14 else 0.8

    assert uneven(truth(cap, cap), 105, 200) == ""
    busy = uneven(truth(lambda at: cap(at) * (0.75 if at < 12 else 1.0), cap), 105, 200)
    assert "81% of its later load before its clock was capped" in busy
    assert "of its later load" in uneven(truth(lambda at: cap(at) * (0.9 if at > 80 else 1.0), cap), 105, 200)
    assert uneven(truth(lambda _: 0.5), 105, 200) == "", "a clock that was not capped is compared with nothing"


def attempts(*results: tuple[bool, str]) -> tuple[Callable[[], tuple[list[Check], str]], list[int]]:
    made: list[int] = []
    left: Iterator[tuple[bool, str]] = iter(results)

    def attempt() -> tuple[list[Check], str]:
        good, disturbed = next(left)
        made.append(1)
        return [same("throttle_verdict", "pixel", "throttled", "throttled" if good else "none")], disturbed

    return attempt, made


def test_an_error_of_farms_is_not_tried_away() -> None:
    attempt, made = attempts((False, ""), (True, ""))
    assert not until_steady(attempt)[0].ok and len(made) == 1


def test_what_holds_is_not_made_again() -> None:
    attempt, made = attempts((True, "busy"), (True, ""))
    assert until_steady(attempt)[0].ok and len(made) == 1


def test_a_disturbed_attempt_is_made_again_and_told() -> None:
    attempt, made = attempts((False, "busy"), (True, ""))
    (check,) = until_steady(attempt)
    assert check.ok and len(made) == 2 and check.note == "attempt 2; before: busy"


def test_the_last_attempt_counts_whatever_it_was() -> None:
    attempt, made = attempts(*[(False, "busy")] * (TRIES + 1))
    assert not until_steady(attempt)[0].ok and len(made) == TRIES
    missed = until_steady(lambda: ([not_run("throttle_verdict", "pixel", "too busy")], "too busy"))
    assert missed[0].note.startswith("not run: too busy; attempt 3")

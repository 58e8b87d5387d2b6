"""What a run that may have to stop early measures first."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from harness.model import CaseStatus, PlannedCase
from harness.store import MeasurementRow
from harness.value_order import Claim, SeriesPast, by_value, claim, past_of
from tests.unit.store import samples


def case(name: str, repeat: int = 1, *, device: str = "pixel") -> PlannedCase:
    return samples.planned_case("now", name, repeat, device=device)


def past(name: str, at: float | None, status: CaseStatus = CaseStatus.MEASURED, **changes: str) -> MeasurementRow:
    planned = replace(samples.planned_case("before", name, status=status), **changes)  # type: ignore[arg-type]
    return MeasurementRow(planned, 1, at, 3.0, {}, {})


OLD, NEW = 1000.0, 2000.0


def test_why_a_measurement_is_wanted() -> None:
    seen = past_of(
        [
            past("failed", OLD),
            past("failed", NEW, CaseStatus.FAILED),
            past("mended", OLD, CaseStatus.FAILED),
            past("mended", NEW),
            past("rebuilt", NEW, runner_sha256="d" * 64),
            past("known", NEW),
            past("skipped", None, CaseStatus.SKIPPED),
            past("only failed", OLD, CaseStatus.REFUSED),
        ]
    )
    wanted = {
        name: claim(case(name), seen)
        for name in ("new", "skipped", "failed", "only failed", "mended", "rebuilt", "known")
    }
    assert wanted == {
        "new": Claim.NEVER_MEASURED,
        "skipped": Claim.NEVER_MEASURED,
        "failed": Claim.FAILED_LAST,
        "only failed": Claim.FAILED_LAST,
        "mended": Claim.MEASURED,
        "rebuilt": Claim.CHANGED,
        "known": Claim.MEASURED,
    }


def test_the_newest_measurement_counts_in_whatever_order_they_come() -> None:
    rows = [past("a", OLD, runner_sha256="d" * 64), past("a", NEW), past("a", 500.0, CaseStatus.FAILED)]
    expected = SeriesPast(NEW, 500.0, "a" * 64, "b" * 64)
    for _ in range(6):
        random.shuffle(rows)
        assert past_of(rows) == {"series-a": expected}


def test_the_most_valuable_come_first_and_the_oldest_before_the_newest() -> None:
    seen = past_of([past("new", NEW), past("old", OLD), past("rebuilt", OLD, model_sha256="e" * 64)])
    ordered = by_value([case(name) for name in ("new", "old", "rebuilt", "never", "never too")], seen)
    assert [one.case for one in ordered] == ["never", "never too", "rebuilt", "old", "new"]


def test_every_case_is_measured_once_before_any_twice() -> None:
    seen = past_of([past("known", NEW)])
    plan = [case(name, repeat) for name in ("known", "never") for repeat in (1, 2)]
    assert [one.key for one in by_value(plan, seen)] == ["never.1", "known.1", "never.2", "known.2"]


def test_refused_cases_stay_before_the_rest() -> None:
    refused = replace(case("refused"), status=CaseStatus.REFUSED)
    assert by_value([case("a"), refused], {})[0] is refused


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4), st.sampled_from(["p", "q"])), unique=True))
def test_nothing_is_lost_and_devices_stay_together(names: list[tuple[str, int, str]]) -> None:
    plan = [case(name, repeat, device=device) for name, repeat, device in names]
    seen: Mapping[str, SeriesPast] = {"series-a": SeriesPast(NEW, None, "x", "y"), "series-b": SeriesPast(OLD, NEW)}
    ordered = by_value(plan, seen)
    assert sorted(map(id, ordered)) == sorted(map(id, plan))
    devices = [one.device_id for one in ordered]
    assert devices == sorted(devices, key=list(dict.fromkeys(one.device_id for one in plan)).index)
    assert by_value(ordered, seen) == ordered

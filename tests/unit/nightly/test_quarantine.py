"""Which phones are put into quarantine, and that what a person decided stands."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.model import CaseStatus, ErrorInfo, NightFailures, PhoneDrift, Quarantine, Step
from harness.nightly import quarantine
from harness.nightly.failures import night_failures
from harness.nightly.looks import HEALTH
from harness.nightly.quarantine import QUARANTINE, to_quarantine
from harness.store import DeviceRecord, Store
from tests.unit.nightly.phones import DAY_S, NOW, look
from tests.unit.store import samples

ID = "serial of a"
DRIFT = PhoneDrift(ID, "a", "decode_tps", 20, math.log(1.07), 0.05, 0.09, drifted=True)


def told(at: float, *, lifted: bool = False, reason: str = "drifts", author: str = "farm") -> DeviceRecord:
    value = {"device_id": "a", "reason": reason, "author": author, "lifted": lifted}
    return DeviceRecord(ID, QUARANTINE, "", at, value)


def self_test(at: float, *, ok: bool) -> DeviceRecord:
    return DeviceRecord(ID, "qualification", "", at, {"ok": ok, "held": 38, "ran": 40})


def night(index: int, measured: int, **failed: int) -> NightFailures:
    return NightFailures(f"2026-11-{index:02}", NOW - (20 - index) * DAY_S, measured, failed)


def reasons(**given: Any) -> list[str]:
    """Why the phone is put into quarantine."""
    known: Sequence[DeviceRecord] = given.get("known", ())
    nights: Mapping[str, Sequence[NightFailures]] = {ID: given.get("nights", ())}
    found = to_quarantine(given.get("drifts", ()), nights, given.get("looks", (look("a"),)), known, at=NOW)
    assert all((each.identity, each.device_id, each.since, each.author) == (ID, "a", NOW, "farm") for each in found)
    return [each.reason for each in found]


# --- the rules --------------------------------------------------------------------------------------------------------


def test_a_phone_in_order_is_left_alone() -> None:
    steady = replace(DRIFT, delta=0.01, drifted=False)
    nights = (night(18, 40, device_lost=2), night(19, 40, killed=40))
    assert reasons(drifts=(steady,), nights=nights, known=(self_test(NOW - 1, ok=True),)) == []


def test_one_that_drifts_on_its_own_reference() -> None:
    assert reasons(drifts=(DRIFT,)) == ["decode_tps of its own reference build is 7.0 % worse than at first"]


@pytest.mark.parametrize("word", [4, 5, 6])
def test_one_whose_battery_says_that_it_is_bad(word: int) -> None:
    assert reasons(looks=(look("a", battery_health=word),))[0].startswith("its battery reports")


def test_one_whose_battery_is_worn_out() -> None:
    assert reasons(looks=(look("a", capacity_pct=59.4),)) == ["its battery holds 59 % of its design"]
    assert reasons(looks=(look("a", capacity_pct=60.0),)) == []
    assert reasons(looks=(look("a", capacity_pct=None, battery_health=None),)) == [], "not known is not bad"


def test_one_that_failed_its_newest_self_test() -> None:
    assert reasons(known=(self_test(NOW - 9, ok=False),)) == ["it failed its self-test: 38 of 40 checks held"]
    assert reasons(known=(self_test(NOW - 9, ok=False), self_test(NOW - 5, ok=True))) == []


@pytest.mark.parametrize(
    ("nights", "put"),
    [
        ((night(18, 3, device_lost=4), night(19, 0, device_lost=1, thermal_shutdown=1)), True),
        ((night(18, 4, device_lost=4), night(19, 0, device_lost=9)), False),
        ((night(18, 0, device_lost=9),), False),
        ((night(17, 0, device_lost=9), night(18, 9), night(19, 0, device_lost=9)), False),
        ((night(18, 3, killed=90, crashed=9), night(19, 3, model_unsupported=90)), False),
        ((night(18, 3, gate_refused=90), night(19, 3, gate_refused=90)), False),
        ((night(18, 0, device_unauthorized=9), night(19, 0, storage_full=9)), False),
        ((night(18, 3, device_lost=4, killed=50), night(19, 3, device_lost=4, killed=50)), True),
        ((night(17, 0, device_lost=2), night(18, 0), night(19, 0, device_lost=2)), True),
    ],
)
def test_one_that_fails_most_repetitions_two_nights_running(nights: tuple[NightFailures, ...], put: bool) -> None:
    found = reasons(nights=nights)
    assert bool(found) is put
    assert not put or found[0].startswith("most of its repetitions failed in 2 nights running: device_lost")


def test_the_first_reason_stands_and_who_is_in_stays_as_he_is() -> None:
    assert len(reasons(drifts=(DRIFT,), looks=(look("a", battery_health=4),))) == 1
    assert reasons(drifts=(DRIFT,), known=(told(NOW - DAY_S),)) == []


# --- what a person decided --------------------------------------------------------------------------------------------


def out(at: float) -> tuple[DeviceRecord, ...]:
    return told(at - DAY_S), told(at, lifted=True, author="alice")


def test_old_evidence_does_not_put_a_phone_back_and_new_evidence_does() -> None:
    lift = NOW - 5 * DAY_S
    worn = {"capacity_pct": 50}
    assert reasons(known=out(lift), looks=(look("a", at=lift - 1, **worn),)) == []
    assert reasons(known=out(lift), looks=(look("a", at=lift + 1, **worn),)) != []
    assert reasons(known=(*out(lift), self_test(lift - 1, ok=False))) == []
    assert reasons(known=(*out(lift), self_test(lift + 1, ok=False))) != []
    lost = [night(index, 0, device_lost=9) for index in (14, 15, 16, 17)]
    assert reasons(known=out(lift), nights=lost[:2]) == []
    assert reasons(known=out(lift), nights=lost[1:3]) == [], "both nights are to lie after it"
    assert reasons(known=out(lift), nights=lost[2:]) != []


def test_a_drift_is_new_when_all_its_nights_lie_after_the_lift() -> None:
    assert reasons(drifts=(DRIFT,), known=out(NOW - 3 * DAY_S)) == []
    assert reasons(drifts=(replace(DRIFT, nights=3),), known=out(NOW - 3 * DAY_S)) != []


# --- the record -------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}") as opened:
        yield opened


def test_put_lift_and_put_again_in_the_store(store: Store) -> None:
    bad = look("a", at=NOW, battery_health=4)
    store.add_device_record(ID, HEALTH, "", NOW, bad.to_json())
    (held,) = quarantine.update(store, "lab", (), at=NOW + 1)
    assert quarantine.current(store) == {ID: held}
    assert quarantine.update(store, "lab", (), at=NOW + 2) == ()
    quarantine.lift(store, held, author="alice", reason="new battery", at=NOW + 3)
    assert quarantine.current(store) == {} and quarantine.update(store, "lab", (), at=NOW + 4) == ()
    store.add_device_record(ID, HEALTH, "", NOW + 5, replace(bad, at=NOW + 5).to_json())
    assert len(quarantine.update(store, "lab", (), at=NOW + 6)) == 1


def test_results_of_a_phone_in_quarantine_are_told_apart(store: Store) -> None:
    cases = [
        samples.planned_case(repeat=1),
        samples.planned_case(repeat=2),
        samples.planned_case(case="b", device="s24"),
    ]
    store.begin_run(samples.run_record(started_at=NOW), cases)
    store.start_case(cases[0].key, 1, NOW + 10)
    rows = list(store.measurements())
    assert quarantine.kept_apart(store, rows) == {}
    quarantine.put(store, Quarantine("serial of pixel", "pixel", "drifts", NOW + 5, "alice"))
    assert quarantine.kept_apart(store, rows) == {"pixel": "drifts"}
    unstarted = [row for row in rows if row.started_at is None]
    assert len(unstarted) == 2 and quarantine.kept_apart(store, unstarted) == {}, "as of the start of their run"


# --- failures by night ------------------------------------------------------------------------------------------------


def test_failures_are_counted_by_night_phone_and_class(store: Store) -> None:
    def run(name: str, at: float, options: dict[str, Any], lab: str = "example-lab") -> None:
        cases = [samples.planned_case(name, f"{name}-case", repeat) for repeat in (1, 2, 3, 4)]
        store.begin_run(replace(samples.run_record(name, started_at=at), options=options, lab=lab), cases)
        lost = ErrorInfo("device_lost", Step.RUN, "gone")
        store.finish_case(cases[0].key, samples.result())
        store.finish_case(cases[1].key, samples.result(CaseStatus.FAILED, error=lost))
        store.refuse_case(cases[2].key, replace(lost, error_class="gate_refused"))

    def of_night(night: str, role: str = "measure") -> dict[str, Any]:
        return {"nightly": {"night": night, "role": role}}

    run("r1", 100.0, of_night("2026-11-20"))
    run("r2", 200.0, of_night("2026-11-21"))
    run("r3", 300.0, of_night("2026-11-21"))
    run("r4", 400.0, of_night("2026-11-21", "pairs"))
    run("r5", 500.0, {})
    run("r6", 600.0, of_night("2026-11-22"), lab="another")
    found = night_failures(store, "example-lab")
    assert found == {
        "serial of pixel": (
            NightFailures("2026-11-20", 100.0, 1, {"device_lost": 1, "gate_refused": 1}),
            NightFailures("2026-11-21", 200.0, 2, {"device_lost": 2, "gate_refused": 2}),
        )
    }
    assert found["serial of pixel"][1].ended == 6
    assert [each.night for each in night_failures(store, "example-lab", newest=1)["serial of pixel"]] == ["2026-11-21"]

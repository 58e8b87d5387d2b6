"""Nights in the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.leases import identity_of_this_process
from harness.model import (
    Ack,
    Baseline,
    BuildFound,
    Change,
    ChangeState,
    DeviceKind,
    HandNeeded,
    LevelStep,
    NightRecord,
    NightSummary,
    PairOutcome,
    PairResult,
    PhoneDrift,
    Quarantine,
    RunStatus,
    SeriesId,
    TargetVerdict,
    VerdictFlip,
)
from harness.store import Store

LAB = "lab <b>1</b>"
SERIES = SeriesId("flagship", "a/b", "llama", "chat", "decode_tps")
CHANGE = Change(
    SERIES,
    ChangeState.REGRESSION,
    21,
    ("A", "B"),
    LevelStep("2026-11-12", 11, 0.1, 0.08, 0.12, "2026-11-11", "2026-11-13"),
    "2026-11-12",
    "a" * 64,
    "b" * 64,
    "b" * 64,
    PairResult(PairOutcome.CONFIRMED, 0.1, 0.08, 0.12, 0.001, 24, 2, "24 pairs"),
    regressed=True,
    events=("2026-11-12: operating system of pixel changed",),
    reason="worse",
)
FLIP = VerdictFlip(
    "flagship",
    "pixel",
    DeviceKind.VIRTUAL,
    "m",
    "team",
    "llama",
    "chat",
    "ms_per_token_max",
    TargetVerdict.PASS,
    TargetVerdict.FAIL,
    None,
    "ms",
    50.0,
)
SUMMARY = NightSummary(
    "2026-11-21",
    LAB,
    1000.0,
    2000.0,
    measured=412,
    failed=3,
    refused=1,
    left=14,
    changes=(CHANGE,),
    flips=(FLIP,),
    hands=(HandNeeded(("pixel", "s24"), "hub 1-1 is gone", "plug it in"),),
    quarantined=(Quarantine("A", "pixel", "drifts", 900.0),),
    drifts=(PhoneDrift("A", "pixel", "decode_tps", 20, 0.08, 0.06, 0.1, True),),
    builds={"llama": "b9001"},
    names={"a" * 64: "b9000"},
    pairs_left=1,
    bisections=(BuildFound(SERIES.key, "llama", "b9001", "b9000", ("b9000.1",), 0.93, "its predecessor is good"),),
    notes=("x",),
    runs=("r1", "r2"),
    phones=2,
    tiers=("flagship",),
    report="reports",
    exit_code=5,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}") as opened:
        yield opened


def record(night: str = "2026-11-21") -> NightRecord:
    me = identity_of_this_process()
    return NightRecord(
        night, LAB, 1000.0, RunStatus.RUNNING, 1900.0, host=me.host, pid=me.pid, pid_started=me.pid_started
    )


def test_a_summary_comes_back_as_it_was(store: Store) -> None:
    store.nights.begin(record())
    assert store.nights.get(LAB, "2026-11-21") == record()
    store.nights.end(LAB, "2026-11-21", RunStatus.FINISHED, 2000.0, SUMMARY)
    found = store.nights.get(LAB, "2026-11-21")
    assert found is not None and found.summary == SUMMARY
    assert (found.status, found.ended_at, SUMMARY.due) == (RunStatus.FINISHED, 2000.0, 430)
    assert SUMMARY.regressions == (CHANGE,)
    assert SUMMARY.builds_of(CHANGE) == ("b9000", "b9001"), "as the search found them"
    searching = replace(SUMMARY, bisections=(replace(SUMMARY.bisections[0], confidence=None),))
    assert searching.builds_of(replace(CHANGE, good_build="a" * 64, bad_build="c" * 64)) == ("b9000", "c" * 12)
    suspect = replace(CHANGE, state=ChangeState.SUSPECT, good_build="c" * 64, bad_build="a" * 64)
    assert SUMMARY.builds_of(suspect) == ("c" * 12, "b9000"), "of another change than the search"
    assert (SUMMARY.build_name("a" * 64), SUMMARY.build_name("c" * 64)) == ("b9000", "c" * 12)


def test_a_night_goes_on_after_a_restart_and_keeps_its_start(store: Store) -> None:
    store.nights.begin(replace(record(), pid=2**22 + 1))
    store.nights.begin(replace(record(), started_at=1500.0))
    found = store.nights.get(LAB, "2026-11-21")
    assert found is not None and (found.started_at, found.status, found.pid) == (
        1000.0,
        RunStatus.RUNNING,
        record().pid,
    )


def test_two_processes_do_not_drive_one_night(store: Store) -> None:
    store.nights.begin(record())
    with pytest.raises(StoreError, match="is driven by process"):
        store.nights.begin(replace(record(), pid=1))


def test_labs_have_nights_of_their_own(store: Store) -> None:
    store.nights.begin(record("2026-11-22"))
    store.nights.begin(record("2026-11-21"))
    store.nights.begin(replace(record(), lab="other"))
    assert [(one.night, one.lab) for one in store.nights.all()] == [
        ("2026-11-21", LAB),
        ("2026-11-21", "other"),
        ("2026-11-22", LAB),
    ]
    assert [one.night for one in store.nights.all("other")] == ["2026-11-21"]
    assert store.nights.get("other", "2026-11-22") is None


def test_words_and_pinned_builds(store: Store) -> None:
    ack = Ack(SERIES, "2026-11-21", "alice", "known", 5.0)
    store.nights.add_ack(LAB, ack)
    assert store.nights.acks(LAB) == (ack,)
    assert store.nights.acks("other") == ()
    first = Baseline("llama", "a" * 64, "b9000", "baseline/a", "farm", "first night", 1.0)
    second = replace(first, sha256="b" * 64, name="b9001", at=2.0)
    store.nights.pin(LAB, first)
    store.nights.pin(LAB, second)
    assert store.nights.baselines(LAB) == {"llama": second}
    assert store.nights.baseline_history(LAB) == (first, second)

"""What the nights of a lab say, from a database."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.analysis.nights import LEAST_NIGHTS, judge
from harness.model import Ack, ChangeState, SeriesId
from harness.nightly.judging import judge_lab, read_lab
from harness.store import Store
from tests.unit.nightly.nights import (
    LAB,
    NIGHTS,
    PHONES,
    PINNED,
    RUNNER,
    STEP,
    MadeRun,
    build_of,
    changed_nights,
    night_of,
    pairs_run,
    run_of,
    store_runs,
)

RATE = SeriesId("flagship", "m", RUNNER, "chat", "decode_tps")
MEMORY = SeriesId("flagship", "m", RUNNER, "chat", "peak_memory_mb")
METRICS = ("decode_tps", "peak_memory_mb")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("lab") / "farm.db"
    store_runs(file, changed_nights())
    return file


@pytest.fixture
def file(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(filled, tmp_path / "farm.db"))


@pytest.fixture
def store(file: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{file}") as opened:
        yield opened


def quarantine(store: Store, phone: str, at: float, *, lifted: bool) -> None:
    value = {"device_id": phone, "reason": "drifts", "author": "farm", "lifted": lifted}
    store.add_device_record(f"serial of {phone}", "quarantine", "", at, value)


def test_a_step_is_suspect_and_another_series_is_steady(store: Store) -> None:
    judged = judge_lab(store, LAB, METRICS)
    assert list(judged.changes) == [RATE, MEMORY] == list(judged.values)
    change = judged.changes[RATE]
    assert (change.state, change.since, change.nights) == (ChangeState.SUSPECT, night_of(STEP), NIGHTS)
    assert change.bad_build == build_of(STEP)
    assert judged.changes[MEMORY].state is ChangeState.STEADY
    (first, *_) = judged.values[RATE]
    assert (first.reference, first.reference_build, first.repeats) == (100.0, PINNED, 1)
    assert [drift.drifted for drift in judged.drifts] == [False] * len(PHONES)
    assert judge_lab(store, "another lab", METRICS).changes == {}


def test_an_earlier_night_is_judged_as_it_was(file: Path, store: Store) -> None:
    now = judge_lab(store, LAB, METRICS).changes[RATE]
    store_runs(file, [pairs_run(NIGHTS - 1, STEP - 2, NIGHTS - 1, 1.1)])
    store.nights.add_ack(LAB, Ack(RATE, night_of(NIGHTS - 1), "ann", "known"))
    early = judge_lab(store, LAB, METRICS, upto=night_of(STEP + 3))
    assert early.changes[RATE].state is ChangeState.SUSPECT
    assert early.changes[RATE].pairs == 0
    assert max(value.night for value in early.values[RATE]) == night_of(STEP + 3)
    assert judge_lab(store, LAB, METRICS, upto=night_of(STEP - 1)).changes[RATE].state is ChangeState.STEADY
    few = judge_lab(store, LAB, METRICS, upto=night_of(LEAST_NIGHTS - 2)).changes[RATE]
    assert (few.state, few.nights) == (ChangeState.INSUFFICIENT, LEAST_NIGHTS - 1)
    assert now.state is ChangeState.SUSPECT
    assert judge_lab(store, LAB, METRICS).changes[RATE].state is ChangeState.ACKNOWLEDGED


def test_pairs_confirm_and_words_acknowledge(file: Path, store: Store) -> None:
    night = night_of(STEP + 2)
    suspect = judge_lab(store, LAB, METRICS, upto=night).changes[RATE]
    assert suspect.wants_pairs
    good, bad = (int(build, 16) for build in (suspect.good_build, suspect.pair_build))
    store_runs(file, [pairs_run(STEP + 2, good, bad, 1.1, count=6)])
    few = judge_lab(store, LAB, METRICS, upto=night).changes[RATE]
    assert (few.state, few.pairs) == (ChangeState.SUSPECT, 24), "twelve of each phone were wanted"
    assert judge_lab(store, LAB, METRICS, upto=night, wanted=6).changes[RATE].state is ChangeState.REGRESSION
    store.nights.add_ack(LAB, Ack(RATE, night, "ann", "known"))
    known = judge_lab(store, LAB, METRICS, upto=night, wanted=6).changes
    assert (known[RATE].state, known[RATE].regressed) == (ChangeState.ACKNOWLEDGED, False)
    assert known[MEMORY].state is ChangeState.STEADY


def test_pairs_of_a_bisection_decide_no_suspicion(file: Path, store: Store) -> None:
    suspect = judge_lab(store, LAB, METRICS).changes[RATE]
    good, bad = (int(build, 16) for build in (suspect.good_build, suspect.pair_build))
    made = pairs_run(NIGHTS - 1, good, bad, 1.1)
    asked = {"runner": RUNNER, "good": build_of(good), "bad": build_of(bad)}
    bisect = run_of(NIGHTS - 1, 2, role="bisect", **asked)
    rows = [replace(row, run=bisect) for row in made.measured]
    store_runs(file, [MadeRun(bisect, rows)])
    assert judge_lab(store, LAB, METRICS).changes[RATE] == suspect


def test_a_quarantined_phone_is_not_judged_until_it_is_lifted(store: Store) -> None:
    starts = [run_of(index).started_at for index in range(NIGHTS)]
    quarantine(store, "pixel", starts[5], lifted=False)
    values = judge_lab(store, LAB, METRICS).values[RATE]
    own = [value.night for value in values if value.device_id == "pixel"]
    assert own == [night_of(index) for index in range(5)]
    quarantine(store, "pixel", starts[8] - 1, lifted=True)
    judged = judge_lab(store, LAB, METRICS)
    own = [value.night for value in judged.values[RATE] if value.device_id == "pixel"]
    assert own == [night_of(index) for index in range(NIGHTS) if not 5 <= index < 8]
    nights = {drift.device_id: drift.nights for drift in judged.drifts}
    # Nights are told by date, the lift by the clock, whose date depends on where the lab is.
    assert nights.pop("pixel") in (NIGHTS - 9, NIGHTS - 8)
    assert set(nights.values()) == {NIGHTS}


def test_a_lab_is_read_in_part(store: Store) -> None:
    assert read_lab(store, LAB, METRICS, models={"other"}).values == {}
    read = read_lab(store, LAB, ("decode_tps",), models={"m"})
    assert list(read.values) == [RATE]
    assert read.judge(RATE) == judge(RATE, read.values[RATE])
    assert read.judge(MEMORY).state is ChangeState.INSUFFICIENT

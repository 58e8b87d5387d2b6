"""What judging reads of nights."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.dialects import postgresql

from harness.model import DeviceKind, NightRole, Platform
from harness.store import Store
from harness.store.night_figures import select_figures, select_runs
from tests.unit.nightly.nights import LAB, MadeRun, figure, night_of, reference, run_of, store_runs
from tests.unit.store import samples


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "farm.db"


@pytest.fixture
def store(file: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{file}") as opened:
        yield opened


def test_a_repetition_comes_back_as_it_was_measured(file: Path, store: Store) -> None:
    run = run_of(3, warm_up=True)
    made = figure(
        run,
        2,
        platform=Platform.IOS,
        kind=DeviceKind.VIRTUAL,
        marks=("not_cooled: skin 41 °C", "<b>: x"),
        os="google/husky:14 'x' \"y\"",
        values={"decode_tps": 40.5, "load_ms": 900.0},
    )
    store_runs(file, [MadeRun(run, [made])])
    assert list(store.nights.figures(LAB, ("load_ms", "decode_tps"))) == [made]
    (other,) = store.nights.figures(LAB, ("ttft_ms", "decode_tps"))
    assert other.values == {"decode_tps": 40.5}, "what was not measured is left out"
    (bare,) = store.nights.figures(LAB, ())
    assert bare.values == {}


def test_only_measured_repetitions_of_nights_of_the_lab_are_read(file: Path, store: Store) -> None:
    runs = [run_of(0), run_of(1, role="pairs"), run_of(1, role="bisect"), run_of(1, lab="other")]
    outside = [
        replace(samples.run_record("day"), lab=LAB),
        replace(samples.run_record("odd"), lab=LAB, options={"nightly": "x"}),
    ]
    made = [MadeRun(run, [figure(run)], failed=[figure(run, 2)]) for run in runs]
    made += [MadeRun(run, [replace(figure(run_of()), run=run)]) for run in outside]
    store_runs(file, made)

    def found(*roles: NightRole, lab: str = LAB) -> list[tuple[str, int]]:
        return [(row.run.id, row.repeat) for row in store.nights.figures(lab, ("decode_tps",), roles)]

    assert [(row.run.id, row.repeat) for row in store.nights.figures(LAB, ("decode_tps",))] == [(runs[0].id, 1)]
    assert found(NightRole.PAIRS) == [(runs[1].id, 1)]
    assert found(NightRole.PAIRS, NightRole.BISECT) == [(runs[2].id, 1), (runs[1].id, 1)]
    assert found(NightRole.MEASURE, lab="other") == [(runs[3].id, 1)]
    assert found() == []


def test_nights_come_in_order_and_up_to_one(file: Path, store: Store) -> None:
    # The second run of the first night began after midnight, and was stored first.
    runs = [run_of(1), run_of(0, 1), run_of(0, 0)]
    store_runs(file, [MadeRun(run, [reference(run), figure(run, 1), figure(run, 2)]) for run in runs])
    found = [(row.run.id, row.runner_id, row.repeat) for row in store.nights.figures(LAB, ("decode_tps",))]
    assert [run for run, _, _ in found] == [run.id for run in (runs[2], runs[1], runs[0]) for _ in range(3)]
    assert [each[1:] for each in found[:3]] == [("llama@baseline", 1), ("llama", 1), ("llama", 2)], "as planned"
    early = {row.night for row in store.nights.figures(LAB, ("decode_tps",), upto=night_of(0))}
    assert early == {night_of(0)}


def test_models_are_picked(file: Path, store: Store) -> None:
    run = run_of()
    store_runs(file, [MadeRun(run, [figure(run, model_id="a'b"), figure(run, model_id="c")])])
    assert [row.model_id for row in store.nights.figures(LAB, ("decode_tps",), models=["a'b"])] == ["a'b"]
    assert list(store.nights.figures(LAB, ("decode_tps",), models=[])) == []


@pytest.mark.parametrize("provenance", ['{"os_fingerprint": 7, "marks": "text"}', "{}", '{"marks": [1, null]}', "null"])
def test_an_odd_provenance_is_borne(file: Path, store: Store, provenance: str) -> None:
    run = run_of()
    store_runs(file, [MadeRun(run, [figure(run)])])
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE cases SET provenance = ?", (provenance,))
    connection.close()
    (row,) = store.nights.figures(LAB, ("decode_tps",))
    assert (row.os, row.marks) in {("7", ()), ("", ()), ("", ("1", "None"))}
    assert row.values == {"decode_tps": 40.0}


def test_the_queries_are_ones_that_postgresql_takes() -> None:
    dialect = postgresql.dialect()
    of_lab = str(select_runs(LAB, [NightRole.MEASURE], "2026-11-21").compile(dialect=dialect))
    assert "runs.options #>> " in of_lab
    of_run = str(select_figures("run", ("decode_tps",), ["m"]).compile(dialect=dialect))
    assert "cases.provenance ->> " in of_run and "cases.provenance -> " in of_run
    assert "provenance AS" not in of_run and ", cases.provenance," not in of_run, "whole ones are not read"

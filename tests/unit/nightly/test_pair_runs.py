"""Runs of pairs in the store: which of them a search goes on with, and that `farm resume` leaves them alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import Context
from harness.cli.pairs import PairLab, close_left
from harness.cli.resuming import find
from harness.errors import UsageError
from harness.inventory import LoadedInventory
from harness.leases import identity_of_this_process
from harness.model import CaseStatus, NightRole, RunRecord, RunStatus, Workload, WorkloadKind
from harness.nightly.build_line import BuildLine
from harness.nightly.pair_plan import PairPlan, PairWish
from harness.store import Store
from tests.unit.nightly.shelf import INVENTORY, MODEL_FILE, SimulatedLab, checked, phone, plan, sha
from tests.unit.store import samples

ME = identity_of_this_process()
WISH = PairWish("m", "r", "bench", sha("b0"), sha("b1"))
PHONE = phone("p0")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}") as opened:
        yield opened


def pairs_run(store: Store, name: str, *, role: str = "bisect", wish: PairWish = WISH, **changes: Any) -> RunRecord:
    """A run of two pairs as the store has it. Args: changes: of its record."""
    about = {"night": "2026-11-21", "role": role, "model": wish.model, "runner": wish.runner}
    about |= {"workload": wish.workload, "good": wish.good, "bad": wish.bad}
    record = replace(samples.run_record(name), options={"nightly": about}, **changes)
    found = plan(wish, {"serial-p0": 2}, (PHONE,), (checked("b0"), checked("b1"), checked("b2")), run=name)
    assert isinstance(found, PairPlan)
    store.begin_run(record, found.cases)
    return record


def lab(store: Store, tmp_path: Path) -> PairLab:
    loaded = LoadedInventory(INVENTORY, tmp_path / "inventory.yaml", "e" * 64)
    context = Context(tmp_path / "inventory.yaml", None, False, 0)
    return PairLab(context, store, loaded, (PHONE,), {"m": MODEL_FILE}, "2026-11-21", threading.Event())


def test_a_search_reads_the_pairs_of_its_own_comparison(store: Store, tmp_path: Path) -> None:
    pairs_run(store, "mine")
    pairs_run(store, "later", wish=replace(WISH, bad=sha("b2")))
    pairs_run(store, "suspicion", role="pairs")
    pairs_run(store, "other-end", wish=replace(WISH, good=sha("b2")))
    store.begin_run(samples.run_record("plain"), [samples.planned_case("plain")])
    search = SimulatedLab((PHONE,), ("b0", "b1")).search(BuildLine((checked("b0"), checked("b1"))))
    own = lab(store, tmp_path)
    ours = ("mine", "later", "suspicion")
    assert own.measured(search).nights == dict.fromkeys(ours, "2026-11-21"), "what decided a suspicion counts as well"
    assert {row.planned.run for row in own.measured(search).rows} == set(ours)
    other_file = replace(own, models={"m": replace(MODEL_FILE, artifact=replace(MODEL_FILE.artifact, sha256="d" * 64))})
    assert other_file.measured(search).rows == ()
    workloads = {"bench": Workload(WorkloadKind.THROUGHPUT, gen_tokens=7)}
    loaded = replace(own.loaded, inventory=replace(INVENTORY, workloads=workloads))
    assert replace(own, loaded=loaded).measured(search).rows == ()


def test_runs_whose_process_was_killed_are_closed(store: Store) -> None:
    dead = {"host": ME.host, "pid": ME.pid, "pid_started": ME.pid_started - 1000}
    killed = pairs_run(store, "killed", **dead)
    suspicion = pairs_run(store, "suspicion", role="pairs", **dead)
    at_work = pairs_run(store, "at-work", host=ME.host, pid=ME.pid, pid_started=ME.pid_started)
    store.begin_run(replace(samples.run_record("plain"), **dead), [samples.planned_case("plain")])
    store.start_case(store.cases("killed")[0].key, 1, samples.START)
    close_left(store)
    statuses = {record.id: record.status for record in store.runs()}
    assert statuses == {
        killed.id: RunStatus.FINISHED,
        suspicion.id: RunStatus.FINISHED,
        at_work.id: RunStatus.RUNNING,
        "plain": RunStatus.RUNNING,
    }
    assert {case.status for case in store.cases("killed")} == {CaseStatus.PLANNED}, "nothing failed: it never ran"


def test_resume_leaves_pairs_alone(store: Store) -> None:
    pairs_run(store, "searched", status=RunStatus.INTERRUPTED, started_at=samples.START + 5)
    pairs_run(store, "suspected", role="pairs", status=RunStatus.INTERRUPTED, started_at=samples.START + 6)
    assert find(store, None) is None
    for name, command in (("searched", "farm bisect"), ("suspected", "farm nightly")):
        with pytest.raises(UsageError, match=f"run {name} holds pairs of two builds; `{command}` measures"):
            find(store, name)
    night = replace(samples.run_record("night"), status=RunStatus.INTERRUPTED)
    store.begin_run(replace(night, options={"nightly": {"night": "n", "role": "measure"}}), [])
    unfinished = find(store, None)
    assert unfinished is not None
    assert unfinished.id == "night"


@pytest.mark.parametrize(
    ("options", "role"),
    [
        ({}, None),
        ({"nightly": None}, None),
        ({"nightly": {"night": "n"}}, None),
        ({"nightly": {"role": "who knows"}}, None),
        ({"nightly": {"role": "measure"}}, NightRole.MEASURE),
        ({"nightly": {"role": "bisect"}}, NightRole.BISECT),
    ],
)
def test_the_role_of_a_run(options: dict[str, Any], role: NightRole | None) -> None:
    assert NightRole.of(options) is role


def test_only_pairs_and_searches_compare() -> None:
    assert [role for role in NightRole if role.compares] == [NightRole.PAIRS, NightRole.BISECT]

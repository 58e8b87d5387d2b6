"""Many threads and processes write at once; kill -9 loses nothing that was acknowledged."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.model import CaseStatus
from harness.store import Store

from . import samples

WRITER = """
import sys
from harness.store import Store
from tests.unit.store import samples

url, run, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Store.open(url) as store:
    cases = [samples.planned_case(run, f"case-{run}-{number}") for number in range(count)]
    store.begin_run(samples.run_record(run), cases)
    for case in cases:
        store.start_case(case.key, 1, samples.START)
        store.add_step(case.key, samples.step_record())
        store.finish_case(case.key, samples.result())
        print(case.key, flush=True)
"""


def writer(url: str, run: str, count: int) -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[3]
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, url, run, str(count)], cwd=root, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("acknowledged", [0, 1, 7, 20])
def test_kill_9_loses_nothing_acknowledged(tmp_path: Path, acknowledged: int) -> None:
    path = tmp_path / "farm.db"
    process = writer(f"sqlite:///{path}", "killed", 5000)
    assert process.stdout is not None
    told = [process.stdout.readline().strip() for _ in range(acknowledged)]
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    # A last line that was cut is no acknowledgement.
    told += [line.strip() for line in rest.splitlines(keepends=True) if line.endswith("\n")]

    with Store.open(f"sqlite:///{path}") as store:
        for key in told:
            row = store.measurement(key)
            assert row is not None and row.status is CaseStatus.MEASURED
            assert row.metrics == samples.result().metrics
            assert store.traces(key) == samples.result().traces
        half_done = [row for row in store.measurements() if row.status is not CaseStatus.MEASURED]
        assert all(row.metrics == {} for row in half_done), "a result is stored whole or not at all"
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_eight_threads_and_two_processes_write_one_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'farm.db'}"
    processes = [writer(url, f"process{number}", 40) for number in range(2)]
    with Store.open(url) as store:
        run = samples.run_record("threads")
        cases = [[samples.planned_case("threads", f"t{t}-{n}", device=f"d{t}") for n in range(15)] for t in range(8)]
        store.begin_run(run, [case for chunk in cases for case in chunk])

        def work(thread: int) -> int:
            for case in cases[thread]:
                store.start_case(case.key, 1, samples.START)
                store.add_step(case.key, samples.step_record())
                store.add_event("threads", case.device_id, samples.START, "note", {"n": thread})
                store.finish_case(case.key, samples.result())
            return thread

        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(work, range(8))) == list(range(8))
        for process in processes:
            process.communicate(timeout=120)
            assert process.returncode == 0
        counts = store.counts()
        assert counts["threads"] == {CaseStatus.MEASURED: 120}
        assert counts["process0"] == counts["process1"] == {CaseStatus.MEASURED: 40}
        assert len(store.events("threads")) == 120


def test_processes_that_make_a_database_at_once_agree(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'farm.db'}"
    processes = [writer(url, f"run{number}", 1) for number in range(3)]
    for process in processes:
        process.communicate(timeout=120)
    assert [process.returncode for process in processes] == [0, 0, 0]
    with Store.open(url) as store:
        assert len(store.runs()) == 3


def test_of_many_that_take_a_device_one_gets_it(tmp_path: Path) -> None:
    from harness.model import LeaseInfo

    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}") as store:
        start = threading.Barrier(8)

        def take(number: int) -> LeaseInfo:
            lease = LeaseInfo("phone", f"worker {number}", "otherhost", number, 1.0, samples.START + 60)
            start.wait(10)
            return store.acquire_lease(lease, now=samples.START)

        with ThreadPoolExecutor(8) as pool:
            holders = set(pool.map(take, range(8)))
        assert len(holders) == 1
        assert store.leases() == tuple(holders)

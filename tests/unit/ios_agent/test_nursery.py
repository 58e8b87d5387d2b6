"""Workers that are forked: real ones, which find no muxer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from device_agents.ios import nursery, supervised
from device_agents.ios.supervised import Supervised
from harness.errors import ErrorClass, FarmError

pytestmark = pytest.mark.skipif(not nursery.POSSIBLE, reason="workers are forked on Linux only")

NO_MUXER = {"USBMUXD_SOCKET_ADDRESS": "127.0.0.1:1"}


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Supervised]]:
    """Two phones of one controller, whose workers are forked by a process of this test alone."""
    monkeypatch.setattr(nursery, "_open", [])
    settings = {"tunneld": "", "records": str(tmp_path)}
    made = [Supervised(name, {"udid": name, **settings}, environment=NO_MUXER) for name in ("UDID-1", "UDID-2")]
    yield made
    for worker in made:
        worker.close()
    nursery._close()


def ask(worker: Supervised, limit_s: float = 60.0) -> FarmError:
    with pytest.raises(FarmError) as raised:
        worker.call("values", limit_s=limit_s)
    return raised.value


def process_of(worker: Supervised) -> psutil.Process:
    assert worker.pid is not None
    return psutil.Process(worker.pid)


def test_workers_share_what_was_loaded_and_nothing_else(workers: list[Supervised]) -> None:
    for worker in workers:
        error = ask(worker)
        assert error.error_class is ErrorClass.MUXER_LOST
        assert worker.device in error.message
    (parent,) = nursery._open
    found = [process_of(worker) for worker in workers]
    assert {process.ppid() for process in found} == {parent._process.pid}
    assert [process.name() for process in found] == [nursery.NAME] * 2
    assert len({process.pid for process in found}) == 2
    assert len({os.getsid(process.pid) for process in found}) == 2
    # The link, both standard streams on nothing, errors, and what its own loop needs: none of another worker's.
    assert all(process.num_fds() < 12 for process in found)
    assert psutil.Process(parent._process.pid).num_fds() < 12


def test_each_has_its_own_environment(workers: list[Supervised], tmp_path: Path) -> None:
    ask(workers[0])
    other = Supervised(
        "UDID-3",
        {"udid": "UDID-3", "tunneld": "", "records": str(tmp_path)},
        environment={"USBMUXD_SOCKET_ADDRESS": str(tmp_path / "no socket")},
    )
    assert ask(other).error_class is ErrorClass.MUXER_LOST
    assert ask(workers[0]).error_class is ErrorClass.MUXER_LOST
    other.close()


def test_worker_that_is_killed_is_told_and_followed_by_another(workers: list[Supervised]) -> None:
    ask(workers[0])
    ask(workers[1])
    process, untouched = process_of(workers[0]), workers[1].pid
    child = workers[0]._process._process
    process.kill()
    assert child.wait(timeout=20) == -signal.SIGKILL
    assert child.poll() == -signal.SIGKILL
    child.kill()
    psutil.wait_procs([process], timeout=20)
    assert not process.is_running()
    while ask(workers[0]).error_class is ErrorClass.CLIENT_LOST:
        pass
    assert workers[0].pid != process.pid
    assert ask(workers[1]).error_class is ErrorClass.MUXER_LOST
    assert workers[1].pid == untouched


def test_wait_has_a_limit(workers: list[Supervised]) -> None:
    ask(workers[0])
    child = workers[0]._process._process
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(timeout=0.05)
    assert child.poll() is None


def test_workers_outlive_the_process_that_forked_them(workers: list[Supervised]) -> None:
    ask(workers[0])
    (first,) = nursery._open
    first._process.kill()
    first._process.wait()
    pid = workers[0].pid
    assert ask(workers[0]).error_class is ErrorClass.MUXER_LOST
    assert workers[0].pid == pid
    # The next worker comes from another one; the end of the old worker is noticed all the same.
    deadline = time.monotonic() + 20
    while not first.lost:
        assert time.monotonic() < deadline
    assert ask(workers[1]).error_class is ErrorClass.MUXER_LOST
    assert nursery._open[0] is not first
    process = process_of(workers[0])
    workers[0].restart()
    psutil.wait_procs([process], timeout=20)
    assert not process.is_running()


def test_without_it_workers_are_started(workers: list[Supervised], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nursery, "COMMAND", (sys.executable, "-c", "pass"))
    assert ask(workers[0]).error_class is ErrorClass.MUXER_LOST
    assert process_of(workers[0]).ppid() == os.getpid()
    assert supervised.COMMAND[-1] in process_of(workers[0]).cmdline()


def test_all_end_with_the_controller(tmp_path: Path) -> None:
    script = tmp_path / "controller.py"
    script.write_text(
        "import os, sys\n"
        "from device_agents.ios import nursery\n"
        "from device_agents.ios.supervised import Supervised\n"
        "from harness.errors import FarmError\n"
        f"settings = {{'udid': 'x', 'tunneld': '', 'records': {str(tmp_path)!r}}}\n"
        f"worker = Supervised('x', settings, environment={NO_MUXER})\n"
        "try:\n"
        "    worker.call('values', limit_s=60)\n"
        "except FarmError:\n"
        "    print(worker.pid, nursery._open[0]._process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=90, check=False)
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2, done.stderr
    deadline = time.monotonic() + 20
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
        assert time.monotonic() < deadline, "they outlive their controller"
        time.sleep(0.02)

"""A worker process that answers, dies, hangs or floods: each is a typed error of its phone, and the next call works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from device_agents.ios import supervised
from device_agents.ios.supervised import Supervised
from harness.errors import ErrorClass, FarmError, Permanent, Transient

# A service of its own in the real worker: the loop, the protocol and the process are those of every iPhone.
SERVICE = """
import asyncio, os, sys, time
from device_agents.ios.failures import Refused
from device_agents.ios.worker import run

class Service:
    def __init__(self, settings):
        self.settings = settings
    def kind_of(self, error):
        return error.kind if isinstance(error, Refused) else "defect"
    async def echo(self, value):
        return value
    async def told(self):
        return [self.settings, os.environ.get("MARK")]
    async def refuse(self, kind, text):
        raise Refused(kind, text)
    async def fail(self):
        return [][1]
    async def sleep(self, seconds):
        await asyncio.sleep(seconds)
        return "slept"
    async def hang(self):
        time.sleep(600)
    async def die(self, words):
        print(words, file=sys.stderr, flush=True)
        os._exit(7)
    async def flood(self):
        return "x" * (40 << 20)
    async def garbage(self):
        os.write(sys_link, b"this is no answer\\n")
        await asyncio.sleep(60)
    async def count(self, steps, tell):
        for step in range(steps):
            tell(step + 1, steps)
            if step % 1000 == 0:
                await asyncio.sleep(0)
        return steps
    def blocking(self):
        return "not a coroutine"
    async def _hidden(self):
        return "hidden"

sys_link = os.dup(0)
print("noise on standard output")
run(Service, sys.argv[1:])
"""


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Supervised]:
    script = tmp_path / "service.py"
    script.write_text(SERVICE)
    made = Supervised("UDID-1", {"a": "ü"}, environment={"MARK": "m"}, command=(sys.executable, str(script)))
    yield made
    made.close()


def raised_by(call: Callable[[], object]) -> FarmError:
    with pytest.raises(FarmError) as raised:
        call()
    return raised.value


def test_answers_settings_and_environment(worker: Supervised) -> None:
    value = {"text": "ünï\n\0", "list": [1, None, True, 2.5]}
    assert worker.call("echo", limit_s=20, value=value) == value
    assert worker.call("told", limit_s=20) == [{"a": "ü"}, "m"]
    assert worker.call("echo", limit_s=20, value="x" * 3_000_000) == "x" * 3_000_000


def test_calls_at_once_get_their_own_answers(worker: Supervised) -> None:
    answers: dict[int, object] = {}

    def ask(number: int) -> None:
        answers[number] = worker.call("echo", limit_s=20, value=number)

    slow = threading.Thread(target=lambda: answers.update({-1: worker.call("sleep", limit_s=20, seconds=0.5)}))
    slow.start()
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in (*threads, slow):
        thread.join()
    assert answers == {-1: "slept", **{number: number for number in range(20)}}


@pytest.mark.parametrize(
    ("kind", "error_class", "permanent"),
    [
        ("locked", ErrorClass.DEVICE_LOCKED, True),
        ("gone", ErrorClass.DEVICE_LOST, False),
        ("muxer", ErrorClass.MUXER_LOST, False),
        ("no_app", ErrorClass.APP_MISSING, True),
        ("something new", ErrorClass.INTERNAL, False),
    ],
)
def test_failures_are_typed(worker: Supervised, kind: str, error_class: ErrorClass, permanent: bool) -> None:
    error = raised_by(lambda: worker.call("refuse", limit_s=20, kind=kind, text="its own words", doing="doing it"))
    assert error.error_class is error_class
    assert isinstance(error, Permanent if permanent else Transient)
    assert "UDID-1" in error.message and "its own words" in error.message and "doing it" in error.message
    assert worker.call("echo", limit_s=20, value=1) == 1


def test_defect_says_where(worker: Supervised) -> None:
    error = raised_by(lambda: worker.call("fail", limit_s=20))
    assert error.error_class is ErrorClass.INTERNAL and "IndexError" in error.message and "fail:" in error.message


@pytest.mark.parametrize("name", ["no_such_call", "blocking", "_hidden", "kind_of"])
def test_what_is_no_call_is_refused(worker: Supervised, name: str) -> None:
    assert "there is no call" in raised_by(lambda: worker.call(name, limit_s=20)).message


def test_limit_of_a_call_that_can_be_cancelled_spares_the_worker(worker: Supervised) -> None:
    worker.call("echo", limit_s=20, value=1)
    pid = worker.pid
    error = raised_by(lambda: worker.call("sleep", limit_s=0.2, seconds=60))
    assert error.error_class is ErrorClass.TRANSPORT_STALLED
    assert worker.call("echo", limit_s=20, value=2) == 2
    assert worker.pid == pid


def test_worker_that_hangs_is_ended(worker: Supervised, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "GRACE_S", 0.3)
    worker.call("echo", limit_s=20, value=1)
    pid = worker.pid
    assert pid is not None
    started = time.monotonic()
    error = raised_by(lambda: worker.call("hang", limit_s=0.3))
    assert error.error_class is ErrorClass.TRANSPORT_STALLED
    assert time.monotonic() - started < 10
    assert not psutil.pid_exists(pid)
    assert worker.call("echo", limit_s=20, value=2) == 2
    assert worker.pid != pid


def test_worker_that_hangs_takes_other_calls_with_it(worker: Supervised, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "GRACE_S", 0.3)
    errors: list[FarmError] = []
    waiting = threading.Thread(
        target=lambda: errors.append(raised_by(lambda: worker.call("sleep", limit_s=60, seconds=60)))
    )
    waiting.start()
    raised_by(lambda: worker.call("hang", limit_s=0.3))
    waiting.join(timeout=20)
    assert [error.error_class for error in errors] == [ErrorClass.CLIENT_LOST]


def test_worker_that_dies_says_its_last_words(worker: Supervised) -> None:
    error = raised_by(lambda: worker.call("die", limit_s=20, words="first\nthe last words"))
    assert error.error_class is ErrorClass.CLIENT_LOST and isinstance(error, Transient)
    assert "code 7" in error.message and "the last words" in error.message
    assert worker.call("echo", limit_s=20, value=3) == 3


def test_worker_that_is_killed_from_outside(worker: Supervised) -> None:
    worker.call("echo", limit_s=20, value=1)
    pid = worker.pid
    assert pid is not None
    timer = threading.Timer(0.3, os.kill, (pid, signal.SIGKILL))
    timer.start()
    assert raised_by(lambda: worker.call("sleep", limit_s=60, seconds=60)).error_class is ErrorClass.CLIENT_LOST
    assert worker.call("echo", limit_s=20, value=4) == 4


def test_worker_that_floods_is_ended_within_bounds(worker: Supervised) -> None:
    worker.call("echo", limit_s=20, value=1)
    before = psutil.Process().memory_info().rss
    error = raised_by(lambda: worker.call("flood", limit_s=60))
    assert error.error_class is ErrorClass.CLIENT_LOST and "more than 16 MB" in error.message
    assert psutil.Process().memory_info().rss - before < 120_000_000
    assert worker.call("echo", limit_s=20, value=5) == 5


def test_worker_that_talks_nonsense_is_ended(worker: Supervised) -> None:
    error = raised_by(lambda: worker.call("garbage", limit_s=30))
    assert error.error_class is ErrorClass.CLIENT_LOST and "no answer" in error.message
    assert worker.call("echo", limit_s=20, value=6) == 6


def test_progress_is_told_and_never_piles_up(worker: Supervised) -> None:
    seen: list[tuple[int, int]] = []
    assert worker.call("count", limit_s=60, steps=50_000, progress=lambda *step: seen.append(step)) == 50_000
    assert seen[-1] == (50_000, 50_000) and len(seen) < 1000
    assert seen == sorted(seen)


def test_what_progress_raises_ends_the_call(worker: Supervised) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.call("sleep", limit_s=60, seconds=60, watch=stop)
    assert worker.call("echo", limit_s=20, value=7) == 7


def test_worker_ends_with_its_parent(tmp_path: Path) -> None:
    """Also one that is busy in a call that never returns."""
    script = tmp_path / "service.py"
    script.write_text(SERVICE)
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import os, sys, threading, time\n"
        "from device_agents.ios.supervised import Supervised\n"
        f"worker = Supervised('x', {{}}, command=(sys.executable, {str(script)!r}))\n"
        "worker.call('echo', limit_s=20, value=1)\n"
        "threading.Thread(target=lambda: worker.call('hang', limit_s=600), daemon=True).start()\n"
        "time.sleep(0.5)\n"
        "print(worker.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, str(parent)], capture_output=True, timeout=60, check=False)
    pid = int(done.stdout)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the worker outlives its parent"


def test_closed_worker_is_gone_and_leaves_no_descriptors(worker: Supervised) -> None:
    worker.call("echo", limit_s=20, value=1)
    worker.restart()
    before = psutil.Process().num_fds()
    for _ in range(3):
        worker.call("echo", limit_s=20, value=1)
        pid = worker.pid
        worker.restart()
        assert pid is not None and not psutil.pid_exists(pid)
    assert psutil.Process().num_fds() == before

"""The lease on the device has one holder, whoever asks at once."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
import time

import psutil
import pytest

from device_agents.base import DeviceAgent
from harness.errors import ErrorClass, Transient
from harness.leases import identity_of_this_process, is_dead
from harness.model import LeaseInfo


def lease(note: str = "", seconds: float = 60.0, **more: object) -> LeaseInfo:
    me = identity_of_this_process()
    owner = f"{me.owner}, {note}" if note else me.owner
    given = {"identity": "phone", "owner": owner, "expires_at": time.time() + seconds, **more}
    return dataclasses.replace(me, **given)  # type: ignore[arg-type]


def test_free_take_read_release(every_agent: DeviceAgent) -> None:
    assert every_agent.lease.read(limit_s=10) is None
    mine = lease("run 'x' $(y)")
    assert every_agent.lease.acquire(mine, limit_s=10) == mine
    held = every_agent.lease.read(limit_s=10)
    assert held is not None
    assert held.owner == mine.owner
    assert "@" in held.owner
    assert abs(held.expires_at - mine.expires_at) < 3
    every_agent.lease.release(mine, limit_s=10)
    assert every_agent.lease.read(limit_s=10) is None


def test_second_asker_gets_the_holder(every_agent: DeviceAgent) -> None:
    mine, other = lease("mine"), lease("other", host="elsewhere")
    every_agent.lease.acquire(mine, limit_s=10)
    assert every_agent.lease.acquire(other, limit_s=10).owner == mine.owner
    with pytest.raises(Transient) as raised:
        every_agent.lease.renew(other, limit_s=10)
    assert raised.value.error_class is ErrorClass.DEVICE_LEASED
    every_agent.lease.release(other, limit_s=10)
    assert every_agent.lease.acquire(other, limit_s=10).owner == mine.owner, "only the holder gives it back"


def test_renew_moves_the_expiry(every_agent: DeviceAgent) -> None:
    mine = lease(seconds=5)
    every_agent.lease.acquire(mine, limit_s=10)
    every_agent.lease.renew(dataclasses.replace(mine, expires_at=time.time() + 500), limit_s=10)
    held = every_agent.lease.read(limit_s=10)
    assert held is not None
    assert held.expires_at > time.time() + 400


def test_expired_is_taken_over(every_agent: DeviceAgent) -> None:
    old, new = lease("old", host="elsewhere"), lease("new")
    every_agent.lease.acquire(dataclasses.replace(old, expires_at=time.time() - 5), limit_s=10)
    # An expiry in the past is kept for a second, since a lease of no time could never be taken.
    deadline = time.monotonic() + 10
    while every_agent.lease.acquire(new, limit_s=10).owner != new.owner:
        assert time.monotonic() < deadline
    assert every_agent.lease.read(limit_s=10).owner == new.owner  # type: ignore[union-attr]


def test_dead_process_of_this_host_is_taken_over_at_once(every_agent: DeviceAgent) -> None:
    gone = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = psutil.Process(gone.pid).create_time()
    dead = lease("dead", pid=gone.pid, pid_started=started)
    every_agent.lease.acquire(dead, limit_s=10)
    mine = lease("mine")
    assert every_agent.lease.acquire(mine, limit_s=10).owner == dead.owner, "it still lives"
    gone.communicate(b"\n")
    assert every_agent.lease.acquire(mine, limit_s=10) == mine


def test_reservation_and_foreign_host_outlive_their_process(every_agent: DeviceAgent) -> None:
    dead = {"pid": 2**22 - 1, "pid_started": 1.0}
    for held in (lease("reserved", reserved=True, **dead), lease("far", host="elsewhere", **dead)):
        every_agent.lease.acquire(held, limit_s=10)
        assert every_agent.lease.acquire(lease("mine"), limit_s=10).owner == held.owner
        every_agent.lease.release(held, limit_s=10)


def test_pid_given_to_another_process_is_a_dead_holder() -> None:
    assert is_dead(lease(pid_started=1.0))
    assert not is_dead(lease())


@pytest.mark.parametrize("before", ["free", "expired", "dead"])
def test_race_has_one_winner(every_agent: DeviceAgent, before: str) -> None:
    if before == "expired":
        every_agent.lease.acquire(lease("old", host="elsewhere", expires_at=time.time()), limit_s=10)
        held = every_agent.lease.read(limit_s=10)
        while held is not None and held.expires_at > time.time():
            held = every_agent.lease.read(limit_s=10)
    elif before == "dead":
        every_agent.lease.acquire(lease("old", pid=2**22 - 1, pid_started=1.0), limit_s=10)
    askers = [lease(f"asker {index}", host=f"host {index}") for index in range(6)]
    gate = threading.Barrier(len(askers))
    answers: dict[str, str] = {}

    def ask(mine: LeaseInfo) -> None:
        gate.wait()
        answers[mine.owner] = every_agent.lease.acquire(mine, limit_s=30).owner

    threads = [threading.Thread(target=ask, args=(each,)) for each in askers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = {owner for owner, answer in answers.items() if answer == owner}
    assert len(winners) == 1, answers
    assert set(answers.values()) == winners


def test_mutex_of_a_dead_script_is_broken(agent: DeviceAgent) -> None:
    mine = lease()
    agent.lease.acquire(mine, limit_s=10)
    root = _root(agent)
    agent.shell.script('mkdir "$1/lease.busy" && echo gone > "$1/lease.busy/holder"', root, limit_s=10)
    started = time.monotonic()
    agent.lease.release(mine, limit_s=30)
    assert time.monotonic() - started > 3
    assert agent.lease.read(limit_s=10) is None


def test_unreadable_lease_is_taken_over(agent: DeviceAgent) -> None:
    agent.lease.acquire(lease(), limit_s=10)
    agent.shell.script('echo garbage > "$1/lease"', _root(agent), limit_s=10)
    mine = lease("mine")
    assert agent.lease.acquire(mine, limit_s=10) == mine


def _root(agent: DeviceAgent) -> str:
    handle = agent.jobs.start(_idle(), limit_s=10)
    agent.jobs.end(handle, limit_s=10)
    return handle.folder.removesuffix("/jobs/idle")


def _idle():  # type: ignore[no-untyped-def]
    from tests.contract.helpers import spec

    return spec("idle", "true")

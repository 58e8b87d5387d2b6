"""What a phone shows after a runner died, asked of a real shell; each death leads to its class."""

from __future__ import annotations

import os

import pytest

from device_agents.android.agent import AndroidAgent
from device_agents.android.evidence import AndroidEvidence
from device_agents.base import JobHandle
from harness.death import DeathSigns, classify_death
from harness.errors import ErrorClass, FarmError
from tests.lab.conftest import RunningLab, StartLab, eventually

from .conftest import agent_of
from .helpers import is_alive, spec, wait_done, wait_until

PHONE = "pixel-8-pro"
SLEEP = "exec sleep 60"


def begin(agent: AndroidAgent, key: str) -> tuple[JobHandle, int]:
    """Start a job that sleeps; its handle, and the number of its process."""
    handle = agent.jobs.start(spec(key, SLEEP), limit_s=20)
    found = agent.shell.script('cat "$1/pid"', handle.folder, limit_s=20).stdout.split()
    line = f"/proc/{int(found[2])}/cmdline"
    assert wait_until(lambda: agent.shell.run(("cat", line), limit_s=20).stdout.startswith(b"sleep"))
    return handle, int(found[2])


def boot_of(agent: AndroidAgent) -> str:
    """The boot that answers; "" when none does."""
    try:
        return agent.shell.run(("cat", "/proc/sys/kernel/random/boot_id"), limit_s=5).stdout.decode().strip()
    except FarmError:
        return ""


def signs_after(agent: AndroidAgent, handle: JobHandle) -> DeathSigns:
    return AndroidEvidence(agent._link).ask(handle.folder, "sleep", limit_s=20)


def class_of(signs: DeathSigns, handle: JobHandle, *, signal: int | None = 9) -> ErrorClass | None:
    death = classify_death(
        signal=signal,
        exit_code=None,
        ended_by="exit" if signal else "lost",
        boot_before=handle.boot_id,
        signs=signs,
    )
    return death.error_class if death else None


def test_only_a_kill_of_our_process_is_a_lack_of_memory(
    virtual_lab: RunningLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = agent_of(virtual_lab, PHONE, monkeypatch)
    other, victim = begin(agent, f"other.{os.getpid()}")
    virtual_lab.lab.low_memory_kill(PHONE, victim)
    assert wait_done(agent, other).phase == "done"
    handle, number = begin(agent, f"ours.{os.getpid()}")
    agent.shell.run(("kill", "-KILL", str(number)), limit_s=20)
    assert wait_done(agent, handle).phase == "done"
    signs = signs_after(agent, handle)
    assert signs.pid == number
    assert signs.boot_id == handle.boot_id
    assert signs.other_victims >= 1
    assert "kernel" in signs.unread, "the shell may not read the kernel's log"
    assert class_of(signs, handle) is None
    signs = signs_after(agent, other)
    assert signs.pid == victim
    assert class_of(signs, other) is ErrorClass.OUT_OF_MEMORY
    assert f"({victim})" in signs.kill.text
    for job in (other, handle):
        agent.jobs.end(job, limit_s=20)
    assert not is_alive(agent, number)


@pytest.mark.parametrize(
    ("thermal", "expected"), [(True, ErrorClass.THERMAL_SHUTDOWN), (False, ErrorClass.DEVICE_REBOOTED)]
)
def test_another_boot_and_its_reason(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, thermal: bool, expected: ErrorClass
) -> None:
    lab = start_lab(PHONE)
    agent = agent_of(lab, PHONE, monkeypatch)
    handle, number = begin(agent, f"boot.{os.getpid()}")
    if thermal:
        lab.lab.thermal_shutdown(PHONE)
    else:
        lab.lab.reboot(PHONE)
    # For a moment after the order it is still the old boot that answers.
    eventually(lambda: boot_of(agent) not in ("", handle.boot_id), limit_s=30)
    signs = signs_after(agent, handle)
    assert signs.pid == number
    assert class_of(signs, handle, signal=None) is expected
    agent.jobs.end(handle, limit_s=20)

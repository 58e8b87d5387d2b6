"""What the contract tests share."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from device_agents.base import DeviceAgent, JobHandle, JobOutput, JobSpec, JobState
from harness.model import Artifact, ArtifactFile


def wait_until(condition: Callable[[], bool], *, limit_s: float = 20.0, every_s: float = 0.05) -> bool:
    """Whether `condition` came true within the limit."""
    deadline = time.monotonic() + limit_s
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(every_s)
    return True


def wait_done(agent: DeviceAgent, handle: JobHandle, *, limit_s: float = 30.0) -> JobState:
    """The state of the job once it no longer runs."""
    states: list[JobState] = []

    def ended() -> bool:
        states.append(agent.jobs.poll(handle, limit_s=10))
        return states[-1].phase != "running"

    assert wait_until(ended, limit_s=limit_s), "the job still runs"
    return states[-1]


def spec(key: str, script: str, *args: str, limit_s: float = 20.0, **more: object) -> JobSpec:
    values: dict[str, object] = {"sampling": None, "env": {}, "cwd": "/"}
    values.update(more)
    return JobSpec(key=key, argv=("sh", "-c", script, "job", *args), limit_s=limit_s, **values)  # type: ignore[arg-type]


def run_job(agent: DeviceAgent, job: JobSpec, into: Path) -> JobOutput:
    handle = agent.jobs.start(job, limit_s=20)
    state = wait_done(agent, handle)
    assert state.phase == "done", state
    output = agent.jobs.collect(handle, into, limit_s=20)
    agent.jobs.end(handle, limit_s=20)
    return output


def model(path: Path, size: int = 300_000, seed: int = 1) -> Artifact:
    """A model artifact of incompressible bytes."""
    block = hashlib.shake_256(str(seed).encode()).digest(min(size, 1 << 20))
    content = (block * (size // len(block) + 1))[:size] if size else b""
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return Artifact("model", digest, (ArtifactFile(path.name, str(path), size, digest),))


def runner(folder: Path, files: dict[str, bytes], executable: tuple[str, ...] = ()) -> Artifact:
    """A runner artifact of these files."""
    entries = []
    for name, content in sorted(files.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        entries.append(ArtifactFile(name, str(path), len(content), digest, name in executable))
    total = hashlib.sha256("".join(f"{each.name} {each.sha256} {each.executable}\n" for each in entries).encode())
    return Artifact("runner", total.hexdigest(), tuple(entries))


def is_alive(agent: DeviceAgent, pid: int) -> bool:
    """Whether the process runs; one that waits to be reaped does not."""
    result = agent.shell.script('grep "^State:" "/proc/$1/status"', str(pid), limit_s=10)
    return result.exit_code == 0 and b"Z (" not in result.stdout


def marked_processes(agent: DeviceAgent, folder: str) -> list[str]:
    """Processes of the job in `folder`, found by their environment."""
    script = 'grep -l -F "FARM_JOB=$1" /proc/[0-9]*/environ 2> /dev/null; true'
    output = agent.shell.script(script, folder, limit_s=10).stdout.decode()
    return [line for line in output.splitlines() if f"/proc/{os.getpid()}/" not in line]

"""A job that begins with the loss of its device's power, under the shells of this machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agents.base import JobSpec
from device_agents.posix.link import text_of
from device_agents.posix.spec import Tools, ending, pairs, spec_text, stamps_of
from tests.contract.helpers import wait_until

SHELLS = [name for name in ("mksh", "bash", "dash", "busybox") if shutil.which(name)]
PLUGGED = "Current Battery Service state:\n  AC powered: false\n  USB powered: true\n  Wireless powered: false\n"
UNPLUGGED = PLUGGED.replace("true", "false")
HISTORY = UNPLUGGED + "  level: 80\n  technology: Li-ion\nwhat the maker appends:\n  USB powered: true\n"
FROZEN = UNPLUGGED.replace("state:", "state:\n  (UPDATES STOPPED -- use 'reset' to restart)")

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs the /proc of Linux")


class Job:
    """A folder with a job, and a phone whose `dumpsys battery` answers what is in a file."""

    def __init__(self, root: Path, shell: str) -> None:
        self.folder = root / "job"
        self.folder.mkdir()
        self.shell = [shell, "sh"] if shell == "busybox" else [shell]
        self.script = root / "supervisor.sh"
        self.script.write_text(text_of("supervisor.sh"))
        self.battery = root / "battery"
        tools = root / "bin"
        tools.mkdir()
        (tools / "dumpsys").write_text(f"#!/bin/sh\n[ \"$1\" = battery ] && cat '{self.battery}'\n")
        (tools / "dumpsys").chmod(0o755)
        self.env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "FARM_JOB": f"{self.folder}/"}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, within_s: float) -> None:
        spec = JobSpec("k", ("sh", "-c", "echo ran; exit 7"), {}, "/", 20.0, sampling=None, unplugged_within_s=within_s)
        (self.folder / "spec").write_text(spec_text(spec, Tools(), ""))
        argv = [*self.shell, str(self.script), "run", str(self.folder)]
        self.process = subprocess.Popen(argv, env=self.env, stdin=subprocess.DEVNULL, start_new_session=True)
        assert wait_until((self.folder / "pid").exists), "the job is seen while it waits"

    def says(self, text: str) -> None:
        part = self.battery.with_suffix(".new")
        part.write_text(text)
        part.replace(self.battery)

    def end(self) -> tuple[int | None, int | None, str]:
        assert self.process is not None
        self.process.wait(30)
        return ending(pairs((self.folder / "result").read_text()))

    @property
    def stamps(self) -> dict[str, float]:
        return stamps_of((self.folder / "stamps").read_text())

    @property
    def ran(self) -> bool:
        return (self.folder / "stdout").exists()


@pytest.fixture(params=SHELLS)
def job(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Job]:
    made = Job(tmp_path, request.param)
    yield made
    if made.process is not None and made.process.poll() is None:
        os.killpg(made.process.pid, signal.SIGKILL)
        made.process.wait()


def test_the_runner_starts_when_the_phone_says_that_its_power_is_gone(job: Job) -> None:
    job.says(PLUGGED)
    job.start(within_s=20)
    assert wait_until((job.folder / "power").exists)
    assert not job.ran and not (job.folder / "stamps").exists()
    words = (job.folder / "pid").read_text().split()
    assert words[:2] == words[2:4], "the supervisor stands for the runner until there is one"
    job.says(UNPLUGGED)
    assert job.end() == (7, None, "exit")
    assert (job.folder / "stdout").read_text() == "ran\n"
    assert 0 < job.stamps["unplugged"] <= job.stamps["started"] <= job.stamps["ended"]
    words = (job.folder / "pid").read_text().split()
    assert words[0] != words[2]


@pytest.mark.parametrize("said", [PLUGGED, FROZEN, "", "can't find service: battery\n"])
def test_a_phone_that_does_not_say_so_ends_the_job_without_a_run(job: Job, said: str) -> None:
    job.says(said)
    job.start(within_s=1)
    assert job.end() == (None, None, "stayed_powered")
    assert not job.ran
    assert job.stamps.keys() == {"ended"}


def test_what_a_maker_appends_to_the_report_does_not_count(job: Job) -> None:
    job.says(HISTORY)
    job.start(within_s=10)
    assert job.end() == (7, None, "exit")


def test_a_cancelled_wait_ends_without_a_run(job: Job) -> None:
    job.says(PLUGGED)
    job.start(within_s=60)
    assert job.process is not None
    assert wait_until((job.folder / "power").exists)
    job.process.send_signal(signal.SIGTERM)
    assert job.end() == (None, None, "cancel")
    assert not job.ran


def test_a_job_that_is_not_to_wait_asks_nobody(job: Job) -> None:
    job.start(within_s=0)
    assert job.end() == (7, None, "exit")
    assert not (job.folder / "power").exists() and "unplugged" not in job.stamps

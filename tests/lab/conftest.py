"""Virtual phones for tests. They go down with the test process, whatever happens to it."""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from device_agents.ios.muxer import VARIABLE
from device_agents.virtual.adbserver import adb_binary
from device_agents.virtual.errors import LabUnsupported
from device_agents.virtual.lab import Lab, LabInfo, parse_wish
from device_agents.virtual.preflight import preflight

StartLab = Callable[..., "RunningLab"]
_numbers = itertools.count()


class RunningLab:
    """A lab that is up, with adb at hand."""

    def __init__(self, lab: Lab, info: LabInfo) -> None:
        self.lab = lab
        self.info = info
        # The muxer that the process is told of is that of the tests of single iPhones.
        own = {name: value for name, value in os.environ.items() if name != VARIABLE}
        self.env = {**own, **info.env}

    def adb(self, *args: str, limit_s: float = 20.0, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [adb_binary(), *args], check=False, capture_output=True, timeout=limit_s, env=self.env, input=stdin or b""
        )

    def shell(self, phone: str, script: str, *, limit_s: float = 20.0) -> subprocess.CompletedProcess[bytes]:
        return self.adb("-s", self.info.phone(phone).adb_serial, "shell", script, limit_s=limit_s)

    def says(self, phone: str, script: str, *, limit_s: float = 20.0) -> str:
        """Standard output of a script that must succeed."""
        done = self.shell(phone, script, limit_s=limit_s)
        assert done.returncode == 0, (script, done.returncode, done.stdout, done.stderr)
        return done.stdout.decode().rstrip("\n")

    def states(self) -> dict[str, str]:
        """adb serial → state, as adb lists them."""
        lines = self.adb("devices").stdout.decode().splitlines()[1:]
        return dict(line.split("\t", 1) for line in lines if "\t" in line)


def eventually(condition: Callable[[], object], *, limit_s: float = 15.0, every_s: float = 0.05) -> None:
    """Wait until `condition` holds; fails the test when it does not within the limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s"
        time.sleep(every_s)


def start(wishes: Sequence[str]) -> RunningLab:
    reason = preflight()
    if reason:
        pytest.skip(reason)
    lab = Lab(f"test-{os.getpid()}-{next(_numbers)}")
    try:
        info = lab.up([parse_wish(text) for text in wishes], die_with=os.getpid())
    except LabUnsupported as unsupported:
        pytest.skip(str(unsupported))
    return RunningLab(lab, info)


@pytest.fixture(scope="session")
def virtual_lab() -> Iterator[RunningLab]:
    """Two phones without any bad habit; tests leave them as they were."""
    running = start(["pixel-8-pro", "galaxy-a34"])
    yield running
    running.lab.down()


@pytest.fixture
def start_lab() -> Iterator[StartLab]:
    """Starts a lab of one's own: `start_lab("galaxy-a54+deny_settings", …)`."""
    running: list[RunningLab] = []

    def begin(*wishes: str) -> RunningLab:
        running.append(start(wishes))
        return running[-1]

    yield begin
    for lab in running:
        lab.lab.down()

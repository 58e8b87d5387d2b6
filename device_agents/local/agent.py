"""This machine as a device."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from device_agents.android.clock import CLOCK_READINGS, bracketed_uptimes
from device_agents.android.telemetry import parse_live
from device_agents.base import (
    DeathEvidence,
    Files,
    Jobs,
    JobSpec,
    PhoneConditions,
    PhoneLease,
    Recovery,
    Settings,
    Shell,
    Telemetry,
)
from device_agents.local.facts import host_facts, host_snapshot
from device_agents.local.link import LocalLink
from device_agents.no_settings import NoSettings
from device_agents.posix import detach, netcat
from device_agents.posix.files import PosixFiles
from device_agents.posix.jobs import PosixJobs
from device_agents.posix.lease import PosixLease
from device_agents.posix.link import LinkShell, shell_path
from device_agents.posix.spec import BY_HAND, Tools, by_hand
from harness.analysis.timebase import ClockReading
from harness.cache import cache_dir
from harness.death import DeathSigns
from harness.errors import FarmError
from harness.gates import Conditions
from harness.model import Attached, DeviceFacts, DeviceState, Measured, Platform, Reading, Unavailable

SERIAL = "localhost"


def discover_local(root: Path | None = None) -> Attached:
    """This machine as an attached device."""
    return Attached(Platform.LOCAL, SERIAL, (SERIAL,), DeviceState.READY, "", host_facts(root or default_root()))


def default_root() -> Path:
    """Folder that holds what farm keeps on this machine as a device."""
    return cache_dir() / "local-device"


class LocalAgent:
    """`device_agents.base.DeviceAgent` of this machine.

    Args:
        attached: from `discover_local`.
        sampler: text of the sampler script; None where /proc is absent.
        root: where files and jobs are kept.
    """

    def __init__(self, attached: Attached, sampler: str | None, root: Path | None = None) -> None:
        self.attached = attached
        self._root = root or default_root()
        link = LocalLink(attached.serial)
        samples = sampler if Path("/proc/self/status").exists() else None
        self.shell: Shell = LinkShell(link)
        self.files: Files = PosixFiles(link, str(self._root))
        self.jobs: Jobs = PosixJobs(link, str(self._root), host_tools(), samples, parse_live)
        self.telemetry: Telemetry = _LocalTelemetry()
        self.conditions: PhoneConditions = _LocalConditions()
        self.evidence: DeathEvidence = _LocalEvidence()
        self.settings: Settings = NoSettings()
        self.lease: PhoneLease = PosixLease(link, str(self._root))
        self.recovery: Recovery = _NoRecovery()

    def facts(self, *, limit_s: float, known: DeviceFacts | None = None) -> DeviceFacts:
        return host_facts(self._root)

    def clock(self, *, limit_s: float) -> tuple[ClockReading, ...]:
        return bracketed_uptimes(self.shell, CLOCK_READINGS, limit_s=limit_s, device=self.attached.serial)

    def alive(self, *, limit_s: float) -> bool:
        try:
            return self.shell.run(("true",), limit_s=limit_s).exit_code == 0
        except FarmError:
            return False

    def by_hand(self, spec: JobSpec) -> tuple[str, ...]:
        return by_hand(spec, (), "taskset", shell_path(str(self._root), BY_HAND))

    def close(self) -> None:
        """Nothing is kept open."""


def host_tools() -> Tools:
    """What this machine has; Python takes the place of what it lacks."""
    python = (sys.executable, "-I", "-S")
    return Tools(
        detach=("setsid",) if shutil.which("setsid") else (*python, str(Path(detach.__file__))),
        # Python's own: the several netcats of desktop systems differ in when they close.
        netcat=(*python, str(Path(netcat.__file__))),
        taskset=("taskset",) if shutil.which("taskset") else (),
    )


class _LocalTelemetry:
    def snapshot(self, *, limit_s: float) -> Mapping[str, Reading]:
        return host_snapshot()

    def design_capacity(self, *, limit_s: float) -> Reading:
        return Unavailable("this machine shows no design capacity")


class _LocalConditions:
    def read(self, *, limit_s: float, quiet_pct: float = 0.0) -> Conditions:
        load = Measured(psutil.cpu_percent(interval=min(1.0, limit_s)), "%", "psutil.cpu_percent over a second", 0.1)
        return Conditions({**host_snapshot(), "other_load_pct": load})


class _LocalEvidence:
    def ask(self, folder: str, program: str, *, pid: int | None = None, limit_s: float) -> DeathSigns:
        return DeathSigns(unread={"kernel log": "not looked at on this machine"}, pid=pid)


class _NoRecovery:
    """This machine needs no way back to itself."""

    def rungs(self) -> tuple[str, ...]:
        return ()

    def climb(self, rung: str, *, limit_s: float, alone: bool) -> bool:
        raise ValueError(f"no recovery step {rung!r} on this machine")

"""A phone behind adb."""

from __future__ import annotations

from importlib import resources

from device_agents.android.adb import AdbServer, endpoint_from
from device_agents.android.clock import CLOCK_READINGS, bracketed_uptimes
from device_agents.android.conditions import AndroidConditions, LastTicks
from device_agents.android.discovery import ask_facts, ask_identity
from device_agents.android.evidence import AndroidEvidence
from device_agents.android.facts import DATA
from device_agents.android.link import AdbLink
from device_agents.android.recovery import AndroidRecovery
from device_agents.android.settings import PhoneSettingsKeeper
from device_agents.android.snapshot import AndroidTelemetry
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
from device_agents.posix.files import PosixFiles
from device_agents.posix.jobs import PosixJobs
from device_agents.posix.lease import PosixLease
from device_agents.posix.link import LinkShell, shell_path
from device_agents.posix.spec import BY_HAND, Tools, by_hand
from harness.analysis.timebase import ClockReading
from harness.errors import FarmError
from harness.model import AdbEndpoint, Attached, DeviceFacts, UsbPort

ROOT = f"{DATA}/farm"
"""Everything farm keeps on a phone."""


class AndroidAgent:
    """`device_agents.base.DeviceAgent` of one phone.

    Args:
        attached: what discovery saw; its preferred transport is used.
        endpoint: of the inventory; adb's environment variables win over it.
        usb: the hub port that the inventory names for this phone.
        root: folder on the phone.
    """

    def __init__(
        self, attached: Attached, endpoint: AdbEndpoint, *, usb: UsbPort | None = None, root: str = ROOT
    ) -> None:
        self.attached = attached
        self._root = root
        server = AdbServer(endpoint_from(endpoint))
        self._link = AdbLink(server, attached.serial)
        self.shell: Shell = LinkShell(self._link)
        self.files: Files = PosixFiles(self._link, root)
        self.jobs: Jobs = PosixJobs(self._link, root, Tools(), sampler_text(), parse_live)
        last = LastTicks()
        self.telemetry: Telemetry = AndroidTelemetry(self._link, last)
        self.conditions: PhoneConditions = AndroidConditions(self._link, last=last)
        self.evidence: DeathEvidence = AndroidEvidence(self._link)
        self.settings: Settings = PhoneSettingsKeeper(self._link, root)
        self.lease: PhoneLease = PosixLease(self._link, root)
        self.recovery: Recovery = AndroidRecovery(server, self._link, usb)

    def facts(self, *, limit_s: float, known: DeviceFacts | None = None) -> DeviceFacts:
        if known is not None and ask_identity(self._link, limit_s=limit_s) == (known.identity, known.os_fingerprint):
            return known
        return ask_facts(self._link, limit_s=limit_s)[0]

    def clock(self, *, limit_s: float) -> tuple[ClockReading, ...]:
        return bracketed_uptimes(self.shell, CLOCK_READINGS, limit_s=limit_s, device=self.attached.serial)

    def alive(self, *, limit_s: float) -> bool:
        try:
            return self.shell.run(("true",), limit_s=limit_s).exit_code == 0
        except FarmError:
            return False

    def by_hand(self, spec: JobSpec) -> tuple[str, ...]:
        prefix = ("adb", "-s", self.attached.serial, "shell")
        return by_hand(spec, prefix, "taskset", shell_path(self._root, BY_HAND))

    def close(self) -> None:
        """Nothing is kept open between calls."""


def sampler_text() -> str:
    """The sampler script."""
    return resources.files("device_agents.android").joinpath("sampler.sh").read_text("utf-8")

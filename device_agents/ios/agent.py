"""An iPhone behind a muxer."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence

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
    ShellResult,
    Telemetry,
)
from device_agents.ios.discovery import facts_of
from device_agents.ios.evidence import IosEvidence
from device_agents.ios.files import IosFiles
from device_agents.ios.jobs import IosJobs
from device_agents.ios.lease import IosLease
from device_agents.ios.phone import JOBS, Phone
from device_agents.ios.recovery import IosRecovery, is_alive
from device_agents.ios.telemetry import AppLook, IosConditions, IosTelemetry
from device_agents.no_settings import NoSettings
from harness.analysis.timebase import ClockReading
from harness.errors import ErrorClass, Permanent
from harness.model import Attached, DeviceFacts, Lab, UsbPort

CLOCK_READINGS = 3
_CLOCK_STEP_S = 1e-6


class IosAgent:
    """`device_agents.base.DeviceAgent` of one iPhone.

    Args:
        attached: what discovery saw.
        lab: addresses of muxer and tunneld; the environment wins over them.
        usb: the hub port that the inventory names for this phone.
    """

    def __init__(self, attached: Attached, lab: Lab, *, usb: UsbPort | None = None) -> None:
        self.attached = attached
        self._phone = phone = Phone(attached.serial, lab)
        look = AppLook(phone)
        telemetry = IosTelemetry(phone, look)
        self.shell: Shell = _NoShell(attached.serial)
        self.files: Files = IosFiles(phone)
        self.jobs: Jobs = IosJobs(phone)
        self.telemetry: Telemetry = telemetry
        self.conditions: PhoneConditions = IosConditions(phone, telemetry, look)
        self.evidence: DeathEvidence = IosEvidence(phone)
        self.settings: Settings = NoSettings()
        self.lease: PhoneLease = IosLease(phone)
        self.recovery: Recovery = IosRecovery(phone, usb)

    def facts(self, *, limit_s: float, known: DeviceFacts | None = None) -> DeviceFacts:
        values = self._phone.ask("values", limit_s=limit_s, doing="asking what it is")
        if known is not None and (values.get("UniqueDeviceID"), str(values.get("BuildVersion"))) == (
            known.identity,
            known.os_fingerprint,
        ):
            return known
        disk = self._phone.ask("value", domain="com.apple.disk_usage", limit_s=limit_s, doing="asking for its storage")
        return facts_of(values, disk, self.attached.serial)

    def clock(self, *, limit_s: float) -> tuple[ClockReading, ...]:
        until = time.monotonic() + limit_s
        readings: list[ClockReading] = []
        while len(readings) < CLOCK_READINGS and (not readings or time.monotonic() < until):
            wall, before = time.time(), time.monotonic()
            left = max(until - before, 0.5)
            uptime_s = float(self._phone.ask("uptime", limit_s=left, doing="reading its clock"))
            readings.append(ClockReading(before, uptime_s, time.monotonic(), wall, _CLOCK_STEP_S))
        return tuple(readings)

    def alive(self, *, limit_s: float) -> bool:
        return is_alive(self._phone, limit_s=limit_s)

    def by_hand(self, spec: JobSpec) -> tuple[str, ...]:
        """With the client library's own command line, from a folder that holds the request."""
        bundle = spec.argv[0].partition("/")[0]
        if not spec.files:
            return ()
        folder = f"{JOBS}/by-hand"
        tool = ("pymobiledevice3",)
        udid = ("--udid", self.attached.serial)
        written = [
            f"printf %s {shlex.quote(content.decode('utf-8', 'replace'))} > {shlex.quote(name)}"
            for name, content in spec.files.items()
        ]
        pushed = [
            shlex.join((*tool, "apps", "push", *udid, "--documents", bundle, name, f"/Documents/{folder}/{name}"))
            for name in spec.files
        ]
        words = [f"{folder}/{word}" if word in spec.files else word for word in spec.argv[1:]]
        launched = (*tool, "developer", "dvt", "launch", *udid, "--stream", shlex.join((bundle, *words)))
        return (*written, *pushed, shlex.join(launched))

    def close(self) -> None:
        self._phone.close()


class _NoShell:
    """An iPhone has none."""

    def __init__(self, device: str) -> None:
        self._device = device

    def run(self, argv: Sequence[str], *, limit_s: float, stdin: bytes | None = None) -> ShellResult:
        raise self._none()

    def script(self, text: str, *args: str, limit_s: float, stdin: bytes | None = None) -> ShellResult:
        raise self._none()

    def _none(self) -> Permanent:
        return Permanent(
            f"{self._device}: an iPhone has no shell",
            error_class=ErrorClass.NOT_APPLICABLE,
            advice="use what the app can do",
            device=self._device,
        )

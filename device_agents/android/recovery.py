"""A bounded ladder that brings a phone back, mildest step first."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable

from device_agents import power
from device_agents.android.adb import AdbServer, is_tcp_serial
from device_agents.android.discovery import ask_facts
from device_agents.android.link import AdbLink
from device_agents.posix.link import LinkShell
from harness.errors import FarmError
from harness.model import UsbPort

ALIVE_S = 5.0
"""Limit of one shell round trip as a proof of life."""

_TRANSPORT_S = 10.0
_EVERY_S = 0.25


class AndroidRecovery:
    """`device_agents.base.Recovery` of one phone; `usb` is the port that the inventory names, or None."""

    def __init__(self, server: AdbServer, link: AdbLink, usb: UsbPort | None) -> None:
        self._server = server
        self._link = link
        self._usb = usb

    def rungs(self) -> tuple[str, ...]:
        cable = ("usb_power_cycle",) if self._usb is not None and not power.switchable(self._usb) else ()
        return ("reconnect", "server_restart", *cable, "reboot", "unlock_check")

    def climb(self, rung: str, *, limit_s: float, alone: bool) -> bool:
        steps: dict[str, Callable[[float, bool], bool]] = {
            "reconnect": self._reconnect,
            "server_restart": self._restart_server,
            "usb_power_cycle": self._cycle_power,
            "reboot": self._reboot,
            "unlock_check": self._unlocked,
        }
        if rung not in steps:
            raise ValueError(f"no recovery step {rung!r}")
        deadline = time.monotonic() + limit_s
        try:
            if not steps[rung](deadline, alone):
                return False
            return self._answers_until(deadline)
        except FarmError:
            # A step that cannot be done is a step that did not help; the next one may.
            return False

    def _reconnect(self, deadline: float, alone: bool) -> bool:
        self._server.ready()
        serial = self._link.name
        if is_tcp_serial(serial):
            if self._server.state(serial) != "device" or not self._answers():
                self._server.ask(f"host:disconnect:{serial}")
            return self._server.connect(serial, limit_s=min(_TRANSPORT_S, _left(deadline)))
        self._adb(deadline, "reconnect")
        return True

    def _restart_server(self, deadline: float, alone: bool) -> bool:
        if not alone:
            return False
        self._server.restart()
        return True

    def _cycle_power(self, deadline: float, alone: bool) -> bool:
        if self._usb is None:
            return False
        power.cycle(self._usb, limit_s=min(_TRANSPORT_S, _left(deadline)))
        return True

    def _reboot(self, deadline: float, alone: bool) -> bool:
        before = self._boot()
        if not self._adb(deadline, "reboot"):
            # Some daemons refuse the service and leave the command to the shell.
            self._adb(deadline, "shell", "reboot")
        while _left(deadline) > 0:
            now = self._boot()
            if now is not None and now != before and self._booted():
                return True
            self._server.ready()
            if is_tcp_serial(self._link.name) and self._server.state(self._link.name) != "device":
                self._server.connect(self._link.name, limit_s=max(0.5, min(2.0, _left(deadline))))
            threading.Event().wait(_EVERY_S)
        return False

    def _unlocked(self, deadline: float, alone: bool) -> bool:
        _, locked = ask_facts(self._link, limit_s=max(0.1, min(_TRANSPORT_S, _left(deadline))))
        return not locked

    def _answers_until(self, deadline: float) -> bool:
        while True:
            if self._answers():
                return True
            if _left(deadline) <= 0:
                return False
            threading.Event().wait(_EVERY_S)

    def _answers(self) -> bool:
        try:
            return LinkShell(self._link).run(("true",), limit_s=ALIVE_S).exit_code == 0
        except FarmError:
            return False

    def _boot(self) -> str | None:
        try:
            result = LinkShell(self._link).run(("cat", "/proc/sys/kernel/random/boot_id"), limit_s=ALIVE_S)
        except FarmError:
            return None
        return result.stdout.decode("ascii", "replace").strip()

    def _booted(self) -> bool:
        result = LinkShell(self._link).run(("getprop", "sys.boot_completed"), limit_s=ALIVE_S)
        return result.stdout.strip() == b"1"

    def _adb(self, deadline: float, *words: str) -> bool:
        """Run the adb binary for this phone; False when it failed. One that does not end in time is killed: the phone
        may have gone before it answered."""
        self._server.ready()
        command = self._server.arguments("-s", self._link.name, *words)
        try:
            done = subprocess.run(
                command,
                env=self._server.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=max(0.1, min(_TRANSPORT_S, _left(deadline))),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return True
        return done.returncode == 0


def _left(deadline: float) -> float:
    return deadline - time.monotonic()

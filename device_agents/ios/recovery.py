"""What may bring an iPhone back, mildest step first."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from device_agents import power
from device_agents.ios.muxer import listed
from device_agents.ios.phone import Phone
from harness.errors import FarmError
from harness.model import UsbPort

ALIVE_S = 5.0
PLUG_S = 10.0
_STEP_S = 15.0
_EVERY_S = 0.5


def is_alive(phone: Phone, *, limit_s: float) -> bool:
    """Whether the phone is listed and its lockdown answers."""
    try:
        if not any(each.udid == phone.udid for each in listed(phone.muxer, limit_s=limit_s)):
            return False
        return bool(phone.ask("values", limit_s=limit_s, doing="asking whether it answers"))
    except FarmError:
        return False


class IosRecovery:
    """`device_agents.base.Recovery` of an iPhone; `usb` is the port that the inventory names, or None."""

    def __init__(self, phone: Phone, usb: UsbPort | None) -> None:
        self._phone = phone
        self._usb = usb

    def rungs(self) -> tuple[str, ...]:
        cable = ("usb_power_cycle",) if self._usb is not None and not power.switchable(self._usb) else ()
        return ("client_restart", *cable, "reboot")

    def climb(self, rung: str, *, limit_s: float, alone: bool) -> bool:
        steps: dict[str, Callable[[float], bool]] = {
            "client_restart": self._restart_client,
            "usb_power_cycle": self._cycle_power,
            "reboot": self._reboot,
        }
        if rung not in steps:
            raise ValueError(f"no recovery step {rung!r}")
        deadline = time.monotonic() + limit_s
        try:
            if not (steps[rung](deadline) and self._answers_until(deadline)):
                return False
        except FarmError:
            # A step that cannot be done is a step that did not help; the next one may.
            return False
        if rung == "reboot":
            # A restart unmounts it. What cannot be mounted now is said by the next launch.
            with contextlib.suppress(FarmError):
                left = max(_STEP_S, deadline - time.monotonic())
                self._phone.ask("mount_image", limit_s=left, doing="mounting the developer image")
        return True

    def _restart_client(self, deadline: float) -> bool:
        """With time for a cable to be plugged in again."""
        self._phone.worker.restart()
        until = min(deadline, time.monotonic() + PLUG_S)
        while not any(each.udid == self._phone.udid for each in listed(self._phone.muxer, limit_s=ALIVE_S)):
            if time.monotonic() >= until:
                return False
            threading.Event().wait(_EVERY_S)
        return True

    def _cycle_power(self, deadline: float) -> bool:
        if self._usb is None:
            return False
        power.cycle(self._usb, limit_s=min(_STEP_S, deadline - time.monotonic()))
        return True

    def _reboot(self, deadline: float) -> bool:
        """Only a phone without a passcode: another one would wait for somebody to unlock it; and only one that does not
        answer in time."""
        if is_alive(self._phone, limit_s=ALIVE_S):
            return True
        values = self._phone.ask("values", limit_s=ALIVE_S, doing="asking whether it has a passcode")
        if values.get("PasswordProtected") is not False:
            return False
        self._phone.ask("restart_phone", limit_s=_STEP_S, doing="restarting the phone")
        self._phone.worker.restart()
        while is_alive(self._phone, limit_s=ALIVE_S) and time.monotonic() < deadline:
            threading.Event().wait(_EVERY_S)
        return True

    def _answers_until(self, deadline: float) -> bool:
        while True:
            if is_alive(self._phone, limit_s=ALIVE_S):
                return True
            if time.monotonic() >= deadline:
                return False
            threading.Event().wait(_EVERY_S)

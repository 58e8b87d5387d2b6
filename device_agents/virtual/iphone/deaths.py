"""How iOS and its user end apps, each with the evidence that it leaves."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from device_agents.virtual.errors import LabError
from device_agents.virtual.iphone import crashes

if TYPE_CHECKING:
    from device_agents.virtual.iphone.phone import Iphone
    from device_agents.virtual.iphone.process import Process

Target = int | str | None
"""A process: its pid, its bundle, or None for the one that runs."""


def victim(phone: Iphone, target: Target) -> Process:
    """The process that is meant.

    Raises:
        LabError: there is none.
    """
    for known in phone.running():
        if target in (None, known.pid, known.bundle):
            return known
    raise LabError(f"no running app {target or ''}".rstrip(), device=phone.udid)


def jetsam(phone: Iphone, target: Target = None, *, reason: str = "per-process-limit") -> dict[str, Any]:
    """Kill an app as iOS does when memory is short, with its report; returns its pid and the report's name.

    Raises:
        LabError: it does not run.
    """
    known = victim(phone, target)
    report = crashes.write_jetsam(phone, known, reason)
    phone.log.write("kernel", f"memorystatus: killing_specific_process pid {known.pid} [{known.name}] ({reason})")
    known.send(signal.SIGKILL)
    phone.body.note("jetsam", pid=known.pid, reason=reason)
    return {"pid": known.pid, "report": report.name}


def crash(phone: Iphone, target: Target = None, *, signum: int = signal.SIGSEGV) -> dict[str, Any]:
    """End an app by a signal, with its crash report; returns its pid and the report's name.

    Raises:
        LabError: it does not run, or there is no such signal.
    """
    if signum not in set(signal.Signals):
        raise LabError(f"no signal {signum}", device=phone.udid)
    known = victim(phone, target)
    report = crashes.write_crash(phone, known, signum)
    known.send(signum)
    phone.body.note("crash", pid=known.pid, signal=signum)
    return {"pid": known.pid, "report": report.name}


def watchdog(phone: Iphone, target: Target = None) -> dict[str, Any]:
    """End an app as iOS does with one that hangs, with its report; returns its pid and the report's name.

    Raises:
        LabError: it does not run.
    """
    known = victim(phone, target)
    report = crashes.write_watchdog(phone, known)
    known.send(signal.SIGKILL)
    phone.body.note("watchdog", pid=known.pid)
    return {"pid": known.pid, "report": report.name}


def user_kill(phone: Iphone, target: Target = None) -> dict[str, Any]:
    """End an app as its user does in the app switcher: no report; returns its pid.

    Raises:
        LabError: it does not run.
    """
    known = victim(phone, target)
    phone.log.write("SpringBoard", f"[{known.bundle}:{known.pid}] removed from the app switcher by the user")
    known.send(signal.SIGKILL)
    phone.body.note("user_kill", pid=known.pid)
    return {"pid": known.pid}

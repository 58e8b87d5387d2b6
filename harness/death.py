"""Why a runner died, where something outside it ended it: told only with evidence, else left to the runner's own end.

A SIGKILL says nothing of its sender. It is a lack of memory only when the low-memory killer's or the kernel's log names
our own process: those logs usually name other victims, which show that memory was short but not that we were killed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from harness.errors import ErrorClass

_SIGKILL = 9
_SHELL_SIGNAL_BASE = 128
_QUOTED = 200

_OURS = frozenset({"limit", "cancel", "server_done", "not_ready"})
"""Ends of a job (`JobOutput.ended_by`) that we brought about: a SIGKILL then is our own."""


_SMALLER = "take a smaller model, quantisation or context for this phone"
_BY_WHOM: Mapping[str, tuple[ErrorClass, str, str]] = {
    "low_memory_kill": (
        ErrorClass.OUT_OF_MEMORY,
        "the low-memory killer ended the runner for lack of memory",
        _SMALLER,
    ),
    "kernel_oom": (ErrorClass.OUT_OF_MEMORY, "the kernel ended the runner for lack of memory", _SMALLER),
    "jetsam": (ErrorClass.OUT_OF_MEMORY, "iOS ended the app for its memory", _SMALLER),
    "watchdog": (
        ErrorClass.WATCHDOG,
        "iOS ended the app because it did not answer",
        "take a smaller model for this phone; if it happens again, report it",
    ),
    "user": (
        ErrorClass.USER_KILLED,
        "somebody ended the app",
        "leave the phone alone while it measures",
    ),
}
"""Who killed → class, in words, what to do."""


@dataclass(frozen=True, slots=True)
class KillEvidence:
    """What names a process that was killed from outside: a line of a log, a report.

    Args:
        kind: by Android's low-memory killer, by the kernel, by iOS for its memory ("jetsam"), by iOS because it hung
            ("watchdog"), by a user of the phone, or none.
        victim_pid: the process that the line names; None for none.
        text: the line itself.
    """

    kind: Literal["low_memory_kill", "kernel_oom", "jetsam", "watchdog", "user", "none"] = "none"
    victim_pid: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class DeathSigns:
    """What a device shows after the death of a runner.

    Args:
        pid: of the runner on the device; None when unknown.
        boot_id: of the boot that answers now; "" when not readable.
        boot_reason: Android's canonical reason of that boot ("reboot,adb", "shutdown,thermal"); "" when not readable.
        kill: the line that names our process.
        other_victims: processes that were killed for lack of memory while the logs reach back, ours not among them.
        tombstone: what the crash log says of our process; "" when nothing.
        unread: logs that could not be read → the device's words.
    """

    pid: int | None = None
    boot_id: str = ""
    boot_reason: str = ""
    kill: KillEvidence = field(default_factory=KillEvidence)
    other_victims: int = 0
    tombstone: str = ""
    unread: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, for the result's provenance."""
        return asdict(self) | {"unread": dict(self.unread)}


@dataclass(frozen=True, slots=True)
class Death:
    """The cause of a death, what proves it, and what to do."""

    error_class: ErrorClass
    message: str
    advice: str
    evidence: str


def classify_death(
    *,
    signal: int | None,
    exit_code: int | None,
    ended_by: str,
    boot_before: str,
    signs: DeathSigns | None,
    watchdog: str = "",
) -> Death | None:
    """What ended a runner from outside, or None: then the runner's own exit code and words name the class.

    Args:
        signal, exit_code: of the runner; both None when it left no result. A shell reports a signal S as 128 + S.
        ended_by: of `JobOutput`, or "lost" for a job that is gone without a result.
        boot_before: boot id in which it was started.
        signs: what the device shows now; None when it cannot be asked.
        watchdog: line of our own memory watchdog, "" when it did not act.
    """
    if signs is not None and boot_before and signs.boot_id and signs.boot_id != boot_before:
        return _of_reboot(signs)
    if watchdog:
        return Death(
            ErrorClass.MEMORY_FLOOR,
            f"farm ended the runner before the phone ran out of memory: {watchdog.strip()[:_QUOTED]}",
            "close apps on the phone, or take a smaller model, quantisation or context for it",
            watchdog.strip(),
        )
    if ended_by in _OURS or not _may_be_killed(signal, exit_code):
        return None
    if signs is None or signs.kill.kind == "none" or signs.pid is None or signs.kill.victim_pid != signs.pid:
        return None
    kill = signs.kill
    error_class, did, advice = _BY_WHOM[kill.kind]
    return Death(error_class, f"{did}: {kill.text[:_QUOTED]}", advice, kill.text)


def _may_be_killed(signal: int | None, exit_code: int | None) -> bool:
    """Ended by SIGKILL, or without a result at all."""
    if signal is not None:
        return signal == _SIGKILL
    return exit_code is None or exit_code == _SHELL_SIGNAL_BASE + _SIGKILL


def _of_reboot(signs: DeathSigns) -> Death:
    reason = signs.boot_reason
    said = f"boot reason {reason!r}" if reason else "it gives no boot reason"
    if "therm" in reason.lower():
        return Death(
            ErrorClass.THERMAL_SHUTDOWN,
            f"the phone switched itself off because of its heat ({said})",
            "let it cool, take it out of its case, and use a shorter workload",
            reason,
        )
    return Death(
        ErrorClass.DEVICE_REBOOTED,
        f"the phone rebooted during the run ({said})",
        "if it happens again with this model, suspect memory: compare its size with the phone's free memory",
        said,
    )

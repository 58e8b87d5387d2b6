"""What a phone says of itself and of processes it ended: properties, the low memory killer's log, crash dumps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from device_agents.android.telemetry.text import lines

_PROPERTY = re.compile(r"^\[([^\]]{1,256})\]: \[(.*)\]$")
_ASSIGNMENT = re.compile(r"^([A-Za-z][A-Za-z0-9_.:@-]{0,255})=(.*)$")


def parse_getprop(data: bytes) -> Mapping[str, str]:
    """Read `getprop` ("[key]: [value]") or a build.prop file ("key=value"); the first value of a key counts."""
    properties: dict[str, str] = {}
    for line in lines(data):
        match = _PROPERTY.match(line) or _ASSIGNMENT.match(line)
        if match is not None:
            properties.setdefault(match.group(1), match.group(2))
    return properties


@dataclass(frozen=True, slots=True)
class LowMemoryKill:
    """One process that the low memory killer ended.

    `freed_kib` and `reason` are None and "" where the log does not say. A name is no identity: the kernel cuts it.
    """

    process: str
    pid: int
    freed_kib: int | None
    reason: str
    line: str


_LMKD = re.compile(
    r"\bKill(?:ing)? '([^']{1,128})' \(([0-9]{1,9})\)"
    r"(?:.{0,120}?\bto free ([0-9]{1,12})kB)?(?:.{0,200}?; reason: (.{1,200}))?"
)


def parse_lmkd(data: bytes, pid: int | None = None) -> tuple[LowMemoryKill, ...]:
    """Read lines of logcat or of the kernel log that name victims of the low memory killer.

    Args:
        data: the log.
        pid: only kills of this process; most lines of a busy phone name others.
    """
    kills: list[LowMemoryKill] = []
    for line in lines(data):
        match = _LMKD.search(line) if "lowmemorykiller" in line or "lmkd" in line else None
        if match is None or (pid is not None and int(match.group(2)) != pid):
            continue
        freed = int(match.group(3)) if match.group(3) else None
        reason = (match.group(4) or "").strip()
        kills.append(LowMemoryKill(match.group(1), int(match.group(2)), freed, reason, line[:400]))
    return tuple(kills)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The head of a native crash: `signal` by number and name, `abort_message` as the program gave it or ""."""

    pid: int
    process: str
    signal: int
    signal_name: str
    abort_message: str


_TOMBSTONE_PID = re.compile(r"\bpid: ([0-9]{1,9}), tid: [0-9]{1,9}, name: .{0,64}?  >>> (.{1,256}?) <<<")
_TOMBSTONE_SIGNAL = re.compile(r"\bsignal ([0-9]{1,2}) \((SIG[A-Z0-9]{1,12})\)")
_TOMBSTONE_ABORT = re.compile(r"\bAbort message: '?(.{0,400}?)'?\s*$")


def parse_tombstone(data: bytes) -> Tombstone | None:
    """Read the head of a tombstone, from its file or from logcat; None when there is none in it."""
    pid: tuple[int, str] | None = None
    signal: tuple[int, str] | None = None
    abort = ""
    for line in lines(data):
        if pid is None and (match := _TOMBSTONE_PID.search(line)):
            pid = int(match.group(1)), match.group(2)
        elif pid is not None and signal is None and (match := _TOMBSTONE_SIGNAL.search(line)):
            signal = int(match.group(1)), match.group(2)
        elif signal is not None and not abort and (match := _TOMBSTONE_ABORT.search(line)):
            abort = match.group(1)
    if pid is None or signal is None:
        return None
    return Tombstone(pid[0], pid[1], signal[0], signal[1], abort)

"""Reports that iOS writes when it ends an app: which of them is about our process, and what it says.

A JetsamEvent lists every process; the victim is the entry with `reason`, and `largestProcess` often names another one.
A crash report is about one process. Both are a head and a body in JSON.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from device_agents.android.telemetry.loose import documents, mappings
from device_agents.ios.phone import EXECUTABLES, Phone
from harness.model import MEGABYTE

PATIENCE_S = 5.0
"""How long a report may take to be written after the end of its process."""

EARLIER_S = 5.0
"""A report is ours also when it is so much older than the job by the phone's clock, which is read before the launch."""

_EVERY_S = 0.5
_JETSAM = "JetsamEvent"
_WATCHDOG, _USER = 0x8BADF00D, 0xDEADFA11
"""Codes of a termination: the watchdog's, and of an app that its user forced to quit
(developer.apple.com/documentation/xcode/understanding-the-exception-types-in-a-crash-report)."""

_SIGNALS = {
    "SIGILL": 4,
    "SIGTRAP": 5,
    "SIGABRT": 6,
    "SIGBUS": 7,
    "SIGFPE": 8,
    "SIGKILL": 9,
    "SIGSEGV": 11,
    "SIGSYS": 31,
}
"""As Linux numbers them, which the classes of crashes go by."""

_PAGE_SIZES = (4096, 16384)
_QUOTED = 300

DARWIN_SIGNALS: Mapping[int, int] = {10: 7, 12: 31, 16: 23, 17: 19, 18: 20, 19: 18, 20: 17, 30: 10, 31: 12}
"""Darwin's number of a signal → Linux's, where they differ (both systems' signal.h)."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says of a process.

    Args:
        kind: ended for its memory, by the watchdog, by its user, or by a signal of its own.
        signal: as Linux numbers it, None where it does not say.
        text: the evidence in words, with the file's name.
        others: further victims that a JetsamEvent names.
    """

    kind: Literal["jetsam", "watchdog", "user", "crash"]
    signal: int | None
    text: str
    others: int = 0


def ask(phone: Phone, pid: int, since: float, *, limit_s: float, patience_s: float = PATIENCE_S) -> Report | None:
    """The phone's report of the process `pid`, waited for; None when there is none.

    Args:
        since: Unix seconds of the phone's clock: before it the process did not run.

    Raises:
        FarmError: the reports cannot be read.
    """
    until = time.monotonic() + min(patience_s, limit_s / 2)
    while True:
        found = phone.ask(
            "reports",
            names=[_JETSAM, *EXECUTABLES],
            since=since - EARLIER_S,
            limit_s=limit_s,
            doing="reading its crash reports",
        )
        report = report_of({name: base64.b64decode(text) for name, text in found.items()}, pid)
        if report is not None or time.monotonic() >= until:
            return report
        time.sleep(_EVERY_S)


def report_of(reports: Mapping[str, bytes], pid: int) -> Report | None:
    """The report of that process among several, given by file name."""
    for name, data in reports.items():
        found = documents(data)
        report = _jetsam(name, found, pid) if name.startswith(_JETSAM) else _crash(name, found, pid)
        if report is not None:
            return report
    return None


def _jetsam(name: str, found: Iterable[Mapping[str, Any]], pid: int) -> Report | None:
    entries = [entry for document in found for _, entry in mappings(dict(document)) if "rpages" in entry]
    victims = [entry for entry in entries if entry.get("reason") not in (None, "", "null")]
    ours = next((entry for entry in victims if entry.get("pid") == pid), None)
    if ours is None:
        return None
    text = f"{name}: {ours.get('name')} ({pid}), {ours['reason']}, {_held(ours, found)}"
    return Report("jetsam", 9, text[:_QUOTED], len(victims) - 1)


def _held(entry: Mapping[str, Any], found: Iterable[Mapping[str, Any]]) -> str:
    """Bytes = rpages × pageSize."""
    pages = entry.get("rpages")
    sizes = [inner["pageSize"] for document in found for _, inner in mappings(dict(document)) if "pageSize" in inner]
    size = next((size for size in sizes if size in _PAGE_SIZES), None)
    if not isinstance(pages, int) or not isinstance(size, int):
        return f"{pages} pages of unknown size"
    return f"{pages * size / MEGABYTE:.0f} MB ({pages} pages of {size} bytes)"


def _crash(name: str, found: Iterable[Mapping[str, Any]], pid: int) -> Report | None:
    body = next((document for document in found if document.get("pid") == pid), None)
    if body is None:
        return None
    exception, termination = _inner(body, "exception"), _inner(body, "termination")
    signal = _SIGNALS.get(str(exception.get("signal")))
    code = termination.get("code")
    words = [f"{name}:", *(str(exception.get(key)) for key in ("type", "signal", "subtype") if exception.get(key))]
    if termination:
        words.append(f"ended by {termination.get('namespace')} {code:#x}" if isinstance(code, int) else "ended")
        details = termination.get("details")
        if isinstance(details, list) and details:
            words.append(str(details[0]))
    text = " ".join(words)[:_QUOTED]
    if code == _WATCHDOG:
        return Report("watchdog", 9, text)
    if code == _USER:
        return Report("user", 9, text)
    return Report("crash", signal, text)


def _inner(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = body.get(key)
    return value if isinstance(value, dict) else {}

"""JetsamEvent reports of iOS (.ips): which process the system ended for its memory, and how much it held.

A report is two JSON documents, a head and the event. The victim is the entry with `reason`; `largestProcess` names
another one often. Pages are counted; their size stands in the event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from device_agents.android.telemetry.loose import documents, mappings
from device_agents.android.telemetry.proc import MAX_MEMORY_MB
from device_agents.android.telemetry.text import Ignored, Words, listed
from harness.model import MEGABYTE, Measured, Reading, Unavailable

_SOURCE = "jetsam report"
_PAGE_SIZES = (4096, 16384)
_PAGES = {
    "memory_free_mb": "free",
    "memory_active_mb": "active",
    "memory_inactive_mb": "inactive",
    "memory_wired_mb": "wired",
    "memory_anonymous_mb": "anonymous",
    "memory_file_backed_mb": "fileBacked",
}

_Mapping = Mapping[str, Any]


def parse_jetsam(data: bytes) -> dict[str, Reading | Words]:
    """Read a JetsamEvent report, or an entry of one.

    Returns:
        victim_name, victim_reason (words), victim_pid, victim_memory_mb (rpages × page size: the resident pages when it
        was ended), victim_peak_memory_mb (lifetimeMax × page size), victim_cpu_time_s, page_size_bytes, and of the
        phone memory_free_mb, memory_active_mb, memory_inactive_mb, memory_wired_mb, memory_anonymous_mb,
        memory_file_backed_mb.
    """
    victims = [entry for entry in _entries(data) if _cause(entry)]
    victim: _Mapping = victims[0] if victims else {}
    page = _page_size(data)
    none = "" if victim else f"{_SOURCE}: no entry holds a reason, so nobody is named as the victim"
    phone = _first(data, "memoryPages")
    return {
        "victim_name": _words(victim, "name", none),
        "victim_reason": _words(victim, "reason", none),
        "victim_pid": _count(victim, "pid", none),
        "victim_memory_mb": _pages(victim, "rpages", page, none),
        "victim_peak_memory_mb": _pages(victim, "lifetimeMax", page, none),
        "victim_cpu_time_s": _seconds(victim, none),
        "page_size_bytes": page,
        **{name: _pages(phone, key, page, "") for name, key in _PAGES.items()},
    }


def ignored_jetsam(data: bytes) -> tuple[Ignored, ...]:
    """What a report holds and no reading uses, with the reason."""
    return listed(_ignored(data))


def _ignored(data: bytes) -> Iterator[Ignored]:
    seen = False
    for document in documents(data):
        largest = document.get("largestProcess")
        if isinstance(largest, str):
            yield Ignored(f"largestProcess {largest}", "the largest process, which is not the victim by that")
        if "bug_type" in document and "memoryStatus" not in document:
            yield Ignored(f"head, bug_type {document['bug_type']}", "the first of two documents: it describes the file")
    for entry in _entries(data):
        name = f"process {entry.get('name')} ({entry.get('pid')})"
        if not _cause(entry):
            yield Ignored(name, "it has no reason: it was not ended")
        elif seen:
            yield Ignored(name, f"ended too ({entry['reason']}); the first one is read")
        else:
            seen = True


def _entries(data: bytes) -> list[_Mapping]:
    """Descriptions of processes, in order."""
    return [
        entry
        for document in documents(data)
        for _, entry in mappings(document)
        if "rpages" in entry and "name" in entry
    ]


def _cause(entry: _Mapping) -> str:
    cause = entry.get("reason")
    return cause if isinstance(cause, str) else ""


def _first(data: bytes, key: str) -> _Mapping:
    """The first mapping of that name."""
    found = (inner for document in documents(data) for name, inner in mappings(document) if name == key)
    return next(found, {})


def _page_size(data: bytes) -> Reading:
    for document in documents(data):
        for _, inner in mappings(document):
            size = inner.get("pageSize")
            if isinstance(size, int) and size in _PAGE_SIZES:
                return Measured(float(size), "B", f"{_SOURCE} pageSize", 1)
            if size is not None:
                return Unavailable(f"{_SOURCE} gives a pageSize of {str(size)[:40]}, which no iPhone has")
    return Unavailable(f"{_SOURCE} gives no pageSize, and pages have two sizes")


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _words(entry: _Mapping, key: str, none: str) -> Words | Unavailable:
    value = entry.get(key)
    return Words(value, f"{_SOURCE} {key}") if isinstance(value, str) and value else Unavailable(none or _no(key))


def _no(key: str) -> str:
    return f"{_SOURCE} gives no {key}"


def _count(entry: _Mapping, key: str, none: str) -> Reading:
    value = _whole(entry.get(key))
    if value is None or not 0 <= value < 1 << 31:
        return Unavailable(none or _no(key))
    return Measured(float(value), "", f"{_SOURCE} {key}", 1)


def _pages(entry: _Mapping, key: str, page: Reading, none: str) -> Reading:
    count = _whole(entry.get(key))
    if count is None:
        return Unavailable(none or _no(key))
    if isinstance(page, Unavailable):
        return Unavailable(f"{_SOURCE} gives {count} pages ({key}); {page.reason}")
    megabytes = count * page.value / MEGABYTE
    if not 0 <= megabytes <= MAX_MEMORY_MB:
        return Unavailable(f"{_SOURCE} {key} gives {count} pages, which cannot be true")
    return Measured(megabytes, "MB", f"{_SOURCE} {key} × pageSize", page.value / MEGABYTE)


def _seconds(entry: _Mapping, none: str) -> Reading:
    value = entry.get("cpuTime")
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e9:
        return Unavailable(none or _no("cpuTime"))
    return Measured(float(value), "s", f"{_SOURCE} cpuTime")

"""Memory of a process as `dumpsys meminfo` accounts for it, and free storage from `df`."""

from __future__ import annotations

import re

from device_agents.android.telemetry.proc import kib_reading
from device_agents.android.telemetry.text import KIB_IN_MB, Ignored, lines, listed, missing
from harness.model import Measured, Reading, Unavailable

_PROCESS = re.compile(r"^\*\* MEMINFO in pid ([0-9]{1,9}) \[")
_SUMMARY = re.compile(r"(TOTAL(?: PSS| RSS| SWAP PSS| SWAP \(KB\))?):\s*([0-9]{1,12})(?![0-9])")
_SUMMARY_NAMES = {"TOTAL": "pss_mb", "TOTAL PSS": "pss_mb", "TOTAL RSS": "rss_mb", "TOTAL SWAP PSS": "swap_pss_mb"}
# "SWAP (KB)" of old versions is swapped memory without sharing, not SwapPss.
_SUMMARY_NAMES["TOTAL SWAP (KB)"] = "swap_mb"
_TOTAL_ROW = re.compile(r"^\s*TOTAL\s+([0-9]{1,12})\s+[0-9]{1,12}\s+[0-9]{1,12}\s+([0-9]{1,12})(?:\s|$)")
_ROW_NAMES = {"Native Heap": "native_heap_pss_mb", "Other dev": "other_dev_pss_mb", "Gfx dev": "gfx_dev_pss_mb"}
_ROW = re.compile(r"^\s*(Native Heap|Other dev|Gfx dev)\s+([0-9]{1,12})(?:\s|$)")
_SOURCE = "dumpsys meminfo"


def parse_dumpsys_meminfo(data: bytes) -> dict[str, Reading]:
    """Read `dumpsys meminfo PID`, headers "(kB)" and "(in Kilobytes)" alike.

    Returns: pid (of the process described), pss_mb, rss_mb (Android 11 and later), swap_pss_mb, swap_mb (before
    SwapPss was counted), native_heap_pss_mb, gfx_dev_pss_mb, other_dev_pss_mb (GPU memory on many phones). Totals come
    from the App Summary, where they are named, else Pss and swap from the row TOTAL of the table, whose Rss column
    repeats Pss and is never used.
    """
    readings: dict[str, Reading] = {}
    swap = ""
    for line in lines(data):
        process = _PROCESS.match(line)
        if process is not None:
            readings.setdefault("pid", Measured(float(process.group(1)), "", _SOURCE, 1))
        row = _ROW.match(line)
        if row is not None:
            readings.setdefault(_ROW_NAMES[row.group(1)], kib_reading(row.group(2), _SOURCE, f"{row.group(1)} Pss"))
        for key, value in _SUMMARY.findall(line):
            if key in _SUMMARY_NAMES:
                readings.setdefault(_SUMMARY_NAMES[key], kib_reading(value, _SOURCE, key))
        swap = swap or _swap_column(line)
    for name, reading in _total_row(data, swap).items():
        readings.setdefault(name, reading)
    names = ("pid", *dict.fromkeys(_SUMMARY_NAMES.values()), *_ROW_NAMES.values())
    return {name: readings.get(name, missing(_SOURCE, name.removesuffix("_mb"))) for name in names}


def _swap_column(line: str) -> str:
    """Reading that the fourth column of the table is, told by its heading; "" for another line."""
    words = line.split()
    if len(words) < 4 or words[:3] != ["Pss", "Private", "Private"]:
        return ""
    return {"swappss": "swap_pss_mb", "swapped": "swap_mb", "swap": "swap_mb"}.get(words[3].lower(), "")


def _total_row(data: bytes, swap: str) -> dict[str, Reading]:
    for line in lines(data):
        row = _TOTAL_ROW.match(line)
        if row is not None:
            found = {"pss_mb": kib_reading(row.group(1), _SOURCE, "row TOTAL Pss")}
            if swap:
                found[swap] = kib_reading(row.group(2), _SOURCE, "row TOTAL swap")
            return found
    return {}


def ignored_meminfo(data: bytes) -> tuple[Ignored, ...]:
    """Lines of `dumpsys meminfo` that no reading uses, with the reason."""
    return listed(
        Ignored(line, "Rss of this row repeats Pss" if _TOTAL_ROW.match(line) else "no reading is taken from it")
        for line in lines(data)
        if line.strip() and not (_PROCESS.match(line) or _ROW.match(line) or _SUMMARY.search(line))
    )


_DF_NUMBERS = re.compile(r"(?:^|\s)([0-9]{1,15})\s+([0-9]{1,15})\s+([0-9]{1,15})\s+[0-9]{1,3}%\s+(/\S*)\s*$")
_DF_UNIT = re.compile(r"\b(?:1K|1024)-blocks\b")


def parse_df(data: bytes, path: str = "/data") -> dict[str, Reading]:
    """Read `df -k PATH`: the row whose mount point is `path`, above it or below it (asking /data may answer
    /data/user/0); a long device name that broke the row over two lines is joined.

    Returns: storage_total_mb, storage_used_mb, storage_free_mb.
    """
    text = lines(data)
    source = f"df {path}"
    names = ("storage_total_mb", "storage_used_mb", "storage_free_mb")
    header = next((index for index, line in enumerate(text) if line.startswith("Filesystem")), None)
    if header is None or _DF_UNIT.search(text[header]) is None:
        return dict.fromkeys(names, Unavailable(f"{source} does not say that it counts blocks of 1 KiB"))
    best: tuple[int, tuple[float, float, float]] | None = None
    for line in text[header + 1 :]:
        match = _DF_NUMBERS.search(line)
        if match is None or not _covers(match.group(4), path):
            continue
        sizes = (float(match.group(1)), float(match.group(2)), float(match.group(3)))
        if best is None or len(match.group(4)) > best[0]:
            best = (len(match.group(4)), sizes)
    if best is None:
        return dict.fromkeys(names, Unavailable(f"{source} has no row for {path}"))
    total, used, free = best[1]
    if max(used, free) > total:
        return dict.fromkeys(names, Unavailable(f"{source} gives more used or free than there is in all"))
    return {
        name: Measured(value * 1024 / 1_000_000, "MB", source, KIB_IN_MB)
        for name, value in zip(names, (total, used, free), strict=True)
    }


_VIEWS = ("user/", "user_de/", "data/", "media/")
"""Folders of /data that are mounted once more for each user, and whose name `df /data` may show."""


def _covers(mount: str, path: str) -> bool:
    """Whether `mount` is `path`, contains it, or is the user's view of it."""
    inside = path == mount or path.startswith(mount.rstrip("/") + "/")
    return inside or mount.startswith(tuple(f"{path.rstrip('/')}/{view}" for view in _VIEWS))


def ignored_df(data: bytes, path: str = "/data") -> tuple[Ignored, ...]:
    """Rows of `df` that are of another file system, and what is no row."""
    chosen = parse_df(data, path)["storage_total_mb"]
    total = round(chosen.value / KIB_IN_MB) if isinstance(chosen, Measured) else None
    return listed(
        Ignored(line, f"not the file system of {path}" if match else "it is no row of the table")
        for line in lines(data)
        if line.strip()
        and not line.startswith("Filesystem")
        # A long device name stands on a line of its own.
        and not (len(line.split()) == 1 and line.startswith("/"))
        and not ((match := _DF_NUMBERS.search(line)) and _covers(match.group(4), path) and int(match.group(1)) == total)
    )

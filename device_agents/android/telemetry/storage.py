"""Memory of a process as `dumpsys meminfo` accounts for it, and free storage from `df`."""

from __future__ import annotations

import re

from device_agents.android.telemetry.proc import kib_reading
from device_agents.android.telemetry.text import KIB_IN_MB, lines, missing
from harness.model import Measured, Reading, Unavailable

_PROCESS = re.compile(r"^\*\* MEMINFO in pid ([0-9]{1,9}) \[")
_SUMMARY = re.compile(r"(TOTAL(?: PSS| RSS| SWAP PSS| SWAP \(KB\))?):\s*([0-9]{1,12})(?![0-9])")
_SUMMARY_NAMES = {"TOTAL": "pss_mb", "TOTAL PSS": "pss_mb", "TOTAL RSS": "rss_mb", "TOTAL SWAP PSS": "swap_pss_mb"}
_ROW_NAMES = {"Native Heap": "native_heap_pss_mb", "Other dev": "other_dev_pss_mb", "Gfx dev": "gfx_dev_pss_mb"}
_ROW = re.compile(r"^\s*(Native Heap|Other dev|Gfx dev)\s+([0-9]{1,12})(?:\s|$)")
_SOURCE = "dumpsys meminfo"


def parse_dumpsys_meminfo(data: bytes) -> dict[str, Reading]:
    """Read `dumpsys meminfo PID`, headers "(kB)" and "(in Kilobytes)" alike.

    Returns: pid (of the process described), pss_mb, rss_mb (Android 11 and later), swap_pss_mb, native_heap_pss_mb,
    gfx_dev_pss_mb, other_dev_pss_mb (GPU memory on many phones). Totals come from the App Summary, where they
    are named; the columns of the table differ between versions.
    """
    readings: dict[str, Reading] = {}
    for line in lines(data):
        process = _PROCESS.match(line)
        if process is not None:
            readings.setdefault("pid", Measured(float(process.group(1)), "", _SOURCE, 1))
        row = _ROW.match(line)
        if row is not None:
            readings.setdefault(_ROW_NAMES[row.group(1)], kib_reading(row.group(2), _SOURCE, f"{row.group(1)} Pss"))
        for key, value in _SUMMARY.findall(line):
            # "SWAP (KB)" of old versions is swapped memory without sharing, not SwapPss.
            if key in _SUMMARY_NAMES:
                readings.setdefault(_SUMMARY_NAMES[key], kib_reading(value, _SOURCE, key))
    names = ("pid", *dict.fromkeys(_SUMMARY_NAMES.values()), *_ROW_NAMES.values())
    return {name: readings.get(name, missing(_SOURCE, name.removesuffix("_mb"))) for name in names}


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


def _covers(mount: str, path: str) -> bool:
    """Whether `mount` is `path`, contains it, or is the user's view of it."""
    inside = path == mount or path.startswith(mount.rstrip("/") + "/")
    return inside or mount.startswith(path.rstrip("/") + "/user/")

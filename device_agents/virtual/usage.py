"""CPU time and memory of a phone's own processes, read through a descriptor of its /proc."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """Args: busy_s: CPU seconds of all processes since boot, ended ones included; anon_kb, file_kb: resident memory;
    per_process: pid (as the phone sees it) → CPU seconds."""

    busy_s: float
    anon_kb: int
    file_kb: int
    per_process: dict[int, float]


def read(proc: int, memory_of: Usage | None = None) -> Usage:
    """Sum over the processes below the directory descriptor `proc`, the phone's init not counted as load.

    A child's time moves to its parent when it is reaped, so the sum over own and children's times loses nothing. Every
    process is read each time: CPU time that showed late would make the power of that moment too high.

    Args:
        memory_of: take the memory from here, which is half of the reading.
    """
    ticks, anon, file = 0, 0, 0
    per_process: dict[int, float] = {}
    for name in os.listdir(proc):
        if not name.isdecimal():
            continue
        fields = _read(proc, f"{name}/stat").rpartition(b")")[2].split()
        if len(fields) < 22:
            continue
        own = int(fields[11]) + int(fields[12])
        reaped = int(fields[13]) + int(fields[14])
        pid = int(name)
        if pid == 1:
            ticks += reaped
            continue
        ticks += own + reaped
        per_process[pid] = own / _TICKS
        if memory_of is not None:
            continue
        pages = _read(proc, f"{name}/statm").split()
        if len(pages) > 2:
            shared = int(pages[2])
            anon += int(pages[1]) - shared
            file += shared
    if memory_of is not None:
        return Usage(ticks / _TICKS, memory_of.anon_kb, memory_of.file_kb, per_process)
    return Usage(ticks / _TICKS, anon * _PAGE_KB, file * _PAGE_KB, per_process)


def threads(proc: int, pid: int) -> dict[int, float]:
    """CPU seconds of each thread of a process; empty when it is gone."""
    used: dict[int, float] = {}
    try:
        folder = os.open(f"{pid}/task", os.O_RDONLY | os.O_DIRECTORY, dir_fd=proc)
    except OSError:
        return used
    try:
        for name in os.listdir(folder):  # noqa: PTH208 - a descriptor has no path
            # Nanoseconds; the ticks of `stat` are too coarse for a fifth of a second.
            exact = _read(folder, f"{name}/schedstat").split()
            if exact:
                used[int(name)] = int(exact[0]) / 1e9
                continue
            fields = _read(folder, f"{name}/stat").rpartition(b")")[2].split()
            if len(fields) > 12:
                used[int(name)] = (int(fields[11]) + int(fields[12])) / _TICKS
    except OSError:
        pass
    finally:
        os.close(folder)
    return used


def parent(proc: int, pid: int) -> int:
    """Pid of the parent as the phone sees it; 0 when there is none."""
    fields = _read(proc, f"{pid}/stat").rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def describe(proc: int, pid: int) -> tuple[str, int] | None:
    """Name (its first argument) and resident memory in kB of a process; None when it is gone."""
    pages = _read(proc, f"{pid}/statm").split()
    if len(pages) < 2:
        return None
    return _read(proc, f"{pid}/cmdline").split(b"\0")[0].decode("utf-8", "replace"), int(pages[1]) * _PAGE_KB


def read_text(path: Path) -> str:
    """A small file; empty when it is gone."""
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return file.read(1024)
    except OSError:
        return ""


def _read(folder: int, name: str) -> bytes:
    with contextlib.suppress(OSError):
        descriptor = os.open(name, os.O_RDONLY, dir_fd=folder)
        try:
            return os.read(descriptor, 1024)
        finally:
            os.close(descriptor)
    return b""

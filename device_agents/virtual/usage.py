"""CPU time and memory of a phone's own processes, read through a descriptor of its /proc."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

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


def read(proc: int) -> Usage:
    """Sum over the processes below the directory descriptor `proc`, the phone's init not counted as load.

    A child's time moves to its parent when it is reaped, so the sum over own and children's times loses nothing.
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
        pages = _read(proc, f"{name}/statm").split()
        if len(pages) > 2:
            shared = int(pages[2])
            anon += int(pages[1]) - shared
            file += shared
    return Usage(ticks / _TICKS, anon * _PAGE_KB, file * _PAGE_KB, per_process)


def _read(folder: int, name: str) -> bytes:
    with contextlib.suppress(OSError):
        descriptor = os.open(name, os.O_RDONLY, dir_fd=folder)
        try:
            return os.read(descriptor, 1024)
        finally:
            os.close(descriptor)
    return b""

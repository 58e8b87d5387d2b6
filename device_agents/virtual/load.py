"""Who is busy on a phone, on which of its cores, and how much slower that makes it there than on this machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from device_agents.virtual import usage

HEAVY_SHARE = 0.15
"""A process that uses more than this share of one CPU is held to the phone's speed."""

_BUSY_OF_BUSIEST = 0.3
"""A thread counts as busy with this share of the busiest one's CPU time."""

_IDLE_SHARE = 0.05
"""One that uses less than this share of a CPU is busy no longer."""

_WINDOW_TICKS = 5


def slowest_core(masks: Sequence[frozenset[int] | None], capacities: Sequence[int]) -> float:
    """Speed of a program whose busy threads wait for each other, as those of a language model do: that of the slowest
    core that one of them runs on, as a share of the fastest core's.

    Args:
        masks: cores that each busy thread may use (None: all).
        capacities: of the phone's cores.
    """
    free = set(range(len(capacities)))
    slowest = fastest = max(capacities)
    every = frozenset(free)
    for mask in sorted((every if mask is None else mask & every for mask in masks), key=len):
        # The system puts a busy thread on the fastest core that is free; without one it shares a core, which takes no
        # core away and is slower by itself.
        usable = mask & free or mask
        if not usable:
            continue
        core = max(usable, key=lambda number: capacities[number])
        free.discard(core)
        slowest = min(slowest, capacities[core])
    return slowest / fastest


@dataclass(slots=True)
class _Process:
    """Args: threads: CPU seconds per thread at the last ticks; speed: as of the last tick in which one was busy."""

    threads: deque[Mapping[int, float]]
    speed: float = 1.0


class Throttle:
    """Finds the busy processes and the share of the time that each may run."""

    def __init__(self, capacities: tuple[int, ...], affinity: Path) -> None:
        """`affinity`: folder in which the phone's processes note the cores they asked for."""
        self._capacities = capacities
        self._affinity = affinity
        self._processes: dict[int, _Process] = {}

    def forget(self) -> None:
        self._processes.clear()

    def withheld(self, before: usage.Usage, now: usage.Usage) -> float:
        """CPU seconds that the busy processes would have taken between two readings, had their cores been fast ones."""
        return sum(
            (now.per_process.get(pid, 0.0) - before.per_process.get(pid, 0.0)) * (1.0 / process.speed - 1.0)
            for pid, process in self._processes.items()
            if pid in now.per_process
        )

    def shares(
        self, proc: int, before: usage.Usage, now: usage.Usage, *, seconds: float, cap: float, exempt: frozenset[int]
    ) -> dict[int, float]:
        """pid → share of the time it may run, of those that must run slower.

        Args:
            proc: descriptor of the phone's /proc; exempt: pids that are never slowed down.
            before, now: usage at the last tick and at this one, `seconds` apart; cap: frequency cap as a share.
        """
        masks = _Masks(proc, self._affinity)
        kept: dict[int, _Process] = {}
        for pid, used in now.per_process.items():
            if pid in exempt:
                continue
            known = self._processes.get(pid)
            slowed = min(1.0, cap * (known.speed if known else 1.0))
            if known is None and used - before.per_process.get(pid, used) <= HEAVY_SHARE * slowed * seconds:
                continue
            kept[pid] = known or _Process(deque(maxlen=_WINDOW_TICKS))
            if self._look_at(proc, pid, kept[pid], masks) < _IDLE_SHARE * slowed * seconds * (_WINDOW_TICKS - 1):
                del kept[pid]
        self._processes = kept
        shares = {pid: cap * process.speed for pid, process in kept.items()}
        return {pid: share for pid, share in shares.items() if share < 1.0}

    def _look_at(self, proc: int, pid: int, process: _Process, masks: _Masks) -> float:
        """Note which threads are busy and where; returns CPU seconds over the window, infinity while it is filling."""
        seen = process.threads
        seen.append(usage.threads(proc, pid))
        # At first sight what counts is all that its threads have used so far.
        first = seen[0] if len(seen) > 1 else {}
        used = {tid: seconds - first.get(tid, 0.0) for tid, seconds in seen[-1].items()}
        most = max(used.values(), default=0.0)
        busy = [tid for tid, seconds in used.items() if most > 0 and seconds >= _BUSY_OF_BUSIEST * most]
        if busy:
            process.speed = slowest_core([masks.of(pid, tid) for tid in busy], self._capacities)
        return sum(used.values()) if len(seen) == _WINDOW_TICKS else float("inf")


class _Masks:
    """Cores that threads asked for, as the library that is preloaded in the phone notes them: one file per thread that
    asked; whoever did not ask has what its process, or that process's parent, has."""

    def __init__(self, proc: int, folder: Path) -> None:
        self._proc = proc
        self._asked: dict[int, frozenset[int]] = {}
        for noted in folder.iterdir():
            cores = cores_of(usage.read_text(noted)) if noted.name.isdecimal() else None
            if cores:
                self._asked[int(noted.name)] = cores

    def of(self, pid: int, tid: int) -> frozenset[int] | None:
        if not self._asked:
            return None
        if tid in self._asked:
            return self._asked[tid]
        for _ in range(32):
            if pid in self._asked:
                return self._asked[pid]
            pid = usage.parent(self._proc, pid)
            if pid <= 1:
                break
        return None


def cores_of(text: str) -> frozenset[int]:
    """Core numbers of a hexadecimal mask; none for anything else."""
    try:
        mask = int(text.strip() or "0", 16)
    except ValueError:
        return frozenset()
    return frozenset(number for number in range(mask.bit_length()) if mask >> number & 1)

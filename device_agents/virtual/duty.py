"""Makes processes slower by an exact share: held still and let go in turn. Imported by a phone's init, so it needs the
standard library only."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass

PERIOD_S = 0.02
_SOON_S = 1e-6
_DEBT_LIMIT = 4.0
"""Phases of debt that are paid back; what a long pause of the machine took is forgotten."""


@dataclass(slots=True)
class _Turn:
    """Args: run: share of the time that the process may run; debt: seconds it ran beyond that, so far."""

    run: float
    since: float
    stopped: bool = False
    debt: float = 0.0

    @property
    def swing(self) -> float:
        return self.run * (1.0 - self.run) * PERIOD_S / 2.0

    def settle(self, now: float) -> None:
        passed = max(0.0, now - self.since)
        self.debt += passed * ((0.0 if self.stopped else 1.0) - self.run)
        limit = _DEBT_LIMIT * PERIOD_S
        self.debt = min(max(self.debt, -limit), limit)
        self.since = now

    def left(self) -> float:
        """Seconds until the next change, as of the last `settle`."""
        if self.stopped:
            return (self.debt + self.swing) / self.run
        return (self.swing - self.debt) / (1.0 - self.run)


class DutyCycle:
    """Holds each process to its share of the time.

    What counts is how long a process really ran, not how long it was meant to: a signal that comes late is made up for
    in the next turn, so that the share is exact on a busy machine too.
    """

    def __init__(self, kill: Callable[[int, int], None] = os.kill) -> None:
        self._kill = kill
        self._turns: dict[int, _Turn] = {}
        self._paused = False

    def set(self, shares: Mapping[int, float], now: float) -> None:
        """Hold these processes (pid → share above 0, below 1) and no others."""
        for pid in [pid for pid in self._turns if pid not in shares]:
            if self._turns.pop(pid).stopped and not self._paused:
                self._send(pid, signal.SIGCONT)
        for pid, run in shares.items():
            turn = self._turns.get(pid)
            if turn is None:
                self._turns[pid] = _Turn(run, now)
            else:
                turn.settle(now)
                turn.run = run

    def step(self, now: float) -> float:
        """Stop and continue what is due; returns seconds until the next change."""
        wait = float("inf")
        if self._paused:
            return wait
        for pid, turn in list(self._turns.items()):
            turn.settle(now)
            if turn.left() <= _SOON_S:
                turn.stopped = not turn.stopped
                if not self._send(pid, signal.SIGSTOP if turn.stopped else signal.SIGCONT):
                    del self._turns[pid]
                    continue
            wait = min(wait, max(0.0, turn.left()))
        return wait

    def pause(self, now: float) -> None:
        """The phone sleeps: nobody runs, and nobody is to be woken."""
        self._paused = True
        for turn in self._turns.values():
            turn.settle(now)

    def resume(self, now: float) -> None:
        """The phone woke up, and every process with it."""
        self._paused = False
        for turn in self._turns.values():
            turn.since, turn.stopped = now, False

    def _send(self, pid: int, signum: signal.Signals) -> bool:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            self._kill(pid, signum)
            return True
        return False

"""Connections that lead to a phone, so that a pulled cable or a fault can cut them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

_MADE_UP_S = 0.05
_LEAST_S = 0.005


class Links:
    """Every open connection of a phone, each of a kind: "lockdown", "afc", "dvt", "rsd" and so on.

    May be used from any thread; what cuts a connection must be callable from any thread too.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._open: dict[int, tuple[str, Callable[[], None]]] = {}

    def add(self, kind: str, cut: Callable[[], None]) -> Callable[[], None]:
        """Remember a connection; returns what forgets it again, to be called when it has ended by itself."""
        with self._lock:
            number = next(self._numbers)
            self._open[number] = (kind, cut)

        def forget() -> None:
            with self._lock:
                self._open.pop(number, None)

        return forget

    def cut(self, *kinds: str) -> int:
        """Cut the connections of these kinds, of all kinds when none is named; returns how many there were."""
        with self._lock:
            chosen = [number for number, (kind, _) in self._open.items() if not kinds or kind in kinds]
            cuts = [self._open.pop(number)[1] for number in chosen]
        for cut in cuts:
            cut()
        return len(cuts)

    def count(self, kind: str) -> int:
        with self._lock:
            return sum(1 for known, _ in self._open.values() if known == kind)


class Fuse:
    """Lets a number of pushed bytes pass, and then something happen: a cable that is pulled in the middle of a push.

    May be used from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: int | None = None
        self._blow: Callable[[], None] = lambda: None

    def arm(self, count: int | None, blow: Callable[[], None]) -> None:
        """Call `blow`, from the thread that pushes, once `count` more bytes have passed (None: never)."""
        with self._lock:
            self._left, self._blow = count, blow

    def spend(self, count: int) -> tuple[int, bool]:
        """How many of `count` bytes may pass, and whether the fuse has just blown."""
        with self._lock:
            if self._left is None:
                return count, False
            passed = min(count, self._left)
            self._left -= passed
            if self._left:
                return passed, False
            self._left = None
        self._blow()
        return passed, True


class Cable:
    """How fast files reach the phone: all its connections for files together take no more than a rate.

    May be used from any thread; it holds back the one that has received.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes_per_s: float | None = None
        self._free_at = 0.0

    def hold(self, bytes_per_s: float | None) -> None:
        """Hold the cable to a rate; None: as fast as it goes."""
        with self._lock:
            self._bytes_per_s, self._free_at = bytes_per_s, 0.0

    def take(self, count: int) -> None:
        """Return when a cable of that rate would have brought `count` more bytes."""
        with self._lock:
            if self._bytes_per_s is None:
                return
            now = time.monotonic()
            # Who was held back for too long, on a busy machine, makes up for it; who sent nothing does not.
            self._free_at = max(self._free_at, now - _MADE_UP_S) + count / self._bytes_per_s
            wait_s = self._free_at - now
        if wait_s > _LEAST_S:
            time.sleep(wait_s)

"""Connections that lead to a phone, so that a pulled cable or a fault can cut them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable


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

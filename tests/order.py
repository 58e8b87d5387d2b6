"""The order in which the workers of pytest-xdist take the tests: a long test that begins last is waited for alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def long_first(items: Sequence[T], is_long: Callable[[T], bool], workers: int) -> list[T]:
    """`items` so that half of the workers begin with the long ones, in turn, and all else keeps its place.

    Long tests mostly wait for a phone; the other half of the workers uses the processors meanwhile. Worksteal hands
    each worker an even share of the list in one piece, and takes from the end of a share what another worker is free
    for.

    Args: workers: how many there are; with one, the order is as it was.
    """
    if workers < 2:
        return list(items)
    holders = workers // 2
    long = [item for item in items if is_long(item)]
    rest = iter([item for item in items if not is_long(item)])
    found: list[T] = []
    for own, size in _shares(len(items), workers, long, holders):
        found += own
        found += islice(rest, max(0, size - len(own)))
    return [*found, *rest]


def _shares(count: int, workers: int, long: Sequence[T], holders: int) -> Iterator[tuple[Sequence[T], int]]:
    """What each worker begins with, and how many it gets (`WorkStealingScheduling.check_schedule` of pytest-xdist)."""
    for worker in range(workers):
        size = count // (workers - worker)
        count -= size
        yield (long[worker::holders] if worker < holders else ()), size

"""Long tests begin first, and none is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.order import long_first


def test_half_of_the_workers_begin_with_the_long_ones() -> None:
    items = [*range(20), 107, 103, 101, 105]
    first, second, third, fourth = (long_first(items, lambda item: item > 100, 4)[at : at + 6] for at in (0, 6, 12, 18))
    assert first == [107, 101, 0, 1, 2, 3]
    assert second == [103, 105, 4, 5, 6, 7]
    assert (third, fourth) == ([*range(8, 14)], [*range(14, 20)])


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 9))
def test_every_test_is_run_once(marks: list[bool], workers: int) -> None:
    items = list(enumerate(marks))
    ordered = long_first(items, lambda item: item[1], workers)
    assert sorted(ordered) == items
    assert workers > 1 or ordered == items

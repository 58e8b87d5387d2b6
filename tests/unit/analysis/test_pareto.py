"""Which to pick: nobody is beaten by a gap, somebody is always picked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.pareto import Candidate, Lead, Standing, standings

METRICS = ("ms_per_token", "peak_memory_mb", "model_mb", "energy_per_token_j")


def one(name: str, **values: float) -> Candidate:
    return Candidate(name, {metric: {"phone": value} for metric, value in values.items()})


def picks(*candidates: Candidate) -> dict[str, bool]:
    return {standing.name: standing.picked for standing in standings(candidates, METRICS)}


def named(found: tuple[Standing, ...], name: str) -> Standing:
    return next(standing for standing in found if standing.name == name)


def test_who_is_worse_in_everything_is_beaten_and_by_whom() -> None:
    found = standings(
        [
            one("fast", ms_per_token=10, peak_memory_mb=400),
            one("small", ms_per_token=30, peak_memory_mb=100),
            one("poor", ms_per_token=31, peak_memory_mb=410),
        ],
        METRICS,
    )
    assert [standing.picked for standing in found] == [True, True, False]
    assert [standing.best for standing in found] == [("ms_per_token",), ("peak_memory_mb",), ()]
    assert named(found, "poor").beaten_by == ("fast", "small")


def test_a_compromise_says_what_it_has_before_each_of_the_others() -> None:
    found = standings(
        [
            one("fast", ms_per_token=10, peak_memory_mb=400),
            one("small", ms_per_token=40, peak_memory_mb=100),
            one("middle", ms_per_token=20, peak_memory_mb=200),
        ],
        METRICS,
    )
    middle = named(found, "middle")
    assert (middle.picked, middle.best) == (True, ())
    assert middle.leads == (Lead("fast", "peak_memory_mb", 0.5), Lead("small", "ms_per_token", 0.5))


def test_what_was_not_measured_is_neither_better_nor_worse() -> None:
    assert picks(one("a", ms_per_token=10), one("b", ms_per_token=20, energy_per_token_j=0.1)) == {
        "a": True,
        "b": False,
    }
    assert picks(one("a", ms_per_token=10), one("b", peak_memory_mb=100)) == {"a": True, "b": True}


def test_figures_of_different_phones_are_not_compared() -> None:
    a = Candidate("a", {"ms_per_token": {"old": 50.0, "new": 10.0}})
    b = Candidate("b", {"ms_per_token": {"new": 12.0}})
    c = Candidate("c", {"ms_per_token": {"other": 900.0}})
    assert picks(a, b, c) == {"a": True, "b": False, "c": True}
    assert [standing.compared for standing in standings([a, b, c], METRICS)] == [1, 1, 0]


def test_a_difference_that_does_not_matter_beats_nobody() -> None:
    assert picks(one("a", ms_per_token=10.0), one("b", ms_per_token=10.15)) == {"a": True, "b": True}
    assert picks(one("a", ms_per_token=10.1, peak_memory_mb=100), one("b", ms_per_token=10.0, peak_memory_mb=200)) == {
        "a": True,
        "b": False,
    }


def test_more_is_better_where_it_is() -> None:
    found = standings([one("a", decode_tps=10), one("b", decode_tps=20)], ("decode_tps",))
    assert [standing.picked for standing in found] == [False, True]


def test_a_circle_is_picked_whole() -> None:
    a = one("a", ms_per_token=1, energy_per_token_j=2)
    b = one("b", ms_per_token=2, peak_memory_mb=1)
    c = one("c", peak_memory_mb=2, energy_per_token_j=1)
    assert picks(a, b, c) == {"a": True, "b": True, "c": True}


values = st.dictionaries(st.sampled_from(METRICS), st.floats(0.1, 1e6), max_size=4)


@given(st.lists(values, min_size=1, max_size=7))
def test_there_is_always_a_pick_and_the_order_does_not_matter(rows: list[dict[str, float]]) -> None:
    candidates = [one(str(number), **row) for number, row in enumerate(rows)]
    found = picks(*candidates)
    assert any(found.values())
    assert picks(*reversed(candidates)) == found
    for standing in standings(candidates, METRICS):
        assert standing.picked or standing.beaten_by


def test_zero_has_no_ratio_and_one_alone_is_picked() -> None:
    assert picks(one("a", ms_per_token=0.0), one("b", ms_per_token=5.0)) == {"a": True, "b": True}
    (only,) = standings([one("a", ms_per_token=5.0)], METRICS)
    assert (only.picked, only.best, only.compared) == (True, (), 0)
    assert standings([], METRICS) == ()

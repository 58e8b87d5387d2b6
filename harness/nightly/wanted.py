"""Which pairs of builds the judged series of a lab ask for, the most wanted first. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.model import Change, ChangeState, PairSet, SeriesId
from harness.nightly.pair_plan import PairWish, missing_pairs


@dataclass(frozen=True, slots=True)
class PairsWanted:
    """Pairs that decide one suspicion, or several of the same builds: one pair measures every metric.

    Args:
        wish: of all of them, their phones put together. lacking: identity → how many pairs are missing, where any are.
        series: keys of the suspicions.
    """

    wish: PairWish
    lacking: Mapping[str, int]
    series: tuple[str, ...]


def pairs_wanted(
    changes: Iterable[Change], pairs: Mapping[SeriesId, Sequence[PairSet]], wanted: int
) -> tuple[PairsWanted, ...]:
    """What open suspicions wait for: the worse before the better, then the larger change first.

    Args:
        pairs: that were run for each series. wanted: per phone.
    """
    groups: dict[PairWish, list[Change]] = {}
    for change in sorted((one for one in changes if one.wants_pairs), key=_weight):
        groups.setdefault(replace(PairWish.of(change), phones=()), []).append(change)
    return tuple(_together(wish, members, pairs, wanted) for wish, members in groups.items())


def _together(
    wish: PairWish, members: Sequence[Change], pairs: Mapping[SeriesId, Sequence[PairSet]], wanted: int
) -> PairsWanted:
    lacking: dict[str, int] = {}
    for change in members:
        done = [
            one
            for one in pairs.get(change.series, ())
            if one.night >= change.suspected and (one.good, one.bad) == (wish.good, wish.bad)
        ]
        for phone, count in missing_pairs(change.phones, done, wanted).items():
            lacking[phone] = max(count, lacking.get(phone, 0))
    phones = tuple(dict.fromkeys(phone for change in members for phone in change.phones))
    return PairsWanted(replace(wish, phones=phones), lacking, tuple(change.series.key for change in members))


def searches_wanted(changes: Iterable[Change]) -> tuple[tuple[Change, ...], ...]:
    """Confirmed regressions by what is searched, the clearest of each first: one search tells the first bad build of
    all series of a tier that the same two builds differ in."""
    groups: dict[tuple[str, str, str, str], list[Change]] = {}
    confirmed = [one for one in changes if one.state is ChangeState.REGRESSION]
    for change in sorted(confirmed, key=_clarity):
        if change.good_build and change.pair_build and change.good_build != change.pair_build:
            name = (change.series.tier, change.series.runner, change.good_build, change.pair_build)
            groups.setdefault(name, []).append(change)
    return tuple(tuple(members) for members in groups.values())


def _weight(change: Change) -> tuple[bool, float, str]:
    delta = change.step.delta if change.step is not None else 0.0
    return delta < 0, -abs(delta), change.series.key


def _clarity(change: Change) -> tuple[float, str]:
    """The size of a change against the width of its interval."""
    ab = change.ab
    if ab is None or ab.delta is None or ab.low is None or ab.high is None:
        return 0.0, change.series.key
    return -abs(ab.delta) / max(ab.high - ab.low, 1e-9), change.series.key

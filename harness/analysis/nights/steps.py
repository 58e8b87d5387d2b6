"""When the level of a series changed, and by how much.

One change point in the offsets of the nights: the two levels are medians, the night is the one with the least sum of
absolute deviations from them, which a throttled night does not move. The intervals are those of 200 series made by
drawing the deviations again (bootstrap; the seed is fixed, so the same nights say the same).

Sources. Bai, "Estimation of a change point in multiple regression models", Review of Economics and Statistics 79
(1997); Hušková and Kirch, "Bootstrapping confidence intervals for the change-point of time series", J. Time Series
Analysis 29 (2008).
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.analysis.nights.epochs import Floats

DRAWS = 200
SEED = 20260214
FEW = 10
"""Nights of a side below which its deviations are not drawn from."""


@dataclass(frozen=True, slots=True)
class Split:
    """Args: at: index of the first value of the new level. earliest, latest: its 95 % interval. delta: new less old
    level. low, high: its interval."""

    at: int
    earliest: int
    latest: int
    delta: float
    low: float
    high: float


def split(offsets: Floats, first: int = 1) -> Split:
    """Where `offsets` change their level.

    Args:
        offsets: two or more, without NaN.
        first: earliest place that is thought of, 1 at least.
    """
    at, delta = locate(offsets, first)
    drawn_at, drawn_delta = _splits(_drawn(offsets, at), _first(offsets, first))
    early, late = np.quantile(drawn_at, (0.025, 0.975), method="closest_observation")
    low, high = np.quantile(drawn_delta, (0.025, 0.975))
    return Split(at, min(int(early), at), max(int(late), at), delta, min(float(low), delta), max(float(high), delta))


def height(offsets: Floats, at: int) -> tuple[float, float, float]:
    """`delta`, `low` and `high` of a step whose place is known.

    Args: offsets: without NaN. at: index of the first value of the new level, with one or more on both sides.
    """
    rows = _drawn(offsets, at)
    drawn = np.median(rows[:, at:], axis=1) - np.median(rows[:, :at], axis=1)
    delta = float(np.median(offsets[at:]) - np.median(offsets[:at]))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return delta, min(float(low), delta), max(float(high), delta)


def locate(offsets: Floats, first: int = 1) -> tuple[int, float]:
    """`at` and `delta` of `split`, without the intervals, which take a hundred times as long."""
    places = range(_first(offsets, first), len(offsets))
    before, after = _running_medians(offsets), _running_medians(offsets[::-1])[::-1]
    cost = [
        float(np.abs(offsets[:at] - before[at - 1]).sum() + np.abs(offsets[at:] - after[at]).sum()) for at in places
    ]
    at = places[int(np.argmin(cost))]
    return at, after[at] - before[at - 1]


def _first(offsets: Floats, first: int) -> int:
    """Such that both sides have a value."""
    return min(max(1, first), len(offsets) - 1)


def _running_medians(values: Floats) -> list[float]:
    """Of the first value, of the first two, and so on."""
    ordered: list[float] = []
    medians: list[float] = []
    for count, value in enumerate(values.tolist(), start=1):
        insort(ordered, value)
        medians.append((ordered[(count - 1) // 2] + ordered[count // 2]) / 2)
    return medians


def _drawn(offsets: Floats, at: int) -> Floats:
    """Series with the same step, and deviations drawn anew: from both sides together, since the new level often has
    three nights only, and a side of so few is too near to its own median to tell how nights scatter."""
    source = np.random.default_rng(SEED)
    sides = offsets[:at], offsets[at:]
    deviations = np.concatenate([side - np.median(side) for side in sides if len(side) >= FEW] or list(sides))
    levels = np.repeat([np.median(side) for side in sides], [len(side) for side in sides])
    return np.asarray(levels + source.choice(deviations, (DRAWS, len(offsets))), dtype=np.float64)


def _splits(rows: Floats, first: int) -> tuple[NDArray[np.int64], Floats]:
    """Of each row, place and height of the change that leaves the least sum of absolute deviations."""
    places = np.arange(first, rows.shape[1])
    cost = np.empty((len(places), len(rows)))
    height = np.empty_like(cost)
    for number, at in enumerate(places):
        before, after = rows[:, :at], rows[:, at:]
        low, high = np.median(before, axis=1), np.median(after, axis=1)
        cost[number] = np.abs(before - low[:, None]).sum(axis=1) + np.abs(after - high[:, None]).sum(axis=1)
        height[number] = high - low
    best = cost.argmin(axis=0)
    return places[best], height[best, np.arange(len(rows))]

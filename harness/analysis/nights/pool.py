"""What the phones of a tier say together of one night, in standard deviations of that.

Each phone has a baseline of its nights of the same epoch: from the median and the median absolute deviation one step of
Huber's estimate (nights cut at ±1.5 scales; their mean and root mean square), which bears a throttled night as the two
do and takes fewer nights to know as much. Tonight's distance from it is cut at ±3 of its scales, and the phones are
averaged with the weights 1 / scale². A phone that is missing is not in the sum. Scales of few nights are uncertain, and
one that came out small by luck would take all the weight: none is below half of the median over the phones, nor below
0.5 %, which also keeps changes that nobody cares about silent. The average in units of its own standard deviation, cut
at ±3, is the night's score: one night, however bad, adds at most 3. Phones in one room are not independent; the scores
of the nights of the baseline tell (`spread`), and where they scatter by more than independence allows, the score is
divided by that.

Sources. Huber, "Robust statistics", Wiley (1981); Hampel, Ronchetti, Rousseeuw, Stahel, "Robust statistics", Wiley
(1986), on median, MAD and cutting.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.analysis.nights.epochs import Floats, Ints, Panel

LEAST_NIGHTS = 14
"""A phone is judged from its 14th night on: with a shorter baseline false alarms double."""
WINDOW = 60
"""Nights of a baseline at most, the newest: what creeps slower than that is no step."""
FLOOR = 0.005
"""Smallest scale, logarithm, of a phone and of the average: a change below half a per cent is none."""
CUT = 3.0
"""Scales at which a phone's distance and a night's score are cut."""
MAD_TO_SIGMA = 1.4826
HUBER = 1.5
"""Scales at which a night of the baseline is cut."""
HUBER_SQUARE = 0.7784
"""Mean square of a standard normal value cut there."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Of each phone. Args: middle, scale: NaN where the phone has too few nights. epoch: that it is of. spread: of the
    scores of its own nights, 1 at least."""

    middle: Floats
    scale: Floats
    epoch: Ints
    spread: float

    @property
    def known(self) -> NDArray[np.bool_]:
        """The phones that have one."""
        return ~np.isnan(self.middle)


@dataclass(frozen=True, slots=True)
class NightScore:
    """One night.

    Args:
        score: of all phones, in standard deviations, cut. without: the same with each phone left out (the score itself
            for one that is not there); NaN for a phone that is alone.
        own: of each phone alone, in its scales, cut; NaN where it has none.
    """

    score: float
    without: Floats
    own: Floats


def baseline(table: Panel, columns: Ints, epoch: Ints) -> Baseline:
    """Of the nights `columns`, for phones that are in the given epochs now; the newest WINDOW of them."""
    chosen = columns[-WINDOW:]
    same = table.epoch[:, chosen] == epoch[:, None]
    level = np.where(same, table.level[:, chosen], np.nan)
    count = np.count_nonzero(~np.isnan(level), axis=1)
    enough = count >= LEAST_NIGHTS - 1
    middle = np.where(enough, row_medians(level, count), np.nan)
    reach = HUBER * MAD_TO_SIGMA * row_medians(np.abs(level - middle[:, None]), count)[:, None]
    middle = middle + _row_means(np.clip(level - middle[:, None], -reach, reach), count)
    squares = np.clip(level - middle[:, None], -reach, reach) ** 2
    scale = np.sqrt(_row_means(squares, count - 1) / HUBER_SQUARE)
    if enough.any():
        scale = np.maximum(scale, max(FLOOR, float(np.median(scale[enough])) / 2))
    found = Baseline(middle, scale, epoch, 1.0)
    return Baseline(middle, scale, epoch, _spread(level, found))


def night_score(levels: Floats, epochs: Ints, known: Baseline) -> NightScore | None:
    """Of one night; None when no phone of it has a baseline in its epoch.

    Args:
        levels, epochs: the night's column of the table.
    """
    usable, weight, distance = _weighted(levels, epochs, known)
    if not usable.any():
        return None
    cut = np.clip(distance, -CUT * known.scale, CUT * known.scale, where=usable, out=np.zeros_like(distance))
    total, weighted = float(weight.sum()), float((weight * cut).sum())
    rest = total - weight
    with np.errstate(invalid="ignore", divide="ignore"):
        without = _score((weighted - weight * cut) / rest, rest, known.spread)
    alone = usable & (np.count_nonzero(usable) == 1)
    return NightScore(
        float(_score(np.array(weighted / total), np.array(total), known.spread)),
        np.where(alone, np.nan, without),
        np.where(usable, cut / known.scale, np.nan),
    )


def night_offset(levels: Floats, epochs: Ints, known: Baseline) -> float | None:
    """Distance of one night from the baseline (logarithm), what a step is dated on; None as in `night_score`.

    The weighted mean over the phones, each cut at ±3 of its scales from the night's weighted median, so that a wild
    phone is cut and a large step is not.
    """
    usable, weight, distance = _weighted(levels, epochs, known)
    if not usable.any():
        return None
    order = np.argsort(distance)
    share, half = np.cumsum(weight[order]), weight.sum() / 2
    ends = [int(np.searchsorted(share, half, side="left")), int(np.searchsorted(share, half, side="right"))]
    middle = sum(float(distance[order][min(end, len(order) - 1)]) for end in ends) / 2
    reach = CUT * np.where(usable, known.scale, 0.0)
    cut = middle + np.clip(distance - middle, -reach, reach)
    return float((weight * cut).sum() / weight.sum())


def _weighted(levels: Floats, epochs: Ints, known: Baseline) -> tuple[NDArray[np.bool_], Floats, Floats]:
    """Which phones of a night can be judged, their weights, and their distances from the baseline; 0 for the others."""
    usable = ~np.isnan(levels) & known.known & (epochs == known.epoch)
    weight = np.where(usable, 1 / np.where(usable, known.scale, 1.0) ** 2, 0.0)
    return usable, weight, np.where(usable, levels - known.middle, 0.0)


def row_medians(values: Floats, count: Ints) -> Floats:
    """Median of each row without its NaN, of which `count` are numbers; NaN for an empty row."""
    if not values.shape[1]:
        return np.full(len(values), np.nan)
    ordered = np.sort(values, axis=1)
    rows = np.arange(len(values))
    upper = ordered[rows, np.minimum(count // 2, values.shape[1] - 1)]
    lower = ordered[rows, np.maximum((count - 1) // 2, 0)]
    return np.where(count > 0, (lower + upper) / 2, np.nan)


def _row_means(values: Floats, count: Ints) -> Floats:
    """Sum of each row without its NaN over `count`; NaN where nothing was counted."""
    total = np.where(np.isnan(values), 0.0, values).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _score(offset: Floats, total: Floats, spread: float) -> Floats:
    """An offset in its standard deviations, cut."""
    return np.clip(offset / (np.maximum(np.sqrt(1 / total), FLOOR) * spread), -CUT, CUT)


def _spread(level: Floats, known: Baseline) -> float:
    """How much more the scores of the baseline's nights scatter than those of independent phones would."""
    usable = ~np.isnan(level) & known.known[:, None]
    weight = np.where(usable, 1 / np.where(known.known, known.scale, 1.0)[:, None] ** 2, 0.0)
    reach = CUT * np.where(known.known, known.scale, 0.0)[:, None]
    distance = np.where(usable, np.clip(level - known.middle[:, None], -reach, reach), 0.0)
    total = weight.sum(axis=0)
    nights = total > 0
    if np.count_nonzero(nights) < LEAST_NIGHTS - 1:
        return 1.0
    scores = (weight * distance).sum(axis=0)[nights] / np.sqrt(total[nights])
    return max(1.0, MAD_TO_SIGMA * float(np.median(np.abs(scores - np.median(scores)))))

"""Where the centre of a few repetitions lies, and how well that is known.

Problem. A case is repeated 2 to 15 times; each repetition gives one positive number (a rate, a time, a size). Its
typical value is wanted with an interval that holds the true centre in 95 of 100 cases. A rate and its reciprocal,
time per token, must lead to the same decision.

Method. The value shown is the median, which one disturbed repetition does not move. The interval is Student's t
interval of the mean of the logarithms, carried back: it is exact for log-normal noise at any n ≥ 2, behaves alike for
a rate and its reciprocal, and for the small spread of good runs (under 5 %) equals the usual one. A disturbed
repetition widens it, so it leads to "not known" rather than to a wrong decision. Order statistics need n ≥ 6 for a 95
% interval of the median, and the percentile bootstrap of the median held the centre in 75 % of simulated cases at n =
3 and 88 % at n = 7 (this method: 95 % and 96 %). Where the median lies outside (strongly skewed repetitions), the
interval is widened to hold it. Repetitions of one run share a phone, a build and a night; the interval says nothing
of other nights.

Cost. One pass; scipy is imported at the first call.

Sources. Student, "The probable error of a mean", Biometrika 6 (1908); Fleming and Wallace, "How not to lie with
statistics", CACM 29 (1986), on ratios; Kalibera and Jones, "Rigorous benchmarking in reasonable time", ISMM 2013.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.95
"""Share of intervals that hold the true centre."""


@dataclass(frozen=True, slots=True)
class Centre:
    """Args: value: the median. low, high: ends of the interval; None for one value. n: how many. cv: stddev / mean."""

    value: float
    low: float | None
    high: float | None
    n: int
    cv: float | None


def student_t(degrees: float, level: float = LEVEL) -> float:
    """Two-sided quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 + level / 2))


def coefficient_of_variation(values: Sequence[float]) -> float | None:
    """Sample standard deviation over mean; None for fewer than two values or a mean of 0."""
    if len(values) < 2:
        return None
    mean = statistics.fmean(values)
    return statistics.stdev(values) / abs(mean) if mean else None


def centre(values: Sequence[float]) -> Centre | None:
    """Median and 95 % interval of repetitions; None for no values.

    Values that are all positive are treated on the logarithmic scale, others (a status, a difference) as they are.
    """
    if not values:
        return None
    median = statistics.median(values)
    if len(values) == 1:
        return Centre(median, None, None, 1, None)
    logarithmic = all(value > 0 for value in values)
    scaled = [math.log(value) for value in values] if logarithmic else list(values)
    middle = statistics.fmean(scaled)
    half = student_t(len(values) - 1) * statistics.stdev(scaled) / math.sqrt(len(values))
    low, high = middle - half, middle + half
    if logarithmic:
        # Two repetitions that differ wildly can push the end beyond what a float holds.
        low, high = math.exp(max(low, -700)), math.exp(min(high, 700))
    return Centre(median, min(low, median), max(high, median), len(values), coefficient_of_variation(values))

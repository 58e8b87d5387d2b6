"""How much two sets of repetitions differ: ratio, interval, decision.

The ratio is that of the medians. Its 95 % interval comes from Welch's t interval of the difference of the mean
logarithms (harness.analysis.statistics says why logarithms), which allows each side its own spread and count. A
difference is claimed only when the interval excludes 1. When it holds 1 and lies within ±2 % the two are alike for all
that `farm` can tell; when it is wider the repetitions do not say, and more of them would.

Limits. The interval knows the spread inside each run, not that between runs: two nights of one build differ by more.
Each comparison errs in 1 of 20 cases, so of many some show a difference by chance.

Sources. Welch, "The generalization of Student's problem when several different population variances are involved",
Biometrika 34 (1947); Fleming and Wallace, CACM 29 (1986); Schuirmann, "A comparison of the two one-sided tests
procedure and the power approach", J. Pharmacokinetics and Biopharmaceutics 15 (1987), on equivalence.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from harness.analysis.statistics import LEVEL, student_t

ALIKE = 0.02
"""Largest difference that does not matter: the precision `repeats: auto` asks for."""


class Decision(StrEnum):
    """BETTER and WORSE are meant in the metric's own sense: for a time or a size, less is better. NO_DIFFERENCE_SHOWN:
    the whole interval lies within ±2 % of 1. INCONCLUSIVE: it holds 1 and is wider."""

    BETTER = "better"
    WORSE = "worse"
    DIFFERENT = "different"
    NO_DIFFERENCE_SHOWN = "no difference shown"
    INCONCLUSIVE = "inconclusive"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Args: decision; ratio: after / before, of the medians; interval: 95 %, of the ratio; reason: why it is not
    comparable or open, or that the difference is small, else "". ratio and interval are None where they cannot be
    computed."""

    decision: Decision
    ratio: float | None
    interval: tuple[float, float] | None
    reason: str = ""


def compare(before: Sequence[float], after: Sequence[float], better: Literal["lower", "higher", ""]) -> Comparison:
    """Compare the repetitions of one metric in two runs.

    Args:
        before, after: its values.
        better: as in its MetricSpec; "" (neither) gives DIFFERENT in place of BETTER or WORSE.
    """
    if not before or not after:
        side = "the first" if not before else "the second"
        return Comparison(Decision.NOT_COMPARABLE, None, None, f"{side} run has no measured value")
    if min(*before, *after) <= 0:
        return Comparison(Decision.NOT_COMPARABLE, None, None, "a value of 0 or less has no ratio")
    ratio = statistics.median(after) / statistics.median(before)
    if len(before) < 2 or len(after) < 2:
        reason = "each run needs two or more repetitions, one says nothing about the spread"
        return Comparison(Decision.NOT_COMPARABLE, ratio, None, reason)
    low, high = _ratio_interval(before, after)
    interval = (min(low, ratio), max(high, ratio))
    small = interval[0] >= 1 / (1 + ALIKE) and interval[1] <= 1 + ALIKE
    if interval[0] <= 1 <= interval[1]:
        if small:
            return Comparison(Decision.NO_DIFFERENCE_SHOWN, ratio, interval)
        reason = f"the interval holds 1 and is wider than ±{100 * ALIKE:.0f} %; more repetitions narrow it"
        return Comparison(Decision.INCONCLUSIVE, ratio, interval, reason)
    reason = f"by less than {100 * ALIKE:.0f} %" if small else ""
    if not better:
        return Comparison(Decision.DIFFERENT, ratio, interval, reason)
    improved = (ratio < 1) is (better == "lower")
    return Comparison(Decision.BETTER if improved else Decision.WORSE, ratio, interval, reason)


def in_words(decision: Decision, unit: str) -> str:
    """The decision as a reader says it: a time or a rate that is better is "faster"."""
    if unit in ("ms", "tok/s"):
        return {Decision.BETTER: "faster", Decision.WORSE: "slower"}.get(decision, decision.value)
    return decision.value


def by_chance(decided: int) -> float:
    """How many of `decided` comparisons show a difference where there is none, on average."""
    return decided * (1 - LEVEL)


def _ratio_interval(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """Welch's interval on the logarithmic scale, carried back to a ratio."""
    logs = [[math.log(value) for value in side] for side in (before, after)]
    difference = statistics.fmean(logs[1]) - statistics.fmean(logs[0])
    errors = [statistics.variance(side) / len(side) for side in logs]
    error = sum(errors)
    if error == 0:
        return math.exp(difference), math.exp(difference)
    weights = sum(part**2 / (len(side) - 1) for part, side in zip(errors, logs, strict=True))
    half = student_t(error**2 / weights) * math.sqrt(error)
    return math.exp(max(difference - half, -700)), math.exp(min(difference + half, 700))

"""Which of a line of builds is the first bad one, by interleaved pairs.

First the bad end is compared with the good end: it has to be worse, and by how much is known then. Each build in the
middle is compared with the good end too and belongs to the end that it is nearer to: the signed-rank test of
harness.analysis.nights.pairs on the ratios less half of the step, to both sides. The pairs are looked at when each
phone has one of LOOKS; each look takes an equal share of ERROR (Bonferroni), so that stopping early costs no certainty.
A build that stays open after the last look goes to the nearer side, and its p is counted as the chance that this was
wrong. The confidence at the end is the product of what the decisions on the way left.

Sources. Pocock, Biometrika 64 (1977), on looking several times; Burnstein and Zigangirov, Problems of Information
Transmission 10 (1974), on searching with answers that may be wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from harness.analysis.nights.pairs import p_above, ratios_by_phone, shift
from harness.model import PairSet

LOOKS = (8, 12, 16, 24)
"""Pairs per phone at which the pairs are looked at; the last is the most that are run."""
ERROR = 0.05
"""Chance of a wrong decision of one comparison."""


class BisectAction(StrEnum):
    """MEASURE: run more pairs of one build against the good end. FOUND: the first bad build is known, or what is left
    cannot be tried. NO_STEP: the bad end is not shown to be worse than the good one."""

    MEASURE = "measure"
    FOUND = "found"
    NO_STEP = "no_step"


@dataclass(frozen=True, slots=True)
class BisectStep:
    """What to do next, or the end.

    Args:
        build: the one to measure against the good end; after FOUND the first bad one; else "".
        pairs: per phone that it should then have in all; 0 at the end.
        last_good, first_bad: what is known so far.
        untried: builds between them that cannot be tried; after FOUND each of these may be the first bad one as well.
        delta, low, high: the whole step (logarithm, + is worse) and its interval; None while unknown.
        confidence: that `first_bad` is right, or that it is one of `untried`; None before the end.
    """

    action: BisectAction
    build: str
    pairs: int
    last_good: str
    first_bad: str
    untried: tuple[str, ...]
    delta: float | None
    low: float | None
    high: float | None
    confidence: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class _Answer:
    """Of one comparison. Args: bad: None while open. error: chance that it is wrong. pairs: wanted next."""

    bad: bool | None
    error: float
    pairs: int


def bisect_step(
    builds: Sequence[str], sets: Iterable[PairSet], *, broken: Collection[str] = (), phones: Collection[str] = ()
) -> BisectStep:
    """What the pairs so far say, and what to measure next.

    Args:
        builds: two or more, in their order, from the good end to the bad one.
        sets: all pairs so far whose `good` is the good end; others are left out.
        broken: builds that cannot be measured.
        phones: identities that have to have pairs, beside those that do.
    Raises:
        ValueError: fewer than two builds.
    """
    if len(builds) < 2:
        raise ValueError("a bisection needs a good build and a bad one")
    of_build: dict[str, list[PairSet]] = {}
    for one in sets:
        if one.good == builds[0]:
            of_build.setdefault(one.bad, []).append(one)

    def answer(build: str, middle: float) -> _Answer:
        return _answer(ratios_by_phone(of_build.get(build, ())), middle, phones)

    whole = answer(builds[-1], 0.0)
    found = ratios_by_phone(of_build.get(builds[-1], ()))
    delta: tuple[float | None, float | None, float | None] = shift(list(found.values())) if found else (None,) * 3
    ends = builds[0], builds[-1]
    if whole.bad is None:
        reason = "the two ends are compared first"
        return BisectStep(BisectAction.MEASURE, builds[-1], whole.pairs, *ends, (), *delta, None, reason)
    height = delta[0]
    if height is None or not whole.bad or height <= 0 or whole.error > ERROR:
        reason = "the pairs do not show that the bad end is worse than the good one"
        return BisectStep(BisectAction.NO_STEP, "", 0, *ends, (), *delta, None, reason)
    good, bad, confidence = 0, len(builds) - 1, 1 - whole.error
    while True:
        inner = [at for at in range(good + 1, bad) if builds[at] not in broken]
        if not inner:
            break
        middle = min(inner, key=lambda at: (abs(2 * at - good - bad), at))
        said = answer(builds[middle], height / 2)
        if said.bad is None:
            reason = f"{bad - good - 1} builds are left between the newest good and the oldest bad one"
            between = builds[good], builds[bad]
            return BisectStep(BisectAction.MEASURE, builds[middle], said.pairs, *between, (), *delta, None, reason)
        confidence *= 1 - said.error
        good, bad = (good, middle) if said.bad else (middle, bad)
    untried = tuple(builds[good + 1 : bad])
    reason = f"{len(untried)} builds before it cannot be tried" if untried else "its predecessor is good"
    return BisectStep(
        BisectAction.FOUND, builds[bad], 0, builds[good], builds[bad], untried, *delta, confidence, reason
    )


def _answer(by_phone: dict[str, list[float]], middle: float, phones: Collection[str]) -> _Answer:
    """Whether the ratios lie above `middle`. Looked at is the same number of pairs of each phone, so that going on
    after a kill, with some phones ahead of others, leads to the same decision."""
    counts = [len(by_phone.get(phone, ())) for phone in {*phones, *by_phone}]
    done = min(counts, default=0)
    for look in LOOKS:
        if done < look:
            return _Answer(None, 1.0, look)
        ratios = [np.asarray(one[:look]) - middle for one in by_phone.values()]
        above, below = p_above(ratios), p_above([-one for one in ratios])
        if min(above, below) <= ERROR / len(LOOKS):
            return _Answer(above < below, min(above, below), 0)
    return _Answer(above < below, min(0.5, above, below), 0)

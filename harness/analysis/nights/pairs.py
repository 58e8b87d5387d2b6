"""Whether interleaved pairs of two builds agree that one is worse.

Problem. The nights say that a level changed; many series over many nights say so wrongly now and then. Both builds are
run in turn on the same phones in one night, which leaves nothing but the build, and decide.

Method. Wilcoxon's signed-rank test, one-sided in the direction of the suspicion, stratified by phone: pairs are ranked
within their phone, and the rank sums of the phones are added. A phone of CV 1 % and one of 5 % are then never ranked
against each other, and no phone has more than its own ranks to give, so a wild one among eight leaves p near 0.1 and
decides nothing (ranked together, its pairs would take all the highest ranks). The distribution of the sum under "no
difference" is exact, ties included. The size is fixed, PAIRS per phone, before the first look: looking again after each
pair would find a difference sooner or later. Where three nights brought fewer, LEAST per phone are enough. Without any
one phone the others still have to lean to that side (p ≤ 0.2), so that one of two cannot decide either. The difference
told is the median of the pair means within phones (Hodges and Lehmann), its interval that of the same test turned
around.

A p of 0.01 and not 0.05: with a hundred series in a lab the nights alone are wrong a few times a year.

Sources. Wilcoxon, Biometrics Bulletin 1 (1945); van Elteren, Bull. Inst. Internat. Statist. 37 (1960), on strata;
Pratt, JASA 54 (1959), on zeros; Hodges and Lehmann, Annals of Mathematical Statistics 34 (1963).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from harness.analysis.nights.epochs import Floats
from harness.model import PairOutcome, PairResult, PairSet

PAIRS = 12
"""Pairs per phone that are run for a suspicion."""
LEAST = 6
"""Pairs per phone that are enough after PATIENCE nights."""
PATIENCE = 3
"""Nights after which no more are waited for."""
ALPHA = 0.01
"""Largest p that confirms."""
ALPHA_WITHOUT = 0.2
"""Largest p that has to be left without any one phone."""
LEVEL = 0.95


def decide(
    sets: Iterable[PairSet], side: int, *, phones: Collection[str] = (), nights: int = 1, wanted: int = PAIRS
) -> PairResult:
    """Whether the pairs agree that `bad` differs from `good`.

    Args:
        sets: of one suspicion, of any phones and nights.
        side: +1 when it is thought to be worse, -1 when better.
        phones: identities that are waited for, beside those that have pairs.
        nights: since the suspicion, its own included.
        wanted: pairs per phone.
    """
    by_phone = ratios_by_phone(sets)
    counts = [len(by_phone.get(phone, ())) for phone in {*phones, *by_phone}]
    enough = {phone: ratios for phone, ratios in by_phone.items() if len(ratios) >= LEAST}
    if (counts and min(counts) >= wanted) or (nights >= PATIENCE and enough):
        return _decided(enough, side, wanted)
    if not by_phone:
        return PairResult(PairOutcome.UNDECIDED, None, None, None, None, 0, 0, "no pairs were run yet")
    ratios = list(by_phone.values())
    reason = f"{sum(map(len, ratios))} of {wanted * len(counts)} pairs were run yet"
    p_value = p_above([side * np.asarray(one) for one in ratios])
    return PairResult(PairOutcome.UNDECIDED, *shift(ratios), p_value, sum(map(len, ratios)), len(by_phone), reason)


def ratios_by_phone(sets: Iterable[PairSet]) -> dict[str, list[float]]:
    """Phone → its ratios, in the order of nights; what is no number is left out, as are phones without any."""
    found: dict[str, list[float]] = {}
    for one in sorted(sets, key=lambda each: each.night):
        ratios = [ratio for ratio in one.ratios if math.isfinite(ratio)]
        if ratios:
            found.setdefault(one.identity, []).extend(ratios)
    return dict(sorted(found.items()))


def p_above(phones: Sequence[Sequence[float] | Floats]) -> float:
    """One-sided p of the stratified signed-rank test that the ratios lie above 0."""
    # Ranks may be halves: twice the rank is whole.
    doubled = [_doubled_ranks(np.asarray(phone, dtype=float)) for phone in phones]
    observed = sum(int(ranks[positive].sum()) for ranks, positive in doubled)
    chance = np.ones(1)
    for ranks, _ in doubled:
        for rank in ranks:
            grown = np.zeros(len(chance) + int(rank))
            grown[: len(chance)] += chance / 2
            grown[int(rank) :] += chance / 2
            chance = grown
    return min(1.0, float(chance[observed:].sum()))


def shift(phones: Sequence[Sequence[float] | Floats]) -> tuple[float, float, float]:
    """Difference, and the ends of its interval: the values that the two-sided test would not reject.

    Args:
        phones: one or more, each with at least one ratio.
    """
    means: list[Floats] = []
    variance = expected = 0.0
    for phone in phones:
        ratios = np.asarray(phone, dtype=float)
        rows, columns = np.triu_indices(len(ratios))
        means.append((ratios[rows] + ratios[columns]) / 2)
        count = len(ratios)
        expected += count * (count + 1) / 4
        variance += count * (count + 1) * (2 * count + 1) / 24
    ordered = np.sort(np.concatenate(means))
    # Near enough to normal for six ranks or more; the ends are order statistics.
    from scipy.special import ndtri

    reach = float(ndtri(0.5 + LEVEL / 2)) * math.sqrt(variance)
    first = max(0, math.floor(expected - reach))
    return float(np.median(ordered)), float(ordered[first]), float(ordered[len(ordered) - 1 - first])


def _decided(by_phone: Mapping[str, Sequence[float]], side: int, wanted: int) -> PairResult:
    phones = [np.asarray(ratios, dtype=float) for ratios in by_phone.values()]
    p_value = p_above([side * phone for phone in phones])
    leaning = sum(bool(side * np.median(phone) > 0) for phone in phones)
    agree = p_value <= ALPHA and all(
        p_above([side * phone for phone in phones[:row] + phones[row + 1 :]]) <= ALPHA_WITHOUT
        for row in range(len(phones) if len(phones) > 1 else 0)
    )
    total = sum(map(len, phones))
    told = f"{total} pairs on {len(phones)} phones, p {p_value:.2g}, {leaning} of {len(phones)} phones lean that way"
    if min(map(len, phones)) < wanted:
        told += f"; {wanted} per phone were wanted, {PATIENCE} nights did not bring more"
    outcome = PairOutcome.CONFIRMED if agree else PairOutcome.CLEARED
    return PairResult(outcome, *shift(phones), p_value, total, len(phones), told)


def _doubled_ranks(ratios: Floats) -> tuple[Floats, Floats]:
    """Twice the rank of each ratio that is not 0 by its size (ties share the mean of theirs), and which are positive.
    Zeros take the lowest ranks and are then left out, so that they count for no side."""
    _, place, count = np.unique(np.abs(ratios), return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks = (2 * last - count + 1)[place]
    kept = ratios != 0
    return ranks[kept], ratios[kept] > 0

"""Which of several candidates to pick: those that no other one beats in everything that both were measured for.

Problem. Candidates (a model with a runner) are measured on several phones and workloads for several metrics, with gaps.
A gap must count neither for nor against a candidate, and a figure of one phone says nothing beside one of another.

Method. Two candidates are compared only where both were measured: per metric, by the geometric mean of their ratios
over the phones and workloads they share. One beats the other when it is better by more than TOLERANCE in one metric and
not worse by more than that in any. With gaps and a tolerance this can run in a circle (A beats B by speed, B beats C by
size, C beats A by energy); members of one circle are equals. Picked is whoever is not beaten from outside of its
circle, so that there always is a pick.

Cost. Cubic in the number of candidates, of which there are some dozens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.compare import ALIKE
from harness.model import METRICS

TOLERANCE = ALIKE
"""Largest difference that does not matter, as in a comparison of two runs."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """`values`: metric → where (phone and workload) → the median there; what was not measured is not in it."""

    name: str
    values: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Lead:
    """In `metric` the candidate is better than `other`: `ratio` (below 1) is its value to the other's, turned over for
    a metric of which more is better."""

    other: str
    metric: str
    ratio: float


@dataclass(frozen=True, slots=True)
class Standing:
    """How one candidate stands.

    Args:
        picked: no candidate beats it.
        best: metrics in which it was compared with another and none is better.
        leads: where it is not best in anything, against each of the other picks its greatest lead.
        beaten_by: names of those that beat it; empty for a pick.
        compared: with how many others it shares a figure.
    """

    name: str
    picked: bool
    best: tuple[str, ...]
    leads: tuple[Lead, ...]
    beaten_by: tuple[str, ...]
    compared: int


def standings(candidates: Sequence[Candidate], metrics: Sequence[str]) -> tuple[Standing, ...]:
    """The standing of each candidate, in their order.

    Args:
        candidates: with different names.
        metrics: names of METRICS to compare by; those for which neither direction is better are left out.
    """
    judged = [name for name in metrics if METRICS[name].better]
    ratios = {(a.name, b.name): _ratios(a, b, judged) for a in candidates for b in candidates if a is not b}
    beats = {pair for pair, found in ratios.items() if _beats(found)}
    reach = _closure([one.name for one in candidates], beats)
    picked = [
        one.name
        for one in candidates
        if not any((other.name, one.name) in reach and (one.name, other.name) not in reach for other in candidates)
    ]
    return tuple(_standing(one.name, [other.name for other in candidates], ratios, beats, picked) for one in candidates)


def _ratios(one: Candidate, other: Candidate, metrics: Sequence[str]) -> dict[str, float]:
    """Metric → one / other over what they share; below 1 the one is better."""
    found: dict[str, float] = {}
    for name in metrics:
        mine, its = one.values.get(name, {}), other.values.get(name, {})
        logs = [math.log(mine[at] / its[at]) for at in mine if at in its and mine[at] > 0 and its[at] > 0]
        if logs:
            ratio = math.exp(sum(logs) / len(logs))
            found[name] = 1 / ratio if METRICS[name].better == "higher" else ratio
    return found


def _beats(ratios: Mapping[str, float]) -> bool:
    least = 1 / (1 + TOLERANCE)
    return any(ratio < least for ratio in ratios.values()) and all(ratio <= 1 + TOLERANCE for ratio in ratios.values())


def _closure(names: Sequence[str], beats: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Who beats whom, through others as well."""
    reach = set(beats)
    for middle in names:
        above = [name for name in names if (name, middle) in reach]
        below = [name for name in names if (middle, name) in reach]
        reach |= {(a, b) for a in above for b in below if a != b}
    return reach


def _standing(
    name: str,
    names: Sequence[str],
    ratios: Mapping[tuple[str, str], Mapping[str, float]],
    beats: set[tuple[str, str]],
    picked: Sequence[str],
) -> Standing:
    against = {other: ratios[name, other] for other in names if other != name}
    compared = dict.fromkeys(metric for found in against.values() for metric in found)
    best = tuple(metric for metric in compared if all(found.get(metric, 0.0) <= 1 for found in against.values()))
    leads = []
    for other in picked:
        found = against.get(other, {})
        metric = min(found, key=lambda metric: found[metric], default="")
        if metric and found[metric] < 1:
            leads.append(Lead(other, metric, found[metric]))
    is_pick = name in picked
    return Standing(
        name=name,
        picked=is_pick,
        best=best,
        leads=tuple(leads) if is_pick and not best else (),
        beaten_by=() if is_pick else tuple(other for other in names if (other, name) in beats),
        compared=sum(1 for found in against.values() if found),
    )

"""From the measurements of interleaved pairs to what `decide` and `bisect_step` take. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from harness.analysis.nights.epochs import worse_by
from harness.model import CaseStatus, Measured, PairSet, PlannedCase, Reading


class Row(Protocol):
    """What is needed of one measurement."""

    @property
    def planned(self) -> PlannedCase: ...

    @property
    def status(self) -> CaseStatus: ...

    @property
    def metrics(self) -> Mapping[str, Reading]: ...


def pair_sets(
    rows: Iterable[Row], good: str, bad: str, nights: Mapping[str, str], metrics: Sequence[str]
) -> dict[str, list[PairSet]]:
    """The pairs of two builds: repetition k of one and of the other, on one phone, in one run.

    A repetition that failed on one side, or did not measure the metric, gives no pair.

    Args:
        rows: of one model and workload, in any order and of any builds.
        good, bad: sha256 of the builds.
        nights: run → night, an ISO date; rows of other runs are left out.
    Returns:
        Metric → a set for each run and phone that has a pair, by night.
    """
    halves: dict[tuple[str, str], dict[str, dict[int, Row]]] = {}
    for row in rows:
        planned = row.planned
        if planned.run in nights and planned.runner_sha256 in (good, bad) and row.status is CaseStatus.MEASURED:
            sides = halves.setdefault((planned.run, planned.identity), {good: {}, bad: {}})
            sides[planned.runner_sha256][planned.repeat] = row
    found: dict[str, list[PairSet]] = {metric: [] for metric in metrics}
    for (run, identity), sides in sorted(halves.items(), key=lambda item: (nights[item[0][0]], item[0])):
        both = [(sides[good][repeat], sides[bad][repeat]) for repeat in sorted(sides[good].keys() & sides[bad].keys())]
        for metric in metrics:
            ratios = [worse_by(metric, figure(metric, before), figure(metric, after)) for before, after in both]
            told = tuple(one for one in ratios if one is not None)
            if told:
                found[metric].append(PairSet(identity, nights[run], good, bad, told))
    return found


def figure(metric: str, row: Row) -> float | None:
    """The positive value of a metric; None where it was not measured."""
    reading = row.metrics.get(metric)
    if row.status is not CaseStatus.MEASURED or not isinstance(reading, Measured):
        return None
    return reading.value if math.isfinite(reading.value) and reading.value > 0 else None

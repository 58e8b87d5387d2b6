"""Whether a phone drifts on its own reference values.

The reference build is the same every night, so its own values speak of the phone: an old battery, dust, a system that
fills up. Within an epoch (an update of the system begins a new one) the median of the newest nights is compared with
that of the first. A phone is named when one metric moved beyond the limit and the interval of that (normal, from the
robust scale of both ends, widened for the median's own error) excludes 0. Models and workloads of one metric are
averaged by their median first: they are measured on one phone in one night and tell the same.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from harness.analysis.nights.epochs import direction
from harness.analysis.nights.pool import LEAST_NIGHTS, MAD_TO_SIGMA
from harness.model import NightValue, PhoneDrift, SeriesId

LIMIT = 0.05
"""Drift (logarithm) beyond which a phone is named, where the inventory gives no other."""
NEWEST = 7
"""Nights that stand for now."""
MEDIAN_ERROR = 1.2533
"""Standard error of a median over that of a mean, for normal values."""

Points = dict[str, float]
"""Night → logarithm, + is worse."""


def drift_of(values: Mapping[SeriesId, Iterable[NightValue]], limit: float = LIMIT) -> tuple[PhoneDrift, ...]:
    """Drift of each phone that has a reference and enough nights, in the order of identities; of its metrics the one
    that moved most.

    Args:
        values: of any series; runners that share a reference tell the same and count once.
        limit: logarithm.
    """
    lines: dict[tuple[str, str], dict[tuple[str, str, str], list[NightValue]]] = {}
    for series, rows in values.items():
        if not direction(series.metric):
            continue
        for value in rows:
            if value.reference_build and value.reference is not None and _positive(value.reference):
                own = lines.setdefault((value.identity, series.metric), {})
                own.setdefault((series.tier, series.model, series.workload), []).append(value)
    found: dict[str, PhoneDrift] = {}
    for (identity, metric), cases in sorted(lines.items()):
        drift = _drift(identity, metric, list(cases.values()), limit)
        if drift and (identity not in found or _weight(drift) > _weight(found[identity])):
            found[identity] = drift
    return tuple(found.values())


def _weight(drift: PhoneDrift) -> tuple[bool, float]:
    return drift.drifted, abs(drift.delta)


def _drift(identity: str, metric: str, cases: Sequence[Sequence[NightValue]], limit: float) -> PhoneDrift | None:
    newest = max((value for case in cases for value in case), key=lambda value: value.night)
    lines = [line for case in cases if len(line := _epoch_line(case, newest, direction(metric))) >= LEAST_NIGHTS]
    if not lines:
        return None
    moved = [_moved(line) for line in lines]
    delta = statistics.median(delta for delta, _ in moved)
    half = 1.96 * statistics.median(error for _, error in moved)
    return PhoneDrift(
        identity,
        newest.device_id,
        metric,
        max(map(len, lines)),
        delta,
        delta - half,
        delta + half,
        abs(delta) > limit and abs(delta) > half,
    )


def _epoch_line(values: Sequence[NightValue], newest: NightValue, sign: int) -> list[float]:
    """Logarithms of the reference in the phone's present epoch, in the order of nights."""

    def key(value: NightValue) -> tuple[object, ...]:
        return (value.contract, value.reference_build, value.os)

    by_night = {value.night: value for value in values if value.reference is not None}
    line: list[float] = []
    for night in sorted(by_night, reverse=True):
        value = by_night[night]
        if key(value) != key(newest):
            break
        if value.reference is not None:
            line.append(sign * math.log(value.reference))
    return line[::-1]


def _moved(line: Sequence[float]) -> tuple[float, float]:
    """Newest less first nights, and the standard error of that."""
    first, last = line[:NEWEST], line[-NEWEST:]
    scales = [
        MAD_TO_SIGMA * statistics.median(abs(one - statistics.median(part)) for one in part) for part in (first, last)
    ]
    error = MEDIAN_ERROR * math.sqrt(sum(scale**2 for scale in scales) / NEWEST)
    return statistics.median(last) - statistics.median(first), error


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0

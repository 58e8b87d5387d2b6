"""Whether a case meets the targets of its tier, judged over its repetitions.

A verdict is given only when the whole interval of the value lies on one side of the target. The target itself is met:
an interval that ends on it from the good side passes, one that begins on it and goes on to the bad side is open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from harness.analysis.repeats import FIXED, Agreement, RepeatPolicy, Repetition, counted, stability
from harness.analysis.statistics import Centre, centre
from harness.model import METRICS, TARGET_METRICS, CaseStatus, Measured, Reading, Targets, TargetVerdict, Unavailable

NOTHING_MEASURES = "nothing that is run here measures it"
"""Why a target without a metric is not judged."""


@dataclass(frozen=True, slots=True)
class VerdictInfo:
    """One target of one case.

    Args:
        verdict: how it ended.
        value: median over the repetitions, in the unit of the target's metric; None when not measured.
        interval: 95 % interval of it; None for fewer than two repetitions.
        n: repetitions the value comes from.
        reason: why it is inconclusive or not measured, and that the repetitions do not agree; "" otherwise.
    """

    verdict: TargetVerdict
    value: float | None
    interval: tuple[float, float] | None
    n: int
    reason: str = ""


def judge(targets: Targets, rows: Iterable[Repetition], policy: RepeatPolicy = FIXED) -> dict[str, VerdictInfo]:
    """Judge one case against every target that its tier sets.

    Args:
        targets: of the tier.
        rows: the repetitions of one case, in any state; those that are not measured do not count, nor does a warm-up.
        policy: of the suite. The interval of an unstable case is wide but holds, so its verdict stands and is marked.
    """
    repetitions = tuple(rows)
    limits = {name: getattr(targets, name) for name in TARGET_METRICS}
    valid = counted(repetitions, policy.warm_up)
    judged = {name: _judge(name, float(limit), valid) for name, limit in limits.items() if limit is not None}
    found = stability(policy, repetitions)
    if found.agreement is not Agreement.UNSTABLE:
        return judged
    return {name: info if info.value is None else _unstable(info, found.reason) for name, info in judged.items()}


def _unstable(info: VerdictInfo, why: str) -> VerdictInfo:
    return replace(info, reason=f"{info.reason}; unstable: {why}" if info.reason else f"unstable: {why}")


def _judge(target: str, limit: float, repetitions: Sequence[Repetition]) -> VerdictInfo:
    metric = TARGET_METRICS[target]
    if metric is None:
        return VerdictInfo(TargetVerdict.NOT_MEASURED, None, None, 0, NOTHING_MEASURES)
    readings = [row.metrics.get(metric) for row in repetitions if row.status is CaseStatus.MEASURED]
    found = centre([reading.value for reading in readings if isinstance(reading, Measured)])
    if found is None:
        return VerdictInfo(TargetVerdict.NOT_MEASURED, None, None, 0, _why_none(metric, readings))
    return _decide(found, limit, METRICS[metric].unit, at_least=target.endswith("_min"))


def _decide(found: Centre, limit: float, unit: str, *, at_least: bool) -> VerdictInfo:
    if found.low is None or found.high is None:
        reason = "one repetition says nothing about the spread; two or more give an interval"
        return VerdictInfo(TargetVerdict.INCONCLUSIVE, found.value, None, found.n, reason)
    interval = (found.low, found.high)
    met = found.low >= limit if at_least else found.high <= limit
    missed = found.high < limit if at_least else found.low > limit
    if not met and not missed:
        reason = (
            f"the 95 % interval {found.low:.4g}–{found.high:.4g} {unit} of {found.n} repetitions holds the target "
            f"{limit:g} {unit}; more repetitions narrow it"
        )
        return VerdictInfo(TargetVerdict.INCONCLUSIVE, found.value, interval, found.n, reason)
    return VerdictInfo(TargetVerdict.PASS if met else TargetVerdict.FAIL, found.value, interval, found.n)


def _why_none(metric: str, readings: Sequence[Reading | None]) -> str:
    if not readings:
        return "no repetition was measured"
    reasons = [reading.reason for reading in readings if isinstance(reading, Unavailable)]
    return reasons[0] if reasons else f"no repetition holds {metric}"

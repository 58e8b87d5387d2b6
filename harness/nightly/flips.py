"""Which targets have another verdict than in the night before. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.analysis.repeats import RepeatPolicy
from harness.analysis.verdict import VerdictInfo, judge
from harness.model import METRICS, TARGET_METRICS, CaseStatus, PlannedCase, TargetVerdict, Tier, VerdictFlip
from harness.nightly.pinned import is_baseline
from harness.store import MeasurementRow

_Name = tuple[str, str, str, str, str]
"""Tier, identity of the phone, model, runner, workload."""


@dataclass(frozen=True, slots=True)
class CaseVerdicts:
    """Verdicts of one case in one night, by target, and what the tier asked."""

    planned: PlannedCase
    verdicts: Mapping[str, VerdictInfo]
    tier: Tier


def verdicts_of(
    rows: Iterable[MeasurementRow], tiers: Mapping[str, Tier], policy: RepeatPolicy
) -> dict[_Name, CaseVerdicts]:
    """What a run of a suite says of the targets; pinned builds, and cases that nobody tried, are left out.

    Args: rows: of one run. tiers, policy: as the run was begun with.
    """
    cases: dict[_Name, list[MeasurementRow]] = {}
    for row in rows:
        planned = row.planned
        if not is_baseline(planned.runner.id):
            name = (planned.tier, planned.identity, planned.model.id, planned.runner.id, planned.workload_id)
            cases.setdefault(name, []).append(row)
    untried = (CaseStatus.PLANNED, CaseStatus.RUNNING, CaseStatus.SKIPPED)
    return {
        name: CaseVerdicts(found[0].planned, judge(tiers[name[0]].targets, found, policy), tiers[name[0]])
        for name, found in cases.items()
        if name[0] in tiers and any(row.status not in untried for row in found)
    }


def flips(before: Mapping[_Name, CaseVerdicts], after: Mapping[_Name, CaseVerdicts]) -> tuple[VerdictFlip, ...]:
    """Verdicts that differ, in the order of `after`; a case that only one of the nights tried has none."""
    return tuple(
        _flip(judged, target, before[name].verdicts[target].verdict, info)
        for name, judged in after.items()
        if name in before
        for target, info in judged.verdicts.items()
        if target in before[name].verdicts and before[name].verdicts[target].verdict is not info.verdict
    )


def _flip(judged: CaseVerdicts, target: str, before: TargetVerdict, info: VerdictInfo) -> VerdictFlip:
    planned = judged.planned
    metric = TARGET_METRICS[target]
    limit = getattr(judged.tier.targets, target)
    return VerdictFlip(
        tier=planned.tier,
        device_id=planned.device_id,
        kind=planned.kind,
        model=planned.model.id,
        owner=planned.model.owner or "",
        runner=planned.runner.id,
        workload=planned.workload_id,
        target=target,
        before=before,
        after=info.verdict,
        value=info.value,
        unit=METRICS[metric].unit if metric else "",
        limit=float(limit) if limit is not None else None,
    )

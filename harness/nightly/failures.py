"""What became of the repetitions of each phone, night by night."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from harness.model import CaseStatus, NightFailures, NightRole, PlannedCase, RunRecord
from harness.store import Store

NIGHTS = 7
"""Nights over which failures are told."""


def night_failures(store: Store, lab: str, *, newest: int = NIGHTS) -> Mapping[str, tuple[NightFailures, ...]]:
    """Identity → what became of the phone's repetitions in each of the `newest` nights of a lab, oldest first."""
    runs: dict[str, list[RunRecord]] = defaultdict(list)
    for run in store.runs():
        night = _measured_in(run)
        if night and run.lab == lab:
            runs[night].append(run)
    found: dict[str, list[NightFailures]] = defaultdict(list)
    for night in sorted(runs)[-newest:]:
        cases: dict[str, list[PlannedCase]] = defaultdict(list)
        for run in runs[night]:
            for case in store.cases(run.id):
                cases[case.identity].append(case)
        at = min(run.started_at for run in runs[night])
        for identity, own in cases.items():
            found[identity].append(_failures(night, at, own))
    return {identity: tuple(nights) for identity, nights in found.items()}


def _measured_in(run: RunRecord) -> str:
    """The night in which a run measured the suite, "" for any other run."""
    told = run.options.get("nightly")
    if not isinstance(told, Mapping) or told.get("role") != NightRole.MEASURE.value:
        return ""
    return str(told.get("night", ""))


def _failures(night: str, at: float, cases: Sequence[PlannedCase]) -> NightFailures:
    failed = Counter(
        case.reason.error_class
        for case in cases
        if case.status in (CaseStatus.FAILED, CaseStatus.REFUSED) and case.reason is not None
    )
    measured = sum(case.status is CaseStatus.MEASURED for case in cases)
    return NightFailures(night, at, measured, dict(sorted(failed.items())))

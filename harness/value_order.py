"""In which order the measurements of a run are worth their time, for a run that may have to stop early. Pure.

Rule, on each device by itself: every case once before any case twice, since a figure of each says more than an interval
of some; within a round

1. what this phone has never measured,
2. what went wrong the last time: it has no figure of today's state,
3. what was last measured with another model file or runner build: neither does it,
4. the rest, the oldest figure first.

What is alike keeps the order of the plan, so that the cases of one model stay together and a phone short of space
changes models as seldom as the rule allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from harness.model import CaseStatus, PlannedCase


class Claim(IntEnum):
    """Why a measurement is wanted; the smaller, the more."""

    NEVER_MEASURED = 0
    FAILED_LAST = 1
    CHANGED = 2
    MEASURED = 3


class Past(Protocol):
    """What is needed of an earlier measurement."""

    @property
    def planned(self) -> PlannedCase: ...

    @property
    def status(self) -> CaseStatus: ...

    @property
    def started_at(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class SeriesPast:
    """How a series stands.

    Args:
        measured_at: Unix seconds of the newest measured one, None when there is none.
        failed_at: of the newest that started and was not measured.
        model_sha256, runner_sha256: what the newest measured one was made with, "" when there is none.
    """

    measured_at: float | None = None
    failed_at: float | None = None
    model_sha256: str = ""
    runner_sha256: str = ""


NOTHING = SeriesPast()


def past_of(rows: Iterable[Past]) -> dict[str, SeriesPast]:
    """series_key → how it stands; measurements that never started (skipped, refused in the plan) say nothing."""
    found: dict[str, SeriesPast] = {}
    for row in rows:
        if row.started_at is None or row.status not in (CaseStatus.MEASURED, CaseStatus.FAILED, CaseStatus.REFUSED):
            continue
        planned = row.planned
        known = found.get(planned.series_key, NOTHING)
        if row.status is not CaseStatus.MEASURED:
            failed_at = max(row.started_at, known.failed_at or row.started_at)
            known = SeriesPast(known.measured_at, failed_at, known.model_sha256, known.runner_sha256)
        elif known.measured_at is None or row.started_at >= known.measured_at:
            known = SeriesPast(row.started_at, known.failed_at, planned.model_sha256, planned.runner_sha256)
        found[planned.series_key] = known
    return found


def claim(case: PlannedCase, past: Mapping[str, SeriesPast]) -> Claim:
    """Why a measurement is wanted."""
    known = past.get(case.series_key, NOTHING)
    if known.failed_at is not None and known.failed_at > (known.measured_at or 0.0):
        return Claim.FAILED_LAST
    if known.measured_at is None:
        return Claim.NEVER_MEASURED
    if (known.model_sha256, known.runner_sha256) != (case.model_sha256, case.runner_sha256):
        return Claim.CHANGED
    return Claim.MEASURED


def by_value(cases: Iterable[PlannedCase], past: Mapping[str, SeriesPast]) -> tuple[PlannedCase, ...]:
    """The same cases, the most valuable of each device first; devices keep their order.

    What is not to be run (skipped, refused) stands before the rest of its device, as in a plan.
    """
    devices: dict[str, list[PlannedCase]] = {}
    for case in cases:
        devices.setdefault(case.device_id, []).append(case)

    def value(case: PlannedCase) -> tuple[bool, int, Claim, float]:
        wanted = claim(case, past)
        at = past.get(case.series_key, NOTHING).measured_at if wanted is Claim.MEASURED else None
        return case.status is CaseStatus.PLANNED, case.repeat, wanted, at or 0.0

    return tuple(case for group in devices.values() for case in sorted(group, key=value))

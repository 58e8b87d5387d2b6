"""In which order a night spends its time. Pure.

Rule, on each device by itself: every case once before any case twice. Within a round, the models and workloads

1. that this phone has never measured,
2. that went wrong the last time,
3. whose model file or runner build is another one than last time,
4. the rest, the oldest figure first: what did not fit into a night is first in the next.

Each goes with the pinned build of the same runner directly before it: the ratio of the two is what is judged, and a
night that is cut short has both or neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.model import CaseStatus, PlannedCase
from harness.nightly.pinned import compared_with, is_baseline
from harness.value_order import NOTHING, Claim, SeriesPast, claim

_Group = tuple[str, str, str, str]
"""Device, model, runner that is compared, workload."""


def for_a_night(cases: Iterable[PlannedCase], past: Mapping[str, SeriesPast]) -> tuple[PlannedCase, ...]:
    """The same cases, the most valuable of each device first; devices keep their order.

    What is not to be run (skipped, refused) stands before the rest of its device, as in a plan.

    Args: past: series key → how the series stands.
    """
    planned = list(cases)
    wants: dict[_Group, tuple[Claim, float]] = {}
    places: dict[_Group, int] = {}
    devices: dict[str, list[PlannedCase]] = {}
    for case in planned:
        group = _group(case)
        devices.setdefault(case.device_id, []).append(case)
        places.setdefault(group, len(places))
        if not is_baseline(case.runner.id):
            wants[group] = _want(case, past)

    def value(case: PlannedCase) -> tuple[bool, int, Claim, float, int, bool]:
        group = _group(case)
        why, since = wants.get(group, (Claim.MEASURED, 0.0))
        alone = not is_baseline(case.runner.id)
        return case.status is CaseStatus.PLANNED, case.repeat, why, since, places[group], alone

    return tuple(case for members in devices.values() for case in sorted(members, key=value))


def _group(case: PlannedCase) -> _Group:
    return case.device_id, case.model.id, compared_with(case.runner.id), case.workload_id


def _want(case: PlannedCase, past: Mapping[str, SeriesPast]) -> tuple[Claim, float]:
    """Why a measurement is wanted, and since when there is a figure where that decides."""
    why = claim(case, past)
    since = past.get(case.series_key, NOTHING).measured_at if why is Claim.MEASURED else None
    return why, since or 0.0

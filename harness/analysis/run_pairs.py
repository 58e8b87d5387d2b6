"""Two runs matched by device, model, runner and workload, every metric compared. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

from harness.analysis.compare import Comparison, compare
from harness.analysis.repeats import RepeatPolicy, counted
from harness.model import METRICS, CaseStatus, Measured, PlannedCase, Reading

Match = tuple[str, str, str, str]
"""Device, model, runner, workload."""


@dataclass(frozen=True, slots=True)
class ComparedMetric:
    """Medians (None where nothing was measured) and what the comparison of all repetitions says."""

    name: str
    before: float | None
    after: float | None
    found: Comparison


@dataclass(frozen=True, slots=True)
class ComparedCase:
    """One case in both runs; `changed` names what else differs between them (model file, runner, OS, …)."""

    planned: PlannedCase
    metrics: tuple[ComparedMetric, ...]
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ComparedRuns:
    """Matched cases, and those that only one run measured."""

    first: str
    second: str
    cases: tuple[ComparedCase, ...]
    only_first: tuple[PlannedCase, ...]
    only_second: tuple[PlannedCase, ...]


class Row(Protocol):
    """What is needed of one measurement."""

    @property
    def planned(self) -> PlannedCase: ...

    @property
    def status(self) -> CaseStatus: ...

    @property
    def metrics(self) -> Mapping[str, Reading]: ...

    @property
    def provenance(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class RunSide:
    """One of the two runs: its id, what counts in it, its measurements in any state."""

    run: str
    policy: RepeatPolicy
    rows: Sequence[Row]


def compare_sides(first: RunSide, second: RunSide) -> ComparedRuns:
    """Match the measured cases of two runs and compare every metric that either has; warm-ups do not count."""
    before, after = _counted(first), _counted(second)
    return ComparedRuns(
        first.run,
        second.run,
        tuple(_case(rows, after[match]) for match, rows in before.items() if match in after),
        tuple(rows[0].planned for match, rows in before.items() if match not in after),
        tuple(rows[0].planned for match, rows in after.items() if match not in before),
    )


def _counted(side: RunSide) -> dict[Match, list[Row]]:
    valid = {match: list(counted(rows, side.policy.warm_up)) for match, rows in _measured(side.rows).items()}
    # A case whose only measured repetition was the warm-up has nothing to compare.
    return {match: rows for match, rows in valid.items() if rows}


def _measured(rows: Iterable[Row]) -> dict[Match, list[Row]]:
    cases: dict[Match, list[Row]] = {}
    for row in rows:
        if row.status is CaseStatus.MEASURED:
            cases.setdefault(match_of(row.planned), []).append(row)
    return cases


def _case(before: Sequence[Row], after: Sequence[Row]) -> ComparedCase:
    found = []
    for name, spec in METRICS.items():
        old, new = _values(before, name), _values(after, name)
        if old or new:
            middles = (median(old) if old else None, median(new) if new else None)
            found.append(ComparedMetric(name, *middles, compare(old, new, spec.better)))
    return ComparedCase(before[0].planned, tuple(found), tuple(changes(before[0], after[0])))


def _values(rows: Sequence[Row], name: str) -> list[float]:
    return [reading.value for row in rows if isinstance(reading := row.metrics.get(name), Measured)]


def match_of(planned: PlannedCase) -> Match:
    """What a case is matched by in other runs."""
    return (planned.device_id, planned.model.id, planned.runner.id, planned.workload_id)


def changes(before: Row, after: Row) -> Iterable[str]:
    """What is not the same in two measurements of a case: "model file", "runner build", "phone", "workload",
    "OS build", "farm"."""
    one, other = before.planned, after.planned
    for what, old, new in (
        ("model file", one.model_sha256, other.model_sha256),
        ("runner build", one.runner_sha256, other.runner_sha256),
        ("phone", one.identity, other.identity),
        ("workload", one.workload, other.workload),
        ("OS build", before.provenance.get("os_fingerprint"), after.provenance.get("os_fingerprint")),
        ("farm", before.provenance.get("harness_version"), after.provenance.get("harness_version")),
    ):
        if old != new:
            yield what

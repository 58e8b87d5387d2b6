"""What `farm compare` prints: two runs matched by device, model, runner and workload."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from harness.analysis.compare import Comparison, Decision, by_chance, compare, in_words
from harness.analysis.repeats import RepeatPolicy, counted
from harness.cli import output
from harness.model import METRICS, CaseStatus, Measured, PlannedCase

if TYPE_CHECKING:
    from harness.store import MeasurementRow, Store

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


def compare_runs(store: Store, first: str, second: str) -> ComparedRuns:
    """Match the measured cases of two runs and compare every metric that either has; warm-ups do not count."""
    before, after = _counted(store, first), _counted(store, second)
    return ComparedRuns(
        first,
        second,
        tuple(_case(rows, after[match]) for match, rows in before.items() if match in after),
        tuple(rows[0].planned for match, rows in before.items() if match not in after),
        tuple(rows[0].planned for match, rows in after.items() if match not in before),
    )


def _counted(store: Store, run: str) -> dict[Match, list[MeasurementRow]]:
    policy = RepeatPolicy.of_run(store.run(run))
    cases = _measured(store.measurements(run))
    valid = {match: list(counted(rows, policy.warm_up)) for match, rows in cases.items()}
    # A case whose only measured repetition was the warm-up has nothing to compare.
    return {match: rows for match, rows in valid.items() if rows}


def _measured(rows: Iterable[MeasurementRow]) -> dict[Match, list[MeasurementRow]]:
    cases: dict[Match, list[MeasurementRow]] = {}
    for row in rows:
        if row.status is CaseStatus.MEASURED:
            planned = row.planned
            match = (planned.device_id, planned.model.id, planned.runner.id, planned.workload_id)
            cases.setdefault(match, []).append(row)
    return cases


def _case(before: Sequence[MeasurementRow], after: Sequence[MeasurementRow]) -> ComparedCase:
    found = []
    for name, spec in METRICS.items():
        old, new = _values(before, name), _values(after, name)
        if old or new:
            middles = (median(old) if old else None, median(new) if new else None)
            found.append(ComparedMetric(name, *middles, compare(old, new, spec.better)))
    return ComparedCase(before[0].planned, tuple(found), tuple(_changes(before[0], after[0])))


def _values(rows: Sequence[MeasurementRow], name: str) -> list[float]:
    return [reading.value for row in rows if isinstance(reading := row.metrics.get(name), Measured)]


def _changes(before: MeasurementRow, after: MeasurementRow) -> Iterable[str]:
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


def as_json(runs: ComparedRuns) -> dict[str, Any]:
    return {
        "first": runs.first,
        "second": runs.second,
        "cases": [
            {
                **_named(case.planned),
                "changed": list(case.changed),
                "metrics": {metric.name: _metric_json(metric) for metric in case.metrics},
            }
            for case in runs.cases
        ],
        "only_first": [_named(planned) for planned in runs.only_first],
        "only_second": [_named(planned) for planned in runs.only_second],
    }


def _metric_json(metric: ComparedMetric) -> dict[str, Any]:
    return {
        "unit": METRICS[metric.name].unit,
        "first": metric.before,
        "second": metric.after,
        "ratio": metric.found.ratio,
        "interval": list(metric.found.interval) if metric.found.interval else None,
        "decision": metric.found.decision.value,
        "in_words": in_words(metric.found.decision, METRICS[metric.name].unit),
        "reason": metric.found.reason,
    }


def _named(planned: PlannedCase) -> dict[str, Any]:
    return {
        "device": planned.device_id,
        "device_kind": planned.kind.value,
        "model": planned.model.id,
        "runner": planned.runner.id,
        "workload": planned.workload_id,
    }


def print_runs(runs: ComparedRuns) -> None:
    body = []
    for case in runs.cases:
        for metric in case.metrics:
            decision = in_words(metric.found.decision, METRICS[metric.name].unit)
            body.append(
                (
                    *_cells(case.planned),
                    METRICS[metric.name].title,
                    _figure(metric.before, metric.name),
                    _figure(metric.after, metric.name),
                    _ratio(metric.found),
                    f"{decision}: {metric.found.reason}" if metric.found.reason else decision,
                )
            )
    titles = ("device", "model", "runner", "workload", "metric", runs.first, runs.second, "ratio", "decision")
    if body:
        output.print_table("Medians, second over first with 95 % interval", titles, body)
        click.echo(_by_chance(runs))
    else:
        click.echo(f"{runs.first} and {runs.second} measured no case in common")
    for case in runs.cases:
        if case.changed:
            click.echo(f"{' · '.join(_cells(case.planned))}: not the same {', '.join(case.changed)}")
    for run, alone in ((runs.first, runs.only_first), (runs.second, runs.only_second)):
        for planned in alone:
            click.echo(f"only in {run}: {' · '.join(_cells(planned))}")


def _by_chance(runs: ComparedRuns) -> str:
    """How many of the differences shown are owed to chance, so that one of many is not taken for a finding."""
    found = [metric.found for case in runs.cases for metric in case.metrics if metric.found.interval is not None]
    shown = sum(one.decision in (Decision.BETTER, Decision.WORSE, Decision.DIFFERENT) for one in found)
    return (
        f"{shown} of {len(found)} comparisons show a difference; where nothing changed about "
        f"{by_chance(len(found)):.2g} would"
    )


def _cells(planned: PlannedCase) -> tuple[str, str, str, str]:
    name = output.device_name(planned.device_id, planned.kind)
    return name, planned.model.id, planned.runner.id, planned.workload_id


def _figure(value: float | None, name: str) -> str:
    return "-" if value is None else f"{value:.4g} {METRICS[name].unit}".rstrip()


def _ratio(found: Comparison) -> str:
    if found.ratio is None:
        return "-"
    if found.interval is None:
        return f"{found.ratio:.3f}"
    return f"{found.ratio:.3f} ({found.interval[0]:.3f}–{found.interval[1]:.3f})"

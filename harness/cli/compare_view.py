"""What `farm compare` prints: two runs matched by device, model, runner and workload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from harness.analysis.compare import Comparison, Decision, by_chance, in_words
from harness.analysis.repeats import RepeatPolicy
from harness.analysis.run_pairs import ComparedMetric, ComparedRuns, RunSide, compare_sides
from harness.cli import output
from harness.model import METRICS, PlannedCase

if TYPE_CHECKING:
    from harness.store import Store


def compare_runs(store: Store, first: str, second: str) -> ComparedRuns:
    """Compare two stored runs, see `harness.analysis.run_pairs`."""
    sides = [
        RunSide(run, RepeatPolicy.of_run(store.run(run)), tuple(store.measurements(run))) for run in (first, second)
    ]
    return compare_sides(*sides)


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

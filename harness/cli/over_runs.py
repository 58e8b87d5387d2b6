"""`farm history`: one metric over the runs, a line for each series."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.analysis.over_runs import RunValue, SeriesOverRuns
    from harness.cli.main import Context
    from harness.model import Change, MetricSpec, PlannedCase

_BARS = "▁▂▃▄▅▆▇█"
_GAP = "·"


@click.command()
@click.option("--metric", required=True, help="Name of the metric, e.g. decode_tps, ttft_ms, peak_memory_mb.")
@click.option("--model", default="*", help="Model id, or a pattern.")
@click.option("--device", default="*", help="Device id, or a pattern.")
@click.option("--runner", default="*", help="Runner id, or a pattern.")
@click.option("--workload", default="*", help="Workload id, or a pattern.")
@click.option("--runs", "newest", type=click.IntRange(min=1), default=30, show_default=True, help="The newest so many.")
@click.pass_obj
def history(context: Context, metric: str, model: str, device: str, runner: str, workload: str, newest: int) -> None:
    """Show one metric over the runs: the newest value, what it was before, and a sparkline of the medians.

    Runs that only compare two builds are left out; `farm runs` lists them.
    """
    from harness.analysis.over_runs import over_runs
    from harness.analysis.repeats import RepeatPolicy
    from harness.cli import judged_series, lookup, words
    from harness.model import METRICS, NightRole

    spec = METRICS.get(metric)
    if spec is None:
        near = difflib.get_close_matches(metric, METRICS, 3)
        raise UsageError(f"no metric {metric!r}; {'did you mean ' + ' or '.join(near) if near else 'see farm show'}")

    def wanted(planned: PlannedCase) -> bool:
        names = (planned.model.id, planned.device_id, planned.runner.id, planned.workload_id)
        patterns = (model, device, runner, workload)
        return all(fnmatchcase(name, pattern) for name, pattern in zip(names, patterns, strict=True))

    with lookup.open_existing(context) as store:
        suites = [record for record in store.runs() if not NightRole.decides_builds(record.options)]
        records = sorted(suites, key=lambda record: record.started_at)[-newest:]
        policies = {record.id: RepeatPolicy.of_run(record).warm_up for record in records}
        rows = [row for record in records for row in store.measurements(record.id) if wanted(row.planned)]
        found = [series for series in over_runs(rows, metric, policies) if series.measured or context.json]
        changes = judged_series.judged(store, records, metric, found, context.inventory)
    if context.json:
        listed = [_json(series, change) for series, change in zip(found, changes, strict=True)]
        words.print_json({"metric": metric, "unit": spec.unit, "series": listed})
    elif found:
        _print(found, changes, spec, [record.id for record in records])
    else:
        click.echo(f"{metric} was measured in none of the newest {len(records)} runs of that selection", err=True)


def _print(
    found: Sequence[SeriesOverRuns], changes: Sequence[Change | None], spec: MetricSpec, runs: Sequence[str]
) -> None:
    from harness.cli import judged_series
    from harness.cli.output import print_table

    columns: tuple[str, ...] = (
        "device",
        "model",
        "runner",
        "workload",
        "newest",
        "before",
        "change",
        "over the runs",
        "changed with it",
    )
    title = f"{spec.name}, {spec.unit}" if spec.unit else spec.name
    cells = [_cells(series, runs) for series in found]
    if any(changes):
        columns += ("over the nights",)
        cells = [(*own, judged_series.in_words(change)) for own, change in zip(cells, changes, strict=True)]
    print_table(title, columns, cells)


def _cells(series: SeriesOverRuns, runs: Sequence[str]) -> tuple[str, ...]:
    planned, values = series.planned, series.measured
    before = [value.value for value in values[:-1] if value.value is not None]
    newest = values[-1].value
    assert newest is not None
    usual = median(before) if before else None
    change = "" if not usual else f"{(newest / usual - 1) * 100:+.1f} %"
    mark = "" if planned.kind == "phone" else f" ({planned.kind.value})"
    return (
        f"{planned.device_id}{mark}",
        planned.model.id,
        planned.runner.id,
        planned.workload_id,
        f"{newest:.4g}",
        "" if usual is None else f"{usual:.4g}",
        change,
        sparkline(_by_run(values, runs)),
        ", ".join(values[-1].changed),
    )


def _by_run(values: Sequence[RunValue], runs: Sequence[str]) -> list[float | None]:
    known = {value.run: value.value for value in values}
    return [known.get(run) for run in runs]


def sparkline(values: Sequence[float | None]) -> str:
    """A bar for each value between the smallest and the largest, "·" where there is none."""
    there = [value for value in values if value is not None]
    if not there:
        return _GAP * len(values)
    low, span = min(there), max(there) - min(there)

    def bar(value: float) -> str:
        return _BARS[round((value - low) / span * (len(_BARS) - 1))] if span > 0 else _BARS[len(_BARS) // 2]

    return "".join(_GAP if value is None else bar(value) for value in values)


def _json(series: SeriesOverRuns, change: Change | None) -> dict[str, Any]:
    from dataclasses import asdict

    from harness.cli import judged_series

    planned = series.planned
    return {
        "device": planned.device_id,
        "kind": planned.kind.value,
        "tier": planned.tier,
        "model": planned.model.id,
        "runner": planned.runner.id,
        "workload": planned.workload_id,
        "values": [asdict(value) for value in series.values],
        "judged": judged_series.as_json(change),
    }

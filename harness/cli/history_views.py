"""What `farm runs` and `farm show` print, and the same as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from harness import export
from harness.cli import output
from harness.cli.words import duration, moment, number, visible
from harness.leases import is_alive
from harness.model import (
    METRICS,
    NOT_A_PHONE,
    CaseStatus,
    DeviceKind,
    ErrorInfo,
    Measured,
    Reading,
    RunRecord,
    RunStatus,
    StepRecord,
    Trace,
    Unavailable,
)
from harness.nightly import quarantine

if TYPE_CHECKING:
    from harness.analysis.judgement import Judgement
    from harness.cli.lookup import Found
    from harness.store import MeasurementRow, Store

_HEADLINES = ("decode_tps", "ttft_ms", "peak_memory_mb")


@dataclasses.dataclass(frozen=True, slots=True)
class ListedRun:
    """A run as `farm runs` lists it; `status` says interrupted also when its process died without a word."""

    run: RunRecord
    status: RunStatus
    counts: Mapping[CaseStatus, int]
    kinds: Mapping[DeviceKind, int]


# --- runs -------------------------------------------------------------------------------------------------------------


def listed_runs(store: Store) -> tuple[ListedRun, ...]:
    counts, kinds = store.counts(), store.device_kinds()
    return tuple(ListedRun(run, _status(run), counts.get(run.id, {}), kinds.get(run.id, {})) for run in store.runs())


def _status(run: RunRecord) -> RunStatus:
    if run.status is RunStatus.RUNNING and not is_alive(run.host, run.pid, run.pid_started):
        return RunStatus.INTERRUPTED
    return run.status


def run_json(item: ListedRun) -> dict[str, Any]:
    run = item.run
    return {
        "run": run.id,
        "status": item.status.value,
        "started_at": export.utc(run.started_at),
        "ended_at": export.utc(run.ended_at),
        "suite": run.suite,
        "lab": run.lab,
        "counts": {status.value: count for status, count in item.counts.items()},
        "devices": {kind.value: count for kind, count in item.kinds.items()},
    }


def print_runs(items: Sequence[ListedRun]) -> None:
    body = [
        (
            item.run.id,
            moment(item.run.started_at),
            duration(item.run.ended_at - item.run.started_at if item.run.ended_at else None),
            item.status.value,
            item.run.suite,
            _devices(item.kinds),
            _counted(item.counts),
        )
        for item in items
    ]
    output.print_table("Runs", ("run", "started", "duration", "status", "suite", "devices", "measurements"), body)


def _devices(kinds: Mapping[DeviceKind, int]) -> str:
    return ", ".join(f"{count} {NOT_A_PHONE.get(kind, 'phone')}" for kind, count in sorted(kinds.items())) or "-"


def _counted(counts: Mapping[CaseStatus, int]) -> str:
    return ", ".join(f"{counts[status]} {status.value}" for status in CaseStatus if status in counts) or "none"


def print_run(store: Store, run_id: str) -> None:
    item = next(item for item in listed_runs(store) if item.run.id == run_id)
    run, rows = item.run, list(store.measurements(run_id))
    apart = quarantine.kept_apart(store, rows)
    _lines(
        {
            "run": run.id,
            "status": item.status.value + (" (`farm resume` goes on)" if item.status is RunStatus.INTERRUPTED else ""),
            "started": moment(run.started_at),
            "ended": moment(run.ended_at),
            "command": " ".join(run.command),
            "suite": run.suite,
            "lab": run.lab,
            "inventory": f"{run.inventory_name} (sha256 {run.inventory_sha256[:12]})",
            "farm": f"{run.harness_version} {run.git_sha}".strip(),
            "measurements": _counted(item.counts),
            "in quarantine": ", ".join(f"{device} ({reason})" for device, reason in apart.items()),
        }
    )
    titles = ("measurement", "device", "model", "runner", "workload")
    ran = [row for row in rows if row.status is not CaseStatus.SKIPPED]
    output.print_table(
        "Measurements",
        (*titles, "status", *(METRICS[name].title for name in _HEADLINES), "error"),
        [
            (
                *_what(row),
                row.status.value,
                *(number(row.metrics.get(name)) for name in _HEADLINES),
                row.error.message if row.error else "",
            )
            for row in ran
        ],
    )
    if len(ran) < len(rows):
        skipped = [row for row in rows if row.status is CaseStatus.SKIPPED]
        body = [(*_what(row), row.error.message if row.error else "") for row in skipped]
        output.print_table("Skipped, because they do not fit", (*titles, "reason"), body)
    events = store.events(run_id)
    if events:
        output.print_table(
            "Events",
            ("at", "device", "what", "detail"),
            [(moment(event.at), event.device_id, event.kind, _detail(event.detail)) for event in events],
        )


def _what(row: MeasurementRow) -> tuple[str, str, str, str, str]:
    planned = row.planned
    device = output.device_name(planned.device_id, planned.kind)
    return planned.key, device, planned.model.id, planned.runner.id, planned.workload_id


# --- a case and a measurement -----------------------------------------------------------------------------------------


def print_case(store: Store, found: Found) -> None:
    """A case over its repetitions: one column each."""
    rows = list(store.measurements(found.run, case=found.case))
    _describe(rows[0], export.judgements(store, found.run)[found.case], quarantine.kept_apart(store, rows))
    body: list[tuple[str, ...]] = [("status", *(row.status.value for row in rows))]
    body.append(("started", *(moment(row.started_at) for row in rows)))
    body.append(("duration", *(duration(row.duration_s) for row in rows)))
    body += [
        (spec.title, *(number(row.metrics.get(name)) for row in rows))
        for name, spec in METRICS.items()
        if any(isinstance(row.metrics.get(name), Measured) for row in rows)
    ]
    output.print_table(f"Case {found.case}", ("", *(f"repetition {row.planned.repeat}" for row in rows)), body)
    missing = [name for name in METRICS if not any(isinstance(row.metrics.get(name), Measured) for row in rows)]
    if missing and any(row.metrics for row in rows):
        click.echo(f"not measured: {', '.join(missing)} (`farm show {found.case}.1` says why)")
    for row in rows:
        _print_error(row.planned.key, row.error)


def print_measurement(store: Store, found: Found) -> None:
    """One measurement with all that is known of it."""
    row = _row(store, found.key)
    _describe(row, export.judgements(store, found.run)[found.case], quarantine.kept_apart(store, [row]))
    _lines(
        {
            "status": f"{row.status.value} (attempt {row.attempt})" if row.attempt else row.status.value,
            "started": moment(row.started_at),
            "duration": duration(row.duration_s),
        }
    )
    _print_error("error", row.error)
    _print_steps(store.steps(found.key))
    _print_metrics(row.metrics)
    _print_channels(store.traces(found.key))
    _print_provenance(row.provenance)
    log_tail, _ = store.output(found.key)
    if log_tail:
        click.echo("End of the runner's log:\n" + visible(log_tail))


def _print_steps(steps: Sequence[StepRecord]) -> None:
    body = [
        (
            str(step.attempt),
            step.step.value,
            moment(step.started_at),
            duration(step.duration_s),
            duration(step.limit_s),
            f"{step.error.error_class}: {step.error.message}" if step.error else _detail(step.detail),
        )
        for step in steps
    ]
    if body:
        output.print_table("Steps", ("attempt", "step", "started", "took", "limit", "seen"), body)


def _print_metrics(metrics: Mapping[str, Reading]) -> None:
    body = [(METRICS[name].title if name in METRICS else name, *_figure(reading)) for name, reading in metrics.items()]
    if body:
        output.print_table("Metrics", ("metric", "value", "resolution", "source, or why it is absent"), body)


def _print_channels(traces: Sequence[Trace]) -> None:
    body = [
        (trace.channel.name, trace.channel.unit, str(len(trace.values)), trace.channel.absent or trace.channel.source)
        for trace in traces
    ]
    if body:
        output.print_table("Telemetry", ("channel", "unit", "samples", "source, or why it is absent"), body)


def _print_provenance(provenance: Mapping[str, Any]) -> None:
    if provenance:
        body = [(name, _detail(value)) for name, value in provenance.items()]
        output.print_table("Provenance", ("what", "value"), body)


def commands(store: Store, found: Found) -> tuple[str, ...]:
    """Plain commands that repeat a measurement (of a case: its first that ran); UsageError when there are none."""
    from harness.errors import UsageError

    if not found.case:
        raise UsageError(f"{found.run} is a run; --command takes a case (`farm show {found.run}` lists them)")
    keys = [found.key] if found.key else [row.planned.key for row in store.measurements(found.run, case=found.case)]
    for key in keys:
        _, lines = store.output(key)
        if lines:
            return lines
    raise UsageError(f"{found.key or found.case} never got as far as a command on the device")


def found_json(store: Store, found: Found) -> dict[str, Any]:
    """Run, case or measurement as JSON: records as exported, for one measurement with steps, telemetry and log."""
    if found.key:
        row = _row(store, found.key)
        log_tail, lines = store.output(found.key)
        return {
            **export.record(row, export.judgements(store, found.run)[found.case]),
            "steps": [_step_json(step) for step in store.steps(found.key)],
            "channels": [
                {**dataclasses.asdict(trace.channel), "samples": len(trace.values)} for trace in store.traces(found.key)
            ],
            "inter_token_ms": list(store.itl(found.key)),
            "telemetry_dropped": row.dropped or None,
            "log_tail": log_tail,
            "commands": list(lines),
            "quarantine": next(iter(quarantine.kept_apart(store, [row]).values()), None),
        }
    item = next(item for item in listed_runs(store) if item.run.id == found.run)
    judged = export.judgements(store, found.run)
    rows = list(store.measurements(found.run, case=found.case or None))
    return {
        **run_json(item),
        "cases": [export.record(row, judged[row.planned.case]) for row in rows],
        "quarantined": quarantine.kept_apart(store, rows),
        "events": [
            {"device": event.device_id, "at": export.utc(event.at), "kind": event.kind, "detail": event.detail}
            for event in store.events(found.run)
        ],
    }


def _step_json(step: StepRecord) -> dict[str, Any]:
    return {**dataclasses.asdict(step), "step": step.step.value, "started_at": export.utc(step.started_at)}


def _row(store: Store, key: str) -> MeasurementRow:
    from harness.errors import UsageError

    row = store.measurement(key)
    if row is None:
        raise UsageError(f"there is no measurement {key!r}")
    return row


def _describe(row: MeasurementRow, judged: Judgement, apart: Mapping[str, str]) -> None:
    planned = row.planned
    targets = [f"{target} {said.verdict.value}" for target, said in judged.verdicts.items()]
    _lines(
        {
            "run": planned.run,
            "device": f"{output.device_name(planned.device_id, planned.kind)}, serial {planned.serial}",
            "tier": planned.tier,
            "model": f"{planned.model.id} (sha256 {planned.model_sha256[:12] or 'unknown'})",
            "runner": f"{planned.runner.id} (sha256 {planned.runner_sha256[:12] or 'unknown'})",
            "workload": f"{planned.workload_id} ({planned.workload.kind.value})",
            "targets": ", ".join(targets) or "none",
            "kept apart": "".join(f"the phone was in quarantine: {reason}" for reason in apart.values()),
        }
    )


def _print_error(name: str, error: ErrorInfo | None) -> None:
    if error is not None:
        advice = f"\n  what to do: {error.advice}" if error.advice else ""
        click.echo(visible(f"{name}: {error.error_class} in step {error.step.value}: {error.message}{advice}"))


def _figure(reading: Reading) -> tuple[str, str, str]:
    if isinstance(reading, Unavailable):
        return "-", "-", reading.reason
    return number(reading), "-" if reading.resolution is None else f"{reading.resolution:g}", reading.source


def _detail(value: Any) -> str:
    """A stored detail in words: readings as figure and unit, what is None left out."""
    if isinstance(value, Mapping):
        if "value" in value and "unit" in value:
            return f"{_detail(value['value'])} {value['unit']}".rstrip()
        if set(value) == {"reason"}:
            return f"unavailable ({value['reason']})"
        return ", ".join(f"{name}: {_detail(child)}" for name, child in value.items() if child is not None)
    if isinstance(value, list | tuple):
        nested = any(isinstance(child, Mapping) for child in value)
        return ("; " if nested else " ").join(_detail(child) for child in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _lines(entries: Mapping[str, str]) -> None:
    width = max(len(name) for name in entries)
    for name, value in entries.items():
        if value:
            click.echo(visible(f"{name:<{width}}  {value}"))

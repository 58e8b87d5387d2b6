"""The end of a run: the report, the summary table, the exit code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from harness.analysis.repeats import RepeatPolicy, counted
from harness.analysis.verdict import judge
from harness.cli import exits, output
from harness.cli.main import Context
from harness.errors import FarmError, UsageError
from harness.model import CaseStatus, Measured, RunRecord, TargetVerdict, Tier
from harness.nightly.quarantine import kept_apart

if TYPE_CHECKING:
    from harness.store import MeasurementRow, Store
    from reports.inputs import NightInput

SHOWN_METRICS = (
    ("decode_tps", "decode tok/s"),
    ("ms_per_token", "ms/token"),
    ("prefill_tps", "prefill tok/s"),
    ("ttft_ms", "TTFT ms"),
    ("peak_memory_mb", "peak MB"),
)


def write_report(
    context: Context, store: Store, run: str | None, folder: Path | None, nights: NightInput | None = None
) -> tuple[Path, ...]:
    """Write the HTML of a run (None: the newest); returns the files, the index first.

    Args: nights: of the lab; None: what the store knows of them.

    A report that cannot be written loses nothing: it is said, and can be made again.
    """
    import reports

    try:
        return reports.write(store, run=run, out=folder or context.state_dir / "reports", nights=nights)
    except (UsageError, FarmError, OSError) as error:
        named = f" --run {run}" if run else ""
        click.echo(f"the report could not be written: {error}\n  what to do: farm report{named} -o FOLDER", err=True)
        return ()


def _cases(rows: Iterable[MeasurementRow]) -> dict[str, list[MeasurementRow]]:
    cases: dict[str, list[MeasurementRow]] = {}
    for row in rows:
        cases.setdefault(row.planned.case, []).append(row)
    return cases


@dataclass(frozen=True, slots=True)
class _Rules:
    """How the cases of a run are judged: the targets of its tiers, what it says of repetitions, and the phones whose
    results are kept apart (device id → why)."""

    tiers: Mapping[str, Tier]
    policy: RepeatPolicy
    apart: Mapping[str, str]

    @classmethod
    def of(cls, record: RunRecord | None, apart: Mapping[str, str]) -> _Rules:
        if record is None:
            return cls({}, RepeatPolicy(), apart)
        return cls(record.tiers, RepeatPolicy.of_run(record), apart)

    def verdicts(self, rows: Sequence[MeasurementRow]) -> dict[str, TargetVerdict]:
        tier = self.tiers.get(rows[0].planned.tier)
        if tier is None:
            return {}
        return {name: info.verdict for name, info in judge(tier.targets, rows, self.policy).items()}

    def middle(self, rows: Iterable[MeasurementRow], metric: str) -> float | None:
        """Median over the repetitions that count."""
        valid = counted(rows, self.policy.warm_up)
        values = [reading.value for row in valid if isinstance(reading := row.metrics.get(metric), Measured)]
        return median(values) if values else None


def exit_code(store: Store, run: str, *, interrupted: bool, check: bool) -> int:
    """130 before 1 before 4 before 0: an incomplete run says so first."""
    record = store.run(run)
    cases = _cases(store.measurements(run))
    statuses = [row.status for rows in cases.values() for row in rows]
    if interrupted:
        return exits.INTERRUPTED
    if CaseStatus.MEASURED not in statuses or any(
        status in (CaseStatus.FAILED, CaseStatus.REFUSED, CaseStatus.PLANNED) for status in statuses
    ):
        return exits.INCOMPLETE
    if check and record is not None:
        rules = _Rules.of(record, kept_apart(store, chain.from_iterable(cases.values())))
        trusted = [rows for rows in cases.values() if rows[0].planned.device_id not in rules.apart]
        missed = any(TargetVerdict.FAIL in rules.verdicts(rows).values() for rows in trusted)
        if missed:
            return exits.TARGET_MISSED
    return exits.MEASURED


def summarise(context: Context, store: Store, run: str, pages: Sequence[Path], *, left: int) -> None:
    """Print what a run measured, and where the report is."""
    record = store.run(run)
    cases = _cases(store.measurements(run))
    rules = _Rules.of(record, kept_apart(store, chain.from_iterable(cases.values())))
    counts = dict.fromkeys(CaseStatus, 0)
    for rows in cases.values():
        for row in rows:
            counts[row.status] += 1
    if context.json:
        click.echo(
            json.dumps(
                {
                    "run": run,
                    "status": record.status.value if record else None,
                    "counts": {status.value: count for status, count in counts.items() if count},
                    "left": left,
                    "cases": [_case_json(case, rows, rules) for case, rows in cases.items()],
                    "report": [str(page) for page in pages],
                },
                ensure_ascii=False,
            )
        )
    else:
        _print_table(cases, rules)
        said = ", ".join(f"{count} {status.value}" for status, count in counts.items() if count)
        click.echo(f"run {run}: {said}")
        if pages:
            click.echo(f"report: {pages[0]}")
    if left:
        click.echo(f"{left} measurements are left; go on with: farm resume {run}", err=True)


def _case_json(case: str, rows: Sequence[MeasurementRow], rules: _Rules) -> dict[str, Any]:
    planned = rows[0].planned
    return {
        "case": case,
        "device": planned.device_id,
        "kind": planned.kind.value,
        "tier": planned.tier,
        "model": planned.model.id,
        "runner": planned.runner.id,
        "workload": planned.workload_id,
        "statuses": [row.status.value for row in rows],
        "medians": {metric: rules.middle(rows, metric) for metric, _ in SHOWN_METRICS},
        "verdicts": {target: verdict.value for target, verdict in rules.verdicts(rows).items()},
        "quarantine": rules.apart.get(planned.device_id),
    }


def _print_table(cases: Mapping[str, Sequence[MeasurementRow]], rules: _Rules) -> None:
    shown = [rows for rows in cases.values() if any(row.status is not CaseStatus.SKIPPED for row in rows)]
    body = []
    for rows in shown:
        planned = rows[0].planned
        measured = sum(row.status is CaseStatus.MEASURED for row in rows)
        figures = [rules.middle(rows, metric) for metric, _ in SHOWN_METRICS]
        body.append(
            (
                output.device_name(planned.device_id, planned.kind),
                planned.model.id,
                planned.runner.id,
                planned.workload_id,
                f"{measured}/{len(rows)}",
                *("–" if value is None else f"{value:.4g}" for value in figures),
                _conclusion(rows, rules),
            )
        )
    titles = ("phone", "model", "runner", "workload", "measured", *(title for _, title in SHOWN_METRICS), "verdicts")
    output.print_table("Medians over repetitions (–: not measured)", titles, body)


def _conclusion(rows: Sequence[MeasurementRow], rules: _Rules) -> str:
    if not any(row.status is CaseStatus.MEASURED for row in rows):
        classes = {row.error.error_class: None for row in rows if row.error is not None}
        return ", ".join((rows[0].status.value, *classes))
    named = (
        (name.removesuffix("_max").removesuffix("_min"), verdict) for name, verdict in rules.verdicts(rows).items()
    )
    said = ", ".join(f"{name} {verdict.value}" for name, verdict in named if verdict is not TargetVerdict.NOT_MEASURED)
    return f"{said} (phone in quarantine)" if rows[0].planned.device_id in rules.apart else said

"""What did not work: failures by class, refused and skipped cases by reason."""

from __future__ import annotations

from collections.abc import Iterable

from harness.model import CaseStatus, ErrorInfo, Step
from reports.cases import Case, case_name
from reports.inputs import Repetition
from reports.numbers import plural
from reports.views import DeviceName, FailureGroup, FailureRow, NotRunRow

_UNTOLD = ErrorInfo("internal", Step.STORE, "the store holds no reason for it")


def failure_groups(cases: Iterable[Case]) -> tuple[FailureGroup, ...]:
    """Failed repetitions by error class, the most frequent first; equal failures of one case share a row."""
    by_class: dict[str, list[tuple[Case, tuple[Repetition, ...]]]] = {}
    for case in cases:
        alike: dict[tuple[str, str, str], list[Repetition]] = {}
        for one in case.repetitions:
            if one.status is CaseStatus.FAILED:
                error = one.error or _UNTOLD
                alike.setdefault((error.error_class, str(error.step), error.message), []).append(one)
        for (error_class, _, _), ones in alike.items():
            by_class.setdefault(error_class, []).append((case, tuple(ones)))
    groups = [
        (sum(len(ones) for _, ones in entries), error_class, entries) for error_class, entries in by_class.items()
    ]
    return tuple(
        FailureGroup(error_class, plural(count, "repetition"), tuple(failure_row(*entry) for entry in entries))
        for count, error_class, entries in sorted(groups, key=lambda group: (-group[0], group[1]))
    )


def failure_row(case: Case, alike: tuple[Repetition, ...]) -> FailureRow:
    """One row for repetitions that failed in the same way; the log is that of the last of them."""
    error = alike[0].error or _UNTOLD
    numbers = ", ".join(f"{one.planned.repeat} (attempt {one.attempt})" for one in alike)
    return FailureRow(
        case=case_name(case),
        repetitions=numbers,
        step=str(error.step),
        message=error.message,
        advice=error.advice,
        log_tail=alike[-1].log_tail,
    )


def not_run_rows(cases: Iterable[Case], status: CaseStatus) -> tuple[NotRunRow, ...]:
    """Cases of `status` (refused or skipped), one row per model, runner and reason."""
    grouped: dict[tuple[str, str, str, str, str], list[Case]] = {}
    for case in cases:
        one = next((one for one in case.repetitions if one.status is status), None)
        if one is not None:
            error = one.error or one.planned.reason or _UNTOLD
            planned = case.planned
            key = (planned.model.id, planned.runner.id, error.error_class, error.message, error.advice)
            grouped.setdefault(key, []).append(case)
    rows: list[NotRunRow] = []
    for (model, runner, error_class, message, advice), members in grouped.items():
        devices: dict[str, DeviceName] = {case.device.id: case.device for case in members}
        workloads = sorted({case.planned.workload_id for case in members})
        rows.append(
            NotRunRow(
                model=model,
                runner=runner,
                workloads=", ".join(workloads),
                devices=tuple(devices.values()),
                error_class=error_class,
                message=message,
                advice=advice,
                count=plural(len(members), "case"),
            )
        )
    return tuple(rows)

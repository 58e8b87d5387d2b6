"""What the nights of a lab measured: each repetition, with what judging needs of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from harness.model import CaseStatus, DeviceKind, NightRole, Platform, RunRecord
from harness.store.rows import run_from_row
from harness.store.schema import cases, metrics, runs

_BATCH = 500
_OPTIONS: Any = runs.c.options
_PROVENANCE: Any = cases.c.provenance
_NIGHT = _OPTIONS[("nightly", "night")].as_string()
_ROLE = _OPTIONS[("nightly", "role")].as_string()
_COLUMNS = (
    cases.c.tier,
    cases.c.device_id,
    cases.c.identity,
    cases.c.model_id,
    cases.c.runner_id,
    cases.c.workload_id,
    cases.c.repeat,
    cases.c.model_sha256,
    cases.c.runner_sha256,
    cases.c.platform,
    cases.c.kind,
    cases.c.started_at,
    # The database takes these two out of the JSON: a whole provenance is kilobytes.
    _PROVENANCE["os_fingerprint"].as_string().label("os"),
    _PROVENANCE["marks"].label("marks"),
)


@dataclass(frozen=True, slots=True)
class NightFigure:
    """One measured repetition of a night.

    Args:
        run: that it is of; shared by all figures of the run.
        night: ISO date.
        started_at: Unix seconds.
        os: fingerprint of the phone's system, "" when it is not known.
        marks: what a reader of the figures has to know, "NAME: DETAIL" each.
        values: metric → value in the metric's unit; what was not measured is left out.
    """

    run: RunRecord
    night: str
    tier: str
    device_id: str
    identity: str
    platform: Platform
    kind: DeviceKind
    model_id: str
    runner_id: str
    workload_id: str
    repeat: int
    started_at: float
    model_sha256: str
    runner_sha256: str
    os: str
    marks: tuple[str, ...]
    values: Mapping[str, float]


def figures(
    connection: Connection,
    lab: str,
    names: Sequence[str],
    roles: Collection[NightRole],
    *,
    upto: str | None = None,
    models: Collection[str] | None = None,
) -> Iterator[NightFigure]:
    """Every measured repetition of the runs of a lab's nights: by night, then by start of the run, then as planned.

    Rows come in batches, one run after the other, so that years are read in little memory.

    Args:
        lab: its name.
        names: metrics. roles: of the runs.
        upto: the last night; None: the newest. models: ids that it is limited to; None: all.
    """
    for row in connection.execute(select_runs(lab, roles, upto)).mappings().all():
        record, night = run_from_row(row), str(row["night"])
        query = select_figures(record.id, names, models)
        for found in connection.execute(query, execution_options={"yield_per": _BATCH}):
            yield _figure(record, night, names, found)


def select_runs(lab: str, roles: Collection[NightRole], upto: str | None) -> sa.Select[Any]:
    """The runs of a lab's nights, with the `night` of each."""
    query = (
        sa.select(runs, _NIGHT.label("night"))
        .where(runs.c.lab == lab, _ROLE.in_([role.value for role in roles]), _NIGHT.is_not(None))
        .order_by(_NIGHT, runs.c.started_at, runs.c.id)
    )
    return query if upto is None else query.where(upto >= _NIGHT)


def select_figures(run: str, names: Sequence[str], models: Collection[str] | None) -> sa.Select[Any]:
    """A row for each measured repetition: `_COLUMNS`, then a value for each metric. A subquery for each metric takes
    the JSON apart once for a repetition; a join would do it for each of its metrics."""
    values = [
        sa.select(metrics.c.value)
        .where(metrics.c.key == cases.c.key, metrics.c.name == name)
        .correlate(cases)
        .scalar_subquery()
        for name in names
    ]
    query = (
        sa.select(*_COLUMNS, *values)
        .where(cases.c.run == run, cases.c.status == CaseStatus.MEASURED.value)
        .order_by(cases.c.position)
    )
    return query if models is None else query.where(cases.c.model_id.in_(models))


def _figure(record: RunRecord, night: str, names: Sequence[str], row: sa.Row[Any]) -> NightFigure:
    *case, platform, kind, started_at, os, marks = row[: len(_COLUMNS)]
    tier, device_id, identity, model_id, runner_id, workload_id, repeat, model_sha256, runner_sha256 = case
    measured = zip(names, row[len(_COLUMNS) :], strict=True)
    return NightFigure(
        run=record,
        night=night,
        tier=tier,
        device_id=device_id,
        identity=identity,
        platform=Platform(platform),
        kind=DeviceKind(kind),
        model_id=model_id,
        runner_id=runner_id,
        workload_id=workload_id,
        repeat=repeat,
        started_at=record.started_at if started_at is None else started_at,
        model_sha256=model_sha256,
        runner_sha256=runner_sha256,
        os="" if os is None else str(os),
        marks=tuple(str(mark) for mark in marks) if isinstance(marks, list) else (),
        values={name: value for name, value in measured if value is not None},
    )

"""Queries: everything that reads the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean, median
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from harness.errors import StoreError
from harness.model import (
    METRICS,
    CaseStatus,
    DeviceKind,
    NightRole,
    PlannedCase,
    Reading,
    RunRecord,
    RunStatus,
    Step,
    StepRecord,
    Trace,
)
from harness.store import rows
from harness.store.blobs import unpack_arrays, unpack_floats, unpack_trace
from harness.store.rows import DeviceRecord
from harness.store.schema import cases, events, metrics, outputs, runs, steps, telemetry, token_times
from harness.store.schema import device_records as schema_records

_BATCH = 500
_ORDER = {name: index for index, name in enumerate(METRICS)}


def all_runs(connection: Connection) -> tuple[RunRecord, ...]:
    """Every run, oldest first."""
    found = connection.execute(sa.select(runs).order_by(runs.c.started_at, runs.c.id)).mappings()
    return tuple(rows.run_from_row(row) for row in found)


def run(connection: Connection, run_id: str) -> RunRecord | None:
    row = connection.execute(sa.select(runs).where(runs.c.id == run_id)).mappings().one_or_none()
    return None if row is None else rows.run_from_row(row)


def newest_unfinished(connection: Connection) -> RunRecord | None:
    """Pairs of builds are passed over: what is missing of them is planned anew."""
    query = sa.select(runs).where(runs.c.status != RunStatus.FINISHED.value)
    found = connection.execute(query.order_by(runs.c.started_at.desc(), runs.c.id.desc())).mappings()
    records = (rows.run_from_row(row) for row in found)
    return next((one for one in records if not NightRole.decides_builds(one.options)), None)


def planned(connection: Connection, run_id: str, status: CaseStatus | None) -> tuple[PlannedCase, ...]:
    query = sa.select(cases).where(cases.c.run == run_id).order_by(cases.c.position)
    if status is not None:
        query = query.where(cases.c.status == status.value)
    return tuple(rows.case_from_row(row) for row in connection.execute(query).mappings())


def counts(connection: Connection) -> Mapping[str, Mapping[CaseStatus, int]]:
    """Run id → how many measurements it has of each status."""
    query = sa.select(cases.c.run, cases.c.status, sa.func.count()).group_by(cases.c.run, cases.c.status)
    found: dict[str, dict[CaseStatus, int]] = defaultdict(dict)
    for run_id, status, count in connection.execute(query):
        found[run_id][CaseStatus(status)] = count
    return found


def device_kinds(connection: Connection) -> Mapping[str, Mapping[DeviceKind, int]]:
    """Run id → how many devices of each kind it planned for."""
    devices = sa.select(cases.c.run, cases.c.kind, cases.c.device_id).distinct().subquery()
    query = sa.select(devices.c.run, devices.c.kind, sa.func.count()).group_by(devices.c.run, devices.c.kind)
    found: dict[str, dict[DeviceKind, int]] = defaultdict(dict)
    for run_id, kind, count in connection.execute(query):
        found[run_id][DeviceKind(kind)] = count
    return found


def median_durations(connection: Connection, *, newest: int) -> Mapping[str, float]:
    """series_key → median seconds of its `newest` last measurements, without the time at the gates."""
    found = _newest(connection, cases.c.series_key, cases.c.duration_s - _waited(), newest)
    return {series: median(durations) for series, durations in found.items()}


def mean_waits(connection: Connection, *, newest: int) -> Mapping[str, float]:
    """Identity of a phone → mean seconds at the gates of its `newest` last measurements."""
    found = _newest(connection, cases.c.identity, _waited(), newest)
    return {identity: fmean(waits) for identity, waits in found.items()}


def _waited() -> sa.ColumnElement[float]:
    """Seconds that the last attempt of a measurement waited at the gates."""
    gate = (steps.c.key == cases.c.key, steps.c.attempt == cases.c.attempt, steps.c.step == Step.GATE.value)
    waited = sa.select(steps.c.duration_s).where(*gate).correlate(cases).limit(1).scalar_subquery()
    return sa.func.coalesce(waited, 0.0)


def _newest(
    connection: Connection, group: sa.Column[str], value: sa.ColumnElement[float], newest: int
) -> dict[str, list[float]]:
    """Values of the `newest` last measurements of each group."""
    rank = sa.func.row_number().over(partition_by=group, order_by=cases.c.started_at.desc())
    ranked = (
        sa.select(group.label("grouped"), value.label("value"), rank.label("rank"))
        .where(cases.c.status == CaseStatus.MEASURED.value)
        .subquery()
    )
    found: dict[str, list[float]] = defaultdict(list)
    query = sa.select(ranked.c.grouped, ranked.c.value).where(ranked.c.rank <= newest)
    for name, seconds in connection.execute(query):
        found[name].append(seconds)
    return found


def measurements(connection: Connection, *where: sa.ColumnElement[bool]) -> Iterator[rows.MeasurementRow]:
    """Measurements by start, in batches; what never started stands at the start of its run, in the plan's order."""
    query = (
        sa.select(cases)
        .join(runs, runs.c.id == cases.c.run)
        .where(*where)
        .order_by(sa.func.coalesce(cases.c.started_at, runs.c.started_at), cases.c.run, cases.c.position)
    )
    result = connection.execution_options(yield_per=_BATCH).execute(query).mappings()
    for batch in result.partitions():
        found = _metrics(connection, [row["key"] for row in batch])
        for row in batch:
            yield rows.measurement_from_row(dict(row), found.get(row["key"], {}))


def _metrics(connection: Connection, keys: Sequence[str]) -> dict[str, dict[str, Reading]]:
    found: dict[str, dict[str, Reading]] = defaultdict(dict)
    for row in connection.execute(sa.select(metrics).where(metrics.c.key.in_(keys))).mappings():
        found[row["key"]][row["name"]] = rows.reading_from_row(dict(row))
    return {
        key: dict(sorted(values.items(), key=lambda item: (_ORDER.get(item[0], len(_ORDER)), item[0])))
        for key, values in found.items()
    }


def matching_keys(connection: Connection, prefix: str) -> tuple[tuple[str, str, str], ...]:
    """(run, case, key) of measurements whose key starts with `prefix`, which is plain text; at most 1000."""
    wanted = cases.c.key.startswith(prefix, autoescape=True)
    query = sa.select(cases.c.run, cases.c.case_id, cases.c.key).where(wanted).order_by(cases.c.key).limit(1000)
    return tuple((row[0], row[1], row[2]) for row in connection.execute(query))


def step_records(connection: Connection, key: str) -> tuple[StepRecord, ...]:
    found = connection.execute(sa.select(steps).where(steps.c.key == key).order_by(steps.c.id)).mappings()
    return tuple(rows.step_from_row(row) for row in found)


def run_steps(connection: Connection, run_id: str) -> dict[str, tuple[StepRecord, ...]]:
    """Key → its steps, of a whole run in one question."""
    query = sa.select(steps).join(cases, cases.c.key == steps.c.key).where(cases.c.run == run_id).order_by(steps.c.id)
    found: dict[str, list[StepRecord]] = {}
    for row in connection.execute(query).mappings():
        found.setdefault(row["key"], []).append(rows.step_from_row(row))
    return {key: tuple(own) for key, own in found.items()}


def traces(connection: Connection, key: str, channels: Sequence[str]) -> tuple[Trace, ...]:
    query = sa.select(telemetry).where(telemetry.c.key == key).order_by(telemetry.c.position)
    if channels:
        query = query.where(telemetry.c.channel.in_(channels))
    found = []
    for row in connection.execute(query).mappings():
        with _intact(key, row["channel"]):
            times, values = unpack_trace(row["samples"])
        found.append(Trace(rows.channel_from_row(row), times, values))
    return tuple(found)


def samples(connection: Connection, key: str) -> Iterator[rows.Samples]:
    """Telemetry of a measurement as arrays, one channel at a time."""
    query = sa.select(telemetry).where(telemetry.c.key == key).order_by(telemetry.c.position)
    for row in connection.execution_options(yield_per=1).execute(query).mappings():
        with _intact(key, row["channel"]):
            micros, values = unpack_arrays(row["samples"])
        yield rows.Samples(rows.channel_from_row(row), micros, values)


def itl(connection: Connection, key: str) -> tuple[float, ...]:
    blob = connection.execute(sa.select(token_times.c.itl).where(token_times.c.key == key)).scalar_one_or_none()
    if blob is None:
        return ()
    with _intact(key, "inter-token times"):
        return unpack_floats(blob)


@contextmanager
def _intact(key: str, what: str) -> Iterator[None]:
    """Say of which measurement a blob cannot be read."""
    try:
        yield
    except ValueError as error:
        raise StoreError(
            f"telemetry of {key}, {what}: {error}", advice="`farm db check` tells what else is damaged; restore a copy"
        ) from error


def output(connection: Connection, key: str) -> tuple[str, tuple[str, ...]]:
    """(end of the log, commands that repeat the measurement); both empty when it never ran."""
    row: Any = connection.execute(sa.select(outputs).where(outputs.c.key == key)).mappings().one_or_none()
    return ("", ()) if row is None else (row["log_tail"], tuple(row["commands"]))


def run_outputs(connection: Connection, run_id: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Key → what `output` gives, of a whole run in one question; what never ran is left out."""
    query = sa.select(outputs).join(cases, cases.c.key == outputs.c.key).where(cases.c.run == run_id)
    return {row["key"]: (row["log_tail"], tuple(row["commands"])) for row in connection.execute(query).mappings()}


def event_records(connection: Connection, run_id: str) -> tuple[rows.EventRecord, ...]:
    found = connection.execute(sa.select(events).where(events.c.run == run_id).order_by(events.c.at, events.c.id))
    return tuple(rows.event_from_row(row) for row in found.mappings())


def device_records(connection: Connection, identity: str | None, kind: str | None) -> tuple[DeviceRecord, ...]:
    query = sa.select(schema_records).order_by(schema_records.c.at, schema_records.c.id)
    if identity is not None:
        query = query.where(schema_records.c.identity == identity)
    if kind is not None:
        query = query.where(schema_records.c.kind == kind)
    return tuple(
        DeviceRecord(row["identity"], row["kind"], row["key"], row["at"], row["value"])
        for row in connection.execute(query).mappings()
    )

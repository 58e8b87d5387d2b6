"""The store: what every other package uses. Each method is one transaction; one Store serves many threads."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from harness import leases as rules
from harness.errors import StoreError
from harness.model import (
    CaseResult,
    CaseStatus,
    DeviceKind,
    ErrorInfo,
    LeaseInfo,
    PlannedCase,
    RunRecord,
    RunStatus,
    StepRecord,
    Trace,
)
from harness.store import history_table, lease_table, reading, rows
from harness.store.blobs import pack_floats, pack_trace
from harness.store.engine import exists, explained, open_engine, writing
from harness.store.history_table import Figure
from harness.store.lease_table import Dead
from harness.store.night_table import Nights
from harness.store.rows import DeviceRecord, EventRecord, MeasurementRow, Samples, clean, clean_text
from harness.store.schema import cases, device_records, events, metrics, outputs, runs, steps, telemetry, token_times
from harness.store.telemetry_table import OldTelemetry

_CHILDREN = (metrics, telemetry, token_times, outputs)
"""Tables that hold what the last attempt of a measurement gave."""


class Store:
    """A database of runs. Every method raises `StoreError` when the database cannot be used.

    Times are Unix seconds; a `key` is "CASE.REPEAT".
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = writing(engine)
        self.nights = Nights(self._write, self._read)
        self.old_telemetry = OldTelemetry(self._write, self._read)

    @classmethod
    def open(cls, url: str) -> Store:
        """Open a database by SQLAlchemy URL; an empty or missing SQLite file becomes a new one, an older schema is
        migrated."""
        return cls(open_engine(url))

    @staticmethod
    def exists(url: str) -> bool:
        """Whether there is anything to open: False for an SQLite file that is missing or empty."""
        return exists(url)

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with explained(self._engine.url), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with explained(self._engine.url), self._engine.connect() as connection:
            yield connection

    # --- runs ---------------------------------------------------------------------------------------------------------

    def begin_run(self, run: RunRecord, planned: Sequence[PlannedCase]) -> None:
        """Record a run and everything it plans, refused and skipped cases included."""
        with self._write() as connection:
            connection.execute(sa.insert(runs).values(rows.run_to_row(run)))
            found = [rows.case_to_row(case, position) for position, case in enumerate(planned)]
            if found:
                connection.execute(sa.insert(cases), found)

    def set_run_status(self, run: str, status: RunStatus, ended_at: float | None = None) -> None:
        """Set the status; `ended_at` None leaves the run open."""
        with self._write() as connection:
            connection.execute(sa.update(runs).where(runs.c.id == run).values(status=status.value, ended_at=ended_at))

    def take_over_run(self, run: str, driver: RunRecord) -> None:
        """Make another process (`owner`, `host`, `pid`, `pid_started` of `driver`) drive an unfinished run.

        Raises StoreError when a live process drives it: of two that resume at once, one gets it.
        """
        with self._write() as connection:
            row = connection.execute(sa.select(runs).where(runs.c.id == run).with_for_update()).mappings().one()
            other = (row["host"], row["pid"]) != (driver.host, driver.pid)
            running = row["status"] == RunStatus.RUNNING.value
            if running and other and rules.is_alive(row["host"], row["pid"], row["pid_started"]):
                raise StoreError(f"run {run} is driven by process {row['pid']} ({row['owner']})")
            values = {name: getattr(driver, name) for name in ("owner", "host", "pid", "pid_started")}
            values |= {"status": RunStatus.RUNNING.value, "ended_at": None}
            connection.execute(sa.update(runs).where(runs.c.id == run).values(values))

    def run(self, run: str) -> RunRecord | None:
        with self._read() as connection:
            return reading.run(connection, run)

    def runs(self) -> tuple[RunRecord, ...]:
        """Every run, oldest first."""
        with self._read() as connection:
            return reading.all_runs(connection)

    def newest_unfinished_run(self) -> RunRecord | None:
        with self._read() as connection:
            return reading.newest_unfinished(connection)

    def counts(self) -> Mapping[str, Mapping[CaseStatus, int]]:
        """Run id → number of measurements of each status."""
        with self._read() as connection:
            return reading.counts(connection)

    def device_kinds(self) -> Mapping[str, Mapping[DeviceKind, int]]:
        """Run id → how many devices of each kind it planned for."""
        with self._read() as connection:
            return reading.device_kinds(connection)

    # --- cases --------------------------------------------------------------------------------------------------------

    def cases(self, run: str, *, status: CaseStatus | None = None) -> tuple[PlannedCase, ...]:
        """The run's measurements in the plan's order, of one status or of all."""
        with self._read() as connection:
            return reading.planned(connection, run, status)

    def add_cases(self, run: str, planned: Sequence[PlannedCase]) -> None:
        """Plan further measurements of a run that is under way; they stand after those it has."""
        with self._write() as connection:
            last = connection.execute(sa.select(sa.func.max(cases.c.position)).where(cases.c.run == run)).scalar()
            first = 0 if last is None else last + 1
            found = [rows.case_to_row(case, position) for position, case in enumerate(planned, start=first)]
            if found:
                connection.execute(sa.insert(cases), found)

    def start_case(self, key: str, attempt: int, at: float) -> None:
        """An attempt begins. Raises StoreError when the measurement is final already."""
        with self._write() as connection:
            self._update(connection, key, {"status": CaseStatus.RUNNING.value, "attempt": attempt, "started_at": at})

    def add_step(self, key: str, record: StepRecord) -> None:
        """Add a step of any attempt; steps are kept in the order in which they were added."""
        with self._write() as connection:
            connection.execute(sa.insert(steps).values(rows.step_to_row(key, record)))

    def finish_case(self, key: str, result: CaseResult) -> None:
        """Store how a measurement ended, in one transaction.

        A failed or refused one may be stored again (a later attempt); a measured one never: raises StoreError.
        """
        metric_rows = [rows.reading_to_row(key, name, found) for name, found in result.metrics.items()]
        trace_rows = [_trace_row(key, position, trace) for position, trace in enumerate(result.traces)]
        with self._write() as connection:
            values = {
                "status": result.status.value,
                "attempt": result.attempt,
                "started_at": result.started_at,
                "duration_s": result.duration_s,
                "provenance": clean(result.provenance),
                "telemetry_dropped_at": None,
                **rows.error_to_columns(result.error),
            }
            self._update(connection, key, values)
            for table in _CHILDREN:
                connection.execute(sa.delete(table).where(table.c.key == key))
            if metric_rows:
                connection.execute(sa.insert(metrics), metric_rows)
            if trace_rows:
                connection.execute(sa.insert(telemetry), trace_rows)
            if result.itl_ms:
                blob = {"key": key, "count": len(result.itl_ms), "itl": pack_floats(result.itl_ms)}
                connection.execute(sa.insert(token_times).values(blob))
            tail = {"key": key, "log_tail": clean_text(result.log_tail), "commands": clean(result.commands)}
            connection.execute(sa.insert(outputs).values(tail))

    def refuse_case(self, key: str, reason: ErrorInfo) -> None:
        """A planned measurement cannot run any more (its model changed, …)."""
        values = {"status": CaseStatus.REFUSED.value, **rows.error_to_columns(reason)}
        with self._write() as connection:
            self._update(connection, key, values)

    def requeue_running(self, run: str) -> tuple[str, ...]:
        """Put what was RUNNING when a run was interrupted back to PLANNED; returns the keys in the plan's order."""
        mine = (cases.c.run == run, cases.c.status == CaseStatus.RUNNING.value)
        with self._write() as connection:
            keys = tuple(connection.execute(sa.select(cases.c.key).where(*mine).order_by(cases.c.position)).scalars())
            connection.execute(sa.update(cases).where(*mine).values(status=CaseStatus.PLANNED.value))
        return keys

    def _update(self, connection: Connection, key: str, values: Mapping[str, Any]) -> None:
        row = connection.execute(sa.select(cases.c.status).where(cases.c.key == key).with_for_update()).first()
        if row is None:
            raise StoreError(f"there is no measurement {key!r} in the database")
        if row[0] in {CaseStatus.MEASURED.value, CaseStatus.SKIPPED.value}:
            raise StoreError(f"measurement {key} is {row[0]} already and is never overwritten")
        connection.execute(sa.update(cases).where(cases.c.key == key).values(values))

    def median_durations(self) -> Mapping[str, float]:
        """series_key → median seconds of what was measured of it, waiting apart, over its newest 20."""
        with self._read() as connection:
            return reading.median_durations(connection, newest=20)

    def mean_waits(self) -> Mapping[str, float]:
        """Identity of a phone → mean seconds that its newest 20 measurements waited at the gates."""
        with self._read() as connection:
            return reading.mean_waits(connection, newest=20)

    # --- what happened around it --------------------------------------------------------------------------------------

    def add_event(self, run: str, device_id: str, at: float, kind: str, detail: Mapping[str, Any]) -> None:
        """Note something that belongs to no step: a rung of the recovery ladder, a lost device, a warning."""
        values = {"run": run, "device_id": device_id, "at": at, "kind": kind, "detail": detail}
        with self._write() as connection:
            connection.execute(sa.insert(events).values(clean(values)))

    def events(self, run: str) -> tuple[EventRecord, ...]:
        with self._read() as connection:
            return reading.event_records(connection, run)

    # --- phones -------------------------------------------------------------------------------------------------------

    def add_device_record(self, identity: str, kind: str, key: str, at: float, value: Mapping[str, Any]) -> None:
        """Keep something about a phone (see DeviceRecord); what was known before stays in the history."""
        values = {"identity": identity, "kind": kind, "key": key, "at": at, "value": value}
        with self._write() as connection:
            connection.execute(sa.insert(device_records).values(clean(values)))

    def device_records(self, identity: str | None = None, kind: str | None = None) -> tuple[DeviceRecord, ...]:
        """What is known of one phone or of all, of one kind or of all, oldest first."""
        with self._read() as connection:
            return reading.device_records(connection, identity, kind)

    def latest_device_record(self, identity: str, kind: str, key: str = "") -> DeviceRecord | None:
        """The newest record of a phone for `kind` and `key`."""
        found = [record for record in self.device_records(identity, kind) if record.key == key]
        return found[-1] if found else None

    # --- leases -------------------------------------------------------------------------------------------------------

    def acquire_lease(self, lease: LeaseInfo, *, now: float | None = None, dead: Dead = rules.is_dead) -> LeaseInfo:
        """Take a device (or reserve it), atomically; returns the holder afterwards: `lease` itself, or who blocks it.

        Expired leases and those of dead processes of this host are taken over. A device has one working lease and
        beside it at most one reservation, which lets in the same person's runs.
        """
        with self._write() as connection:
            return lease_table.acquire(connection, lease, now=time.time() if now is None else now, dead=dead)

    def renew_lease(self, lease: LeaseInfo) -> None:
        """Move the expiry to `lease.expires_at`; nothing happens when another process took it meanwhile."""
        with self._write() as connection:
            lease_table.renew(connection, lease)

    def release_lease(self, lease: LeaseInfo) -> None:
        """Give it back, if it is still ours: a reservation by the same person, a working lease by the same process."""
        with self._write() as connection:
            lease_table.release(connection, lease)

    def lease(self, identity: str, *, reserved: bool = False) -> LeaseInfo | None:
        """The working lease of a device, or its reservation; an expired one is returned too."""
        with self._read() as connection:
            found = lease_table.of_device(connection, identity)
        return next((lease for lease in found if lease.reserved == reserved), None)

    def leases(self) -> tuple[LeaseInfo, ...]:
        with self._read() as connection:
            return lease_table.everything(connection)

    # --- reading ------------------------------------------------------------------------------------------------------

    def measurements(self, run: str | None = None, *, case: str | None = None) -> Iterator[MeasurementRow]:
        """Measurements of all runs, of one run or of one case, by start, from one consistent view of the database.

        Rows come in batches, so that a database of any size is read in little memory. Those that never started
        (skipped, refused, planned) stand at the start of their run.
        """
        where = []
        if run is not None:
            where.append(cases.c.run == run)
        if case is not None:
            where.append(cases.c.case_id == case)
        with self._read() as connection:
            yield from reading.measurements(connection, *where)

    def runs_of_tier(self, tier: str) -> frozenset[str]:
        """Ids of the runs in which anything of the tier was measured."""
        with self._read() as connection:
            return history_table.runs_of_tier(connection, tier)

    def figures(self, runs: Sequence[str], tier: str, metric: str) -> tuple[Figure, ...]:
        """A metric of every repetition of a tier in `runs` that measured it, in no order."""
        with self._read() as connection:
            return history_table.figures(connection, runs, tier, metric)

    def measurement(self, key: str) -> MeasurementRow | None:
        with self._read() as connection:
            return next(reading.measurements(connection, cases.c.key == key), None)

    def matching_keys(self, prefix: str) -> tuple[tuple[str, str, str], ...]:
        """(run, case, key) of measurements whose key starts with `prefix`."""
        with self._read() as connection:
            return reading.matching_keys(connection, prefix)

    def steps(self, key: str) -> tuple[StepRecord, ...]:
        """Steps of every attempt, in the order in which they were added."""
        with self._read() as connection:
            return reading.step_records(connection, key)

    def run_steps(self, run_id: str) -> Mapping[str, tuple[StepRecord, ...]]:
        """Key → its steps as `steps` gives them, of all measurements of a run."""
        with self._read() as connection:
            return reading.run_steps(connection, run_id)

    def traces(self, key: str, *channels: str) -> tuple[Trace, ...]:
        """Telemetry of a measurement: the named channels, or all; absent channels come without samples."""
        with self._read() as connection:
            return reading.traces(connection, key, channels)

    def samples(self, key: str) -> Iterator[Samples]:
        """Telemetry of a measurement as arrays, one channel after the other: little memory however long it is."""
        with self._read() as connection:
            yield from reading.samples(connection, key)

    def itl(self, key: str) -> tuple[float, ...]:
        """Inter-token latencies in ms, in order."""
        with self._read() as connection:
            return reading.itl(connection, key)

    def output(self, key: str) -> tuple[str, tuple[str, ...]]:
        """(end of the runner's log, commands that repeat the measurement by hand)."""
        with self._read() as connection:
            return reading.output(connection, key)

    def run_outputs(self, run_id: str) -> Mapping[str, tuple[str, tuple[str, ...]]]:
        """Key → what `output` gives, of all measurements of a run that ran."""
        with self._read() as connection:
            return reading.run_outputs(connection, run_id)


def _trace_row(key: str, position: int, trace: Trace) -> dict[str, Any]:
    channel = trace.channel
    return {
        "key": key,
        "channel": clean_text(channel.name),
        "position": position,
        "unit": channel.unit,
        "source": clean_text(channel.source),
        "resolution": channel.resolution,
        "absent": clean_text(channel.absent),
        "count": len(trace.values),
        "samples": pack_trace(trace.uptime_s, trace.values),
    }

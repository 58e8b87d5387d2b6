"""Nights in the store: what became of each, what people said of changes, and the pinned builds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from harness import leases as rules
from harness.errors import StoreError
from harness.model import Ack, Baseline, NightRecord, NightRole, NightSummary, RunStatus, SeriesId
from harness.store import night_figures
from harness.store.night_figures import NightFigure
from harness.store.rows import Row, clean
from harness.store.schema import acks, baselines, nights

Transaction = Callable[[], AbstractContextManager[Connection]]


class Nights:
    """The nights of every lab in a database; each method is one transaction, and raises `StoreError` when the database
    cannot be used. `lab` is the name of the lab, `night` an ISO date."""

    def __init__(self, write: Transaction, read: Transaction) -> None:
        self._write = write
        self._read = read

    # --- nights -------------------------------------------------------------------------------------------------------

    def begin(self, record: NightRecord) -> None:
        """Record a night that begins, or that this process goes on with.

        Raises StoreError when a live process drives it.
        """
        values = {**clean(record), "summary": None}
        where = _night(record.lab, record.night)
        with self._write() as connection:
            row = connection.execute(sa.select(nights).where(*where).with_for_update()).mappings().first()
            if row is None:
                connection.execute(sa.insert(nights).values(values))
                return
            other = (row["host"], row["pid"]) != (record.host, record.pid)
            running = row["status"] == RunStatus.RUNNING.value
            if running and other and rules.is_alive(row["host"], row["pid"], row["pid_started"]):
                raise StoreError(f"night {record.night} of {record.lab} is driven by process {row['pid']}")
            values["started_at"] = row["started_at"]
            connection.execute(sa.update(nights).where(*where).values(values))

    def end(self, lab: str, night: str, status: RunStatus, at: float, summary: NightSummary | None) -> None:
        """Say how a night ended. Args: at: Unix seconds. summary: None for one that was interrupted."""
        values = {
            "status": status.value,
            "ended_at": at,
            "summary": clean(summary.to_json()) if summary is not None else None,
        }
        with self._write() as connection:
            connection.execute(sa.update(nights).where(*_night(lab, night)).values(values))

    def get(self, lab: str, night: str) -> NightRecord | None:
        with self._read() as connection:
            row = connection.execute(sa.select(nights).where(*_night(lab, night))).mappings().first()
        return None if row is None else _record(row)

    def all(self, lab: str | None = None) -> tuple[NightRecord, ...]:
        """Those of one lab or of all, oldest first."""
        query = sa.select(nights).order_by(nights.c.night, nights.c.lab)
        if lab is not None:
            query = query.where(nights.c.lab == lab)
        with self._read() as connection:
            return tuple(_record(row) for row in connection.execute(query).mappings())

    # --- what was measured --------------------------------------------------------------------------------------------

    def figures(
        self,
        lab: str,
        metrics: Sequence[str],
        roles: Collection[NightRole] = (NightRole.MEASURE,),
        *,
        upto: str | None = None,
        models: Collection[str] | None = None,
    ) -> Iterator[NightFigure]:
        """Every measured repetition of the runs of the nights: by night, then by start of the run, then as planned.
        All come from one consistent view of the database, in batches: years are read in little memory.

        Args:
            metrics: names of those that are wanted. roles: of the runs.
            upto: the last night; None: the newest. models: ids that it is limited to; None: all.
        """
        with self._read() as connection:
            yield from night_figures.figures(connection, lab, metrics, roles, upto=upto, models=models)

    # --- what people said ---------------------------------------------------------------------------------------------

    def add_ack(self, lab: str, ack: Ack) -> None:
        values = {"lab": lab, **clean(ack), "series": ack.series.key}
        with self._write() as connection:
            connection.execute(sa.insert(acks).values(values))

    def acks(self, lab: str) -> tuple[Ack, ...]:
        """Oldest first."""
        query = sa.select(acks).where(acks.c.lab == lab).order_by(acks.c.at, acks.c.id)
        with self._read() as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(
            Ack(SeriesId.parse(row["series"]), row["night"], row["author"], row["reason"], row["at"]) for row in rows
        )

    # --- pinned builds ------------------------------------------------------------------------------------------------

    def pin(self, lab: str, baseline: Baseline) -> None:
        """From now on nights compare the runner with this build; earlier ones stay in the history."""
        with self._write() as connection:
            connection.execute(sa.insert(baselines).values({"lab": lab, **clean(baseline)}))

    def baselines(self, lab: str) -> Mapping[str, Baseline]:
        """Runner id → the build that is pinned now."""
        return {one.runner: one for one in self.baseline_history(lab)}

    def baseline_history(self, lab: str) -> tuple[Baseline, ...]:
        """Every build that was ever pinned, oldest first."""
        query = sa.select(baselines).where(baselines.c.lab == lab).order_by(baselines.c.at, baselines.c.id)
        with self._read() as connection:
            rows = connection.execute(query).mappings().all()
        names = ("runner", "sha256", "name", "path", "author", "reason", "at")
        return tuple(Baseline(**{name: row[name] for name in names}) for row in rows)


def _night(lab: str, night: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return nights.c.lab == lab, nights.c.night == night


def _record(row: Row) -> NightRecord:
    stored: Any = row["summary"]
    summary = None
    if stored is not None:
        try:
            summary = NightSummary.from_json(stored)
        except (KeyError, TypeError, ValueError):
            # Written by another version of farm: the night is known, its summary is not readable any more.
            summary = None
    return NightRecord(
        night=row["night"],
        lab=row["lab"],
        started_at=row["started_at"],
        status=RunStatus(row["status"]),
        until=row["until"],
        ended_at=row["ended_at"],
        host=row["host"],
        pid=row["pid"],
        pid_started=row["pid_started"],
        summary=summary,
    )

"""Old telemetry is dropped: samples, inter-token times and the ends of logs. Figures, steps and provenance stay, and
every place that held something says when it was dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from harness.store.rows import dropped_text
from harness.store.schema import cases, outputs, telemetry, token_times

Transaction = Callable[[], AbstractContextManager[Connection]]


class OldTelemetry:
    """Each method is one transaction, and raises `StoreError` when the database cannot be used. A key is
    "CASE.REPEAT"; a few hundred at once at most, so that other processes get their turn."""

    def __init__(self, write: Transaction, read: Transaction) -> None:
        self._write = write
        self._read = read

    def keys(self, run: str) -> tuple[str, ...]:
        """Measurements of a run that ever began and still have their telemetry, in the plan's order."""
        mine = (cases.c.run == run, cases.c.attempt > 0, cases.c.telemetry_dropped_at.is_(None))
        with self._read() as connection:
            return tuple(connection.execute(sa.select(cases.c.key).where(*mine).order_by(cases.c.position)).scalars())

    def size(self, keys: Sequence[str]) -> int:
        """Bytes of their samples, inter-token times and logs."""
        parts = (
            (telemetry.c.samples, telemetry.c.key),
            (token_times.c.itl, token_times.c.key),
            (outputs.c.log_tail, outputs.c.key),
        )
        total = 0
        with self._read() as connection:
            for content, key in parts:
                length = sa.func.coalesce(sa.func.sum(sa.func.length(content)), 0)
                total += int(connection.execute(sa.select(length).where(key.in_(keys))).scalar_one())
        return total

    def drop(self, keys: Sequence[str], at: float) -> None:
        """Drop the telemetry of these measurements. Args: at: Unix seconds."""
        text = dropped_text(at)
        emptied = {"count": 0, "samples": b"", "absent": text}
        with self._write() as connection:
            sampled = (telemetry.c.key.in_(keys), telemetry.c.count > 0)
            connection.execute(sa.update(telemetry).where(*sampled).values(emptied))
            connection.execute(sa.delete(token_times).where(token_times.c.key.in_(keys)))
            logged = (outputs.c.key.in_(keys), outputs.c.log_tail != "")
            connection.execute(sa.update(outputs).where(*logged).values(log_tail=text))
            connection.execute(sa.update(cases).where(cases.c.key.in_(keys)).values(telemetry_dropped_at=at))

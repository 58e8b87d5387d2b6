"""Is a database sound? Every finding names what is wrong and where; nothing is changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from harness.errors import StoreError
from harness.model import CaseStatus
from harness.store.blobs import unpack_arrays, unpack_floats
from harness.store.care import file_of, opened, require_ours
from harness.store.schema import HEAD, metadata

MOST = 10
"""Findings that are told one by one of each kind; the others are counted."""

ADVICE = "copy the file away before anything writes to it; restore a copy (`farm db backup` makes them)"


@dataclass(frozen=True, slots=True)
class Checked:
    """One kind of check.

    Args:
        name: "pages", "schema", "references", "texts", "telemetry" or "results".
        looked_at: what was looked at, in words. damage: what is wrong, one line each, at most MOST and how many more.
        note: what to know though it is no damage, "" for nothing.
    """

    name: str
    looked_at: str
    damage: tuple[str, ...] = ()
    note: str = ""


def check(url: str) -> tuple[Checked, ...]:
    """Look at every page, reference and blob of an SQLite database.

    Raises:
        UsageError: it is no SQLite database.
        StoreError: it cannot be opened, or belongs to another program or a newer farm.
    """
    path = file_of(url, "pg_amcheck")
    with opened(path) as connection:
        # One view of it, whatever a run writes meanwhile.
        connection.execute("BEGIN")
        found = [_tried("pages", "every page", _pages, connection)]
        try:
            schema = _schema(connection, path)
        except sqlite3.DatabaseError as error:
            if not found[0].damage:
                raise
            return (*found, Checked("schema", "the tables", (str(error),)))
        found.append(schema)
        if schema.damage:
            return tuple(found)
        looks: tuple[tuple[str, str, _Look], ...] = (
            ("references", "rows whose run or measurement is missing", _references),
            ("texts", "every JSON text", _texts),
            ("telemetry", "every blob of telemetry and of inter-token times", _blobs),
            ("results", "every measurement with an outcome", _results),
        )
        return (*found, *(_tried(name, looked_at, look, connection) for name, looked_at, look in looks))


_Look = Callable[[sqlite3.Connection], Iterator[str]]


def _tried(name: str, looked_at: str, look: _Look, connection: sqlite3.Connection) -> Checked:
    """What a look found; that SQLite gave up on the way is damage too."""
    damage: list[str] = []
    more = 0
    try:
        for text in look(connection):
            if len(damage) < MOST:
                damage.append(text)
            else:
                more += 1
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        damage.append(f"could not be read to its end: {error}")
    if more:
        damage.append(f"and {more} more")
    return Checked(name, looked_at, tuple(damage))


def _pages(connection: sqlite3.Connection) -> Iterator[str]:
    for (said,) in connection.execute("PRAGMA integrity_check(1000)"):
        if said != "ok":
            yield from str(said).splitlines()


def _schema(connection: sqlite3.Connection, path: Path) -> Checked:
    require_ours(connection, path)
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    version = "" if row is None else str(row[0])
    if version > HEAD:
        raise StoreError(
            f"database {path} was written by a newer farm (schema {version}, this farm knows up to {HEAD})",
            advice="check it with that version of farm",
        )
    if version == HEAD:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        missing = sorted(set(metadata.tables) - tables)
        return Checked("schema", f"schema {version}", tuple(f"table {name} is missing" for name in missing))
    if not version:
        return Checked("schema", "the schema", ("it has no version: a migration was cut off by another program",))
    return Checked("schema", f"schema {version}", note=f"the next command that writes migrates it to {HEAD}")


def _references(connection: sqlite3.Connection) -> Iterator[str]:
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield f"{table}, row {row}: nothing in {parent} has its key"


def _texts(connection: sqlite3.Connection) -> Iterator[str]:
    for table in metadata.sorted_tables:
        # An older schema lacks some columns, and some tables; SQLite takes the name of a column that is not there for
        # text.
        present = {row[1] for row in connection.execute(f'PRAGMA table_info("{table.name}")')}
        for column in table.columns:
            if isinstance(column.type, sa.JSON) and column.name in present:
                wrong = f'SELECT rowid FROM "{table.name}" WHERE NOT json_valid("{column.name}")'
                for (row,) in connection.execute(wrong):
                    yield f"{table.name}.{column.name}, row {row}: no JSON"


def _blobs(connection: sqlite3.Connection) -> Iterator[str]:
    traces = connection.execute("SELECT key, channel, count, samples, absent FROM telemetry ORDER BY key, position")
    for key, channel, count, blob, absent in traces:
        try:
            read = len(unpack_arrays(blob)[0])
        except (ValueError, TypeError) as error:
            yield f"{key}, {channel}: {error}"
            continue
        if read != count:
            yield f"{key}, {channel}: {read} samples where {count} were stored"
        elif read and absent:
            yield f"{key}, {channel}: {read} samples of a channel that is absent ({absent})"
    for key, count, blob in connection.execute("SELECT key, count, itl FROM token_times ORDER BY key"):
        try:
            read = len(unpack_floats(blob))
        except (ValueError, TypeError) as error:
            yield f"{key}, inter-token times: {error}"
            continue
        if read != count:
            yield f"{key}, inter-token times: {read} where {count} were stored"


def _results(connection: sqlite3.Connection) -> Iterator[str]:
    known = {status.value for status in CaseStatus}
    query = (
        "SELECT key, status, started_at, (SELECT count(*) FROM metrics WHERE metrics.key = cases.key) FROM cases "
        "ORDER BY run, position"
    )
    for key, status, started_at, metrics in connection.execute(query):
        if status not in known:
            yield f"{key}: its status is {status!r}, which is none"
        elif status == CaseStatus.MEASURED.value and not metrics:
            yield f"{key} is measured and has no figures"
        elif status == CaseStatus.MEASURED.value and started_at is None:
            yield f"{key} is measured and never began"

"""Care of an SQLite database: is it sound, a copy of it, and its file made small again.

Nothing here migrates: an old schema is checked and copied as it is. A server has better tools of its own.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import leases as rules
from harness.errors import StoreError, UsageError
from harness.model import LeaseInfo, RunStatus
from harness.store import engine
from harness.store.schema import metadata

_VACUUM_ROOM = 2
"""SQLite writes a new copy, and in WAL mode that goes through the log: twice the file, beside it."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy that was made: `size_bytes` of `file`, and how many runs are in it."""

    file: Path
    size_bytes: int
    runs: int


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """Size of a database in bytes, before and after."""

    before_bytes: int
    after_bytes: int


def file_of(url: str, instead: str) -> Path:
    """Path of the SQLite database at `url`.

    Args:
        instead: what to use for PostgreSQL.

    Raises:
        UsageError: it is no SQLite database. StoreError: there is none, or it cannot be read.
    """
    path = engine.sqlite_file(url)
    if path is None:
        raise UsageError(f"this works on SQLite files only; for PostgreSQL use {instead}")
    return path


@contextmanager
def opened(path: Path, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """A plain connection that changes nothing by being opened; what SQLite says becomes a StoreError."""
    mode = "rw" if write else "ro"
    try:
        with closing(
            sqlite3.connect(
                f"{path.resolve().as_uri()}?mode={mode}",
                uri=True,
                timeout=engine.BUSY_MS / 1000,
                isolation_level=None,
            )
        ) as connection:
            yield connection
    except sqlite3.Error as error:
        raise engine.unusable(f"database {path}", str(error) or type(error).__name__) from error


def require_ours(connection: sqlite3.Connection, path: Path) -> None:
    """Raises StoreError where the tables are another program's."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "alembic_version" not in tables or not tables & set(metadata.tables):
        listed = ", ".join(sorted(tables)[:5]) or "none"
        raise StoreError(
            f"database {path} holds no results of farm; its tables: {listed}",
            advice="it was left as it is; name another with --db",
        )


def backup(url: str, target: Path, *, force: bool = False) -> Backup:
    """Copy a database as it stands at one moment, while runs go on writing to it.

    The copy is one file without a log beside it, is checked, and appears under its name only when it is complete.

    Raises:
        UsageError: the target is there already (and not `force`), is the database itself, or cannot be written.
        StoreError: the database cannot be read, or is damaged.
    """
    source = file_of(url, "pg_dump")
    _check_target(source, target, force=force)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with opened(source) as connection:
            require_ours(connection, source)
            runs = _copy(connection, part, source)
        size = part.stat().st_size
        _check_target(source, target, force=force)
        part.replace(target)
    except OSError as error:
        raise UsageError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    return Backup(target, size, runs)


def _check_target(source: Path, target: Path, *, force: bool) -> None:
    if target.is_dir():
        raise UsageError(f"{target} is a folder: name a file")
    if not target.parent.is_dir():
        raise UsageError(f"{target}: the folder {target.parent} does not exist")
    if not target.exists():
        return
    if target.samefile(source):
        raise UsageError(f"{target} is the database itself")
    if not force:
        raise UsageError(f"{target} is there already: name another file, or --force replaces it")
    for ending in ("-wal", "-journal"):
        if target.with_name(target.name + ending).exists():
            # A log beside a new file would be played into it.
            raise UsageError(f"{target.name}{ending} lies beside {target}: a program has it open; name another file")


def _copy(source: sqlite3.Connection, part: Path, path: Path) -> int:
    """Copy and check the copy; returns how many runs it holds."""
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(part, isolation_level=None)) as copy:
        # All pages in one step: other processes go on writing, and none of that makes the copy start again.
        source.backup(copy, pages=-1)
        copy.execute("PRAGMA journal_mode=DELETE")
        (said,) = copy.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise StoreError(
                f"database {path} is damaged, so no copy was made: {' '.join(str(said).split())}",
                advice="`farm db check` tells more; keep the file and restore an earlier copy",
            )
        (runs,) = copy.execute("SELECT count(*) FROM runs").fetchone()
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    return int(runs)


def vacuum(url: str) -> Vacuumed:
    """Give the space of what was deleted back to the disk.

    Raises:
        UsageError: it is no SQLite database, or the disk has too little room for it.
        StoreError: a run or another command works with it, or it cannot be used.
    """
    path = file_of(url, "VACUUM in psql (autovacuum does it by itself)")
    before = size_of(path)
    free = shutil.disk_usage(path.resolve().parent).free
    if free < _VACUUM_ROOM * before:
        raise UsageError(
            f"database {path} has {before / 1e6:.0f} MB and needs twice that on its disk for a moment; "
            f"{free / 1e6:.0f} MB are free"
        )
    with opened(path, write=True) as connection:
        require_ours(connection, path)
        _require_idle(connection, path)
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Vacuumed(before, size_of(path))


def size_of(path: Path) -> int:
    """Bytes of a database on disk, its log included."""
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def _require_idle(connection: sqlite3.Connection, path: Path) -> None:
    here = rules.identity_of_this_process().host
    going = connection.execute(
        "SELECT id, owner, pid, pid_started FROM runs WHERE status = ? AND host = ?", (RunStatus.RUNNING.value, here)
    )
    for run, owner, pid, started in going.fetchall():
        if rules.is_alive(here, pid, started):
            raise StoreError(
                f"database {path}: run {run} is going on (process {pid}, {owner})", advice="wait for its end"
            )
    # Whether a process of another host lives is not known here; at work, it holds leases and renews them.
    held = connection.execute("SELECT identity, owner, host, pid, pid_started, expires_at FROM leases WHERE reserved=0")
    for row in held.fetchall():
        lease = LeaseInfo(*row)
        if lease.expires_at > time.time() and not rules.is_dead(lease):
            raise StoreError(
                f"database {path}: {lease.owner} works with device {lease.identity}", advice="wait for its end"
            )

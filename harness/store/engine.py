"""Opening a database: what can be wrong with it is found before anything is written, and nothing is ever destroyed."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import URL, Connection, Engine, make_url

from harness.errors import StoreError
from harness.store.schema import HEAD, metadata

BUSY_MS = 30_000
"""How long a writer of SQLite waits for another one."""

OWN_FOLDER = ".farm"
"""farm's own folder beside an inventory; it is made when it is missing, no other is."""

_HEADER = b"SQLite format 3\0"
_POOL = 16
_OVERFLOW = 48
_LOOK_S = 0.02
"""Between two tries of what SQLite does not wait for."""


def open_engine(url: str) -> Engine:
    """Connect, check that the database is ours, and bring its schema up to date.

    Args:
        url: SQLAlchemy URL, e.g. "sqlite:////srv/lab/farm.db" or "postgresql+psycopg://host/farm".

    Raises:
        StoreError: the URL or the database cannot be used; nothing was changed.
    """
    address = _address(url)
    with explained(address):
        engine = _engine(address)
        try:
            _prepare(engine)
        except BaseException:
            engine.dispose()
            raise
    return engine


def exists(url: str) -> bool:
    """Whether there is a database to read: always true for a server; SQLite: its file is there and not empty."""
    address = _address(url)
    if not _is_sqlite(address):
        return True
    path = _file(address)
    return path.is_file() and path.stat().st_size > 0


def sqlite_file(url: str) -> Path | None:
    """Path of an SQLite database, looked at from outside; None where the URL names a server.

    Raises:
        StoreError: the URL cannot be used, or the file is missing, cannot be read or is no SQLite database.
    """
    address = _address(url)
    if not _is_sqlite(address):
        return None
    path = _file(address)
    if not path.exists():
        raise StoreError(f"{shown(address)}: there is none", advice="name it with --db; `farm run` makes one")
    _check_file(path, shown(address))
    if not exists(url):
        raise StoreError(f"{shown(address)} is empty", advice="name another with --db; `farm run` fills this one")
    return path


@contextmanager
def explained(address: URL) -> Iterator[None]:
    """Turn what the database says into a StoreError that names it and says what to do."""
    name = shown(address)
    try:
        yield
    except exc.TimeoutError as error:
        raise StoreError(f"{name}: every connection is in use", advice="run fewer phones at once") from error
    except exc.DBAPIError as error:
        raise unusable(name, str(error.orig).strip() or type(error.orig).__name__) from error


def name_of(url: str) -> str:
    """How the database at `url` is called in messages. Raises StoreError when it is no URL."""
    return shown(_address(url))


def unusable(name: str, text: str) -> StoreError:
    """What a database said, with advice; `name` is how it is called."""
    return StoreError(f"{name}: {text.splitlines()[0]}", advice=_advice(text))


def shown(address: URL) -> str:
    """How a database is called in messages: its file, or its URL without the password."""
    if _is_sqlite(address):
        return f"database {address.database}"
    return f"database {address.render_as_string(hide_password=True)}"


def _advice(text: str) -> str:
    lowered = text.lower()
    for sign, advice in (
        ("locked", "another program holds it (a backup, a database browser, another farm): end it and try again"),
        ("readonly", "make the file and its folder writable, or name another with --db"),
        ("read-only", "make the file and its folder writable, or name another with --db"),
        ("unable to open", "check that its folder exists and is writable, or name another with --db"),
        ("full", "free some space on that disk"),
        ("malformed", "the file is damaged: restore a copy, or move it away and start a new one with --db"),
        ("not a database", "this is no SQLite database: name another file with --db"),
        ("encrypted", "this is no SQLite database: name another file with --db"),
        ("disk i/o", "the disk or network share failed: SQLite needs a local disk"),
        ("connection", "is the database server running and reachable?"),
    ):
        if sign in lowered:
            return advice
    return ""


def _address(url: str) -> URL:
    try:
        address = make_url(url)
        if not (address.get_backend_name() == "sqlite" or address.database):
            raise StoreError(f"database URL {url!r} names no database")
        address.get_dialect()
    except exc.NoSuchModuleError as error:
        raise StoreError(
            f"database URL {url!r}: no support for {url.partition(':')[0]!r}",
            advice="use sqlite:///FILE, or postgresql+psycopg://HOST/NAME",
        ) from error
    except (exc.ArgumentError, ValueError) as error:
        raise StoreError(f"{url!r} is no database URL", advice=f"for an SQLite file write sqlite:///{url}") from error
    return address


def _is_sqlite(address: URL) -> bool:
    return address.get_backend_name() == "sqlite"


def _file(address: URL) -> Path:
    """Path of an SQLite database.

    Raises:
        StoreError: the database is in memory, where nothing would be kept.
    """
    name = address.database or ""
    if name in {"", ":memory:"} or "mode=memory" in name:
        raise StoreError("an SQLite database in memory keeps nothing", advice="name a file: sqlite:///farm.db")
    return Path(name.removeprefix("file:").split("?", 1)[0]) if name.startswith("file:") else Path(name)


def _engine(address: URL) -> Engine:
    if _is_sqlite(address):
        _check_file(_file(address), shown(address))
        engine = sa.create_engine(
            address,
            pool_size=_POOL,
            max_overflow=_OVERFLOW,
            connect_args={"timeout": BUSY_MS / 1000, "check_same_thread": False},
        )
        event.listen(engine, "connect", _configure)
        event.listen(engine, "begin", _begin)
        return engine
    try:
        return sa.create_engine(address, pool_size=_POOL, max_overflow=_OVERFLOW, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise StoreError(
            f"{shown(address)}: the Python package {error.name!r} is not installed",
            advice=f"python -m pip install {error.name}",
        ) from error


def _check_file(path: Path, name: str) -> None:
    """Look at the file before SQLite does."""
    if path.is_dir():
        raise StoreError(f"{name} is a folder", advice="name a file with --db")
    if path.parent.name == OWN_FOLDER and path.parent.parent.is_dir():
        _make(path.parent, name)
    if not path.parent.is_dir():
        raise StoreError(
            f"{name}: the folder {path.parent} does not exist", advice="make it, or name another with --db"
        )
    try:
        with path.open("rb") as file:
            head = file.read(len(_HEADER))
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"{name}: {error.strerror or error}", advice="check the file's permissions") from error
    if head and head != _HEADER:
        raise StoreError(
            f"{name} is no SQLite database",
            advice="it was left as it is; name another file with --db, or restore a copy",
        )


def _make(folder: Path, name: str) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{name}: the folder {folder} cannot be made: {error.strerror or error}",
            advice="make its parent writable, or name another database with --db",
        ) from error


def _configure(raw: Any, _record: Any) -> None:
    """Settings of every SQLite connection. The journal mode is set by `_prepare`, once the file is known to be ours."""
    connection: sqlite3.Connection = raw
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin(connection: Connection) -> None:
    """Writers take their lock at once: a reader that turns writer would fail, whatever the time-out."""
    statement = connection.get_execution_options().get("farm_begin", "BEGIN")
    if statement:
        connection.exec_driver_sql(statement)


def writing(engine: Engine) -> Engine:
    """The same engine, whose transactions are for writing."""
    return engine.execution_options(farm_begin="BEGIN IMMEDIATE")


def _prepare(engine: Engine) -> None:
    """Check whose database it is; make or migrate the schema under the writers' lock."""
    with engine.connect() as connection:
        found = _revision(connection, engine.url)
    sqlite = _is_sqlite(engine.url)
    if sqlite:
        _use_log(engine)
    if found != HEAD:
        with writing(engine).begin() as connection:
            if _revision(connection, engine.url) != HEAD:
                _migrate(connection)
    elif sqlite:
        # Only a try shows whether it can be written: SQLite takes a writer's lock even on a file it may only read.
        with writing(engine).connect() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")
            connection.rollback()


def _use_log(engine: Engine) -> None:
    """Switch to the write-ahead log. SQLite does not wait for another connection here, whatever the time-out."""
    deadline = time.monotonic() + BUSY_MS / 1000
    with engine.execution_options(farm_begin="").connect() as connection:
        while True:
            try:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                return
            except exc.OperationalError as error:
                if "locked" not in str(error.orig) or time.monotonic() > deadline:
                    raise
            threading.Event().wait(_LOOK_S)


def _revision(connection: Connection, address: URL) -> str | None:
    """Revision of the schema, None in an empty database.

    Raises:
        StoreError: the database belongs to another program, or to a newer farm.
    """
    tables = set(sa.inspect(connection).get_table_names())
    if not tables:
        return None
    if "alembic_version" not in tables or not tables & set(metadata.tables):
        raise StoreError(
            f"{shown(address)} holds tables of another program: {', '.join(sorted(tables)[:5])}",
            advice="it was left as it is; name another with --db",
        )
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()
    revision = "" if found is None else str(found)
    if revision > HEAD:
        raise StoreError(
            f"{shown(address)} was written by a newer farm (schema {revision}, this farm knows up to {HEAD})",
            advice="install that version of farm, or name another database with --db",
        )
    return revision


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "harness.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")

"""A database that cannot be used is refused with advice and left as it was."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from harness.errors import StoreError
from harness.store import Store, engine
from harness.store.schema import HEAD, metadata

from . import samples


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_migrations_make_exactly_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "farm.db"
    Store.open(url_of(path)).close()
    with sa.create_engine(url_of(path)).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        wanted = {row.name for table in metadata.tables.values() for row in (*table.constraints, *table.indexes)}
        made = connection.exec_driver_sql("SELECT group_concat(sql, ' ') FROM sqlite_master").scalar_one()
        assert [name for name in wanted if name not in made] == []


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", "harness.store:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_the_schema_is_one_that_postgresql_takes() -> None:
    dialect = postgresql.dialect()
    statements = [str(CreateTable(table).compile(dialect=dialect)) for table in metadata.sorted_tables]
    statements += [
        str(CreateIndex(index).compile(dialect=dialect)) for t in metadata.sorted_tables for index in t.indexes
    ]
    assert any("BYTEA" in statement for statement in statements)
    assert all(len(name) < 64 for t in metadata.sorted_tables for name in (t.name, *(i.name or "" for i in t.indexes)))


def test_an_empty_file_becomes_a_database_in_wal_mode(tmp_path: Path) -> None:
    path = tmp_path / "farm.db"
    path.touch()
    assert not Store.exists(url_of(path))
    Store.open(url_of(path)).close()
    assert Store.exists(url_of(path))
    assert sqlite3.connect(path).execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_every_connection_is_durable_and_checks_references(tmp_path: Path) -> None:
    opened = engine.open_engine(url_of(tmp_path / "farm.db"))
    with opened.connect() as connection:
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("synchronous", "foreign_keys")]
    opened.dispose()
    assert found == [2, 1]


def test_a_database_is_opened_again_with_what_it_holds(tmp_path: Path) -> None:
    with Store.open(url_of(tmp_path / "farm.db")) as store:
        store.begin_run(samples.run_record(), [samples.planned_case()])
    with Store.open(url_of(tmp_path / "farm.db")) as store:
        assert store.cases(samples.run_record().id) == (samples.planned_case(),)


def test_the_folder_of_the_default_database_is_made(tmp_path: Path) -> None:
    Store.open(url_of(tmp_path / ".farm" / "farm.db")).close()
    with pytest.raises(StoreError, match="does not exist") as caught:
        Store.open(url_of(tmp_path / "elsewhere" / "farm.db"))
    assert "--db" in caught.value.advice
    assert not (tmp_path / "elsewhere").exists()


def _newer(path: Path) -> None:
    Store.open(url_of(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def _foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE holiday_photos (id INTEGER)")


def _text(path: Path) -> None:
    path.write_text("my notes\n" * 1000)


def _damaged(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + os.urandom(5000))


@pytest.mark.parametrize(
    ("make", "message", "advice"),
    [
        (_newer, "newer farm", "install that version"),
        (_foreign, "another program: holiday_photos", "left as it is"),
        (_text, "no SQLite database", "left as it is"),
        (_damaged, "database", "--db"),
        (Path.mkdir, "is a folder", "--db"),
    ],
)
def test_what_is_no_database_of_ours_is_refused_untouched(
    tmp_path: Path, make: Callable[[Path], None], message: str, advice: str
) -> None:
    path = tmp_path / "farm.db"
    make(path)
    before = digest(path) if path.is_file() else ""
    with pytest.raises(StoreError, match=message) as caught:
        Store.open(url_of(path))
    assert advice in caught.value.advice
    assert (digest(path) if path.is_file() else "") == before


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("farm.db", "no database URL"),
        ("oracle9://x/y", "no support for 'oracle9'"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("postgresql+psycopg://farm:secret@127.0.0.1:1/farm", "psycopg|connection"),
        ("postgresql://host", "names no database"),
        ("", "no database URL"),
    ],
)
def test_urls_that_cannot_be_used_are_explained(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        Store.open(url)
    assert "secret" not in str(caught.value) + caught.value.advice


def test_a_locked_database_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "farm.db"
    store = Store.open(url_of(path))
    monkeypatch.setattr(engine, "BUSY_MS", 50)
    holder = sqlite3.connect(path)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match=r"farm\.db: database is locked") as caught:
        Store.open(url_of(path))
    assert "another program holds it" in caught.value.advice
    assert store.runs() == (), "readers go on while a writer holds the database"
    holder.rollback()
    store.close()
    Store.open(url_of(path)).close()


def test_a_read_only_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "farm.db"
    Store.open(url_of(path)).close()
    before = digest(path)
    with pytest.raises(StoreError, match="readonly") as caught:
        Store.open(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert "writable" in caught.value.advice
    assert digest(path) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork to become another user")
@pytest.mark.parametrize("existing", [False, True])
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, existing: bool) -> None:
    folder = tmp_path / "lab"
    folder.mkdir()
    path = folder / "farm.db"
    if existing:
        Store.open(url_of(path)).close()
        path.chmod(0o444)
    folder.chmod(0o555)
    said = _open_as_nobody(path, reachable=[folder, *folder.parents]) if os.geteuid() == 0 else _open_here(path)
    folder.chmod(0o755)
    assert said["class"] == "StoreError", said
    assert "writable" in said["advice"], said


def _open_here(path: Path) -> dict[str, str]:
    try:
        Store.open(url_of(path)).close()
    except Exception as error:  # noqa: BLE001 - the test looks at whatever comes
        return {"class": type(error).__name__, "advice": getattr(error, "advice", str(error))}
    return {"class": "none"}


def _open_as_nobody(path: Path, *, reachable: list[Path]) -> dict[str, str]:
    """What opening says to a user without root's rights, in a child process."""
    changed = [(folder, folder.stat().st_mode) for folder in reachable if not folder.stat().st_mode & 0o001]
    for folder, mode in changed:
        folder.chmod(mode | 0o011)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        os.write(writer, json.dumps(_open_here(path)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        said: dict[str, str] = json.loads(answer.read())
    os.waitpid(child, 0)
    for folder, mode in changed:
        folder.chmod(mode)
    return said


def test_a_migration_that_is_cut_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "farm.db"
    migrate = engine._migrate

    def cut(connection: sa.Connection) -> None:
        migrate(connection)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(engine, "_migrate", cut)
        with pytest.raises(KeyboardInterrupt):
            Store.open(url_of(path))
    assert sqlite3.connect(path).execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    Store.open(url_of(path)).close()

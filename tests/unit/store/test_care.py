"""A database is checked, copied and made small; damage is found, and nothing is changed by looking."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import StoreError, UsageError
from harness.leases import identity_of_this_process
from harness.model import RunStatus
from harness.store import Store, care
from harness.store.check import MOST, check

from . import samples

RUN = samples.run_record().id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with 40 measurements of a finished run."""
    path = tmp_path / "farm.db"
    cases = [samples.planned_case(repeat=repeat) for repeat in range(1, 41)]
    with Store.open(f"sqlite:///{path}") as store:
        store.begin_run(samples.run_record(), cases)
        for case in cases:
            store.start_case(case.key, 1, samples.START)
            store.add_step(case.key, samples.step_record())
            store.finish_case(case.key, samples.result())
        store.set_run_status(RUN, RunStatus.FINISHED, samples.START + 100)
    return path


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def change(path: Path, *statements: str) -> None:
    """Damage that SQLite itself would not notice."""
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def damage(path: Path) -> dict[str, tuple[str, ...]]:
    return {each.name: each.damage for each in check(url_of(path)) if each.damage}


# --- check ------------------------------------------------------------------------------------------------------------


def test_a_sound_database_is_sound_and_left_as_it_was(path: Path) -> None:
    before = hashlib.sha256(path.read_bytes()).digest()
    found = check(url_of(path))
    assert [each.name for each in found] == ["pages", "schema", "references", "texts", "telemetry", "results"]
    assert not any(each.damage or each.note for each in found)
    assert hashlib.sha256(path.read_bytes()).digest() == before


@pytest.mark.parametrize(
    ("statement", "name", "said"),
    [
        (
            "UPDATE telemetry SET samples = substr(samples, 1, 20) WHERE key LIKE '%.7' AND count",
            "telemetry",
            "zone.cpu",
        ),
        (
            "UPDATE telemetry SET samples = 'text' WHERE key LIKE '%.7' AND count",
            "telemetry",
            "c0ffee000001.7, zone.cpu",
        ),
        ("UPDATE telemetry SET count = 4 WHERE key LIKE '%.7' AND count", "telemetry", "3 samples where 4 were stored"),
        ("UPDATE telemetry SET absent = 'x' WHERE key LIKE '%.7' AND count", "telemetry", "that is absent (x)"),
        ("UPDATE token_times SET itl = x'00' WHERE key LIKE '%.7'", "telemetry", "inter-token times: damaged"),
        ("DELETE FROM cases WHERE repeat = 7", "references", "nothing in cases"),
        ("DELETE FROM runs", "references", "nothing in runs"),
        ("UPDATE cases SET provenance = '{\"cut' WHERE repeat = 7", "texts", "cases.provenance, row 7: no JSON"),
        ("DELETE FROM metrics WHERE key LIKE '%.7'", "results", "c0ffee000001.7 is measured and has no figures"),
        ("UPDATE cases SET status = 'odd' WHERE repeat = 7", "results", "its status is 'odd', which is none"),
        ("DROP TABLE device_records", "schema", "table device_records is missing"),
        ("DELETE FROM alembic_version", "schema", "it has no version"),
    ],
)
def test_damage_is_named(path: Path, statement: str, name: str, said: str) -> None:
    change(path, statement)
    found = damage(path)
    assert list(found) == [name]
    assert said in "\n".join(found[name])
    assert len(found[name]) <= MOST + 1


def test_much_damage_of_a_kind_is_counted(path: Path) -> None:
    change(path, "UPDATE token_times SET count = count + 1")
    lines = damage(path)["telemetry"]
    assert len(lines) == MOST + 1
    assert lines[-1] == "and 30 more"


def _truncated(content: bytearray) -> bytearray:
    return content[: len(content) // 2 // 4096 * 4096]


def _cut_off(content: bytearray) -> bytearray:
    return content[:5000]


def _garbled(content: bytearray) -> bytearray:
    content[4096 * 3 :] = b"\xa5" * (len(content) - 4096 * 3)
    return content


def _garbled_schema(content: bytearray) -> bytearray:
    content[100:4096] = b"\xff" * 3996
    return content


@pytest.mark.parametrize("spoil", [_truncated, _cut_off, _garbled, _garbled_schema])
def test_a_spoilt_file_is_damaged(path: Path, spoil: Callable[[bytearray], bytearray]) -> None:
    path.write_bytes(spoil(bytearray(path.read_bytes())))
    before = hashlib.sha256(path.read_bytes()).digest()
    assert "pages" in damage(path)
    assert hashlib.sha256(path.read_bytes()).digest() == before
    target = path.with_name("copy.db")
    with pytest.raises(StoreError, match=r"damaged|malformed"):
        care.backup(url_of(path), target)
    assert sorted(file.name for file in path.parent.iterdir() if not file.name.startswith("farm.db")) == []


def test_what_is_no_database_of_ours_is_refused(tmp_path: Path, path: Path) -> None:
    text = tmp_path / "notes.db"
    text.write_text("my notes\n" * 1000)
    other = tmp_path / "other.db"
    change(other, "CREATE TABLE recipes (id INTEGER)")
    for wrong, said in ((text, "no SQLite"), (other, "recipes"), (tmp_path / "none.db", "there is none")):
        for action in (check, care.vacuum, lambda url: care.backup(url, tmp_path / "copy.db")):
            with pytest.raises(StoreError, match=said):
                action(url_of(wrong))
    change(path, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="newer farm"):
        check(url_of(path))


# --- backup -----------------------------------------------------------------------------------------------------------


def test_a_copy_is_one_file_with_everything(path: Path) -> None:
    target = path.with_name("copy.db")
    made = care.backup(url_of(path), target)
    assert (made.runs, made.size_bytes) == (1, target.stat().st_size)
    assert not damage(target)
    assert [file.name for file in path.parent.glob("*copy.db*") if file.name not in {"copy.db", "copy.db-wal"}] == []
    with Store.open(url_of(path)) as store, Store.open(url_of(target)) as copy:
        assert list(copy.measurements()) == list(store.measurements())


def test_a_copy_made_while_a_run_writes_is_of_one_moment(path: Path) -> None:
    """A writer adds two events in every transaction; no copy may hold an odd number of them."""
    stop, written = threading.Event(), threading.Event()

    def write() -> None:
        connection = sqlite3.connect(path, isolation_level=None, timeout=30)
        add = "INSERT INTO events (run, device_id, at, kind, detail) VALUES (?, 'pixel', 1.0, 'note', ?)"
        while not stop.is_set():
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(add, (RUN, '"first"'))
            connection.execute(add, (RUN, '"second"'))
            connection.execute("COMMIT")
            written.set()
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert written.wait(30)
        for number in range(5):
            written.clear()
            target = path.with_name(f"copy{number}.db")
            care.backup(url_of(path), target)
            with sqlite3.connect(target) as copy:
                ((count,),) = copy.execute("SELECT count(*) FROM events").fetchall()
            copy.close()
            assert count > 0 and count % 2 == 0
            assert written.wait(30), "the writer goes on"
    finally:
        stop.set()
        writer.join()


def test_nothing_is_replaced_unasked(path: Path) -> None:
    target = path.with_name("copy.db")
    target.write_text("what was there")
    with pytest.raises(UsageError, match="--force"):
        care.backup(url_of(path), target)
    assert target.read_text() == "what was there"
    care.backup(url_of(path), target, force=True)
    assert not damage(target)


def test_the_database_itself_is_no_target(path: Path) -> None:
    before = path.read_bytes()
    link = path.with_name("link.db")
    link.symlink_to(path)
    for target in (path, link):
        with pytest.raises(UsageError, match="the database itself"):
            care.backup(url_of(path), target, force=True)
    with pytest.raises(UsageError, match="is a folder"):
        care.backup(url_of(path), path.parent, force=True)
    with pytest.raises(UsageError, match="does not exist"):
        care.backup(url_of(path), path.parent / "nowhere" / "copy.db")
    assert path.read_bytes() == before


def test_a_database_that_is_open_is_not_replaced(path: Path) -> None:
    target = path.with_name("copy.db")
    with Store.open(url_of(target)) as store:
        store.begin_run(samples.run_record(), [])
        with pytest.raises(UsageError, match="a program has it open"):
            care.backup(url_of(path), target, force=True)


# --- vacuum -----------------------------------------------------------------------------------------------------------


def test_deleted_space_goes_back_to_the_disk(path: Path) -> None:
    change(path, "CREATE TABLE filler (x)", "INSERT INTO filler VALUES (zeroblob(3000000))", "DROP TABLE filler")
    done = care.vacuum(url_of(path))
    assert done.before_bytes > 3_000_000 > done.after_bytes
    assert done.after_bytes == care.size_of(path)
    assert not damage(path)


def test_a_run_that_goes_on_is_not_disturbed(path: Path) -> None:
    me = identity_of_this_process()
    with Store.open(url_of(path)) as store:
        going = replace(samples.run_record("going"), host=me.host, pid=me.pid, pid_started=me.pid_started)
        store.begin_run(going, [])
        with pytest.raises(StoreError, match="run going is going on"):
            care.vacuum(url_of(path))
        store.set_run_status("going", RunStatus.INTERRUPTED)
        store.begin_run(replace(going, id="dead", pid_started=1.0), [])
        store.begin_run(replace(going, id="of a host that is gone", host="f" * 16), [])
    care.vacuum(url_of(path))


def test_a_command_that_holds_a_device_is_not_disturbed(path: Path) -> None:
    held = replace(identity_of_this_process(), identity="serial of pixel", expires_at=4e9)
    with Store.open(url_of(path)) as store:
        store.acquire_lease(held)
        with pytest.raises(StoreError, match="works with device serial of pixel"):
            care.vacuum(url_of(path))
        store.release_lease(held)
        store.acquire_lease(replace(held, reserved=True))
    care.vacuum(url_of(path))


def test_a_server_has_tools_of_its_own(tmp_path: Path) -> None:
    url = "postgresql+psycopg://farm:secret@127.0.0.1:1/farm"
    for action, tool in (
        (check, "pg_amcheck"),
        (care.vacuum, "VACUUM"),
        (lambda url: care.backup(url, tmp_path / "copy.db"), "pg_dump"),
    ):
        with pytest.raises(UsageError, match=tool):
            action(url)

"""A database that cannot be used: said in words, and the file is left as it was."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.store import engine
from tests.e2e.support import ANSWER, Farm

CANNOT_USE = 1
"""Exit code: the command line is right, and nothing ran."""


@pytest.fixture
def farm(on_host: Farm) -> Farm:
    on_host.write(models=[on_host.model()], runners=[on_host.runner(ANSWER, platform="local")])
    return on_host


def refused(farm: Farm, database: Path, *parts: str) -> None:
    before = database.read_bytes()
    for command in (["run"], ["export", "--format", "jsonl"]):
        farm("--db", f"sqlite:///{database}", *command).expect(CANNOT_USE, database.name, "what to do", *parts)
    assert database.read_bytes() == before


def test_corrupt(farm: Farm) -> None:
    database = farm.folder / "corrupt.db"
    database.write_bytes(b"this was never a database\n" * 400)
    refused(farm, database, "is no SQLite database")


def test_damaged_inside(farm: Farm) -> None:
    database = farm.folder / "damaged.db"
    farm("--db", f"sqlite:///{database}", "run").expect(0)
    content = bytearray(database.read_bytes())
    content[100:4096] = b"\xff" * 3996
    database.write_bytes(content)
    refused(farm, database)


def test_a_damaged_one_is_told_by_check_and_its_backup_takes_its_place(farm: Farm) -> None:
    database, copy = farm.folder / "farm.db", farm.folder / "copy.db"
    at = ("--db", f"sqlite:///{database}")
    farm(*at, "run").expect(0)
    before = farm(*at, "export", "--format", "jsonl").expect(0).out
    assert farm(*at, "--json", "db", "check").expect(0).json()["sound"]
    farm(*at, "db", "backup", str(copy)).expect(0)
    farm(*at, "db", "vacuum").expect(0)
    content = database.read_bytes()
    for spoilt in (content[:6000], content[: len(content) // 2], content[:4096] + b"\xa5" * (len(content) - 4096)):
        database.write_bytes(spoilt)
        done = farm(*at, "db", "check").expect(CANNOT_USE, "what to do", "farm db backup")
        assert "DAMAGED  pages" in done.out
        farm(*at, "db", "backup", str(farm.folder / "second.db")).expect(CANNOT_USE, "what to do")
        assert database.read_bytes() == spoilt
    copy.replace(database)
    assert farm(*at, "export", "--format", "jsonl").expect(0).out == before


def test_what_a_run_left_is_telemetry_and_a_trace(farm: Farm) -> None:
    at = ("--db", f"sqlite:///{farm.folder / 'farm.db'}")
    farm(*at, "run").expect(0)
    rows = [
        json.loads(line) for line in farm(*at, "export", "--telemetry", "--format", "jsonl").expect(0).out.splitlines()
    ]
    assert rows and all((row["value"] is None) == (row["absent"] is not None) for row in rows)
    farm(*at, "export", "--perfetto", "trace.json").expect(0)
    trace = json.loads((farm.folder / "trace.json").read_text())
    steps = {event["name"] for event in trace["traceEvents"] if event["ph"] == "X"}
    assert {"deploy", "run", "collect", "process"} <= steps
    assert sum(event["ph"] == "C" for event in trace["traceEvents"]) >= sum(row["absent"] is None for row in rows)


def test_of_a_newer_farm(farm: Farm) -> None:
    database = farm.folder / "newer.db"
    farm("--db", f"sqlite:///{database}", "run").expect(0)
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    refused(farm, database, "newer farm")


def test_of_another_program(farm: Farm) -> None:
    database = farm.folder / "other.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE recipes (id INTEGER)")
    connection.close()
    refused(farm, database, "another program", "recipes")


def test_locked_by_another_process(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    database = farm.folder / "locked.db"
    farm("--db", f"sqlite:///{database}", "run").expect(0)
    monkeypatch.setattr(engine, "BUSY_MS", 200)
    connection = sqlite3.connect(database, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SystemExit) as ended:
            main(["--inventory", str(farm.folder / "inventory.yaml"), "--db", f"sqlite:///{database}", "run"])
    finally:
        connection.execute("ROLLBACK")
        connection.close()
    assert ended.value.code == CANNOT_USE
    said = capsys.readouterr().err
    assert all(part in said for part in ("locked.db", "locked", "what to do"))
    assert len(farm("--db", f"sqlite:///{database}", "export", "--format", "jsonl").expect(0).out.splitlines()) == 1


def test_in_a_folder_that_cannot_be_written(farm: Farm) -> None:
    folder = farm.folder / "sealed"
    folder.mkdir()
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write anywhere")
    farm("--db", f"sqlite:///{folder}/farm.db", "run").expect(CANNOT_USE, "farm.db", "what to do")


def test_where_no_file_can_be_made(farm: Farm) -> None:
    if not Path("/proc/self").exists():
        pytest.skip("there is no /proc to try it in")
    farm("--db", "sqlite:////proc/farm.db", "run").expect(CANNOT_USE, "farm.db", "what to do")


def test_in_a_folder_that_is_not_there(farm: Farm) -> None:
    farm("--db", "sqlite:///nowhere/farm.db", "run").expect(CANNOT_USE, "does not exist", "what to do")


def test_a_url_that_is_none(farm: Farm) -> None:
    farm("--db", "not a url", "run").expect(CANNOT_USE, "not a url")

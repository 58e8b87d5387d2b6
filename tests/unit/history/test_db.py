"""farm db over a made-up database: what it prints, and its exit codes."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.model import Measured, RunStatus
from harness.store import Store
from tests.unit.store import samples


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "farm.db"
    with Store.open(f"sqlite:///{path}") as store:
        store.begin_run(samples.run_record(), [samples.planned_case()])
        store.finish_case(samples.planned_case().key, samples.result())
        store.set_run_status(samples.run_record().id, RunStatus.FINISHED, samples.START + 100)
    return path


def farm(path: Path, *argv: str) -> int:
    """Exit code of a command over the database."""
    try:
        main(["--db", f"sqlite:///{path}", *argv])
    except SystemExit as ended:
        assert isinstance(ended.code, int)
        return ended.code
    return 0


def test_check_of_a_sound_database(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert farm(path, "db", "check") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "sound"
    assert farm(path, "--json", "db", "check") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["sound"], said["error"], len(said["checks"])) == (True, "", 6)


def test_check_of_a_damaged_one(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE telemetry SET samples = x'01aa', channel = 'zone.\x1b[31m' WHERE count")
    connection.close()
    assert farm(path, "db", "check") == 1
    said = capsys.readouterr()
    assert "DAMAGED  telemetry" in said.out and "zone.\\x1b[31m: damaged samples" in said.out
    assert "restore a copy" in said.err
    assert farm(path, "--json", "db", "check") == 1
    assert json.loads(capsys.readouterr().out)["sound"] is False
    assert farm(path, "show", samples.planned_case().key) == 1
    assert "farm db check" in capsys.readouterr().err


def test_check_of_a_cut_file(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_bytes(path.read_bytes()[:6000])
    assert farm(path, "db", "check") == 1
    assert "DAMAGED  pages" in capsys.readouterr().out
    assert farm(path, "--json", "db", "check") == 1
    assert json.loads(capsys.readouterr().out)["checks"][0]["check"] == "pages"
    path.write_text("notes")
    assert farm(path, "db", "check") == 1
    assert "no SQLite database" in capsys.readouterr().err
    assert farm(path, "--json", "db", "check") == 1
    assert "no SQLite database" in json.loads(capsys.readouterr().out)["error"]


def test_backup_and_vacuum(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = path.with_name("copy.db")
    assert farm(path, "db", "backup", str(copy)) == 0
    assert "1 run," in capsys.readouterr().out
    assert farm(path, "db", "backup", str(copy)) == 2
    assert "--force" in capsys.readouterr().err
    assert farm(path, "--json", "db", "backup", str(copy), "--force") == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(copy), "bytes": copy.stat().st_size, "runs": 1}
    assert farm(copy, "--json", "db", "vacuum") == 0
    assert json.loads(capsys.readouterr().out)["after"] == copy.stat().st_size
    assert farm(copy, "runs") == 0
    assert samples.run_record().id in capsys.readouterr().out


def test_a_server_is_told_what_to_use(capsys: pytest.CaptureFixture[str]) -> None:
    for words, tool in ((["check"], "pg_amcheck"), (["vacuum"], "VACUUM"), (["backup", "x.db"], "pg_dump")):
        with pytest.raises(SystemExit) as ended:
            main(["--db", "postgresql+psycopg://h/farm", "db", *words])
        assert ended.value.code == 2
        assert tool in capsys.readouterr().err


def test_old_telemetry_is_dropped_and_said(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = replace(samples.run_record("20260101-000000-0000"), started_at=time.time() - 10 * 86_400)
    case = samples.planned_case(old.id, "aaaa")
    result = samples.result()
    tokens = {"itl_ms_p50": Measured(10.1, "ms", "tokens")}
    with Store.open(f"sqlite:///{path}") as store:
        store.begin_run(old, [case])
        store.finish_case(case.key, replace(result, metrics={**result.metrics, **tokens}))
        store.set_run_status(old.id, RunStatus.FINISHED, 1.0)
        newest = replace(samples.run_record("20260102-000000-0000"), started_at=time.time())
        store.begin_run(newest, [])
    here = ("--inventory", str(path.with_name("inventory.yaml")))
    assert farm(path, *here, "db", "prune") == 2
    assert "--older-than DAYS" in capsys.readouterr().err
    assert farm(path, *here, "--json", "db", "prune", "--older-than", "9", "--dry-run") == 0
    would = json.loads(capsys.readouterr().out)
    assert old.id in would["runs"] and would["dry_run"] and would["bytes"] > 0
    assert farm(path, *here, "db", "prune", "--older-than", "9") == 0
    assert "of telemetry were dropped, of" in capsys.readouterr().out
    gone = f"dropped on {datetime.now(UTC):%Y-%m-%d} by policy"
    assert farm(path, "show", case.key) == 0
    shown = capsys.readouterr().out
    assert shown.count(gone) == 2, "of the channel, and of the log"
    assert farm(path, "--json", "show", case.key) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["telemetry_dropped"], said["inter_token_ms"], said["log_tail"]) == (gone, [], gone)
    rows, trace = path.with_name("rows.jsonl"), path.with_name("trace.json")
    assert farm(path, "export", "--telemetry", "--format", "jsonl", "--run", old.id, "-o", str(rows)) == 0
    absent = {row["channel"]: row["absent"] for row in map(json.loads, rows.read_text().splitlines())}
    assert absent == {"zone.cpu.temperature": gone, "battery.current": "Permission denied"}
    assert farm(path, "export", "--perfetto", str(trace), "--case", case.key) == 0
    about = json.loads(trace.read_text())["otherData"]
    assert (about["tokens"], about["absent"]["zone.cpu.temperature"]) == (gone, gone)


def test_how_long_telemetry_is_kept_comes_from_the_inventory(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inventory = path.with_name("inventory.yaml")
    inventory.write_text("version: 1\nnightly: {keep_telemetry_days: 3}\n")
    assert farm(path, "--inventory", str(inventory), "--json", "db", "prune", "--dry-run") == 0
    assert json.loads(capsys.readouterr().out)["older_than_days"] == 3
    inventory.write_text("version: 1\nnightly: {keep_telemetry_days: null}\n")
    assert farm(path, "--inventory", str(inventory), "db", "prune") == 2
    assert "for ever" in capsys.readouterr().err

"""A database of every released schema comes to the newest one with everything in it.

The rows are written as SQL by hand, not by the store of today: they stand for what an older farm left.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from harness.leases import identity_of_this_process
from harness.model import (
    CaseStatus,
    Channel,
    DeviceKind,
    ErrorInfo,
    Measured,
    Platform,
    RunStatus,
    Step,
    StepRecord,
    Targets,
    Trace,
    Unavailable,
    WorkloadKind,
)
from harness.store import Store
from harness.store.check import check
from harness.store.schema import HEAD, metadata

RUN, CASE = "20261121-090503-ab12", "c0ffee000001"
FIRST, SECOND = f"{CASE}.1", f"{CASE}.2"
TRACE = bytes.fromhex(
    "0180969800000000000200000015000000789c63506058c8c0ce00061ffe383a020011e1033750397c0400000000010000000d00000078"
    "9c6360000116270000520047"
)
"""Samples as the first schema's farm packed them: two chunks, 10.0 10.5 75.25 s, 30.0 31.5 33.0."""
LATENCIES = bytes.fromhex("789c636040010d0c0d2aeaca0e0e0e000bbf022f")

_CASE: Mapping[str, Any] = {
    "run": RUN,
    "case_id": CASE,
    "series_key": "series-1",
    "device_id": "pixel",
    "serial": "emulator-5554",
    "identity": "SERIAL1",
    "platform": "android",
    "kind": "phone",
    "tier": "flagship",
    "model_id": "m",
    "runner_id": "r",
    "workload_id": "chat",
    "model": {"id": "m", "family": "F", "quant": "Q4_K_M", "format": "gguf", "path": "m.gguf", "gone_since": 1},
    "runner": {"id": "r", "runtime": "llama.cpp", "platform": "android", "abi": "arm64-v8a", "path": "r"},
    "workload": {"kind": "stream", "prompt_tokens": 64, "gen_tokens": 32, "threads": 4, "args": ["-x"]},
    "model_sha256": "a" * 64,
    "runner_sha256": "b" * 64,
    "attempt": 1,
    "duration_s": 3.5,
    "provenance": {"os_fingerprint": "google/husky:14"},
}
_FAILURE: Mapping[str, Any] = {
    "error_class": "killed",
    "error_step": "run",
    "error_message": "the runner was killed",
    "error_advice": "free some memory",
}

ROWS: Mapping[str, list[Mapping[str, Any]]] = {
    "runs": [
        {
            "id": RUN,
            "started_at": 1000.0,
            "ended_at": 2000.0,
            "status": "finished",
            "tiers": {"flagship": {"title": "Flagship", "targets": {"ms_per_token_max": 50.0}}},
            "suite": "demo",
            "selection": {"tiers": ["flagship"]},
            "inventory_name": "inventory.yaml",
            "inventory_sha256": "e" * 64,
            "harness_version": "0.1.0",
            "git_sha": "f" * 40,
            "lab": "lab",
            "command": ["run", "--tier", "flagship"],
            "options": {"report": None},
            "owner": "alice@bench",
            "host": "0" * 16,
            "pid": 1,
            "pid_started": 2.5,
            "contract": 1,
        }
    ],
    "cases": [
        {"key": FIRST, "position": 0, "repeat": 1, "status": "measured", "started_at": 1100.0, **_CASE},
        {"key": SECOND, "position": 1, "repeat": 2, "status": "failed", "started_at": 1200.0, **_CASE, **_FAILURE},
    ],
    "steps": [
        {
            "key": SECOND,
            "attempt": 1,
            "step": "run",
            "started_at": 1201.0,
            "duration_s": 0.25,
            "limit_s": 60.0,
            "detail": {"bytes": 12},
            **_FAILURE,
        }
    ],
    "metrics": [
        {"key": FIRST, "name": "decode_tps", "value": 40.0, "unit": "tok/s", "source": "timings", "resolution": 0.001},
        {"key": FIRST, "name": "energy_j", "unit": "", "source": "", "reason": "the phone is charging"},
    ],
    "telemetry": [
        {
            "key": FIRST,
            "position": 0,
            "channel": "zone.cpu.temperature",
            "unit": "°C",
            "source": "thermal_zone0",
            "resolution": 0.1,
            "absent": "",
            "count": 3,
            "samples": TRACE,
        },
        {
            "key": FIRST,
            "position": 1,
            "channel": "battery.current",
            "unit": "mA",
            "source": "current_now",
            "absent": "Permission denied",
            "count": 0,
            "samples": b"",
        },
    ],
    "token_times": [{"key": FIRST, "count": 3, "itl": LATENCIES}],
    "outputs": [{"key": FIRST, "log_tail": "loaded\ndone", "commands": ["adb shell true"]}],
    "events": [{"run": RUN, "device_id": "pixel", "at": 1005.0, "kind": "recovery", "detail": {"text": "reconnect"}}],
    "device_records": [
        {"identity": "SERIAL1", "kind": "gauge", "key": "", "at": 900.0, "value": {"current_unit": "mA"}}
    ],
    "leases": [
        {
            "identity": "SERIAL1",
            "reserved": 1,
            "owner": "alice@bench",
            "host": "0" * 16,
            "pid": 1,
            "pid_started": 2.5,
            "expires_at": 9e9,
        }
    ],
    "nights": [
        {
            "lab": "lab",
            "night": "2026-11-21",
            "started_at": 1000.0,
            "ended_at": 2000.0,
            "status": "finished",
            "host": "0" * 16,
            "pid": 1,
            "pid_started": 2.5,
            "summary": {"written": "by a farm that had other ideas of a summary"},
        }
    ],
    "acks": [
        {
            "lab": "lab",
            "series": "flagship/m/r/chat/decode_tps",
            "night": "2026-11-21",
            "author": "alice",
            "reason": "a new sampler",
            "at": 2100.0,
        }
    ],
    "baselines": [
        {
            "lab": "lab",
            "runner": "r",
            "sha256": "b" * 64,
            "name": "b9000",
            "path": "baseline/b9000",
            "author": "alice",
            "reason": "the release",
            "at": 900.0,
        }
    ],
}


def config(connection: sa.Connection | None = None) -> Config:
    made = Config()
    made.set_main_option("script_location", "harness.store:migrations")
    made.attributes["connection"] = connection
    return made


REVISIONS = [script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()][::-1]


def build(path: Path, revision: str) -> set[str]:
    """A database of that schema with a row or two in every table it has; returns the tables."""
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        command.upgrade(config(connection), revision)
    engine.dispose()
    connection = sqlite3.connect(path)
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table, rows in ROWS.items():
        columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        for row in rows if table in tables else ():
            known = {name: value for name, value in row.items() if name in columns}
            values = [json.dumps(v) if isinstance(v, dict | list) else v for v in known.values()]
            names, marks = ", ".join(f'"{name}"' for name in known), ", ".join("?" * len(known))
            connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", values)
    connection.commit()
    connection.close()
    return tables - {"alembic_version"}


def test_every_table_has_rows_here() -> None:
    assert set(ROWS) == set(metadata.tables), "a new table needs a row in this test"


@pytest.mark.parametrize("revision", REVISIONS)
def test_an_old_database_is_read_by_the_store_of_today(tmp_path: Path, revision: str) -> None:
    path = tmp_path / "farm.db"
    tables = build(path, revision)
    (schema,) = [each for each in check(f"sqlite:///{path}") if each.name == "schema"]
    assert schema.note == ("" if revision == HEAD else f"the next command that writes migrates it to {HEAD}")
    with Store.open(f"sqlite:///{path}") as store:
        _require_run(store)
        _require_measurements(store)
        records = store.device_records("SERIAL1", "gauge")
        assert [record.value for record in records] == ([{"current_unit": "mA"}] if "device_records" in tables else [])
        if "nights" in tables:
            _require_nights(store)
        store.begin_run(_again(store), [])
        store.add_device_record("SERIAL1", "idle", "", 1.0, {"w": 1})
    assert not any(each.damage or each.note for each in check(f"sqlite:///{path}"))
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def _require_nights(store: Store) -> None:
    (night,) = store.nights.all()
    assert (night.night, night.status, night.ended_at, night.summary) == (
        "2026-11-21",
        RunStatus.FINISHED,
        2000.0,
        None,
    )
    (ack,) = store.nights.acks("lab")
    assert (ack.series.metric, ack.night, ack.author) == ("decode_tps", "2026-11-21", "alice")
    assert store.nights.baselines("lab")["r"].name == "b9000"


def _again(store: Store) -> Any:
    from dataclasses import replace

    found = store.run(RUN)
    assert found is not None
    me = identity_of_this_process()
    return replace(found, id="later", host=me.host, pid=me.pid, pid_started=me.pid_started)


def _require_run(store: Store) -> None:
    (run,) = store.runs()
    assert (run.id, run.status, run.ended_at, run.command) == (
        RUN,
        RunStatus.FINISHED,
        2000.0,
        ("run", "--tier", "flagship"),
    )
    assert run.tiers["flagship"].targets == Targets(50.0)
    assert [(event.kind, event.detail) for event in store.events(RUN)] == [("recovery", {"text": "reconnect"})]
    (lease,) = store.leases()
    assert (lease.owner, lease.reserved, lease.expires_at) == ("alice@bench", True, 9e9)


def _require_measurements(store: Store) -> None:
    first, second = store.measurements()
    assert (first.planned.key, first.status, first.started_at) == (FIRST, CaseStatus.MEASURED, 1100.0)
    assert (first.planned.platform, first.planned.kind) == (Platform.ANDROID, DeviceKind.PHONE)
    assert (first.planned.workload.kind, first.planned.workload.args) == (WorkloadKind.STREAM, ("-x",))
    assert first.metrics == {
        "decode_tps": Measured(40.0, "tok/s", "timings", 0.001),
        "energy_j": Unavailable("the phone is charging"),
    }
    assert first.provenance == {"os_fingerprint": "google/husky:14"}
    why = ErrorInfo("killed", Step.RUN, "the runner was killed", "free some memory")
    assert (second.planned.key, second.error) == (SECOND, why)
    assert store.steps(SECOND) == (StepRecord(Step.RUN, 1, 1201.0, 0.25, 60.0, {"bytes": 12}, why),)
    assert store.traces(FIRST) == (
        Trace(Channel("zone.cpu.temperature", "°C", "thermal_zone0", 0.1), (10.0, 10.5, 75.25), (30.0, 31.5, 33.0)),
        Trace(Channel("battery.current", "mA", "current_now", absent="Permission denied"), (), ()),
    )
    assert store.itl(FIRST) == (10.25, 11.5, 9.75)
    assert store.output(FIRST) == ("loaded\ndone", ("adb shell true",))

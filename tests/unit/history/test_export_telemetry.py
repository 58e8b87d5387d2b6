"""farm export --telemetry and --perfetto over a made-up database."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import main
from harness.model import CaseStatus, Channel, DeviceKind, RunStatus, Trace
from harness.store import Store
from harness.telemetry_export import COLUMNS
from tests.unit.store import samples

RUN, CASE = samples.run_record().id, "c0ffee000001"
HOSTILE = '=cmd,"\n'
TRACES = (
    Trace(Channel("zone.cpu.temperature", "°C", "thermal_zone0", 0.1), (10.0, 10.5, 75.25), (36.6, float("nan"), 1e-8)),
    Trace(Channel("battery.current", "A", "current_now", absent='=denied, "really"'), (), ()),
    Trace(Channel(HOSTILE, "", "nowhere"), (), ()),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three repetitions: two measured, one skipped; `farm.db` holds them."""
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}") as store:
        gone = samples.planned_case(case="e1", status=CaseStatus.SKIPPED, reason=samples.error_info("no such ABI"))
        cases = [samples.planned_case(repeat=repeat, kind=DeviceKind.HOST) for repeat in (1, 2)]
        store.begin_run(samples.run_record(), [*cases, gone])
        for case in cases:
            store.start_case(case.key, 1, samples.START)
            store.finish_case(case.key, replace(samples.result(), traces=TRACES))
        store.set_run_status(RUN, RunStatus.FINISHED, samples.START + 100)
    return tmp_path


@pytest.fixture
def farm(folder: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    def run(*argv: str, code: int = 0) -> str:
        ended = 0
        try:
            main(["--db", f"sqlite:///{folder / 'farm.db'}", *argv])
        except SystemExit as exit_:
            ended = int(exit_.code or 0)
        said = capsys.readouterr()
        assert ended == code, said.err
        return said.err if code else said.out

    return run


WANTED = [
    ("zone.cpu.temperature", "°C", 10.0, 36.6, None),
    ("zone.cpu.temperature", "°C", 75.25, 1e-8, None),
    ("battery.current", "A", None, None, '=denied, "really"'),
    (HOSTILE, "", None, None, "no sample arrived"),
]


def test_json_lines_hold_every_sample_and_every_absent_channel(farm: Any) -> None:
    rows = [json.loads(line) for line in farm("export", "--format", "jsonl", "--telemetry").splitlines()]
    assert all(list(row) == list(COLUMNS) for row in rows)
    for repeat in (1, 2):
        mine = [row for row in rows if row["repeat"] == repeat]
        assert [(r["channel"], r["unit"], r["uptime_s"], r["value"], r["absent"]) for r in mine] == WANTED
        assert {(r["run"], r["case"], r["device"], r["device_kind"]) for r in mine} == {(RUN, CASE, "pixel", "host")}
    assert (rows[0]["source"], rows[0]["resolution"], rows[-1]["resolution"]) == ("thermal_zone0", 0.1, None)


def test_csv_holds_the_same_and_no_formulas(farm: Any) -> None:
    rows = list(csv.DictReader(io.StringIO(farm("export", "--format", "csv", "--telemetry", "--run", RUN[:8]))))
    assert list(rows[0]) == list(COLUMNS)
    assert [(r["uptime_s"], r["value"], r["absent"]) for r in rows[:4]] == [
        ("10.0", "36.6", ""),
        ("75.25", "1e-08", ""),
        ("", "", '\'=denied, "really"'),
        ("", "", "no sample arrived"),
    ]
    assert rows[3]["channel"] == f"'{HOSTILE}"
    assert len(rows) == 8


def test_parquet_holds_the_same(farm: Any, folder: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = folder / "telemetry.parquet"
    said = farm("--json", "export", "--format", "parquet", "--telemetry", "-o", str(out))
    assert json.loads(said) == {"file": str(out), "rows": 8}
    table = parquet.read_table(out)
    assert table.column_names == list(COLUMNS)
    rows = table.to_pylist()
    assert [row["repeat"] for row in rows] == [1] * 4 + [2] * 4
    for row, (channel, unit, uptime_s, value, absent) in zip(rows, WANTED * 2, strict=True):
        assert (row["channel"], row["unit"], row["uptime_s"], row["absent"]) == (channel, unit, uptime_s, absent)
        assert row["value"] == (None if value is None else pytest.approx(value, rel=1e-7))
    import pandas as pd

    frame = pd.read_parquet(out)
    assert frame.channel.dtype == "category"
    assert frame[frame.channel == "zone.cpu.temperature"].value.count() == 4


def test_many_row_groups_hold_what_one_would(folder: Path, farm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    one, many = folder / "one.parquet", folder / "many.parquet"
    farm("export", "--format", "parquet", "--telemetry", "-o", str(one))
    monkeypatch.setattr("harness.telemetry_export._ROW_GROUP", 2)
    farm("export", "--format", "parquet", "--telemetry", "-o", str(many))
    assert parquet.ParquetFile(many).num_row_groups > parquet.ParquetFile(one).num_row_groups == 1
    assert parquet.read_table(many).to_pylist() == parquet.read_table(one).to_pylist()


def test_one_case_or_repetition_is_chosen(farm: Any) -> None:
    def repeats(*argv: str) -> list[int]:
        return [json.loads(line)["repeat"] for line in farm("export", "--format", "jsonl", *argv).splitlines()]

    assert repeats("--case", CASE) == [1, 2]
    assert repeats("--case", f"{CASE}.2", "--run", RUN) == [2]
    assert set(repeats("--telemetry", "--case", f"{CASE}.2")) == {2}
    assert "use --run" in farm("export", "--format", "csv", "--case", RUN, code=2)
    assert "no run or case" in farm("export", "--format", "csv", "--case", "f00", code=2)


def test_a_trace_of_one_repetition_is_a_file_and_of_several_a_folder(folder: Path, farm: Any) -> None:
    one, all_ = folder / "one.json", folder / "traces"
    farm("export", "--perfetto", str(one), "--case", f"{CASE}.1")
    assert json.loads(one.read_text())["otherData"]["repeat"] == 1
    said = farm("--json", "export", "--perfetto", str(all_))
    assert json.loads(said) == {"files": [str(all_ / f"{CASE}.1.json"), str(all_ / f"{CASE}.2.json")]}
    assert json.loads((all_ / f"{CASE}.2.json").read_text())["otherData"]["repeat"] == 2
    farm("export", "--perfetto", str(all_), "--case", f"{CASE}.1")
    assert "need a folder" in farm("export", "--perfetto", str(one), code=2)
    assert "nothing of that was ever begun" in farm("export", "--perfetto", str(one), "--case", "e1", code=2)
    assert "cannot be made" in farm("export", "--perfetto", str(folder / "no" / "where"), code=2)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "say what to write"),
        (("--format", "csv", "--perfetto", "x"), "not both"),
        (("--perfetto", "x", "--telemetry"), "leave -o and --telemetry out"),
        (("--telemetry", "--format", "parquet"), "needs -o FILE"),
    ],
)
def test_what_does_not_go_together_is_explained(farm: Any, argv: tuple[str, ...], said: str) -> None:
    assert said in farm("export", *argv, code=2)


def test_damaged_telemetry_is_named_and_leaves_no_half_file(farm: Any, folder: Path) -> None:
    with sqlite3.connect(folder / "farm.db") as connection:
        connection.execute("UPDATE telemetry SET samples = substr(samples, 1, 30) WHERE count AND key LIKE '%.2'")
    connection.close()
    out = folder / "out"
    for argv in (("--telemetry", "--format", "csv", "-o"), ("--case", f"{CASE}.2", "--perfetto")):
        said = farm("export", *argv, str(out), code=1)
        assert f"telemetry of {CASE}.2, zone.cpu.temperature: damaged" in said
        assert "farm db check" in said
    assert not [file.name for file in folder.iterdir() if not file.name.startswith("farm.db")]
    farm("export", "--telemetry", "--format", "csv", "-o", str(out), "--case", f"{CASE}.1")

"""docs/export.md: its tables are those of the code, and its example runs as it stands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import main
from harness.export import columns, records
from harness.model import METRICS, TARGET_METRICS, Channel, DeviceKind, RunStatus, Trace
from harness.store import Store
from harness.telemetry_export import COLUMNS
from tests.unit.store import samples

TEXT = (Path(__file__).parents[3] / "docs" / "export.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text under a heading."""
    return TEXT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def first_cells(title: str) -> list[str]:
    """The first cell of every row of the table of a section, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [line.split("|")[1].strip() for line in lines[2:]]


def names(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Store]:
    """Two phones, three repetitions each, one of them slower where it was hotter; `farm.db` in the folder."""
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}") as store:
        cases = [
            samples.planned_case(case=case, repeat=repeat, device=device, kind=DeviceKind.PHONE)
            for case, device in (("aaaa", "pixel"), ("bbbb", "galaxy"))
            for repeat in (1, 2, 3)
        ]
        store.begin_run(samples.run_record(), cases)
        for number, case in enumerate(cases):
            store.start_case(case.key, 1, samples.START + number)
            hot, times = 40.0 + number, (10.0, 11.0, 12.5)
            zone = Trace(Channel("zone.cpu.temperature", "°C", "zone0", 0.1), times, (30.0, hot, 33.0))
            clock = Trace(Channel("policy0.cur_freq", "MHz", "policy0"), times, (1000.0, 2000.0, 1500.0))
            absent = Trace(Channel("gpu.freq", "MHz", "kgsl", absent="Permission denied"), (), ())
            found = samples.result(decode_tps=50.0 - number, started_at=samples.START + number)
            store.finish_case(case.key, replace(found, traces=(zone, clock, absent)))
        store.set_run_status(samples.run_record().id, RunStatus.FINISHED, samples.START + 100)
        yield store


def test_fields_of_json_lines(lab: Store) -> None:
    found = next(records(lab))
    assert [name for cell in first_cells("JSON lines") for name in names(cell)] == list(found)


def test_metrics_and_their_units() -> None:
    paragraph = section("JSON lines").split("Metrics, with their units:", 1)[1]
    groups = re.sub(r"\([^)]*\)", "", " ".join(paragraph.split())).rstrip(". ").split(" · ")
    told = {name: re.sub(r"`[^`]+`", "", group).strip() for group in groups for name in names(group)}
    assert told == {name: spec.unit for name, spec in METRICS.items()}


def test_columns_of_csv_and_parquet() -> None:
    told: list[str] = []
    known = list(columns())
    for cell in first_cells("CSV and Parquet"):
        ranged = re.fullmatch(r"`(\w+)` … `(\w+)`(.*)", cell)
        if ranged is not None:
            told += known[known.index(ranged[1]) : known.index(ranged[2]) + 1]
        for name in names(ranged[3] if ranged else cell):
            told.append(name)
    expanded: list[str] = []
    for name in told:
        if name.startswith("METRIC"):
            expanded += [name.replace("METRIC", metric) for metric in METRICS]
        elif name.endswith("TARGET"):
            expanded += [name.replace("TARGET", target) for target in TARGET_METRICS]
        else:
            expanded.append(name)
    assert sorted(expanded) == sorted(known)
    assert len(set(expanded)) == len(expanded)


def test_columns_of_telemetry() -> None:
    lines = [line for line in section("Telemetry").splitlines() if line.startswith("|")][2:]
    told = {name: line.split("|")[2].strip() for line in lines for name in names(line.split("|")[1])}
    assert list(told.items()) == list(COLUMNS.items())


def test_the_example_runs_as_it_stands(lab: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FARM_DB", f"sqlite:///{tmp_path / 'farm.db'}")
    blocks = re.findall(r"```(\w+)\n(.*?)```", section("Example"), re.DOTALL)
    found: dict[str, Any] = {}
    for language, code in blocks:
        if language == "sh":
            for line in code.splitlines():
                program, *argv = shlex.split(line)
                assert program == "farm"
                main(argv)
        else:
            exec(compile(code, "docs/export.md", "exec"), found)
    speed = found["speed"]
    assert speed.loc[("flagship", "smollm2-135m-q4_k_m", "pixel")]["median"] == 49.0
    assert list(speed["count"]) == [3, 3]
    heat = found["heat"]
    assert list(heat.hottest_c) == [40.0, 41.0, 42.0, 43.0, 44.0, 45.0]
    assert heat[["hottest_c", "decode_tps"]].corr().iloc[0, 1] == pytest.approx(-1)
    table = found["table"]
    assert table.loc[1].to_dict() == {"policy0.cur_freq": 2000.0, "zone.cpu.temperature": 40.0}

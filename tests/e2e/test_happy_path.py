"""From an inventory to the report with the real llama.cpp on two virtual phones, and every command after it."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.errors import FarmError
from harness.model import METRICS
from harness.supply import debian_tools, models
from tests.e2e.support import Farm, base_inventory, every_metric_explains_itself, left_on, phones_of
from tests.lab.conftest import RunningLab

MEASURED_BY_BOTH = {
    "prefill_tps",
    "decode_tps",
    "ms_per_token",
    "peak_memory_mb",
    "rss_anon_mb",
    "rss_file_mb",
    "model_mb",
    "temperature_start_c",
    "temperature_peak_c",
    "thermal_status_max",
    "battery_level_start_pct",
    "battery_level_end_pct",
}
MEASURED_BY_STREAM = {"load_ms", "ttft_ms"}
"""Percentiles of token times ask for more tokens than these."""


@dataclass(frozen=True)
class FirstRun:
    """A finished run of both kinds of workload, and the farm it was made in."""

    farm: Farm
    result: dict[str, Any]
    planned_before: dict[str, Any]
    files_before: list[str]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, lab: RunningLab) -> Iterator[FirstRun]:
    folder = tmp_path_factory.mktemp("happy")
    try:
        build = debian_tools.runner_folder()
        model = models.make("SmolLM2-135M", "Q4_K_M", out=folder / "models").path
    except FarmError as unavailable:
        pytest.skip(f"no llama.cpp or no model here: {unavailable}")
    # A worker may come back to this module after other work, with the same phones.
    for phone in lab.info.phones:
        lab.says(phone.id, "rm -rf /data/local/tmp/farm")
    farm = Farm(folder, dict(lab.env), base_inventory(phones_of(lab)))
    farm.write(
        models=[
            {
                "id": "smollm2-135m-q4_k_m",
                "family": "SmolLM2-135M",
                "quant": "Q4_K_M",
                "format": "gguf",
                "path": str(model.relative_to(folder)),
            }
        ],
        runners=[
            {"id": "llama.cpp", "runtime": "llama.cpp", "platform": "android", "abi": "x86_64", "path": str(build)}
        ],
        suites={
            "standard": {"workloads": ["bench", "chat"], "repeats": 2},
            "quick": {"workloads": ["bench"], "repeats": 1},
        },
    )
    planned = farm("--json", "plan").expect(0).json()
    before = sorted(path.name for path in folder.iterdir())
    result = farm("--json", "run").expect(0).json()
    yield FirstRun(farm, result, planned, before)


def test_a_plan_says_what_will_be_done_and_touches_nothing(first: FirstRun, lab: RunningLab) -> None:
    plan = first.planned_before
    assert [case["status"] for case in plan["cases"]] == ["planned"] * 8
    assert set(plan["bytes_to_push"]) == {"pixel-8-pro", "galaxy-a34"}
    assert all(size > 50_000_000 for size in plan["bytes_to_push"].values()), plan["bytes_to_push"]
    assert plan["minutes"] > 0
    assert first.files_before == ["inventory.yaml", "models"]


def test_every_measurement_is_there_with_every_metric(first: FirstRun, lab: RunningLab) -> None:
    assert first.result["counts"] == {"measured": 8} and first.result["left"] == 0
    rows = first.farm.rows()
    wanted = {
        (device, workload, repeat)
        for device in ("pixel-8-pro", "galaxy-a34")
        for workload in ("bench", "chat")
        for repeat in (1, 2)
    }
    assert {(row["device"], row["workload"], row["repeat"]) for row in rows} == wanted and len(rows) == 8
    assert [row["started_at"] for row in rows] == sorted(row["started_at"] for row in rows)
    serials = {phone.id: phone.adb_serial for phone in lab.info.phones}
    for row in rows:
        assert (row["status"], row["error"]) == ("measured", None)
        assert row["serial"] == serials[row["device"]]
        every_metric_explains_itself(row)
        measured = {name for name, reading in row["metrics"].items() if "value" in reading}
        assert measured >= MEASURED_BY_BOTH | (MEASURED_BY_STREAM if row["workload"] == "chat" else set())
        value = {name: row["metrics"][name]["value"] for name in measured}
        assert value["ms_per_token"] == pytest.approx(1000 / value["decode_tps"])
        assert value["peak_memory_mb"] > value["model_mb"] * 0.5
        assert set(row["verdicts"]) >= {"ms_per_token_max", "peak_memory_mb_max"}
        assert row["verdicts"]["peak_memory_mb_max"] == "pass"
        provenance = row["provenance"]
        assert provenance["device_kind"] == "virtual" and provenance["os_fingerprint"]
        assert len(provenance["model_sha256"]) == len(provenance["runner_sha256"]) == 64
        assert provenance["parameters"]["prompt_tokens"] == 16 and provenance["harness_version"]
        assert provenance["placement"]["changes"] == []
        if row["workload"] == "chat":
            account = provenance["meminfo"]["pss_mb"]["value"]
            assert value["model_mb"] * 0.5 < account < value["peak_memory_mb"] * 1.05
        else:
            assert "ends by itself" in provenance["meminfo"]["unavailable"]
    for phone in ("pixel-8-pro", "galaxy-a34"):
        assert left_on(lab, phone) == ""


def test_the_report_is_written_one_file_per_tier(first: FirstRun) -> None:
    pages = [Path(page) for page in first.result["report"]]
    assert pages[0].name == "index.html" and len(pages) == 3
    for page in pages:
        text = page.read_text("utf-8")
        assert "virtual phone" in text, page
        assert not re.search(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//""", text), "a report is read offline"


def test_nothing_is_pushed_twice(first: FirstRun) -> None:
    farm = first.farm
    plan = farm("--json", "plan").expect(0).json()
    assert plan["bytes_to_push"] == {"pixel-8-pro": 0, "galaxy-a34": 0}
    assert "earlier runs" in plan["minutes_basis"]
    again = farm("--json", "run", "--suite", "quick", "--device", "pixel-8-pro").expect(0).json()
    with farm.store() as store:
        (row,) = store.measurements(again["run"])
        (deploy,) = (step for step in store.steps(row.planned.key) if step.step == "deploy")
    assert deploy.detail["model"]["pushed_bytes"] == deploy.detail["runner"]["pushed_bytes"] == 0


def test_check_exits_with_4_when_a_target_is_missed(first: FirstRun) -> None:
    farm = first.farm
    strict = {**farm.inventory["tiers"]}
    strict["flagship"] = {"title": "Flagship", "targets": {"peak_memory_mb_max": 1}}
    before = farm.inventory["tiers"]
    farm.write(tiers=strict)
    try:
        argv = ["run", "--suite", "quick", "--device", "pixel-8-pro", "--repeats", "3"]
        checked = farm("--json", *argv, "--check").expect(4).json()
    finally:
        farm.write(tiers=before)
    assert checked["cases"][0]["verdicts"]["peak_memory_mb_max"] == "fail"
    assert checked["counts"] == {"measured": 3}


def test_history(first: FirstRun) -> None:
    farm, run = first.farm, first.result["run"]
    listed = farm("--json", "runs").expect(0).json()
    assert listed[0]["run"] == run and listed[0]["counts"] == {"measured": 8}
    case = first.result["cases"][0]["case"]
    assert run in farm("show", run).expect(0).out
    shown = farm("show", f"{case}.1").expect(0).out
    assert all(step in shown for step in ("deploy", "warm_up", "collect", "clean_up")) and "model_sha256" in shown
    assert farm("--json", "show", case).expect(0).json()
    argv = ["run", "--suite", "quick", "--device", "pixel-8-pro"]
    newer = farm("--json", *argv).expect(0).json()["run"]
    compared = farm("--json", "compare", run, newer).expect(0).json()
    assert compared and "decode_tps" in json.dumps(compared)
    assert "pixel-8-pro" in farm("compare", run, newer).expect(0).out
    farm("show", "nothing-like-it").expect(2, "there is no run or case")


def test_the_printed_commands_repeat_a_case_by_hand(first: FirstRun, lab: RunningLab) -> None:
    """What `show --command` prints is typed into a shell; a server among it would not end by itself."""
    benches = [case for case in first.result["cases"] if case["workload"] == "bench"]
    commands = first.farm("show", benches[0]["case"], "--command").expect(0).out.splitlines()
    assert commands and all(command.startswith("adb -s ") for command in commands)
    path = f"{Path(_adb()).parent}:{lab.env.get('PATH', '')}"
    done = subprocess.run(
        ["sh", "-c", "\n".join(commands)],
        capture_output=True,
        text=True,
        env={**lab.env, "PATH": path},
        timeout=120,
        check=True,
    )
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [(each["n_prompt"], each["n_gen"]) for each in results] == [(16, 0), (0, 8)]


def _adb() -> str:
    from device_agents.virtual.adbserver import adb_binary

    return str(adb_binary())


def test_exports(first: FirstRun) -> None:
    farm, run = first.farm, first.result["run"]
    rows = farm.rows("--run", run)
    table = list(csv.DictReader(farm("export", "--format", "csv", "--run", run).expect(0).out.splitlines()))
    assert len(table) == len(rows) == 8
    columns = set(table[0])
    assert all(any(column.startswith(name) for column in columns) for name in METRICS)
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    told = farm("--json", "export", "--format", "parquet", "-o", "rows.parquet", "--run", run).expect(0).json()
    assert told["rows"] == 8 and len(pandas.read_parquet(farm.folder / "rows.parquet")) == 8
    farm("export", "--format", "parquet").expect(2, "-o FILE")


@pytest.mark.parametrize(
    "argv",
    [["devices"], ["doctor"], ["plan"], ["runs"], ["models", "list"], ["runners", "list"], ["report"], ["resume"]],
    ids=" ".join,
)
def test_standard_output_holds_json_only(first: FirstRun, argv: list[str]) -> None:
    done = first.farm("--json", *argv)
    assert done.code in (0, 1), done.err
    done.json()
    assert "Traceback" not in done.err


def test_init_drafts_what_runs(lab: RunningLab, tmp_path: Path) -> None:
    farm = Farm(tmp_path, dict(lab.env))
    drafted = farm("--json", "init").expect(0).json()
    assert {row["serial"] for row in drafted["devices"]} == {phone.serial for phone in lab.info.phones}
    assert all(row["tier"] and row["why"] for row in drafted["devices"])
    farm("init").expect(2, "exists already")
    listed = farm("--json", "devices").expect(0).json()["devices"]
    assert {row["tier"] for row in listed} == {row["tier"] for row in drafted["devices"]}
    farm("inventory", "check").expect(0)

"""What the sampler saw beside the runner becomes part of the result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest

from android_runner.farm_runner import FarmRunner
from android_runner.llama_bench import LlamaBench
from device_agents.android.telemetry.samples import parse_samples
from device_agents.base import DeviceAgent, JobOutput
from harness.attempt import Attempt, SessionContext
from harness.events import Silent
from harness.harvest import figures
from harness.model import CaseResult, CaseStatus, Measured, Unavailable
from harness.plan import Placement
from tests.unit.android_runner import samples as runner
from tests.unit.store.samples import planned_case

MEMINFO = """s 105.00 105.40 0 meminfo
| ** MEMINFO in pid 4711 [llama-bench] **
|            TOTAL PSS:   211000            TOTAL RSS:   305000       TOTAL SWAP PSS:        0
e meminfo
"""
COUNTERS = """farm-samples 1
c 100.00 cpu  0 0 0 0 0 0 0 0 0 0
p 100.00 0 0 4
c 104.00 cpu  400 0 0 400 0 0 0 0 0 0
p 104.00 400 0 4
c 106.00 cpu  800 0 0 400 0 0 0 0 0 0
p 106.00 400 0 4
"""
BIG = (4, 5, 6, 7)


def context(tmp_path: Path) -> SessionContext:
    return SessionContext(
        agent=cast(DeviceAgent, SimpleNamespace(files=SimpleNamespace(in_apps=False))),
        adapter=LlamaBench(),
        model=runner.MODEL,
        build=runner.build(),
        parse_samples=parse_samples,
        prompt_text=None,
        keep=frozenset(),
        provenance={},
        owner="alice@bench",
        work_dir=tmp_path,
        on_step=lambda _step: None,
        reporter=Silent(),
        recover=lambda _error: False,
        cancel=Event(),
    )


def harvested(tmp_path: Path, samples: str, *, cpus: tuple[int, ...] | None = None, **more: Any) -> CaseResult:
    """The result of a run of llama-bench from uptime 100 to 110 s beside which `samples` were taken."""
    files = {"stdout": runner.read("llama-bench-0.7.0.jsonl"), "samples": samples.encode()}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    state = Attempt(context(tmp_path), planned_case(), attempt=1, started_at=0.0, begun=0.0)
    state.where = Placement(4, cpus, "given by the workload")
    given: dict[str, Any] = {
        "stamps": {"started": 100.0, "ended": 110.0},
        "placement": {"cpus_allowed": "4-7" if cpus else "0-7", "cpuset": "/"},
    }
    paths = {name: tmp_path / name for name in files}
    output = JobOutput(exit_code=0, signal=None, ended_by="exit", files=paths, boot_id="b", **(given | more))
    return figures(state, runner.request(runner.throughput()), output)


def test_androids_account_of_the_memory_is_kept(tmp_path: Path) -> None:
    found = harvested(tmp_path, COUNTERS + MEMINFO)
    assert found.status is CaseStatus.MEASURED
    memory = found.provenance["meminfo"]
    assert memory["pss_mb"]["value"] == pytest.approx(211_000 * 1024 / 1e6)
    assert memory["rss_mb"]["source"] == "dumpsys meminfo TOTAL RSS"
    assert "unavailable" in memory["gfx_dev_pss_mb"]


def test_without_an_account_of_the_memory_there_is_its_reason(tmp_path: Path) -> None:
    memory = harvested(tmp_path, COUNTERS).provenance["meminfo"]
    assert list(memory) == ["unavailable"]
    assert "while the process lived" in memory["unavailable"]


def test_the_last_look_at_a_server_is_no_part_of_the_run(tmp_path: Path) -> None:
    """What Android itself needs for its account is not the load of others."""
    until_its_end = harvested(tmp_path, COUNTERS).metrics["other_load_pct"]
    assert isinstance(until_its_end, Measured)
    assert until_its_end.value == pytest.approx(100 * 4 / 12)
    stamps = {"started": 100.0, "closing": 105.0, "ended": 110.0}
    without = harvested(tmp_path, COUNTERS, stamps=stamps).metrics["other_load_pct"]
    assert isinstance(without, Measured)
    assert without.value == 0.0


def test_a_placement_that_changes_while_it_runs_is_marked(tmp_path: Path) -> None:
    steady = "a 101.00 4-7 /\na 106.00 4-7 /\n"
    assert harvested(tmp_path, steady, cpus=BIG).provenance["marks"] == []
    found = harvested(tmp_path, "a 101.00 4-7 /\na 106.00 0-3 /background\n", cpus=BIG)
    assert found.provenance["placement"]["verdict"] == "changed"
    (mark,) = found.provenance["marks"]
    assert mark.startswith("placement_changed: every thread has 4-7 at the start, but at uptime 106 s")


def test_so_is_one_that_was_left_to_the_system(tmp_path: Path) -> None:
    (mark,) = harvested(tmp_path, "a 106.00 0-3 /background\n").provenance["marks"]
    assert mark.startswith("placement_changed: left to the system, which allows 0-7 at the start")


def loads(tmp_path: Path, name: str, *, first_load: str = "") -> CaseResult:
    """The result of farm-runner's recorded events."""
    (tmp_path / "stdout").write_bytes(runner.read(runner.RUNNER_EVENTS[name]))
    request = runner.runner_request(name)
    case = replace(planned_case(), workload=request.workload)
    given = replace(context(tmp_path), adapter=FarmRunner("llama.cpp", frozenset({"gguf"})))
    state = Attempt(given, case, attempt=1, started_at=0.0, begun=0.0, first_load=first_load)
    files = {"stdout": tmp_path / "stdout"}
    stamps = {"started": 100.0, "ended": 110.0}
    return figures(state, request, JobOutput(0, None, "exit", stamps, files, boot_id="b"))


def reason(result: CaseResult, name: str) -> str:
    reading = result.metrics[name]
    assert isinstance(reading, Unavailable), reading
    return reading.reason


def test_each_load_has_its_own_name(tmp_path: Path) -> None:
    warm = loads(tmp_path, "stream")
    assert isinstance(warm.metrics["load_ms"], Measured)
    assert "page_cache: evict" in reason(warm, "load_cold_ms")
    first = loads(tmp_path, "stream", first_load="after a push")
    assert isinstance(first.metrics["load_first_ms"], Measured)
    assert "load_first_ms" in reason(first, "load_ms") and "page_cache" in reason(first, "load_cold_ms")
    for cold in (loads(tmp_path, "evict"), loads(tmp_path, "evict", first_load="after a push")):
        assert isinstance(cold.metrics["load_cold_ms"], Measured)
        assert "load_cold_ms" in reason(cold, "load_ms") and "load_cold_ms" in reason(cold, "load_first_ms")
        assert cold.provenance["load"] == "cold"
        assert cold.provenance["reported"]["framework_overhead"]["per"] == "token"

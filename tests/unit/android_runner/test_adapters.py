"""The mapping of runtimes to adapters."""

from __future__ import annotations

import pytest

from android_runner.adapters import FORMATS, PROGRAMS, adapter_for
from android_runner.base import length_s
from harness.model import WorkloadKind

from . import samples

STOCK = ("llama-bench", "llama-server")


def program_for(runtime: str, kind: WorkloadKind, programs: tuple[str, ...]) -> str:
    adapter = adapter_for(runtime, kind, programs)
    assert adapter is not None
    assert adapter.runtime == runtime
    assert kind in adapter.kinds
    return adapter.program


@pytest.mark.parametrize("kind", WorkloadKind)
def test_the_programs_of_the_build_decide(kind: WorkloadKind) -> None:
    own = "llama-bench" if kind is WorkloadKind.THROUGHPUT else "llama-server"
    assert program_for("llama.cpp", kind, STOCK) == own
    assert program_for("llama.cpp", kind, ("llama-server", "farm-runner", "llama-bench")) == "farm-runner"
    assert program_for("executorch", kind, ("farm-runner",)) == "farm-runner"
    assert {*STOCK, "farm-runner", "llama_main"} == PROGRAMS


def test_executorch_s_own_tool_does_streams() -> None:
    assert program_for("executorch", WorkloadKind.STREAM, ("llama_main",)) == "llama_main"
    bench = adapter_for("executorch", WorkloadKind.THROUGHPUT, ("llama_main",))
    assert bench is not None
    problem = bench.refusal(samples.throughput(), samples.MODEL, samples.build(programs=("llama_main",)))
    assert problem is not None
    assert "the build has no farm-runner (programs: llama_main)" in problem.message


@pytest.mark.parametrize("kind", WorkloadKind)
def test_no_stock_tool_takes_a_cold_load(kind: WorkloadKind) -> None:
    adapter = adapter_for("llama.cpp", kind, STOCK)
    assert adapter is not None
    problem = adapter.refusal(samples.stream(kind=kind, page_cache="evict"), samples.MODEL, samples.build())
    assert problem is not None
    assert "page_cache: evict" in problem.message


@pytest.mark.parametrize("kind", [WorkloadKind.SUSTAINED, WorkloadKind.BATTERY])
def test_what_lasts_for_minutes_is_served(kind: WorkloadKind) -> None:
    adapter = adapter_for("llama.cpp", kind, STOCK)
    assert adapter is not None
    assert adapter.program == "llama-server"
    bench_only = samples.build(programs=("llama-bench",))
    problem = adapter.refusal(samples.stream(kind=kind), samples.MODEL, bench_only)
    assert problem is not None
    assert "no llama-server" in problem.message
    assert adapter.refusal(samples.stream(kind=kind), samples.MODEL, samples.build()) is None


def test_length_of_a_workload() -> None:
    assert length_s(samples.stream()) == length_s(samples.throughput(minutes=3)) == 0
    assert length_s(samples.stream(kind=WorkloadKind.SUSTAINED)) == 600
    assert length_s(samples.stream(kind=WorkloadKind.BATTERY)) == 1800
    assert length_s(samples.stream(kind=WorkloadKind.BATTERY, minutes=0.5)) == 30


def test_an_unknown_runtime_has_none() -> None:
    assert adapter_for("no-such-runtime", WorkloadKind.STREAM, STOCK) is None
    assert "no-such-runtime" not in FORMATS
    assert (FORMATS["llama.cpp"], FORMATS["executorch"]) == ({"gguf"}, {"pte"})

"""The mapping of runtimes to adapters."""

from __future__ import annotations

import pytest

from android_runner.adapters import FORMATS, PROGRAMS, adapter_for
from android_runner.base import length_s
from harness.model import WorkloadKind

from . import samples


def test_each_kind_of_llama_cpp_has_its_tool() -> None:
    bench, server = (adapter_for("llama.cpp", kind) for kind in (WorkloadKind.THROUGHPUT, WorkloadKind.STREAM))
    assert bench is not None
    assert server is not None
    assert (bench.program, server.program) == ("llama-bench", "llama-server")
    assert {bench.program, server.program} == PROGRAMS


@pytest.mark.parametrize("kind", [WorkloadKind.SUSTAINED, WorkloadKind.BATTERY])
def test_what_lasts_for_minutes_is_served(kind: WorkloadKind) -> None:
    adapter = adapter_for("llama.cpp", kind)
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
    assert adapter_for("no-such-runtime", WorkloadKind.STREAM) is None
    assert "no-such-runtime" not in FORMATS
    assert FORMATS["llama.cpp"] == {"gguf"}

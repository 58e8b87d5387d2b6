"""The mapping of runtimes to adapters."""

from __future__ import annotations

from android_runner.adapters import FORMATS, PROGRAMS, adapter_for
from harness.model import WorkloadKind


def test_each_kind_of_llama_cpp_has_its_tool() -> None:
    bench, server = (adapter_for("llama.cpp", kind) for kind in (WorkloadKind.THROUGHPUT, WorkloadKind.STREAM))
    assert bench is not None
    assert server is not None
    assert (bench.program, server.program) == ("llama-bench", "llama-server")
    assert {bench.program, server.program} == PROGRAMS


def test_an_unknown_runtime_has_none() -> None:
    assert adapter_for("no-such-runtime", WorkloadKind.STREAM) is None
    assert "no-such-runtime" not in FORMATS
    assert FORMATS["llama.cpp"] == {"gguf"}

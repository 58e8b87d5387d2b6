"""Which adapter drives which tool: a plain list. A new runtime is one file and one line here."""

from __future__ import annotations

from collections.abc import Container, Mapping

from android_runner.base import RunnerAdapter
from android_runner.executorch_llama_main import ExecutorchLlamaMain
from android_runner.farm_runner import FarmRunner
from android_runner.llama_bench import LlamaBench
from android_runner.llama_server import LlamaServer
from harness.model import WorkloadKind

ADAPTERS: tuple[RunnerAdapter, ...] = (
    FarmRunner("llama.cpp", frozenset({"gguf"})),
    FarmRunner("executorch", frozenset({"pte"})),
    LlamaBench(),
    LlamaServer(),
    ExecutorchLlamaMain(),
)
"""Of several that can do the same, the first one whose program a build has is taken."""

FORMATS: Mapping[str, frozenset[str]] = {
    runtime: frozenset[str]().union(*(adapter.formats for adapter in ADAPTERS if adapter.runtime == runtime))
    for runtime in {adapter.runtime for adapter in ADAPTERS}
}
"""Runtime → formats of the model files it reads."""

PROGRAMS: frozenset[str] = frozenset(adapter.program for adapter in ADAPTERS)
"""Programs that are looked for in a runner build."""


def adapter_for(runtime: str, kind: WorkloadKind, programs: Container[str]) -> RunnerAdapter | None:
    """The adapter for a kind of workload that a build with these programs can be driven by.

    A build without any of them gets the runtime's own tool, whose refusal says what it lacks; None when no adapter does
    this kind for this runtime.
    """
    able = [adapter for adapter in ADAPTERS if adapter.runtime == runtime and kind in adapter.kinds]
    return next((adapter for adapter in able if adapter.program in programs), able[-1] if able else None)

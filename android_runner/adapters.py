"""Which adapter drives which tool: a plain mapping. A new runtime is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping

from android_runner.base import RunnerAdapter
from android_runner.llama_bench import LlamaBench
from android_runner.llama_server import LlamaServer
from harness.model import WorkloadKind

ADAPTERS: tuple[RunnerAdapter, ...] = (LlamaBench(), LlamaServer())

FORMATS: Mapping[str, frozenset[str]] = {
    runtime: frozenset[str]().union(*(adapter.formats for adapter in ADAPTERS if adapter.runtime == runtime))
    for runtime in {adapter.runtime for adapter in ADAPTERS}
}
"""Runtime → formats of the model files it reads."""

PROGRAMS: frozenset[str] = frozenset(adapter.program for adapter in ADAPTERS)
"""Programs that are looked for in a runner build."""


def adapter_for(runtime: str, kind: WorkloadKind) -> RunnerAdapter | None:
    """The adapter of a runtime for a kind of workload, or None when there is none."""
    return next((adapter for adapter in ADAPTERS if adapter.runtime == runtime and kind in adapter.kinds), None)

"""The static scan for options against what the real programs say themselves, where the lab has fetched them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from android_runner import llama_server
from android_runner.adapters import ADAPTERS
from harness.artifacts import check_runner
from harness.model import Artifact, ModelFile, Platform, Runner, RunnerBuild, Workload, WorkloadKind
from harness.supply import debian_tools, host_build
from harness.supply.folders import runners_dir

MODEL = ModelFile(Artifact("model", "0" * 64, ()), "llama", 1, 49_152, 8192, 30)


def builds() -> list[tuple[str, RunnerBuild, tuple[str, ...]]]:
    """(program, build, words that start it on this host) of what is in the user's cache already; nothing is fetched."""
    found: list[tuple[str, RunnerBuild, tuple[str, ...]]] = []
    if debian_tools.why_unavailable() is None and debian_tools.is_unpacked():
        abi = debian_tools.machine().abi
        folder = runners_dir() / f"llama.cpp-{abi}"
        if folder.is_dir():
            build = check_runner(Runner("r", "llama.cpp", Platform.ANDROID, abi, path=str(folder)), Path())
            found += [(name, build, debian_tools.host_command(name)) for name in build.programs]
    folder = host_build.folder()
    if folder.is_dir():
        from harness.artifacts.binaries import host_abi

        build = check_runner(Runner("r", "llama.cpp", Platform.LOCAL, host_abi(), path=str(folder)), Path())
        found += [(name, build, (str(folder / name),)) for name in build.programs]
    return found


def test_the_scan_finds_every_option_that_help_names() -> None:
    available = builds()
    if not available:
        pytest.skip("no runner build in the cache: farm runners fetch --virtual")
    for name, build, command in available:
        assert build.options is not None
        named = set(
            re.findall(
                r"(?m)(?<=[\s,])(--[a-z][a-z0-9-]+[a-z0-9])(?=[\s,=])", debian_tools.run_tool((*command, "--help"))
            )
        )
        assert len(named) > 20, name
        assert named <= build.options, f"{name}: {sorted(named - build.options)}"


def test_no_adapter_refuses_a_plain_workload_of_a_real_build() -> None:
    available = builds()
    if not available:
        pytest.skip("no runner build in the cache: farm runners fetch --virtual")
    for _, build, _ in available:
        for adapter in ADAPTERS:
            if adapter.program not in build.programs:
                continue
            for kind in adapter.kinds:
                for mode in ("mmap", "read", "mlock"):
                    workload = Workload(WorkloadKind(kind), kv_type="q8_0", flash_attn=True, load_mode=mode, batch=256)
                    assert adapter.refusal(workload, MODEL, build) is None
        assert llama_server.LlamaServer().program in build.programs

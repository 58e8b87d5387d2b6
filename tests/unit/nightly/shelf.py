"""Folders of builds and a simulated lab for the tests of nights."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from harness.model import (
    Artifact,
    ArtifactFile,
    Attached,
    BuildFolder,
    CaseStatus,
    Device,
    DeviceFacts,
    DeviceKind,
    DeviceState,
    ErrorInfo,
    Inventory,
    Match,
    Measured,
    Model,
    ModelFile,
    Nightly,
    PlannedCase,
    Platform,
    Reading,
    Runner,
    RunnerBuild,
    Step,
    Suite,
    Tier,
    Workload,
    WorkloadKind,
)
from harness.nightly.bisecting import PairRows, Search
from harness.nightly.build_line import BuildLine
from harness.nightly.builds import Build, CheckedBuild
from harness.nightly.pair_plan import NoPairs, PairPlan, PairWish, plan_pairs
from harness.plan import ResolvedDevice

OLD = 1_700_000_000.0
"""Long before any test runs."""

RUNNER = Runner("r", "llama.cpp", Platform.ANDROID, "arm64-v8a", path="own")
MODEL = Model("m", "F", "Q4_0", "gguf", path="m.gguf")
MODEL_FILE = ModelFile(
    Artifact("model", "a" * 64, (ArtifactFile("model.gguf", "/m", 10, "a" * 64),)), "llama", 1, 1, 1, 1
)
INVENTORY = Inventory(
    version=1,
    tiers={"flagship": Tier("Flagship"), "budget": Tier("Budget")},
    models=(MODEL,),
    runners=(RUNNER,),
    workloads={"bench": Workload(WorkloadKind.THROUGHPUT)},
    suites={"standard": Suite(("bench",), models=("m",))},
    nightly=Nightly(builds=(BuildFolder("builds", "r"),)),
)


def put(folder: Path, name: str, text: str = "echo one", *, at: float = OLD) -> Path:
    """A build in a folder: a script that is called llama-bench, last written to at that time."""
    build = folder / name
    build.mkdir(parents=True)
    program = build / "llama-bench"
    program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    program.chmod(0o755)
    set_time(build, at)
    return build


def set_time(path: Path, at: float) -> None:
    """When a file, or a folder and all in it, was last written to."""
    for inner in [*path.rglob("*"), path]:
        os.utime(inner, (at, at), follow_symlinks=False)


def sha(name: str) -> str:
    """The hash of a build of the simulated lab."""
    return name.encode().hex().ljust(64, "0")


def checked(name: str, refused: str = "") -> CheckedBuild:
    """A build of the simulated lab."""
    build = Build("r", name, Path("/builds", name), OLD)
    if refused:
        return CheckedBuild(build, ErrorInfo("runner_invalid", Step.CHECK, refused))
    file = ArtifactFile("llama-bench", f"/builds/{name}/llama-bench", 10, sha(name), True)
    programs = {"llama-bench": "llama-bench"}
    return CheckedBuild(build, RunnerBuild(Artifact("runner", sha(name), (file,)), "arm64-v8a", programs, None))


def phone(name: str, tier: str = "flagship", abi: str = "arm64-v8a") -> ResolvedDevice:
    facts = DeviceFacts(
        identity=f"serial-{name}",
        kind=DeviceKind.PHONE,
        manufacturer="Google",
        model="Pixel 8 Pro",
        product="husky",
        device="husky",
        soc="Tensor G3",
        os_version="15",
        os_fingerprint="google/husky",
        abis=(abi,),
        ram_bytes=12 << 30,
        storage_free_bytes=None,
        storage_total_bytes=None,
    )
    attached = Attached(Platform.ANDROID, facts.identity, (facts.identity,), DeviceState.READY, "", facts)
    return ResolvedDevice(name, Device(name, Platform.ANDROID, tier, Match(serial=facts.identity)), attached)


def plan(
    wish: PairWish,
    pairs: Mapping[str, int],
    devices: Iterable[ResolvedDevice],
    builds: Iterable[CheckedBuild],
    *,
    run: str = "run",
    inventory: Inventory = INVENTORY,
    model: ModelFile | ErrorInfo = MODEL_FILE,
    refusal: ErrorInfo | None = None,
) -> PairPlan | NoPairs:
    return plan_pairs(
        run,
        inventory,
        wish,
        pairs,
        devices,
        tuple(builds),
        {"m": model},
        formats=lambda runtime: frozenset({"gguf"}),
        refusal=lambda *_: refusal,
    )


@dataclass(frozen=True)
class Row:
    """A measurement as the store would give it."""

    planned: PlannedCase
    metrics: Mapping[str, Reading] = field(default_factory=dict)

    @property
    def status(self) -> CaseStatus:
        return self.planned.status

    @property
    def error(self) -> ErrorInfo | None:
        return self.planned.reason


def measured(case: PlannedCase, **values: float) -> Row:
    """That case, with values of metrics."""
    readings = {name: Measured(value, "", "test") for name, value in values.items()}
    return Row(replace(case, status=CaseStatus.MEASURED), readings)


def failed(case: PlannedCase, why: str, status: CaseStatus = CaseStatus.FAILED) -> Row:
    return Row(replace(case, status=status, reason=ErrorInfo("crashed", Step.RUN, why)))


@dataclass
class SimulatedLab:
    """Phones on which builds from `bad_from` on need 1.1 times as long per token.

    Args:
        devices: that are attached. order: names of the builds.
        scatter: coefficient of variation. crash: builds that do not run. lost: ids of phones that give nothing.
        stop_after: measurements after which the process is killed.
    """

    devices: tuple[ResolvedDevice, ...]
    order: tuple[str, ...]
    bad_from: str = ""
    scatter: float = 0.01
    height: float = 0.1
    crash: Collection[str] = ()
    lost: Collection[str] = ()
    stop_after: int | None = None
    rows: list[Row] = field(default_factory=list)
    nights: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, Mapping[str, int]]] = field(default_factory=list)
    on_run: Callable[[], None] = lambda: None
    interrupted: bool = False

    def __post_init__(self) -> None:
        self._source = np.random.default_rng(5)

    def search(self, line: BuildLine, metric: str = "ms_per_token") -> Search:
        return Search(metric, "m", "r", "bench", line, {one.facts.identity: one.id for one in self.devices})

    def measured(self, search: Search) -> PairRows:
        return PairRows(tuple(self.rows), dict(self.nights))

    def run_pairs(self, search: Search, wish: PairWish, pairs: Mapping[str, int], deadline: float | None) -> str:
        run = f"run{len(self.nights):03d}"
        planned = plan(wish, pairs, self.devices, search.line.builds, run=run)
        if isinstance(planned, NoPairs):
            return planned.reason
        self.nights[run] = "2026-11-21"
        name = next(one.build.name for one in search.line.builds if one.sha256 == wish.bad)
        self.asked.append((name, dict(pairs)))
        self.on_run()
        for case in planned.cases:
            if self.interrupted or (deadline is not None and time.monotonic() > deadline):
                return ""
            if self.stop_after is not None and len(self.rows) >= self.stop_after:
                raise KeyboardInterrupt
            self.rows.append(self._measure(case))
        return ""

    def _measure(self, case: PlannedCase) -> Row:
        name = Path(case.runner.path or "").name
        if case.device_id in self.lost:
            return failed(case, f"{case.device_id} is hot", CaseStatus.REFUSED)
        if name in self.crash:
            return failed(case, f"{name} crashed")
        is_bad = self.bad_from and self.order.index(name) >= self.order.index(self.bad_from)
        noise = self.scatter * self._source.standard_normal()
        time_ms = 30.0 * math.exp(noise + (self.height if is_bad else 0.0))
        return measured(case, ms_per_token=time_ms, decode_tps=1000.0 / time_ms)

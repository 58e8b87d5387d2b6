"""A program whose truth is known, through the whole chain: plan, lease, deploy, run, collect, store, read back."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from android_runner.base import RunnerAdapter
from android_runner.calibration import Calibration
from android_runner.native_calibration import NativeCalibration
from device_agents.base import DeviceAgent, JobHandle, JobOutput, Jobs, JobSpec, JobState, Sampling
from device_agents.samples import parse_samples
from harness.errors import FarmError
from harness.events import Reporter, Silent
from harness.lease_keeper import LeaseKeeper
from harness.model import (
    CaseStatus,
    Device,
    DeviceKind,
    ErrorInfo,
    Gates,
    Inventory,
    Measured,
    Model,
    ModelFile,
    PhoneSettings,
    Platform,
    Reading,
    Runner,
    RunnerBuild,
    RunRecord,
    RunStatus,
    Step,
    Suite,
    Tier,
    Trace,
    Unavailable,
    Workload,
)
from harness.phone_memory import PhoneMemory
from harness.plan import Assets, ResolvedDevice, Selection
from harness.plan import build as build_plan
from harness.schedule import execute
from harness.setup import Setup, Work
from harness.store import MeasurementRow, Store

SUITE = "selftest"
MODEL_ID = "farm-calibration"
OPEN = Gates(mode="off")
"""A trial makes its own conditions; only the one of the gates themselves closes them."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One run as it was stored and read back: the row, its inter-token times in ms, its telemetry."""

    row: MeasurementRow
    itl_ms: tuple[float, ...]
    traces: Mapping[str, Trace]

    @property
    def error_class(self) -> str:
        """Class of the failure, "" for a measured run."""
        return self.row.error.error_class if self.row.error else ""

    @property
    def message(self) -> str:
        return self.row.error.message if self.row.error else ""

    @property
    def truth(self) -> Mapping[str, object]:
        """What the runner recorded of itself; empty when it did not come to its end."""
        reported = self.row.provenance.get("reported") or {}
        return dict(reported.get("truth") or {})

    @property
    def window(self) -> tuple[float, float]:
        """Device uptime in seconds at which the runner was started and had ended.

        Raises:
            KeyError: the run did not get that far.
        """
        stamps = self.row.provenance["stamps"]
        return float(stamps["started"]), float(stamps["ended"])

    def metric(self, name: str) -> Reading:
        return self.row.metrics.get(name, Unavailable(self.message or f"{name} was not stored"))

    def number(self, name: str) -> float | None:
        reading = self.metric(name)
        return reading.value if isinstance(reading, Measured) else None


class SampledJobs:
    """`device_agents.base.Jobs` with other periods of files and services: for a phone whose gauge runs faster."""

    def __init__(self, jobs: Jobs, sampling: Sampling) -> None:
        self._jobs = jobs
        self._sampling = sampling

    def start(self, spec: JobSpec, *, limit_s: float) -> JobHandle:
        if spec.sampling is not None:
            faster = replace(spec.sampling, files_s=self._sampling.files_s, services_s=self._sampling.services_s)
            spec = replace(spec, sampling=faster)
        return self._jobs.start(spec, limit_s=limit_s)

    def poll(
        self, handle: JobHandle, *, limit_s: float, wait_s: float = 0.0, watch: Callable[[], None] | None = None
    ) -> JobState:
        return self._jobs.poll(handle, limit_s=limit_s, wait_s=wait_s, watch=watch)

    def collect(self, handle: JobHandle, into: Path, *, limit_s: float) -> JobOutput:
        return self._jobs.collect(handle, into, limit_s=limit_s)

    def end(self, handle: JobHandle, *, limit_s: float) -> None:
        self._jobs.end(handle, limit_s=limit_s)

    def reap(self, *, limit_s: float) -> tuple[str, ...]:
        return self._jobs.reap(limit_s=limit_s)

    def find(self, key: str, *, limit_s: float) -> JobHandle | None:
        return self._jobs.find(key, limit_s=limit_s)


OpenAgent = Callable[[ResolvedDevice], DeviceAgent]


@dataclass(frozen=True, slots=True)
class Bench:
    """Devices and what calibrating them takes.

    Args:
        store: a database of its own for these runs, so that no series and no report holds them.
        keeper: takes the devices' leases.
        open_agent: opens the agent of a device.
        build_for: the calibration runner of an ABI; raises Permanent when it cannot be built.
        native_for: as that, farm-runner with the runtime whose truth is known, for a platform and an ABI: for iPhones
            an app.
        model: the file that stands for a model.
        work_dir: folder on this host for fetched output.
        cancel: set when the operator ends it.
    """

    store: Store
    keeper: LeaseKeeper
    open_agent: OpenAgent
    build_for: Callable[[str], RunnerBuild]
    native_for: Callable[[Platform, str], RunnerBuild]
    model: ModelFile
    work_dir: Path
    cancel: threading.Event
    reporter: Reporter = field(default_factory=Silent)

    def run(
        self,
        devices: Sequence[ResolvedDevice],
        workloads: Mapping[str, Workload],
        *,
        gates: Gates = OPEN,
        sampling: Sampling | None = None,
        native: bool = False,
    ) -> Mapping[str, Mapping[str, Seen]]:
        """Measure every workload once on every device, devices at the same time; returns device → workload → what was
        stored. `sampling`: periods in place of the usual ones. `native`: farm-runner in place of the calibration
        runner."""
        run = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.urandom(2).hex()}"
        adapter: RunnerAdapter = NativeCalibration() if native else Calibration()
        inventory = self._inventory(devices, workloads, adapter.runtime)
        runners = {each.id: self._checked_build(each, native=native) for each in inventory.runners}
        assets = Assets({MODEL_ID: self.model}, runners)
        plan = build_plan(
            run,
            inventory,
            Selection(SUITE),
            devices,
            assets,
            formats=lambda _: adapter.formats,
            refusal=lambda *_: None,
        )
        self.store.begin_run(_record(run, inventory), plan.cases)
        planned = plan.of(CaseStatus.PLANNED)
        work = [Work(device, tuple(case for case in planned if case.device_id == device.id)) for device in devices]
        execute(self._setup(run, assets, adapter, gates, sampling), [item for item in work if item.cases])
        self.store.set_run_status(run, RunStatus.FINISHED, ended_at=datetime.now(UTC).timestamp())
        return self._read_back(run, devices)

    def _checked_build(self, runner: Runner, *, native: bool) -> RunnerBuild | ErrorInfo:
        try:
            return self.native_for(runner.platform, runner.abi) if native else self.build_for(runner.abi)
        except FarmError as error:
            return error.info(Step.CHECK)

    def _inventory(
        self, devices: Sequence[ResolvedDevice], workloads: Mapping[str, Workload], runtime: str
    ) -> Inventory:
        """What is to be done, as an inventory: one runner for each ABI that a device prefers."""
        pairs = sorted({(device.attached.platform, device.facts.abis[0]) for device in devices if device.facts.abis})
        return Inventory(
            version=1,
            tiers={device.entry.tier: Tier(device.entry.tier) for device in devices},
            devices=tuple(device.entry for device in devices),
            models=(Model(MODEL_ID, "calibration", "none", "gguf", path=self.model.artifact.files[0].path),),
            runners=tuple(Runner(f"{runtime}-{platform}-{abi}", runtime, platform, abi) for platform, abi in pairs),
            workloads=dict(workloads),
            suites={SUITE: Suite(tuple(workloads), repeats=1)},
        )

    def _setup(
        self, run: str, assets: Assets, adapter: RunnerAdapter, gates: Gates, sampling: Sampling | None
    ) -> Setup:
        def open_agent(device: ResolvedDevice) -> DeviceAgent:
            agent = self.open_agent(device)
            if sampling is not None:
                agent.jobs = SampledJobs(agent.jobs, sampling)
            return agent

        return Setup(
            run=run,
            store=self.store,
            assets=assets,
            open_agent=open_agent,
            adapter_for=lambda _case, _build: adapter,
            parse_samples=parse_samples,
            prompt_text=lambda _: None,
            leases=self.keeper,
            provenance={"harness_version": version("farm"), "suite": SUITE},
            work_dir=self.work_dir,
            reporter=self.reporter,
            cancel=self.cancel,
            gates=gates,
            phone_settings=PhoneSettings(stay_awake=True),
            memory=lambda identity: PhoneMemory(self.store, identity),
        )

    def _read_back(self, run: str, devices: Sequence[ResolvedDevice]) -> Mapping[str, Mapping[str, Seen]]:
        found: dict[str, dict[str, Seen]] = {device.id: {} for device in devices}
        for row in list(self.store.measurements(run)):
            key = row.planned.key
            traces = {trace.channel.name: trace for trace in self.store.traces(key)}
            if row.status is not CaseStatus.SKIPPED:
                found[row.planned.device_id][row.planned.workload_id] = Seen(row, self.store.itl(key), traces)
        return found


def _record(run: str, inventory: Inventory) -> RunRecord:
    return RunRecord(
        id=run,
        started_at=datetime.now(UTC).timestamp(),
        status=RunStatus.RUNNING,
        tiers=inventory.tiers,
        suite=SUITE,
        inventory_name="",
        inventory_sha256="",
        harness_version=version("farm"),
        lab=inventory.lab.name,
    )


def is_virtual(device: ResolvedDevice) -> bool:
    return device.facts.kind is DeviceKind.VIRTUAL


def is_iphone(device: ResolvedDevice) -> bool:
    return device.attached.platform is Platform.IOS


def entry_for(device_id: str, platform: Platform = Platform.ANDROID, tier: str = "selftest") -> Device:
    """An inventory entry for a device that no inventory names."""
    return Device(id=device_id, platform=platform, tier=tier)

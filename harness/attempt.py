"""One attempt of a measurement: what it needs, and what it has gathered so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from android_runner.base import RunnerAdapter
from device_agents.base import DeviceAgent
from device_agents.charging import ChargingControl
from harness.analysis.energy import Baseline
from harness.analysis.gauge import GaugeCalibration
from harness.analysis.memory_fit import Prediction
from harness.death import DeathSigns
from harness.errors import FarmError, Permanent
from harness.events import Activity, Reporter
from harness.gates import GateReport
from harness.model import (
    MEASURING_CONTRACT_VERSION,
    METRICS,
    CaseResult,
    CaseStatus,
    DeviceFacts,
    Gates,
    ModelFile,
    PhoneSettings,
    PlannedCase,
    PowerState,
    Reading,
    RunnerBuild,
    Step,
    StepRecord,
    Trace,
    Unavailable,
)
from harness.phone_memory import PhoneMemory
from harness.plan import Placement, canonical_parameters

OnStep = Callable[[StepRecord], None]
ParseSamples = Callable[[bytes], tuple[Trace, ...]]
Recover = Callable[[FarmError], bool]
"""Bring the device back after a lost link; False when the ladder is exhausted."""


class Cancelled(Exception):
    """The operator ended the run; the measurement is to be done again later."""


class Parked(Exception):
    """The battery is below its limit: the measurement waits until the phone is charged, in its place in the plan."""

    def __init__(self, report: GateReport) -> None:
        super().__init__("parked")
        self.report = report


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What a measurement needs besides its plan.

    Args:
        agent, adapter, model, build: the device, the tool, and the checked files.
        parse_samples: bytes of the sampler's file → traces.
        prompt_text: content of the workload's prompt_file, or None.
        keep: sha256 of artifacts that later cases of this run need on the device.
        provenance: facts of the run that every result carries.
        owner: lease owner, for the job's label on the device.
        work_dir: folder on this host for fetched output.
        on_step, reporter, recover: where steps, progress and lost links go.
        cancel: set when the run is to end.
        facts: of the device, as they were when the run was planned.
        gates: what has to hold before the runner starts.
        phone_settings: what farm keeps on the phone.
        memory: what is known of the phone, None where nothing is kept.
        charging: takes the phone off its power for energy, None where nothing can.
        setting_marks: settings that the phone denied.
        parked: the phone charged until now and has to reach the level where it works again.
        rested: nothing of farm ran on the phone for a while, so that it shows its temperature at rest.
        may_park: False: a low battery will not charge, so that it is waited for like heat.
        force: run also what will probably not fit into memory.
        hold_lease: keeps the phone ours for so many seconds in which its lease cannot be renewed; 0: it can again.
    """

    agent: DeviceAgent
    adapter: RunnerAdapter
    model: ModelFile
    build: RunnerBuild
    parse_samples: ParseSamples
    prompt_text: str | None
    keep: frozenset[str]
    provenance: Mapping[str, Any]
    owner: str
    work_dir: Path
    on_step: OnStep
    reporter: Reporter
    recover: Recover
    cancel: Event
    facts: DeviceFacts | None = None
    gates: Gates = field(default_factory=Gates)
    phone_settings: PhoneSettings = field(default_factory=PhoneSettings)
    memory: PhoneMemory | None = None
    charging: ChargingControl | None = None
    setting_marks: tuple[str, ...] = ()
    parked: bool = False
    rested: bool = False
    may_park: bool = True
    force: bool = False
    hold_lease: Callable[[float], None] = lambda _seconds: None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt ended; `transient`: another attempt may measure it."""

    result: CaseResult
    transient: bool = False


@dataclass(slots=True)
class Attempt:
    """What one attempt has gathered so far, so that a failure is stored with all that was seen.

    `first_load` is "after a push" or "after a reboot", "" for a warm load; `signs` are asked for after a death; `dark`
    takes a phone off its power whose link goes with it, None where that is not so.
    """

    context: SessionContext
    case: PlannedCase
    attempt: int
    started_at: float
    begun: float
    step: Step = Step.SELECT
    provenance: dict[str, Any] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    log_tail: str = ""
    traces: tuple[Trace, ...] = ()
    before: Mapping[str, Reading] = field(default_factory=dict)
    marks: list[str] = field(default_factory=list)
    prediction: Prediction | None = None
    where: Placement | None = None
    condition_texts: Mapping[str, str] = field(default_factory=dict)
    first_load: str = ""
    booted_at: float | None = None
    calibration: GaugeCalibration | None = None
    baseline: Baseline | Unavailable = field(default_factory=lambda: Unavailable("no idle baseline was taken"))
    signs: DeathSigns | None = None
    idle_traces: tuple[Trace, ...] = ()
    idle_window: tuple[float | None, float | None] = (None, None)
    power_state: PowerState = PowerState.UNKNOWN
    screen: str = ""
    dark: ChargingControl | None = None

    @contextmanager
    def during(self, step: Step, limit_s: float | None = None) -> Iterator[dict[str, Any]]:
        """Record a step; yields the mapping for what was seen in it."""
        if self.context.cancel.is_set() and step is not Step.CLEAN_UP:
            raise Cancelled
        self.step = step
        self.context.reporter.activity(Activity(self.case.device_id, self.case, step))
        started_at, begun = time.time(), time.monotonic()
        detail: dict[str, Any] = {}
        error: FarmError | None = None
        try:
            yield detail
        except FarmError as failure:
            failure.device = failure.device or self.case.device_id
            failure.step = failure.step or step
            error = failure
            raise
        finally:
            info = error.info(step) if error else None
            duration_s = time.monotonic() - begun
            self.context.on_step(StepRecord(step, self.attempt, started_at, duration_s, limit_s, detail, info))

    def result(
        self, metrics: Mapping[str, Reading], itl_ms: Sequence[float] = (), error: FarmError | None = None
    ) -> CaseResult:
        status = CaseStatus.MEASURED
        if error is not None:
            status = CaseStatus.REFUSED if _refuses(error) else CaseStatus.FAILED
        return CaseResult(
            status=status,
            attempt=self.attempt,
            started_at=self.started_at,
            duration_s=time.monotonic() - self.begun,
            metrics=metrics,
            traces=self.traces,
            itl_ms=tuple(itl_ms),
            provenance=base_provenance(self.context.provenance, self.case, self.attempt)
            | self.provenance
            | {"marks": list(dict.fromkeys(self.marks))},
            error=error.info(self.step) if error else None,
            log_tail=self.log_tail,
            commands=self.commands,
        )


def _refuses(error: FarmError) -> bool:
    """A permanent obstacle met before the runner was started: the case cannot run, rather than went wrong."""
    return isinstance(error, Permanent) and error.step in (
        Step.SELECT,
        Step.CHECK,
        Step.STORAGE,
        Step.DEPLOY,
        Step.GATE,
    )


def base_provenance(run: Mapping[str, Any], case: PlannedCase, attempt: int) -> dict[str, Any]:
    """What is known of every case before it runs."""
    return {
        **run,
        "model_sha256": case.model_sha256,
        "runner_sha256": case.runner_sha256,
        "parameters": canonical_parameters(case.workload),
        "identity": case.identity,
        "device_kind": case.kind.value,
        "repeat": case.repeat,
        "attempt": attempt,
        "measuring_contract_version": MEASURING_CONTRACT_VERSION,
    }


def unmeasured(reason: str) -> Mapping[str, Reading]:
    """Every metric of the vocabulary, each unavailable for the same reason."""
    return {name: Unavailable(reason) for name in METRICS}

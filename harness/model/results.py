"""Plans and results: what is to be measured, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.model.figures import Reading, Trace
from harness.model.inventory import Model, Runner, Tier, Workload
from harness.model.words import MEASURING_CONTRACT_VERSION, CaseStatus, DeviceKind, Platform, RunStatus, Step


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An error as it is stored, exported and shown. `error_class` is a value of harness.errors.ErrorClass."""

    error_class: str
    step: Step
    message: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class PlannedCase:
    """One measurement of a plan: one repetition of one case.

    `case` names device × model × runner × workload in one run and is shared by its repetitions; `key` is
    "CASE.REPEAT" and names the measurement; `series_key` names the line over nights. `status` is PLANNED, or SKIPPED
    or REFUSED with `reason`.
    """

    run: str
    case: str
    repeat: int
    series_key: str
    device_id: str
    serial: str
    identity: str
    platform: Platform
    kind: DeviceKind
    tier: str
    model: Model
    runner: Runner
    workload_id: str
    workload: Workload
    model_sha256: str
    runner_sha256: str
    status: CaseStatus = CaseStatus.PLANNED
    reason: ErrorInfo | None = None

    @property
    def key(self) -> str:
        """Names the measurement: `CASE.REPEAT`."""
        return f"{self.case}.{self.repeat}"


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of one attempt: `started_at` in Unix seconds, `detail` what was seen (JSON-ready)."""

    step: Step
    attempt: int
    started_at: float
    duration_s: float
    limit_s: float | None
    detail: Mapping[str, Any]
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How a measurement ended.

    Args:
        status: MEASURED, FAILED or REFUSED.
        attempt: number of the attempt that ended it, from 1.
        started_at: Unix seconds. duration_s: of that attempt.
        metrics: every name of METRICS.
        traces: telemetry of the run step.
        itl_ms: every inter-token latency, in order, ms; empty when the runner gives none.
        provenance: JSON-ready; model_sha256, runner_sha256, os_fingerprint, harness_version, parameters, …
        log_tail: end of the runner's log, as text.
        commands: the plain commands that repeat the case by hand, in order.
    """

    status: CaseStatus
    attempt: int
    started_at: float
    duration_s: float
    metrics: Mapping[str, Reading]
    traces: tuple[Trace, ...]
    itl_ms: tuple[float, ...]
    provenance: Mapping[str, Any]
    error: ErrorInfo | None = None
    log_tail: str = ""
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LeaseInfo:
    """Who holds a device: `owner` is readable ("alice@bench-host, run R"), `host` and `pid`+`pid_started` tell whether
    the holder still lives, `expires_at` is Unix seconds."""

    identity: str
    owner: str
    host: str
    pid: int
    pid_started: float
    expires_at: float
    reserved: bool = False


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run, with what is needed to resume and to report it without its inventory.

    Args:
        id: "20261121-090503-ab12" (UTC start and four hex digits).
        started_at, ended_at: Unix seconds; `ended_at` is None while unfinished.
        status: running, interrupted or finished.
        tiers: the tiers of the run as they were then, targets included.
        suite: name of the suite.
        selection: what the command line chose (JSON-ready): devices, models, runners, repeats, …
        inventory_name: name of the inventory file, without its folder.
        inventory_sha256: of the inventory file's bytes.
        harness_version, git_sha: of farm itself; `git_sha` is "" outside a checkout.
        lab: name of the lab.
        command: the command line, without the program.
        options: further settings a resume has to know (JSON-ready).
        owner, host, pid, pid_started: the process that drives it, as in LeaseInfo.
        contract: version of the measuring contract.
    """

    id: str
    started_at: float
    status: RunStatus
    tiers: Mapping[str, Tier]
    suite: str
    inventory_name: str
    inventory_sha256: str
    harness_version: str
    git_sha: str = ""
    lab: str = ""
    selection: Mapping[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    owner: str = ""
    host: str = ""
    pid: int = 0
    pid_started: float = 0.0
    ended_at: float | None = None
    contract: int = MEASURING_CONTRACT_VERSION

"""The one choreography of a measurement on a device.

select → check → storage → deploy → warm up → run (sampled) → collect → clean up → store. This is the only module that
joins an agent, a runner adapter and the sampler. Each step has a limit, is recorded with its duration, and ends in a
typed error or not at all.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from android_runner.base import Figures, RunnerAdapter, RunOutput, RunRequest
from device_agents.base import Deployed, DeviceAgent, JobHandle, JobOutput, JobSpec, JobState
from harness import limits
from harness.analysis.metrics import case_metrics
from harness.errors import ErrorClass, FarmError, Permanent, Transient
from harness.events import Activity, Reporter
from harness.model import (
    MEASURING_CONTRACT_VERSION,
    MEGABYTE,
    METRICS,
    Artifact,
    CaseResult,
    CaseStatus,
    Measured,
    ModelFile,
    PlannedCase,
    Reading,
    RunnerBuild,
    Step,
    StepRecord,
    Trace,
    Unavailable,
)
from harness.plan import Placement, canonical_parameters, placement

WATCH_S = 10.0
"""How long the device itself watches a job before it answers: asking costs CPU time there, watching does not."""

RETRY_S = 0.25
"""Between two questions to a device that did not answer."""

LINK_PATIENCE_S = 30.0
"""How long a device may be silent in the run step before the recovery ladder is asked; the job itself goes on."""

RECOVERIES = 2
"""Times the ladder is climbed for one question to a device."""

LOG_TAIL_BYTES = 8_000

T = TypeVar("T")
OnStep = Callable[[StepRecord], None]
ParseSamples = Callable[[bytes], tuple[Trace, ...]]
Recover = Callable[[FarmError], bool]
"""Bring the device back after a lost link; False when the ladder is exhausted."""


class Cancelled(Exception):
    """The operator ended the run; the measurement is to be done again later."""


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt ended; `transient`: another attempt may measure it."""

    result: CaseResult
    transient: bool = False


@dataclass(slots=True)
class _Attempt:
    """What one attempt has gathered so far, so that a failure is stored with all that was seen."""

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
            provenance=base_provenance(self.context.provenance, self.case, self.attempt) | self.provenance,
            error=error.info(self.step) if error else None,
            log_tail=self.log_tail,
            commands=self.commands,
        )


def _refuses(error: FarmError) -> bool:
    """A permanent obstacle met before the runner was started: the case cannot run, rather than went wrong."""
    return isinstance(error, Permanent) and error.step in (Step.SELECT, Step.CHECK, Step.STORAGE, Step.DEPLOY)


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


def measure(context: SessionContext, case: PlannedCase, attempt: int) -> Outcome:
    """Run one attempt of one measurement; errors of ours end up in the result.

    Raises Cancelled when the run is to end. Whatever happened, no process of ours is left on the device if it can be
    reached; otherwise the next holder of its lease ends it.
    """
    state = _Attempt(context, case, attempt, time.time(), time.monotonic())
    try:
        return Outcome(_measure(state))
    except FarmError as error:
        error.step = error.step or state.step
        reason = f"{error.step.value}: {error.message}"
        return Outcome(state.result(unmeasured(reason), error=error), isinstance(error, Transient))


def _measure(state: _Attempt) -> CaseResult:
    context, case = state.context, state.case
    where = _select(state)
    with state.during(Step.CHECK) as detail:
        _check_files(context)
        detail["runner_programs"] = dict(context.build.programs)
        problem = context.adapter.refusal(case.workload, context.model, context.build)
        if problem is not None:
            raise Permanent(problem.message, error_class=problem.error_class, advice=problem.advice)
    _check_space(state)
    model, runner = _deploy(state)
    with state.during(Step.WARM_UP, limits.SHELL_S + 60.0) as detail:
        # The page cache is part of the state of a measurement: every repetition starts with the model in it.
        context.agent.shell.script('cat "$1" > /dev/null', model.path, limit_s=limits.SHELL_S + 60.0)
        detail["page_cache"] = "model read once"
    request = RunRequest(
        workload=case.workload,
        model=context.model,
        model_path=model.path,
        runner_dir=runner.path,
        threads=where.threads,
        port=_port(),
        prompt_text=context.prompt_text,
        limit_s=limits.run_limit_s(case.workload, context.model.artifact),
    )
    command = context.adapter.command(request, context.build)
    spec = JobSpec(
        key=f"{case.key}.{state.attempt}",
        argv=command.argv,
        env=command.env,
        cwd=runner.path,
        limit_s=request.limit_s,
        http=command.http,
        cpus=where.cpus,
        owner=context.owner,
    )
    state.commands = context.agent.by_hand(spec)
    output = _run_and_collect(state, spec)
    return _figures(state, request, output)


def _select(state: _Attempt) -> Placement:
    """The phone is the one of the plan, and answers; what it says of itself goes into the result."""
    context, case = state.context, state.case
    with state.during(Step.SELECT, limits.SHELL_S) as detail:
        facts = context.agent.facts(limit_s=limits.SHELL_S)
        if facts.identity != case.identity:
            raise Permanent(
                f"another phone answers as {case.serial}",
                error_class=ErrorClass.DEVICE_LOST,
                advice="attach the planned phone again, or plan a new run",
            )
        where = placement(case.workload, facts)
        snapshot = state.before = context.agent.telemetry.snapshot(limit_s=limits.SHELL_S)
        detail["before"] = {name: reading_json(reading) for name, reading in snapshot.items()}
        state.provenance |= {
            "os_fingerprint": facts.os_fingerprint,
            "os_version": facts.os_version,
            "soc": facts.soc,
            "threads": where.threads,
            "threads_reason": where.reason,
            "power_state": _power_state(snapshot),
        }
    return where


def _check_files(context: SessionContext) -> None:
    for artifact, error_class in (
        (context.model.artifact, ErrorClass.MODEL_MISSING),
        (context.build.artifact, ErrorClass.RUNNER_MISSING),
    ):
        for file in artifact.files:
            path = Path(file.path)
            if not path.is_file() or path.stat().st_size != file.size:
                raise Permanent(
                    f"{file.name} was changed or removed since the run was planned",
                    error_class=error_class,
                    advice="put it back, or start a new run",
                )


def _check_space(state: _Attempt) -> None:
    context = state.context
    with state.during(Step.STORAGE, limits.SHELL_S) as detail:
        artifacts = (context.model.artifact, context.build.artifact)
        survey = context.agent.files.survey(artifacts, limit_s=limits.SHELL_S)
        detail["missing_bytes"] = sum(survey.missing_bytes.values())
        detail["free_bytes"] = survey.free_bytes
        available = state.before.get("memory_available_mb")
        detail["memory_available_mb"] = reading_json(available) if available else None
        needed_mb = context.model.artifact.size / MEGABYTE
        if isinstance(available, Measured) and available.value < needed_mb:
            raise Permanent(
                f"the model needs {needed_mb:.0f} MB of memory, {available.value:.0f} MB are available",
                error_class=ErrorClass.MEMORY_SHORT,
                advice="close apps on the phone, reboot it, or take a smaller quantization",
            )


def _deploy(state: _Attempt) -> tuple[Deployed, Deployed]:
    context, device_id = state.context, state.case.device_id
    artifacts = (context.model.artifact, context.build.artifact)
    limit_s = sum(limits.deploy_limit_s(artifact) for artifact in artifacts)
    with state.during(Step.DEPLOY, limit_s) as detail:

        def progress(done: int, total: int) -> None:
            context.reporter.activity(Activity(device_id, state.case, Step.DEPLOY, done=done, total=total))
            if context.cancel.is_set():
                raise Cancelled

        def ensure(artifact: Artifact) -> Deployed:
            done = context.agent.files.ensure(
                artifact, keep=context.keep, limit_s=limits.deploy_limit_s(artifact), progress=progress
            )
            detail[artifact.kind] = {
                "pushed_bytes": done.pushed_bytes,
                "resumed_bytes": done.resumed_bytes,
                "duration_s": done.duration_s,
                "removed": list(done.removed),
            }
            return done

        return ensure(artifacts[0]), ensure(artifacts[1])


def _run_and_collect(state: _Attempt, spec: JobSpec) -> JobOutput:
    """Start the job, wait for its end, fetch what it left; end it and remove it whatever happens."""
    agent = state.context.agent
    started = False
    handle: JobHandle | None = None
    try:
        with state.during(Step.RUN, spec.limit_s) as detail:
            started = True
            handle = agent.jobs.start(spec, limit_s=limits.SHELL_S)
            detail["outages_s"] = _wait(state, handle, spec.limit_s)
        folder = state.context.work_dir / spec.key
        with state.during(Step.COLLECT, limits.COLLECT_S) as detail:
            output = _through_outages(state, lambda: agent.jobs.collect(handle, folder, limit_s=limits.COLLECT_S))
            detail["ended_by"] = output.ended_by
            detail["bytes"] = {name: path.stat().st_size for name, path in output.files.items()}
    finally:
        if started:
            _clean_up(state, spec.key, handle)
    return output


def _clean_up(state: _Attempt, key: str, handle: JobHandle | None) -> None:
    """End the job and remove it; `handle` is None when its start was cut, and it may run all the same."""
    agent = state.context.agent
    with state.during(Step.CLEAN_UP, limits.SHELL_S) as detail:
        try:
            left = handle or agent.jobs.find(key, limit_s=limits.SHELL_S)
            if left is not None:
                agent.jobs.end(left, limit_s=limits.SHELL_S)
            detail["left_on_device"] = False
        except Transient as unreachable:
            # Not a reason to lose a measurement that is already here: the next holder of the lease reaps it.
            detail["left_on_device"] = f"unknown: {unreachable.message}"


def _wait(state: _Attempt, handle: JobHandle, limit_s: float) -> float:
    """Wait for the end of a job; returns the seconds during which the device could not be asked."""
    context, device_id = state.context, state.case.device_id
    outages_s = 0.0
    deadline = time.monotonic() + limit_s + limits.SHELL_S

    def stop_when_cancelled() -> None:
        if context.cancel.is_set():
            raise Cancelled

    def ask() -> JobState:
        return context.agent.jobs.poll(handle, limit_s=limits.SHELL_S, wait_s=WATCH_S, watch=stop_when_cancelled)

    while True:
        asked = time.monotonic()
        job = _through_outages(state, ask)
        outage_s = max(0.0, time.monotonic() - asked - limits.SHELL_S)
        outages_s += outage_s
        deadline += outage_s
        if job.phase == "done":
            return outages_s
        if job.phase == "lost":
            raise Transient(
                f"the runner is gone without a result: {job.detail}",
                error_class=job.error_class or ErrorClass.ADBD_RESTART,
                advice="if it comes back, exclude the phone from shell clean-ups (vendor battery or security settings)",
            )
        if time.monotonic() > deadline:
            raise Permanent(
                f"the runner did not end within {limit_s:.0f} s, nor did its guard on the device",
                error_class=ErrorClass.TIMED_OUT,
                advice="reboot the phone",
            )
        context.reporter.activity(
            Activity(device_id, state.case, Step.RUN, temperature_c=job.live.get("temperature_c"))
        )
        stop_when_cancelled()


def _through_outages(state: _Attempt, ask: Callable[[], T]) -> T:
    """Ask a device that may be away for a while: the job runs on without the cable."""
    context = state.context
    give_up = time.monotonic() + LINK_PATIENCE_S
    recoveries = RECOVERIES
    while True:
        try:
            return ask()
        except Transient as lost:
            context.reporter.activity(Activity(state.case.device_id, state.case, state.step, note=lost.message))
            if time.monotonic() > give_up:
                # A device that answers a shell and still not this question is not helped by a third ladder.
                if not recoveries or not context.recover(lost):
                    raise
                recoveries -= 1
                give_up = time.monotonic() + LINK_PATIENCE_S
            elif context.cancel.wait(RETRY_S):
                raise Cancelled from lost


def _figures(state: _Attempt, request: RunRequest, output: JobOutput) -> CaseResult:
    context = state.context

    def fetched(name: str) -> bytes | None:
        path = output.files.get(name)
        return path.read_bytes() if path else None

    state.step = Step.COLLECT
    run = RunOutput(
        exit_code=output.exit_code,
        signal=output.signal,
        ended_by=output.ended_by,
        stdout=fetched("stdout") or b"",
        stderr=fetched("stderr") or b"",
        stream=fetched("stream"),
        stamps=output.stamps,
    )
    state.log_tail = _tail(run)
    state.traces = context.parse_samples(fetched("samples") or b"")
    state.provenance |= {
        "boot_id": output.boot_id,
        "placement": dict(output.placement),
        "stamps": dict(output.stamps),
        "process": "started from a shell, not from an app",
    }
    figures = context.adapter.parse(request, run)
    state.provenance["reported"] = dict(figures.reported)
    _raise_problem(figures, output, request.limit_s)
    window = (output.stamps.get("started"), output.stamps.get("ended"))
    metrics = case_metrics(
        figures.metrics, figures.itl_ms, state.traces, model_bytes=context.model.artifact.size, window=window
    )
    return state.result(metrics, figures.itl_ms)


def _raise_problem(figures: Figures, output: JobOutput, limit_s: float) -> None:
    if isinstance(output.suspended_s, Measured) and output.suspended_s.value > 1.0:
        raise Transient(
            f"the phone slept for {output.suspended_s.value:.0f} s of the run, so its times mean nothing",
            error_class=ErrorClass.DEVICE_SUSPENDED,
            advice="keep its screen on (developer options: stay awake)",
            step=Step.RUN,
        )
    if output.ended_by == "limit":
        raise Permanent(
            f"the runner was still at work after {limit_s:.0f} s and was ended on the device",
            error_class=ErrorClass.TIMED_OUT,
            advice="look at the end of its log; a smaller workload or model may fit this phone",
            step=Step.RUN,
        )
    if figures.problem is not None:
        kind = Transient if figures.problem.transient else Permanent
        raise kind(
            figures.problem.message,
            error_class=figures.problem.error_class,
            advice=figures.problem.advice,
            step=Step.RUN,
        )


def unmeasured(reason: str) -> Mapping[str, Reading]:
    """Every metric of the vocabulary, each unavailable for the same reason."""
    return {name: Unavailable(reason) for name in METRICS}


def reading_json(reading: Reading) -> dict[str, Any]:
    """A reading as JSON: {value, unit, source, resolution} or {unavailable}."""
    if isinstance(reading, Unavailable):
        return {"unavailable": reading.reason}
    return {
        "value": reading.value,
        "unit": reading.unit,
        "source": reading.source,
        "resolution": reading.resolution,
    }


def _power_state(snapshot: Mapping[str, Reading]) -> str:
    external = snapshot.get("power_state_external")
    if isinstance(external, Measured):
        return "external power" if external.value else "unplugged"
    return f"unknown: {external.reason}" if external else "unknown: not read"


def _port() -> int:
    # Below the range that Linux gives to outgoing connections, so that only another server can be there.
    return 20_000 + secrets.randbelow(12_000)


def _tail(run: RunOutput) -> str:
    parts = [run.stderr[-LOG_TAIL_BYTES:]]
    if not run.stderr.strip():
        parts = [run.stdout[-LOG_TAIL_BYTES:]]
    return b"".join(parts).decode("utf-8", "replace")

"""The one choreography of a measurement on a device.

select → check → storage → deploy → warm up → run (sampled) → collect → clean up → store. This is the only module that
joins an agent, a runner adapter and the sampler. Each step has a limit, is recorded with its duration, and ends in a
typed error or not at all.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from android_runner.base import RunRequest
from device_agents.base import Deployed, JobHandle, JobOutput, JobSpec, Sampling, Survey
from harness import energy_step, limits
from harness.analysis.memory_fit import aftermath, predict, request_of
from harness.analysis.power_state import power_state
from harness.analysis.timebase import ClockReading, TimeBase, fit
from harness.at_gate import pass_gates
from harness.attempt import Attempt, Cancelled, Outcome, SessionContext, unmeasured
from harness.death import classify_death
from harness.errors import ErrorClass, FarmError, Permanent, Transient
from harness.events import Activity
from harness.harvest import figures
from harness.model import Artifact, CaseResult, DeviceFacts, PlannedCase, Step, Unavailable, reading_json
from harness.plan import Placement, placement
from harness.tuning import record_key, setting_of
from harness.waiting import through_outages, wait_for_end

_LOST = frozenset({ErrorClass.ADBD_RESTART, ErrorClass.DEVICE_REBOOTED})

MEMORY_FLOOR_MB = 100.0
"""MemAvailable below which the runner is ended on the phone: a little before Android ends what is in the foreground."""


def measure(context: SessionContext, case: PlannedCase, attempt: int) -> Outcome:
    """Run one attempt of one measurement; errors of ours end up in the result.

    Raises Cancelled when the run is to end. Whatever happened, no process of ours is left on the device if it can be
    reached; otherwise the next holder of its lease ends it.
    """
    state = Attempt(context, case, attempt, time.time(), time.monotonic())
    try:
        return Outcome(_measure(state))
    except FarmError as error:
        error.step = error.step or state.step
        reason = f"{error.step.value}: {error.message}"
        return Outcome(state.result(unmeasured(reason), error=error), isinstance(error, Transient))


def _measure(state: Attempt) -> CaseResult:
    context, case = state.context, state.case
    where = _select(state)
    with state.during(Step.CHECK) as detail:
        _check_files(context)
        detail["runner_programs"] = dict(context.build.programs)
        problem = context.adapter.refusal(case.workload, context.model, context.build)
        if problem is not None:
            raise Permanent(problem.message, error_class=problem.error_class, advice=problem.advice)
    there = _check_space(state)
    model, runner = _deploy(state, there)
    pass_gates(state)

    def run(spec: JobSpec, on_start: Callable[[], None] | None) -> JobOutput:
        return _run_and_collect(state, spec, on_start)

    with energy_step.off_power(state, run):
        energy_step.prepare(state, run)
        _warm_up(state, model, runner)
        request, spec = _job(state, where, model, runner)
        state.commands = context.agent.by_hand(spec)
        output = energy_step.run_measured(state, spec, run)
    return figures(state, request, output)


def _job(state: Attempt, where: Placement, model: Deployed, runner: Deployed) -> tuple[RunRequest, JobSpec]:
    """What is asked of the runner's adapter, and the job that its command line becomes."""
    context, case = state.context, state.case
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
        cwd=None if command.files else runner.path,
        limit_s=request.limit_s,
        http=command.http,
        cpus=where.cpus,
        sampling=Sampling(memory_floor_mb=MEMORY_FLOOR_MB),
        owner=context.owner,
        files=command.files,
    )
    return request, spec


def _select(state: Attempt) -> Placement:
    """The phone is the one of the plan, and answers; what it says of itself goes into the result."""
    context, case = state.context, state.case
    with state.during(Step.SELECT, limits.SHELL_S) as detail:
        facts = context.agent.facts(limit_s=limits.SHELL_S, known=context.facts)
        if facts.identity != case.identity:
            raise Permanent(
                f"another phone answers as {case.serial}",
                error_class=ErrorClass.DEVICE_LOST,
                advice="attach the planned phone again, or plan a new run",
            )
        where = state.where = _placement(state, facts)
        snapshot = state.before = context.agent.telemetry.snapshot(limit_s=limits.SHELL_S)
        detail["before"] = {name: reading_json(reading) for name, reading in snapshot.items()}
        state.power_state, why = power_state(snapshot)
        state.provenance["qualification"] = context.memory.qualification() if context.memory else "not known"
        state.provenance |= {
            "os_fingerprint": facts.os_fingerprint,
            "os_version": facts.os_version,
            "soc": facts.soc,
            "threads": where.threads,
            "threads_reason": where.reason,
            "power_state": state.power_state.value,
            "power_state_reason": why,
        }
    return where


def _placement(state: Attempt, facts: DeviceFacts) -> Placement:
    """Threads and cores; `threads: tuned` takes what `farm tune` has found for this phone, model and runner."""
    case, memory = state.case, state.context.memory
    if case.workload.threads != "tuned":
        return placement(case.workload, facts)
    record = memory.recall("tuned", record_key(case.model.id, case.runner.id)) if memory is not None else None
    found = "no setting was tuned yet" if record is None else setting_of(record, facts)
    if isinstance(found, str):
        raise Permanent(
            f"threads: tuned cannot be used: {found}",
            error_class=ErrorClass.CONFIGURATION_UNSUPPORTED,
            advice=f"farm tune --device {case.device_id} --model {case.model.id}",
        )
    if found.auto:
        return placement(replace(case.workload, threads="auto"), facts)
    return Placement(found.threads, found.cores, "found best by farm tune")


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


def _check_space(state: Attempt) -> Survey:
    """Whether files and model fit; what the device has already."""
    context = state.context
    with state.during(Step.STORAGE, limits.SHELL_S) as detail:
        artifacts = (context.model.artifact, context.build.artifact)
        survey = context.agent.files.survey(artifacts, limit_s=limits.SHELL_S)
        detail["missing_bytes"] = sum(survey.missing_bytes.values())
        detail["free_bytes"] = survey.free_bytes
        available = state.before.get("memory_available_mb")
        prediction = predict(
            context.model,
            request_of(state.case.workload, context.model, context.build.abi, prompt_tokens=_prompt_tokens(context)),
            available,
            floor_mb=MEMORY_FLOOR_MB,
        )
        state.prediction = prediction
        detail["memory"] = prediction.to_json()
        state.provenance["memory_prediction"] = aftermath(prediction, Unavailable("not run"), "not_run")
        if prediction.verdict == "risk":
            state.marks.append(f"memory_risk: {prediction.reason}")
        if prediction.verdict == "crashes":
            if not context.force:
                raise Permanent(
                    f"the phone would run out of memory: {prediction.reason}",
                    error_class=ErrorClass.MEMORY_SHORT,
                    advice="close apps on the phone, reboot it, take a smaller quantization, or run with --force",
                )
            state.marks.append(f"memory_forced: {prediction.reason}")
    return survey


def _prompt_tokens(context: SessionContext) -> int | None:
    """Most tokens that the prompt's text can come to: a token is at least one byte."""
    return len(context.prompt_text.encode()) if context.prompt_text is not None else None


def _deploy(state: Attempt, there: Survey) -> tuple[Deployed, Deployed]:
    context, device_id = state.context, state.case.device_id
    artifacts = (context.model.artifact, context.build.artifact)
    limit_s = sum(limits.deploy_limit_s(artifact) for artifact in artifacts)
    with state.during(Step.DEPLOY, limit_s) as detail:

        def progress(done: int, total: int) -> None:
            context.reporter.activity(Activity(device_id, state.case, Step.DEPLOY, done=done, total=total))
            if context.cancel.is_set():
                raise Cancelled

        def ensure(artifact: Artifact) -> Deployed:
            path = there.paths.get(artifact.sha256)
            done = (
                Deployed(path, 0, 0, 0.0)
                if path is not None
                else context.agent.files.ensure(
                    artifact, keep=context.keep, limit_s=limits.deploy_limit_s(artifact), progress=progress
                )
            )
            detail[artifact.kind] = {
                "pushed_bytes": done.pushed_bytes,
                "resumed_bytes": done.resumed_bytes,
                "duration_s": done.duration_s,
                "removed": list(done.removed),
            }
            return done

        if not context.agent.files.in_apps:
            return ensure(artifacts[0]), ensure(artifacts[1])
        runner = ensure(artifacts[1])
        return ensure(artifacts[0]), runner


def _warm_up(state: Attempt, model: Deployed, runner: Deployed) -> None:
    """Read the model once, unless this is its first load: the page cache is part of the state of a measurement."""
    context, memory = state.context, state.context.memory
    sha256 = context.model.artifact.sha256
    with state.during(Step.WARM_UP, limits.SHELL_S + 60.0) as detail:
        if memory is not None and state.booted_at is not None:
            before = memory.loaded_in_boot_of(sha256)
            if model.pushed_bytes or before is None:
                state.first_load = "after a push"
            elif runner.pushed_bytes and context.agent.files.in_apps:
                state.first_load = "after an install"
            elif abs(before - state.booted_at) > limits.BOOT_TOLERANCE_S:
                state.first_load = "after a reboot"
            memory.saw_load(sha256, state.booted_at)
        state.provenance["load"] = f"first {state.first_load}" if state.first_load else "warm"
        detail["load"] = state.provenance["load"]
        if not state.first_load:
            context.agent.files.read_through(model.path, limit_s=limits.SHELL_S + 60.0)


def _run_and_collect(state: Attempt, spec: JobSpec, on_start: Callable[[], None] | None) -> JobOutput:
    """Start the job, wait for its end, fetch what it left; end it and remove it whatever happens. `on_start` is called
    once it was started, before the device is asked again."""
    agent = state.context.agent
    started = False
    handle: JobHandle | None = None
    try:
        with state.during(Step.RUN, spec.limit_s) as detail:
            started = True
            clock_start = agent.clock(limit_s=limits.SHELL_S)
            handle = agent.jobs.start(spec, limit_s=limits.SHELL_S)
            if on_start is not None:
                on_start()
            detail["outages_s"] = wait_for_end(state, handle, spec.limit_s)
        folder = state.context.work_dir / spec.key
        with state.during(Step.COLLECT, limits.COLLECT_S) as detail:
            output = through_outages(state, lambda: agent.jobs.collect(handle, folder, limit_s=limits.COLLECT_S))
            base = fit(clock_start, _clock(state))
            state.provenance["clock"] = asdict(base) if isinstance(base, TimeBase) else {"unavailable": base.reason}
            detail["ended_by"] = output.ended_by
            detail["bytes"] = {name: path.stat().st_size for name, path in output.files.items()}
            if output.signal is not None or output.exit_code not in (0, None):
                _look_for_signs(state, handle, spec)
    except Transient as lost:
        if handle is not None and lost.error_class in _LOST:
            _raise_lost(state, handle, spec, lost)
        raise
    finally:
        if started:
            _clean_up(state, spec.key, handle)
    return output


def _clock(state: Attempt) -> tuple[ClockReading, ...]:
    """The clock at the end; what was measured stands also without it."""
    try:
        return state.context.agent.clock(limit_s=limits.SHELL_S)
    except Transient:
        return ()


def _look_for_signs(state: Attempt, handle: JobHandle, spec: JobSpec) -> None:
    """What the device shows of a death; a device that cannot be asked leaves it to the runner's own end."""
    program = spec.argv[0].rsplit("/", 1)[-1]
    try:
        state.signs = state.context.agent.evidence.ask(handle.folder, program, limit_s=limits.SHELL_S)
    except Transient:
        return
    state.provenance["signs"] = state.signs.to_json()


def _raise_lost(state: Attempt, handle: JobHandle, spec: JobSpec, lost: Transient) -> None:
    """Raise the cause of a job's disappearance, where the device shows one."""
    _look_for_signs(state, handle, spec)
    death = classify_death(
        signal=None,
        exit_code=None,
        ended_by="lost",
        boot_before=handle.boot_id,
        signs=state.signs,
    )
    if death is None:
        return
    state.provenance["evidence"] = death.evidence
    kind = Transient if death.error_class is ErrorClass.DEVICE_REBOOTED else Permanent
    raise kind(death.message, error_class=death.error_class, advice=death.advice, step=Step.RUN) from lost


def _clean_up(state: Attempt, key: str, handle: JobHandle | None) -> None:
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


def _port() -> int:
    # Below the range that Linux gives to outgoing connections, so that only another server can be there.
    return 20_000 + secrets.randbelow(12_000)

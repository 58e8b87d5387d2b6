"""From what a job left to the result of a measurement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from android_runner.base import Figures, RunOutput, RunRequest
from device_agents.android.telemetry.sample_facts import (
    overrides,
    parse_placements,
    parse_sampled_meminfo,
    parse_watchdog,
)
from device_agents.base import JobOutput
from harness.analysis.appraisal import LONG, appraise
from harness.analysis.memory_fit import aftermath
from harness.analysis.metrics import case_metrics, run_window
from harness.analysis.placement import PlacementVerdict, judge_placement, where_it_ran
from harness.attempt import Attempt
from harness.death import classify_death
from harness.energy_step import learn_gauge
from harness.errors import ErrorClass, Permanent, Transient
from harness.model import CaseResult, Measured, Reading, Step, Unavailable, reading_json

LOG_TAIL_BYTES = 8_000


def figures(state: Attempt, request: RunRequest, output: JobOutput) -> CaseResult:
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
    samples = fetched("samples") or b""
    state.traces = context.parse_samples(samples)
    state.provenance |= {
        "boot_id": output.boot_id,
        **_process(context.agent.files.in_apps, samples),
    }
    figures = context.adapter.parse(request, run)
    state.provenance["reported"] = dict(figures.reported)
    state.provenance["stamps"] = {**figures.stamps, **output.stamps}
    asked = state.where.cpus if state.where else None
    verdict = judge_placement(asked, output.placement, parse_placements(samples))
    state.provenance["placement"] = where_it_ran(verdict, output.placement, state.condition_texts, figures.reported)
    _raise_death(state, output, samples)
    _raise_problem(figures, output, request.limit_s)
    _check_placement(state, verdict)
    _check_overrides(state, samples)
    window = run_window(output.stamps)
    if state.case.workload.kind in LONG:
        learn_gauge(state, state.traces)
    seen = appraise(
        state.case.workload.kind,
        figures.token_times,
        state.traces,
        window,
        calibration=state.calibration,
        baseline=state.baseline,
        other_load_max_pct=context.gates.other_load_max_pct,
    )
    state.provenance |= seen.provenance
    state.marks += seen.marks
    metrics = case_metrics(
        figures.metrics, figures.itl_ms, state.traces, model_bytes=context.model.artifact.size, window=window
    )
    metrics |= {**seen.metrics, **_loads(state, metrics["load_ms"], metrics["load_cold_ms"])}
    if state.prediction is not None:
        state.provenance["memory_prediction"] = aftermath(state.prediction, metrics["peak_memory_mb"], None)
    return state.result(metrics, figures.itl_ms)


def _process(in_app: bool, samples: bytes) -> dict[str, Any]:
    """What kind of process it was, and the system's own account of its memory."""
    if in_app:
        told = {"unavailable": "iOS gives no account of a process beside its footprint"}
        return {"process": "an app in front, launched by the developer services", "meminfo": told}
    return {"process": "started from a shell, not from an app", "meminfo": sampled_meminfo(samples)}


def sampled_meminfo(samples: bytes) -> dict[str, Any]:
    """What Android's own account of the runner's memory said at the end, JSON-ready: readings by name (MB), or
    {"unavailable": REASON} where it said nothing."""
    found = {name: reading for name, reading in parse_sampled_meminfo(samples).items() if name != "pid"}
    if not any(isinstance(reading, Measured) for reading in found.values()):
        return reading_json(found["pss_mb"])
    return {name: reading_json(reading) for name, reading in found.items()}


def _loads(state: Attempt, load: Reading, cold: Reading) -> Mapping[str, Reading]:
    """The load under the name that says which one it was."""
    if state.case.workload.page_cache == "evict":
        state.provenance["load"] = "cold" if isinstance(cold, Measured) else "not proven cold"
        was = "was" if isinstance(cold, Measured) else "was meant to be"
        other = Unavailable(f"this {was} a cold load: see load_cold_ms")
        return {"load_cold_ms": cold, "load_ms": other, "load_first_ms": other}
    kept = Unavailable("the page cache was kept: page_cache: evict of a workload measures it")
    if state.first_load:
        return {
            "load_first_ms": load,
            "load_ms": Unavailable(f"this was the first load {state.first_load}: see load_first_ms"),
            "load_cold_ms": kept,
        }
    return {
        "load_ms": load,
        "load_first_ms": Unavailable("this was a warm load: see load_ms"),
        "load_cold_ms": kept,
    }


def _raise_death(state: Attempt, output: JobOutput, samples: bytes) -> None:
    """Raise when something outside the runner ended it, and the device shows what."""
    watchdog = parse_watchdog(samples)
    death = classify_death(
        signal=output.signal,
        exit_code=output.exit_code,
        ended_by=output.ended_by,
        boot_before=output.boot_id,
        signs=state.signs,
        watchdog=f"{watchdog.available_mb:.0f} MB were available at uptime {watchdog.uptime_s:.1f} s"
        if watchdog
        else "",
    )
    if death is None:
        return
    state.provenance["evidence"] = death.evidence
    raise Permanent(death.message, error_class=death.error_class, advice=death.advice, step=Step.RUN)


def _check_placement(state: Attempt, verdict: PlacementVerdict) -> None:
    if verdict.verdict == "mismatch":
        raise Permanent(
            f"the runner had other cores than it was meant to have: {verdict.reason}",
            error_class=ErrorClass.PLACEMENT_MISMATCH,
            advice="leave the cores to the system (threads: a count), or see which cpuset a shell process has there",
            step=Step.RUN,
        )
    # What is not known of a runner that was left to the system needs no mark: nothing was asked.
    asked = state.where is not None and state.where.cpus is not None
    if verdict.mark and (asked or verdict.verdict == "changed"):
        state.marks.append(verdict.mark)


def _check_overrides(state: Attempt, samples: bytes) -> None:
    """What a phone reports of battery and heat must not have been made up, at either end of the run."""
    made_up = [
        name
        for name, ends in overrides(samples).items()
        if any(isinstance(end, Measured) and end.value for end in ends)
    ]
    if not made_up:
        return
    if state.context.gates.mode == "off":
        state.marks.append(f"override_set: {', '.join(made_up)}")
        return
    raise Permanent(
        f"somebody made the phone report what is not so while the runner ran: {', '.join(made_up)}",
        error_class=ErrorClass.OVERRIDE_SET,
        advice="adb shell dumpsys battery reset; adb shell cmd thermalservice reset",
        step=Step.RUN,
    )


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


def _tail(run: RunOutput) -> str:
    parts = [run.stderr[-LOG_TAIL_BYTES:]]
    if not run.stderr.strip():
        # A runner that was killed leaves spaces there.
        parts = [run.stdout.rstrip()[-LOG_TAIL_BYTES:]]
    return b"".join(parts).decode("utf-8", "replace")

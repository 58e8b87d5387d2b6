"""From what a job left to the result of a measurement."""

from __future__ import annotations

from android_runner.base import Figures, RunOutput, RunRequest
from device_agents.base import JobOutput
from harness.analysis.metrics import case_metrics
from harness.attempt import Attempt
from harness.errors import ErrorClass, Permanent, Transient
from harness.model import CaseResult, Measured, Step

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


def _tail(run: RunOutput) -> str:
    parts = [run.stderr[-LOG_TAIL_BYTES:]]
    if not run.stderr.strip():
        parts = [run.stdout[-LOG_TAIL_BYTES:]]
    return b"".join(parts).decode("utf-8", "replace")

"""farm-calibrate: a program whose truth is known, measured like any runner.

It prints events with the device's boot time; the figures come from these. Its own record of what it did ("truth") is
passed on beside them and never used for a figure.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from android_runner.base import Command, Figures, Problem, RunOutput, RunRequest, length_s
from android_runner.classify import bad_end
from android_runner.figures import RUNNER_METRICS, failed, is_positive
from android_runner.llama_options import cannot_evict
from harness.errors import ErrorClass
from harness.model import Measured, ModelFile, Reading, RunnerBuild, Unavailable, Workload, WorkloadKind

RUNTIME = "farm-calibration"
PROGRAM = "farm-calibrate"

_SOURCE = "farm-calibrate events (CLOCK_BOOTTIME)"
_RESOLUTION_MS = 1e-6
_NS_PER_MS = 1e6
_EVENTS = ("start", "ready", "token", "end", "truth")


class Calibration:
    """Adapter of the calibration runner."""

    runtime = RUNTIME
    program = PROGRAM
    kinds = frozenset({WorkloadKind.STREAM, WorkloadKind.SUSTAINED, WorkloadKind.BATTERY})
    formats = frozenset({"gguf", "pte"})
    """It maps any file."""

    def refusal(self, workload: Workload, model: ModelFile, build: RunnerBuild) -> Problem | None:
        """Why this build cannot do this workload, or None."""
        if PROGRAM in build.programs:
            return cannot_evict(workload, PROGRAM)
        return Problem(ErrorClass.RUNNER_INVALID, f"the build has no {PROGRAM}", "build it: farm selftest does")

    def command(self, request: RunRequest, build: RunnerBuild) -> Command:
        """One process; what it is to do beyond tokens and threads stands in the workload's own args."""
        workload = request.workload
        words = [f"{request.runner_dir.rstrip('/')}/{build.programs[PROGRAM]}", "--model", request.model_path]
        words += ["--tokens", str(workload.gen_tokens), "--threads", str(request.threads)]
        if seconds := length_s(workload):
            words += ["--seconds", f"{seconds:g}"]
        return Command((*words, *workload.args), dict(workload.env))

    def parse(self, request: RunRequest, output: RunOutput) -> Figures:
        """Load, time to first token, rate and every inter-token time from the events."""
        problem = bad_end(output)
        if problem:
            return failed(problem)
        seen = list(_events(output.stdout))
        times = {event["event"]: event["boottime_ns"] for event in seen if event["event"] in ("start", "ready", "end")}
        tokens = [(event["n"], event["boottime_ns"]) for event in seen if event["event"] == "token"]
        wrong = _wrong(request.workload, times, tokens)
        if wrong:
            return failed(Problem(ErrorClass.OUTPUT_GARBAGE, f"{PROGRAM}: {wrong}", "see the log's end"))
        at = [moment / _NS_PER_MS for _, moment in tokens]
        truth = next((dict(event) for event in seen if event["event"] == "truth"), {})
        reported = {
            "start_uptime_s": times["start"] / 1e9,
            "end_uptime_s": times["end"] / 1e9,
            "truth": {name: value for name, value in truth.items() if name != "event"},
        }
        itl_ms = tuple(later - earlier for earlier, later in itertools.pairwise(at))
        token_times = tuple((moment / 1e9, int(place > 0)) for place, (_, moment) in enumerate(tokens))
        return Figures(_metrics(times, at), itl_ms=itl_ms, reported=reported, token_times=token_times)


def _events(stdout: bytes) -> Iterator[dict[str, Any]]:
    """Every whole line that is one of ours; anything else is passed over."""
    for line in stdout.splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(event, dict) or event.get("event") not in _EVENTS:
            continue
        if event["event"] == "truth" or (is_positive(event.get("boottime_ns")) and isinstance(event.get("n"), int)):
            yield event


def _wrong(workload: Workload, times: Mapping[str, float], tokens: list[tuple[int, float]]) -> str:
    """What is missing or strange in the events, or ""."""
    missing = [name for name in ("start", "ready", "end") if name not in times]
    if missing:
        return f"the events {', '.join(missing)} are missing"
    if [number for number, _ in tokens] != list(range(1, len(tokens) + 1)):
        return "the tokens are not numbered from 1 without a gap"
    if workload.kind is WorkloadKind.STREAM and len(tokens) != workload.gen_tokens:
        return f"{len(tokens)} tokens came, {workload.gen_tokens} were asked for"
    if not tokens:
        return "no token came"
    order = [times["start"], times["ready"], *(moment for _, moment in tokens), times["end"]]
    if any(later < earlier for earlier, later in itertools.pairwise(order)):
        return "the times of the events do not ascend"
    return ""


def _metrics(times: Mapping[str, float], at: list[float]) -> dict[str, Reading]:
    metrics: dict[str, Reading] = {name: Unavailable(f"{PROGRAM} does not have it") for name in RUNNER_METRICS}
    ready = times["ready"] / _NS_PER_MS
    metrics["load_ms"] = Measured(ready - times["start"] / _NS_PER_MS, "ms", _SOURCE, _RESOLUTION_MS)
    metrics["ttft_ms"] = Measured(at[0] - ready, "ms", _SOURCE, _RESOLUTION_MS)
    span = at[-1] - at[0]
    if len(at) < 2 or span <= 0:
        metrics["decode_tps"] = Unavailable("needs two tokens that lie apart in time")
    else:
        rate = (len(at) - 1) / span * 1000
        metrics["decode_tps"] = Measured(rate, "tok/s", f"{_SOURCE}: (n-1) / (last - first)", rate * 1e-6 / span)
    return metrics

"""What a stream of llama-server says of one request: the timings that come with each event."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from android_runner.base import Problem, RunRequest
from android_runner.event_stream import events, read_answer
from android_runner.figures import is_positive
from harness.errors import ErrorClass
from harness.model import Measured, Reading, Unavailable

TIMINGS = "llama-server timings"
RESOLUTION_MS = 0.001


@dataclass(frozen=True, slots=True)
class Run:
    """A whole answer: the server's prompt time, (tokens so far, ms since generation began) of each event, and the times
    between neighbouring tokens as far as each came alone."""

    prompt_n: int
    prompt_ms: float
    points: tuple[tuple[int, float], ...]
    itl_ms: tuple[float, ...]


def read_run(request: RunRequest, stream: bytes) -> Run | Problem:
    """One answer as it was saved, or why it is no measurement of what was asked; any bytes."""
    answer = read_answer(stream)
    if answer.status not in (None, 200):
        return Problem(
            ErrorClass.RUNNER_FAILED,
            f"the server answered {answer.status}: {_said(answer.body)}",
            "see the log's end; the request or the model does not suit this build",
        )
    seen = list(events(answer.body))
    refused = next((event for event in seen if "error" in event), None)
    if refused is not None:
        return Problem(
            ErrorClass.RUNNER_FAILED, f"the server broke off: {str(refused['error'])[:200]}", "see the log's end"
        )
    if not seen or seen[-1].get("stop") is not True:
        return Problem(
            ErrorClass.OUTPUT_GARBAGE,
            f"the event stream is not whole: {len(seen)} events, {len(stream)} bytes, no end mark",
            "the answer was cut; try again, and see the log's end if it stays",
        )
    return _run_of(seen, request)


def _said(body: bytes) -> str:
    try:
        error = json.loads(body)["error"]
        return str(error.get("message", error))[:200]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return body.decode("utf-8", "replace").strip()[:200]


def _run_of(seen: Sequence[Mapping[str, Any]], request: RunRequest) -> Run | Problem:
    workload = request.workload
    points: list[tuple[int, float]] = []
    for event in seen:
        timings = event.get("timings")
        if not isinstance(timings, dict):
            continue
        count, at = timings.get("predicted_n"), timings.get("predicted_ms")
        if not (isinstance(count, int) and is_positive(count) and isinstance(at, (int, float)) and 0 <= at < math.inf):
            continue
        if not points or count > points[-1][0]:
            points.append((count, float(at)))
    last = seen[-1].get("timings")
    if not points or not isinstance(last, dict) or not is_positive(last.get("prompt_ms")):
        return strange("it has no timings")
    if points[-1][0] != workload.gen_tokens:
        why = seen[-1].get("stop_type") or ("context full" if seen[-1].get("truncated") else "no reason given")
        return Problem(
            ErrorClass.RUNNER_FAILED,
            f"{points[-1][0]} tokens were generated, {workload.gen_tokens} were asked for ({why})",
            "a larger context; does the build honour ignore_eos?",
        )
    if last.get("cache_n"):
        return strange(f"{last['cache_n']} prompt tokens came from a cache")
    prompt_n = last.get("prompt_n")
    if not isinstance(prompt_n, int) or (request.prompt_text is None and prompt_n != workload.prompt_tokens):
        return strange(f"{prompt_n} prompt tokens were evaluated, {workload.prompt_tokens} were asked for")
    pairs = list(itertools.pairwise(points))
    if points[0][0] != 1 or any(b[1] < a[1] for a, b in pairs):
        return strange("its times do not ascend from the first token")
    itl = tuple(b[1] - a[1] for a, b in pairs if b[0] == a[0] + 1)
    return Run(prompt_n, float(last["prompt_ms"]), tuple(points), itl)


def strange(what: str) -> Problem:
    """The stream is whole and still not what was asked for."""
    return Problem(
        ErrorClass.OUTPUT_GARBAGE, f"the event stream is not what was asked for: {what}", "see the log's end"
    )


def stream_metrics(run: Run) -> dict[str, Reading]:
    """Time to first token and rates of one request."""
    (_, first_ms), (count, last_ms) = run.points[0], run.points[-1]
    prefill = run.prompt_n / run.prompt_ms * 1000
    readings: dict[str, Reading] = {
        "ttft_ms": Measured(
            run.prompt_ms + first_ms, "ms", f"{TIMINGS}: prompt_ms + first predicted_ms", RESOLUTION_MS
        ),
        "prefill_tps": Measured(
            prefill, "tok/s", f"{TIMINGS}: prompt_n / prompt_ms", prefill * RESOLUTION_MS / run.prompt_ms
        ),
    }
    span = last_ms - first_ms
    if count < 2 or span <= 0:
        readings["decode_tps"] = Unavailable("needs two tokens that lie apart in time")
    else:
        decode = (count - 1) / span * 1000
        source = f"{TIMINGS}: (n-1) / (last - first predicted_ms)"
        readings["decode_tps"] = Measured(decode, "tok/s", source, decode * RESOLUTION_MS / span)
    return readings

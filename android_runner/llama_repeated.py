"""One request after the other to llama-server: the kept answers, and the time of every token on the device's clock.

Each answer stands between the device's own stamps of its request and its end. The server's timings place its tokens
inside: not before the request and its prompt time, not after the end of the answer. The middle of both is taken; half
of what lies between them (starting the client, reading the end) is the error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from android_runner.base import Problem, RunRequest
from android_runner.llama_stream import RESOLUTION_MS, TIMINGS, Run, read_run, strange
from harness.model import Measured, Reading, Unavailable

SHORTEN = (
    "/^[Tt]ransfer-[Ee]ncoding:/d; "
    r'/^data:.*"stop":false/s/^data:.*("timings":\{[^}]*\}).*/data: {"stop":false,\1}/; '
    r'/^data: \{"stop":false/s/,?"(prompt|predicted)_per_[a-z_]+":[^,}]*//g'
)
"""`sed -E` script that keeps of each event but the last what is read here: 110 of 370 bytes. The lengths of the chunks
are wrong afterwards, so the header that announces them goes too; their lines are no events and are passed over."""

_REQUESTED = re.compile(rb"(?m)^: requested=([0-9.]{1,20})[ \t\r]*$")
_ANSWERED = re.compile(rb"(?m)^: answered=([0-9.]{1,20})[ \t\r]*$")
_CLOCK_STEP_S = 0.01
"""/proc/uptime has hundredths of a second."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One answered request; `requested_s` and `answered_s` are device uptimes."""

    requested_s: float
    answered_s: float
    run: Run


def read_answers(request: RunRequest, stream: bytes, length_s: float) -> tuple[Answered, ...] | Problem:
    """Every answer in order, or why the stream is no measurement.

    Args:
        stream: what the device kept (see HttpRequest); any bytes.
        length_s: time for which requests were to be repeated; fewer answers are a stream that was cut.
    """
    marks = list(_REQUESTED.finditer(stream))
    if not marks:
        return strange(f"{len(stream)} bytes without any request")
    found: list[Answered] = []
    for number, mark in enumerate(marks):
        part = stream[mark.end() : marks[number + 1].start() if number + 1 < len(marks) else len(stream)]
        one = _answered(request, mark, part)
        if isinstance(one, Problem):
            return Problem(
                one.error_class, f"request {number + 1} of {len(marks)}: {one.message}", one.advice, one.transient
            )
        if found and one.requested_s < found[-1].answered_s - _CLOCK_STEP_S:
            return strange("its stamps do not ascend")
        found.append(one)
    lasted = found[-1].answered_s - found[0].requested_s
    if lasted < length_s - 2 * _CLOCK_STEP_S:
        return strange(f"the requests lasted {lasted:.1f} s, {length_s:.0f} s were asked for")
    return tuple(found)


def _answered(request: RunRequest, mark: re.Match[bytes], part: bytes) -> Answered | Problem:
    end = _ANSWERED.search(part)
    run = read_run(request, part[: end.start() if end else len(part)].lstrip())
    if isinstance(run, Problem):
        return run
    requested, answered = _seconds(mark[1]), _seconds(end[1]) if end else None
    if requested is None or answered is None or answered < requested:
        return strange("it has no stamps of the device")
    return Answered(requested, answered, run)


def _seconds(text: bytes) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def token_times(answers: Sequence[Answered]) -> tuple[tuple[tuple[float, int], ...], float]:
    """Device uptime of every event with the tokens since the one before, 0 for the first of a request; and the largest
    error of these times in seconds."""
    times: list[tuple[float, int]] = []
    worst = 0.0
    for one in answers:
        run = one.run
        earliest = one.requested_s + run.prompt_ms / 1000
        latest = one.answered_s - run.points[-1][1] / 1000
        begin = (earliest + latest) / 2
        worst = max(worst, abs(latest - earliest) / 2 + _CLOCK_STEP_S)
        before = run.points[0][0]
        for tokens, at_ms in run.points:
            at = begin + at_ms / 1000
            # Stamps are coarse: two requests must not overlap by their steps.
            times.append((max(at, times[-1][0]) if times else at, tokens - before))
            before = tokens
    return tuple(times), worst


def repeated_metrics(runs: Sequence[Run]) -> dict[str, Reading]:
    """Median time to first token, and rates over all requests: tokens / time of prompts, and of decoding."""
    firsts = [run.prompt_ms + run.points[0][1] for run in runs]
    prompt_n, prompt_ms = sum(run.prompt_n for run in runs), sum(run.prompt_ms for run in runs)
    prefill = prompt_n / prompt_ms * 1000
    of = f"of {len(runs)} requests"
    readings: dict[str, Reading] = {
        "ttft_ms": Measured(
            median(firsts), "ms", f"{TIMINGS}: median {of}, prompt_ms + first predicted_ms", RESOLUTION_MS
        ),
        "prefill_tps": Measured(
            prefill, "tok/s", f"{TIMINGS}: sums {of}, prompt_n / prompt_ms", prefill * RESOLUTION_MS / prompt_ms
        ),
    }
    tokens = sum(run.points[-1][0] - 1 for run in runs)
    span = sum(run.points[-1][1] - run.points[0][1] for run in runs)
    if not tokens or span <= 0:
        readings["decode_tps"] = Unavailable("needs two tokens of a request that lie apart in time")
    else:
        decode = tokens / span * 1000
        source = f"{TIMINGS}: sums {of}, (n-1) / (last - first predicted_ms)"
        readings["decode_tps"] = Measured(decode, "tok/s", source, decode * RESOLUTION_MS / span)
    return readings

"""llama-server: one streamed request, timed by the server itself, so that no cable and no client counts.

The server's own warm-up run before it listens is left on: the first request then finds the weights in memory, as every
later one does. It counts into the load time.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from android_runner import llama_options
from android_runner.base import Command, Figures, Problem, RunOutput, RunRequest
from android_runner.classify import bad_end
from android_runner.event_stream import events, read_answer
from android_runner.figures import failed, is_positive
from android_runner.llama_bench import beyond_context, cpu_variant
from android_runner.prompt import PROMPT_SEED, token_ids
from harness.errors import ErrorClass
from harness.model import (
    HttpRequest,
    Measured,
    ModelFile,
    Reading,
    RunnerBuild,
    Unavailable,
    Workload,
    WorkloadKind,
)

_NEEDED = ("--model", "--host", "--port", "--ctx-size", "--threads", "--n-gpu-layers")
_WHERE_KNOWN: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("--parallel", ("-np", "1")),
    ("--offline", ("--offline",)),
    ("--cache-ram", ("--cache-ram", "0")),
    ("--no-cache-prompt", ("--no-cache-prompt",)),
    ("--fit", ("--fit", "off")),
    ("--log-prefix", ("--log-prefix",)),
    ("--log-timestamps", ("--log-timestamps",)),
)
"""Option → words given where the build has it: one slot, no web page, no network, no cache of prompts, no fitting of
sizes to memory behind our back, and a log with times."""

_NO_WEB_PAGE = ("--no-ui", "--no-webui")
"""The same option under its newer and its older name."""

_CONTEXT_STEP = 256
"""llama.cpp rounds the size of the KV cache up to a multiple of this."""

_FALLBACK_VOCABULARY = 32_000
"""The smallest vocabulary of the families in use, for a model whose header does not tell."""

_TIMINGS = "llama-server timings"
_RESOLUTION_MS = 0.001
_LOG_TIME = re.compile(r"^(\d+)\.(\d{2})\.(\d{3})\.(\d{3}) \w ", re.ASCII)
_UPTIME_STEP_MS = 10.0
"""/proc/uptime has hundredths of a second."""


class LlamaServer:
    """Adapter of llama-server."""

    runtime = "llama.cpp"
    program = "llama-server"
    kinds = frozenset({WorkloadKind.STREAM})
    formats = frozenset({"gguf"})

    def refusal(self, workload: Workload, model: ModelFile, build: RunnerBuild) -> Problem | None:
        """Why this build cannot do this workload, or None."""
        problem = llama_options.common_refusal(workload, build, self.program) or _context_problem(workload, model)
        if problem:
            return problem
        needed = list(_NEEDED)
        needed += ["--cache-type-k", "--cache-type-v"] if workload.kv_type else []
        needed += ["--flash-attn"] if workload.flash_attn is not None else []
        needed += ["--batch-size"] if workload.batch else []
        if workload.load_mode and not llama_options.knows(build, "--load-mode"):
            needed += {"mmap": [], "read": ["--no-mmap"], "mlock": ["--mlock"]}[workload.load_mode]
        return llama_options.first_unknown((*needed, *llama_options.extra_options(workload)), build, self.program)

    def command(self, request: RunRequest, build: RunnerBuild) -> Command:
        """The server on the device's loopback, and the one request."""
        workload = request.workload
        words = [llama_options.program_path(request, build, self.program), *llama_options.shared_args(request)]
        words += ["-tb", str(request.threads), "--host", "127.0.0.1", "--port", str(request.port)]
        words += ["-c", str(context_size(request))]
        words += llama_options.server_flash_attn(workload, build) + llama_options.server_load_mode(workload, build)
        words += next(([option] for option in _NO_WEB_PAGE if option in (build.options or ())), [])
        for option, given in _WHERE_KNOWN:
            if build.options is not None and option in build.options:
                words += given
        http = HttpRequest(
            port=request.port,
            ready_path="/health",
            ready_limit_s=request.limit_s,
            path="/completion",
            body=_body(request),
            stop_marker=b'"stop":true',
        )
        return Command((*words, *workload.args), llama_options.environment(request), http)

    def parse(self, request: RunRequest, output: RunOutput) -> Figures:
        """TTFT, rates and every inter-token latency from the timings that come with each event."""
        problem = bad_end(output, server=True) or llama_options.backend_problem(
            request.workload, output.stdout + output.stderr
        )
        if problem:
            return failed(problem)
        run = _read(request, output.stream or b"")
        if isinstance(run, Problem):
            return failed(run)
        load, reported = _load(output)
        metrics: dict[str, Reading] = {"load_ms": load, **_metrics(run)}
        variant = cpu_variant(output.stderr)
        reported |= {"cpu_variant": variant} if variant else {}
        reported |= {"prompt_tokens": run.prompt_n, "generated_tokens": run.points[-1][0]}
        if request.prompt_text is None:
            reported["prompt_seed"] = PROMPT_SEED
        if len(run.itl_ms) != run.points[-1][0] - 1:
            reported["itl_not_separable"] = run.points[-1][0] - 1 - len(run.itl_ms)
        return Figures(metrics, run.itl_ms, reported)


def context_size(request: RunRequest) -> int:
    """Tokens of KV cache to ask for: the workload's own, else what its tokens need, rounded as the runtime does.

    A text has at most one token per byte, and one that marks its beginning; the model's own context bounds it.
    """
    workload = request.workload
    if workload.context is not None:
        return workload.context
    prompt = workload.prompt_tokens
    if request.prompt_text is not None:
        prompt = len(request.prompt_text.encode()) + 1
    tokens = -(-(prompt + workload.gen_tokens) // _CONTEXT_STEP) * _CONTEXT_STEP
    return min(tokens, request.model.context_length or tokens)


def _context_problem(workload: Workload, model: ModelFile) -> Problem | None:
    tokens = workload.prompt_tokens + workload.gen_tokens
    if workload.context is not None and workload.prompt_file is None and workload.context < tokens:
        return Problem(
            ErrorClass.WORKLOAD_UNSUPPORTED,
            f"context {workload.context} cannot hold {workload.prompt_tokens} + {workload.gen_tokens} tokens",
            f"set context to {tokens} or more",
        )
    return beyond_context(max(tokens, workload.context or 0), model)


def _body(request: RunRequest) -> bytes:
    workload = request.workload
    vocabulary = request.model.vocabulary_size or _FALLBACK_VOCABULARY
    prompt: str | list[int] = (
        request.prompt_text if request.prompt_text is not None else token_ids(workload.prompt_tokens, vocabulary)
    )
    return json.dumps(
        {
            "prompt": prompt,
            "n_predict": workload.gen_tokens,
            "ignore_eos": True,
            "temperature": 0,
            "seed": PROMPT_SEED,
            "cache_prompt": False,
            "stream": True,
            "timings_per_token": True,
            "return_tokens": True,
        },
        separators=(",", ":"),
    ).encode()


@dataclass(frozen=True, slots=True)
class _Run:
    """A whole stream: the server's prompt time, and (tokens so far, ms since generation began) of each event."""

    prompt_n: int
    prompt_ms: float
    points: tuple[tuple[int, float], ...]
    itl_ms: tuple[float, ...]


def _read(request: RunRequest, stream: bytes) -> _Run | Problem:
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


def _run_of(seen: Sequence[Mapping[str, Any]], request: RunRequest) -> _Run | Problem:
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
        return _strange("it has no timings")
    if points[-1][0] != workload.gen_tokens:
        why = seen[-1].get("stop_type") or ("context full" if seen[-1].get("truncated") else "no reason given")
        return Problem(
            ErrorClass.RUNNER_FAILED,
            f"{points[-1][0]} tokens were generated, {workload.gen_tokens} were asked for ({why})",
            "a larger context; does the build honour ignore_eos?",
        )
    if last.get("cache_n"):
        return _strange(f"{last['cache_n']} prompt tokens came from a cache")
    prompt_n = last.get("prompt_n")
    if not isinstance(prompt_n, int) or (request.prompt_text is None and prompt_n != workload.prompt_tokens):
        return _strange(f"{prompt_n} prompt tokens were evaluated, {workload.prompt_tokens} were asked for")
    pairs = list(itertools.pairwise(points))
    if points[0][0] != 1 or any(b[1] < a[1] for a, b in pairs):
        return _strange("its times do not ascend from the first token")
    itl = tuple(b[1] - a[1] for a, b in pairs if b[0] == a[0] + 1)
    return _Run(prompt_n, float(last["prompt_ms"]), tuple(points), itl)


def _strange(what: str) -> Problem:
    return Problem(
        ErrorClass.OUTPUT_GARBAGE, f"the event stream is not what was asked for: {what}", "see the log's end"
    )


def _metrics(run: _Run) -> dict[str, Reading]:
    (_, first_ms), (count, last_ms) = run.points[0], run.points[-1]
    prefill = run.prompt_n / run.prompt_ms * 1000
    readings: dict[str, Reading] = {
        "ttft_ms": Measured(
            run.prompt_ms + first_ms, "ms", f"{_TIMINGS}: prompt_ms + first predicted_ms", _RESOLUTION_MS
        ),
        "prefill_tps": Measured(
            prefill, "tok/s", f"{_TIMINGS}: prompt_n / prompt_ms", prefill * _RESOLUTION_MS / run.prompt_ms
        ),
    }
    span = last_ms - first_ms
    if count < 2 or span <= 0:
        readings["decode_tps"] = Unavailable("needs two tokens that lie apart in time")
    else:
        decode = (count - 1) / span * 1000
        source = f"{_TIMINGS}: (n-1) / (last - first predicted_ms)"
        readings["decode_tps"] = Measured(decode, "tok/s", source, decode * _RESOLUTION_MS / span)
    return readings


def _load(output: RunOutput) -> tuple[Reading, dict[str, Any]]:
    """Process start to ready: by the server's own log where it has times (its clock starts with the process), else by
    the device's stamps, which are coarse; both are reported."""
    reported: dict[str, Any] = {}
    if "started" in output.stamps and "ready" in output.stamps:
        reported["load_ms_stamps"] = round((output.stamps["ready"] - output.stamps["started"]) * 1000, 3)
    logged = _listening_ms(output.stderr) or _listening_ms(output.stdout)
    if logged is not None:
        reported["load_ms_log"] = logged
        return Measured(
            logged, "ms", "llama-server log: time of 'listening' since process start", _RESOLUTION_MS
        ), reported
    if is_positive(reported.get("load_ms_stamps")):
        source = "device uptime at process start and at the first answer of /health"
        return Measured(reported["load_ms_stamps"], "ms", source, _UPTIME_STEP_MS), reported
    return Unavailable("neither the server's log nor the device's stamps tell when it was ready"), reported


def _listening_ms(log: bytes) -> float | None:
    for line in log.decode("utf-8", "replace").splitlines():
        if "listening on http" not in line:
            continue
        found = _LOG_TIME.match(line)
        if found:
            minutes, seconds, millis, micros = (int(group) for group in found.groups())
            return minutes * 60_000 + seconds * 1000 + millis + micros / 1000
    return None

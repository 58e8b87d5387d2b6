"""llama-server: one streamed request, or one after the other for some minutes, timed by the server itself, so that no
cable and no client counts.

The server's own warm-up run before it listens is left on: the first request then finds the weights in memory, as every
later one does. It counts into the load time.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from typing import Any

from android_runner import llama_options
from android_runner.base import DEFAULT_MINUTES, Command, Figures, Problem, RunOutput, RunRequest, length_s
from android_runner.classify import bad_end
from android_runner.figures import failed, is_positive
from android_runner.llama_bench import beyond_context, cpu_variant
from android_runner.llama_repeated import SHORTEN, read_answers, repeated_metrics, token_times
from android_runner.llama_stream import RESOLUTION_MS, Run, read_run, stream_metrics
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

CONTEXT_STEP = 256
"""llama.cpp rounds the size of the KV cache up to a multiple of this."""

FALLBACK_VOCABULARY = 32_000
"""The smallest vocabulary of the families in use, for a model whose header does not tell."""

_LOG_TIME = re.compile(r"^(\d+)\.(\d{2})\.(\d{3})\.(\d{3}) \w ", re.ASCII)
_UPTIME_STEP_MS = 10.0
"""/proc/uptime has hundredths of a second."""


class LlamaServer:
    """Adapter of llama-server."""

    runtime = "llama.cpp"
    program = "llama-server"
    kinds = frozenset({WorkloadKind.STREAM, *DEFAULT_MINUTES})
    formats = frozenset({"gguf"})

    def refusal(self, workload: Workload, model: ModelFile, build: RunnerBuild) -> Problem | None:
        """Why this build cannot do this workload, or None."""
        problem = (
            llama_options.common_refusal(workload, build, self.program)
            or llama_options.cannot_evict(workload, self.program)
            or context_problem(workload, model)
        )
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
        """The server on the device's loopback, and the request."""
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
            repeat_for_s=length_s(workload),
            shorten=SHORTEN if length_s(workload) else "",
        )
        return Command((*words, *workload.args), llama_options.environment(request), http)

    def parse(self, request: RunRequest, output: RunOutput) -> Figures:
        """TTFT, rates and every inter-token latency from the timings that come with each event."""
        problem = bad_end(output, server=True) or llama_options.backend_problem(
            request.workload, output.stdout + output.stderr
        )
        if problem:
            return failed(problem)
        load, reported = _load(output)
        variant = cpu_variant(output.stderr)
        reported |= {"cpu_variant": variant} if variant else {}
        if request.prompt_text is None:
            reported["prompt_seed"] = PROMPT_SEED
        if length_s(request.workload):
            return _of_many(request, output, load, reported)
        run = read_run(request, output.stream or b"")
        if isinstance(run, Problem):
            return failed(run)
        return Figures({"load_ms": load, **stream_metrics(run)}, run.itl_ms, reported=reported | _tokens((run,)))


def _of_many(request: RunRequest, output: RunOutput, load: Reading, reported: dict[str, Any]) -> Figures:
    answers = read_answers(request, output.stream or b"", length_s(request.workload))
    if isinstance(answers, Problem):
        return failed(answers)
    runs = [one.run for one in answers]
    times, error_s = token_times(answers)
    reported |= {
        **_tokens(runs),
        "requests": len(runs),
        "ttft_ms_first": round(runs[0].prompt_ms + runs[0].points[0][1], 3),
        "requests_last_s": round(answers[-1].answered_s - answers[0].requested_s, 2),
        "token_time_error_s": round(error_s, 3),
    }
    itl_ms = tuple(itertools.chain.from_iterable(run.itl_ms for run in runs))
    return Figures({"load_ms": load, **repeated_metrics(runs)}, itl_ms, reported, token_times=times)


def _tokens(runs: Sequence[Run]) -> dict[str, int]:
    """Counts over all requests; times of tokens that shared an event are not known."""
    generated = sum(run.points[-1][0] for run in runs)
    shared = generated - len(runs) - sum(len(run.itl_ms) for run in runs)
    counts = {"prompt_tokens": sum(run.prompt_n for run in runs), "generated_tokens": generated}
    return counts | ({"itl_not_separable": shared} if shared else {})


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
    tokens = -(-(prompt + workload.gen_tokens) // CONTEXT_STEP) * CONTEXT_STEP
    return min(tokens, request.model.context_length or tokens)


def context_problem(workload: Workload, model: ModelFile) -> Problem | None:
    """A problem when the context asked for, or the model's own, cannot hold prompt and generated tokens."""
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
    vocabulary = request.model.vocabulary_size or FALLBACK_VOCABULARY
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
            logged, "ms", "llama-server log: time of 'listening' since process start", RESOLUTION_MS
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

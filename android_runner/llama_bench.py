"""llama-bench: prefill and decode rates of a fixed amount of work.

It warms up by itself before each test (not counted), and reports neither load time nor anything per token.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from android_runner import llama_options
from android_runner.base import Command, Figures, Problem, RunOutput, RunRequest
from android_runner.classify import bad_end
from android_runner.figures import RUNNER_METRICS, failed, is_positive
from harness.errors import ErrorClass
from harness.model import Measured, ModelFile, Reading, RunnerBuild, Unavailable, Workload, WorkloadKind

_REPORTED = (
    "build_commit",
    "build_number",
    "cpu_info",
    "gpu_info",
    "backends",
    "model_size",
    "model_n_params",
    "n_batch",
    "n_ubatch",
    "n_threads",
    "type_k",
    "type_v",
    "n_gpu_layers",
    "flash_attn",
    "load_mode",
    "use_mmap",
    "repack",
)
"""Fields of llama-bench that belong to a result's provenance, where the build has them."""

_SOURCE = "llama-bench samples_ns"


class LlamaBench:
    """Adapter of llama-bench."""

    runtime = "llama.cpp"
    program = "llama-bench"
    kinds = frozenset({WorkloadKind.THROUGHPUT})
    formats = frozenset({"gguf"})

    def refusal(self, workload: Workload, model: ModelFile, build: RunnerBuild) -> Problem | None:
        """Why this build cannot do this workload, or None."""
        problem = (
            llama_options.common_refusal(workload, build, self.program)
            or llama_options.cannot_evict(workload, self.program)
            or _beyond(workload, model)
        )
        if problem:
            return problem
        needed = ["--n-prompt", "--n-gen", "--repetitions", "--output", "--threads", "--n-gpu-layers"]
        needed += ["--cache-type-k", "--cache-type-v"] if workload.kv_type else []
        needed += ["--flash-attn"] if workload.flash_attn is not None else []
        needed += ["--batch-size"] if workload.batch else []
        if workload.load_mode:
            old = "--load-mode" if workload.load_mode == "mlock" else "--mmap"
            needed.append("--load-mode" if llama_options.knows(build, "--load-mode") else old)
        return llama_options.first_unknown((*needed, *llama_options.extra_options(workload)), build, self.program)

    def command(self, request: RunRequest, build: RunnerBuild) -> Command:
        """One process, one repetition of each test, results as JSON lines."""
        workload = request.workload
        words = [llama_options.program_path(request, build, self.program), *llama_options.shared_args(request)]
        words += ["-p", str(workload.prompt_tokens), "-n", str(workload.gen_tokens), "-r", "1", "-o", "jsonl"]
        if workload.flash_attn is not None:
            words += ["-fa", "1" if workload.flash_attn else "0"]
        words += llama_options.bench_load_mode(workload, build)
        return Command((*words, *workload.args), llama_options.environment(request))

    def parse(self, request: RunRequest, output: RunOutput) -> Figures:
        """Prefill and decode rates from the nanoseconds of each test."""
        problem = bad_end(output) or llama_options.backend_problem(request.workload, output.stdout + output.stderr)
        if problem:
            return failed(problem)
        tests = list(_tests(output.stdout))
        prefill = _rate(tests, "n_prompt", "n_gen", request.workload.prompt_tokens)
        decode = _rate(tests, "n_gen", "n_prompt", request.workload.gen_tokens)
        if prefill is None or decode is None:
            return failed(_garbage(tests, output, prefill is None))
        metrics: dict[str, Reading] = {
            name: Unavailable(f"llama-bench does not report it; use a stream workload for {name}")
            for name in RUNNER_METRICS
        }
        metrics["prefill_tps"], metrics["decode_tps"] = prefill, decode
        reported = {name: tests[0][name] for name in _REPORTED if name in tests[0]}
        variant = cpu_variant(output.stderr)
        return Figures(metrics, reported={**reported, **({"cpu_variant": variant} if variant else {})})


def _beyond(workload: Workload, model: ModelFile) -> Problem | None:
    if workload.prompt_file is not None:
        return Problem(
            ErrorClass.WORKLOAD_UNSUPPORTED, "llama-bench takes no prompt_file", "use a workload of kind stream"
        )
    if workload.context is not None:
        return Problem(
            ErrorClass.WORKLOAD_UNSUPPORTED,
            "llama-bench sizes its context by the tokens of each test and takes none",
            "remove context from the throughput workload",
        )
    return beyond_context(max(workload.prompt_tokens, workload.gen_tokens), model)


def beyond_context(tokens: int, model: ModelFile) -> Problem | None:
    """A problem when the model was not made for so many tokens."""
    if model.context_length is None or tokens <= model.context_length:
        return None
    return Problem(
        ErrorClass.WORKLOAD_UNSUPPORTED,
        f"the workload needs a context of {tokens} tokens, the model has {model.context_length}",
        "use fewer tokens, or a model with a longer context",
    )


def cpu_variant(stderr: bytes) -> str:
    """The CPU back end that a build with several chose at start ("libggml-cpu-haswell.so"), or ""."""
    for line in stderr.decode("utf-8", "replace").splitlines():
        head, marker, path = line.partition("loaded CPU backend from ")
        if marker and "load_backend" in head:
            return path.strip().rpartition("/")[2][:100]
    return ""


def _tests(stdout: bytes) -> Iterator[Mapping[str, Any]]:
    """Every whole result line; torn lines and anything else on standard output are passed over."""
    for line in stdout.splitlines():
        if not line.lstrip().startswith(b"{"):
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and ("samples_ns" in value or "samples_ts" in value):
            yield value


def _rate(tests: list[Mapping[str, Any]], counted: str, other: str, asked: int) -> Measured | None:
    """Tokens per second of the test that did `asked` tokens of one kind and none of the other."""
    for test in tests:
        samples = test.get("samples_ns")
        if test.get(counted) != asked or test.get(other) != 0 or not isinstance(samples, list) or len(samples) != 1:
            continue
        if is_positive(samples[0]):
            rate = asked / (samples[0] * 1e-9)
            return Measured(rate, "tok/s", _SOURCE, rate * rate / asked * 1e-9)
    return None


def _garbage(tests: list[Mapping[str, Any]], output: RunOutput, no_prefill: bool) -> Problem:
    what = "prefill" if no_prefill else "decode"
    return Problem(
        ErrorClass.OUTPUT_GARBAGE,
        f"llama-bench gave no {what} result: {len(tests)} whole result lines in {len(output.stdout)} bytes of output",
        "see the log's end; the output was cut, or the program is not llama-bench",
    )

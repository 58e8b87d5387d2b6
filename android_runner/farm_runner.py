"""farm-runner: one program of ours for each runtime, all of them measured by the same code.

It takes its request as a JSON file and writes event lines (docs/runner-contract.md). The prompt is token ids, the same
for every runtime.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from android_runner import llama_options
from android_runner.base import DEFAULT_MINUTES, Command, Figures, Problem, RunOutput, RunRequest, length_s
from android_runner.classify import bad_end
from android_runner.llama_bench import beyond_context, cpu_variant
from android_runner.llama_server import CONTEXT_STEP, FALLBACK_VOCABULARY, context_problem, context_size
from android_runner.prompt import PROMPT_SEED, token_ids
from android_runner.runner_errors import problem_said
from android_runner.runner_events import CONTRACT
from android_runner.runner_figures import figures_of
from harness.errors import ErrorClass
from harness.model import ModelFile, RunnerBuild, Workload, WorkloadKind

PROGRAM = "farm-runner"
REQUEST = "request.json"

_EXECUTORCH = "executorch"
_FLASH = {None: "auto", True: "on", False: "off"}


class FarmRunner:
    """Adapter of farm-runner with the back end of one runtime."""

    program = PROGRAM
    kinds = frozenset({WorkloadKind.THROUGHPUT, WorkloadKind.STREAM, *DEFAULT_MINUTES})

    def __init__(self, runtime: str, formats: frozenset[str]) -> None:
        self.runtime = runtime
        self.formats = formats

    def refusal(self, workload: Workload, model: ModelFile, build: RunnerBuild) -> Problem | None:
        """Why this build cannot do this workload, or None."""
        if PROGRAM not in build.programs:
            return llama_options.no_program(build, PROGRAM)
        if workload.args:
            return Problem(
                ErrorClass.OPTION_UNKNOWN,
                f"{PROGRAM} takes no arguments but its request (args: {' '.join(workload.args)[:100]})",
                "remove args from the workload, or take a build of the runtime's own tools",
            )
        if self.runtime == _EXECUTORCH:
            problem = _executorch_refusal(workload, model, build)
        else:
            problem = llama_options.common_refusal(workload, build, PROGRAM)
        return problem or _context_problem(workload, model)

    def command(self, request: RunRequest, build: RunnerBuild) -> Command:
        """The program with its request as a file of the job."""
        program = llama_options.program_path(request, build, PROGRAM)
        content = json.dumps(request_of(request, self.runtime), separators=(",", ":")).encode()
        return Command((program, REQUEST), llama_options.environment(request), files={REQUEST: content})

    def parse(self, request: RunRequest, output: RunOutput) -> Figures:
        """Everything from the event lines on standard output; where they are silent, from how the process ended."""
        ended = bad_end(output)
        if ended is not None and output.ended_by == "exit" and output.signal is None:
            ended = problem_said(output.stderr) or ended
        figures = figures_of(output.stdout, request.workload, ended)
        told: dict[str, object] = {} if request.prompt_text is not None else {"prompt_seed": PROMPT_SEED}
        if variant := cpu_variant(output.stderr):
            told["cpu_variant"] = variant
        return replace(figures, reported={**figures.reported, **told})


def request_of(request: RunRequest, runtime: str) -> dict[str, Any]:
    """The request of the contract, JSON-ready. What the workload leaves to the runtime is left out."""
    workload = request.workload
    model: dict[str, Any] = {"path": request.model_path, "page_cache": workload.page_cache}
    if workload.load_mode:
        model["load_mode"] = workload.load_mode
    work: dict[str, Any] = {"kind": workload.kind.value, "gen_tokens": workload.gen_tokens, "ignore_eos": True}
    if request.prompt_text is not None:
        work["text"] = request.prompt_text
    else:
        vocabulary = request.model.vocabulary_size or FALLBACK_VOCABULARY
        work["prompt"] = token_ids(workload.prompt_tokens, vocabulary)
    if workload.kind is WorkloadKind.THROUGHPUT:
        work["repeats"] = 1
    if seconds := length_s(workload):
        work["seconds"] = seconds
    asked: dict[str, Any] = {
        "contract": CONTRACT,
        "model": model,
        "workload": work,
        "sampling": {"temperature": 0, "seed": PROMPT_SEED},
        "threads": request.threads,
        "output": "-",
    }
    if runtime != _EXECUTORCH:
        asked |= {
            "context": _context(request),
            "flash_attn": _FLASH[workload.flash_attn],
            "backend": workload.backend,
            "gpu_layers": workload.gpu_layers,
        }
    elif workload.context:
        asked["context"] = workload.context
    if workload.batch:
        asked["batch"] = workload.batch
    if workload.kv_type:
        asked["kv_type"] = workload.kv_type.lower()
    return asked


def _context(request: RunRequest) -> int:
    """Tokens of KV cache: a throughput workload takes prompt and tokens apart, each from an empty cache."""
    workload, most = request.workload, request.model.context_length
    if workload.kind is not WorkloadKind.THROUGHPUT or workload.context is not None:
        return context_size(request)
    tokens = -(-_throughput_tokens(workload) // CONTEXT_STEP) * CONTEXT_STEP
    return min(tokens, most or tokens)


def _throughput_tokens(workload: Workload) -> int:
    return max(workload.prompt_tokens, workload.gen_tokens + 1)


def _context_problem(workload: Workload, model: ModelFile) -> Problem | None:
    if workload.kind is WorkloadKind.THROUGHPUT:
        return beyond_context(max(_throughput_tokens(workload), workload.context or 0), model)
    return context_problem(workload, model)


def _executorch_refusal(workload: Workload, model: ModelFile, build: RunnerBuild) -> Problem | None:
    """What ExecuTorch leaves no choice in, since it was fixed when the model was exported."""
    fixed = {
        "kv_type": workload.kv_type is not None,
        "flash_attn": workload.flash_attn is not None,
        "gpu_layers": workload.gpu_layers > 0,
        f"backend: {workload.backend}": workload.backend != "cpu",
    }
    for name, asked in fixed.items():
        if asked:
            return Problem(
                ErrorClass.WORKLOAD_UNSUPPORTED,
                f"{name} is fixed in an ExecuTorch model when it is exported",
                f"remove {name.partition(':')[0]} from the workload, or export the model with another recipe",
            )
    if workload.prompt_file is not None:
        return Problem(
            ErrorClass.WORKLOAD_UNSUPPORTED,
            "an ExecuTorch model carries no tokenizer, so it takes no prompt_file",
            "remove prompt_file: token ids are made from prompt_tokens",
        )
    return _lacking_backend(model, build)


def _lacking_backend(model: ModelFile, build: RunnerBuild) -> Problem | None:
    if build.backends is None:
        return None
    # The linker may keep a name as the end of a longer text.
    lacking = [name for name in model.backends if not any(known.endswith(name) for known in build.backends)]
    if not lacking:
        return None
    return Problem(
        ErrorClass.WORKLOAD_UNSUPPORTED,
        f"the model was exported for {', '.join(lacking)}, which this build does not have",
        "take a build with this back end, or export the model with another recipe",
    )

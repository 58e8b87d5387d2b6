"""llama_main of ExecuTorch: one request of a text, timed by the tool itself to a millisecond.

It says what it measured in one line, `PyTorchObserver {…}`, in the middle of what the model says. It takes a text and a
tokenizer, no token ids; farm-runner does the work of the other runtimes.
"""

from __future__ import annotations

import json

from android_runner import llama_options
from android_runner.base import Command, Figures, Problem, RunOutput, RunRequest
from android_runner.classify import bad_end
from android_runner.figures import RUNNER_METRICS, failed
from harness.errors import ErrorClass
from harness.model import Measured, ModelFile, Reading, RunnerBuild, Unavailable, Workload, WorkloadKind

PROMPT = "prompt.txt"

_MARK = b"PyTorchObserver "
_STEP_MS = 1.0
_TIMES = (
    "model_load_start_ms",
    "model_load_end_ms",
    "inference_start_ms",
    "prompt_eval_end_ms",
    "first_token_ms",
    "inference_end_ms",
)
_COUNTS = ("prompt_tokens", "generated_tokens")
_REPORTED = (*_COUNTS, "aggregate_sampling_time_ms")


class ExecutorchLlamaMain:
    """Adapter of ExecuTorch's llama_main."""

    runtime = "executorch"
    program = "llama_main"
    kinds = frozenset({WorkloadKind.STREAM})
    formats = frozenset({"pte"})

    def refusal(self, workload: Workload, model: ModelFile, build: RunnerBuild) -> Problem | None:
        """Why this build cannot do this workload, or None."""
        if self.program not in build.programs:
            return llama_options.no_program(build, self.program)
        fixed = ("kv_type", "flash_attn", "load_mode", "batch", "context")
        given = [name for name in fixed if getattr(workload, name) is not None]
        given += ["gpu_layers"] if workload.gpu_layers else []
        given += [] if workload.backend == "cpu" else ["backend"]
        if given:
            return _refused(f"llama_main has no {', '.join(given)}", "remove it from the workload")
        if workload.prompt_file is None:
            return _refused("llama_main takes a text, no token ids", "give the workload a prompt_file")
        if not any(word.split("=", 1)[0] == "--tokenizer_path" for word in workload.args):
            return _refused(
                "llama_main needs the model's tokenizer on the phone",
                "push it once and name it in the workload: args: [--tokenizer_path=/data/local/tmp/tokenizer.model]",
            )
        return llama_options.cannot_evict(workload, self.program)

    def command(self, request: RunRequest, build: RunnerBuild) -> Command:
        """One process and one request; the prompt is a file of the job."""
        workload = request.workload
        words = [llama_options.program_path(request, build, self.program)]
        words += [f"--model_path={request.model_path}", f"--prompt_file={PROMPT}", "--temperature=0"]
        words += [f"--max_new_tokens={workload.gen_tokens}", f"--cpu_threads={request.threads}", "--ignore_eos=true"]
        prompt = (request.prompt_text or "").encode()
        return Command((*words, *workload.args), llama_options.environment(request), files={PROMPT: prompt})

    def parse(self, request: RunRequest, output: RunOutput) -> Figures:
        """Load, time to first token and rates from the tool's own line."""
        problem = bad_end(output)
        if problem:
            return failed(problem)
        seen = _observed(output.stdout)
        wrong = "it says nothing of what it measured" if seen is None else _wrong(seen, request.workload)
        if seen is None or wrong:
            return failed(Problem(ErrorClass.OUTPUT_GARBAGE, f"llama_main: {wrong}", "see the log's end"))
        return Figures(_metrics(seen), reported={name: seen[name] for name in _REPORTED if name in seen})


def _refused(message: str, advice: str) -> Problem:
    return Problem(ErrorClass.WORKLOAD_UNSUPPORTED, message, advice)


def _observed(stdout: bytes) -> dict[str, int] | None:
    """The numbers of the last whole line; it may follow words of the model on the same line."""
    for line in reversed(stdout.split(b"\n")):
        _, mark, rest = line.rpartition(_MARK)
        if not mark:
            continue
        try:
            values = json.loads(rest)
        except (ValueError, RecursionError):
            continue
        if isinstance(values, dict):
            return {
                name: value
                for name, value in values.items()
                if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62
            }
    return None


def _wrong(seen: dict[str, int], workload: Workload) -> str:
    missing = [name for name in (*_TIMES, *_COUNTS) if name not in seen]
    if missing:
        return f"its line has no {', '.join(missing)}"
    # The first token comes from the prompt; some versions count it, others count those after it.
    if seen["generated_tokens"] not in (workload.gen_tokens, workload.gen_tokens - 1):
        return f"{seen['generated_tokens']} tokens were generated, {workload.gen_tokens} were asked for"
    load = (seen["model_load_start_ms"], seen["model_load_end_ms"])
    times = (seen["inference_start_ms"], seen["first_token_ms"], seen["inference_end_ms"])
    ascends = load[0] <= load[1] and times[0] <= times[1] <= times[2]
    return "" if ascends and times[0] <= seen["prompt_eval_end_ms"] <= times[2] else "its times do not ascend"


def _metrics(seen: dict[str, int]) -> dict[str, Reading]:
    metrics: dict[str, Reading] = {name: Unavailable("llama_main does not report it") for name in RUNNER_METRICS}
    for name, later, earlier in (
        ("load_ms", "model_load_end_ms", "model_load_start_ms"),
        ("ttft_ms", "first_token_ms", "inference_start_ms"),
    ):
        passed = seen[later] - seen[earlier]
        metrics[name] = _measured(float(passed), "ms", passed, f"{later} - {earlier}", _STEP_MS)
    for name, counted, later, earlier in (
        ("prefill_tps", "prompt_tokens", "prompt_eval_end_ms", "inference_start_ms"),
        ("decode_tps", "generated_tokens", "inference_end_ms", "prompt_eval_end_ms"),
    ):
        passed = seen[later] - seen[earlier]
        rate = seen[counted] / passed * 1000 if passed > 0 else 0.0
        step = rate * _STEP_MS / passed if passed > 0 else 0.0
        metrics[name] = _measured(rate, "tok/s", passed, f"{counted} / ({later} - {earlier})", step)
    return metrics


def _measured(value: float, unit: str, passed: int, source: str, resolution: float) -> Reading:
    if passed <= 0 or value <= 0:
        return Unavailable(f"shorter than the millisecond that llama_main resolves ({source})")
    return Measured(value, unit, f"llama_main PyTorchObserver: {source}", resolution)

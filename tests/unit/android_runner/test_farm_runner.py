"""farm-runner: what is refused, the request, and how its end is told."""

from __future__ import annotations

import dataclasses
import json

import pytest

from android_runner.farm_runner import FarmRunner
from android_runner.llama_server import LlamaServer
from android_runner.prompt import PROMPT_SEED, token_ids
from harness.errors import ErrorClass
from harness.model import Measured, ModelFile, RunnerBuild, Workload, WorkloadKind

from . import samples

LLAMA = FarmRunner("llama.cpp", frozenset({"gguf"}))
EXECUTORCH = FarmRunner("executorch", frozenset({"pte"}))
PTE = dataclasses.replace(samples.MODEL, backends=("XnnpackBackend",), context_length=None)
XNNPACK = samples.runner_build(backends=frozenset({"XnnpackBackend"}))


def asked(runner: FarmRunner, workload: Workload, text: str | None = None) -> dict[str, object]:
    command = runner.command(samples.request(workload, text), XNNPACK)
    assert command.argv == ("/data/local/tmp/r/farm-runner", "request.json")
    assert command.http is None
    (content,) = command.files.values()
    found = json.loads(content)
    assert isinstance(found, dict)
    return found


def test_the_request_says_all_that_the_workload_says() -> None:
    workload = samples.stream(
        load_mode="mlock", page_cache="evict", kv_type="Q8_0", batch=64, context=512, flash_attn=True, env={"A": "b"}
    )
    found = asked(LLAMA, workload)
    assert found == {
        "contract": "1.1",
        "model": {"path": "/data/local/tmp/m.gguf", "page_cache": "evict", "load_mode": "mlock"},
        "workload": {
            "kind": "stream",
            "prompt": token_ids(32, 49_152),
            "gen_tokens": 24,
            "ignore_eos": True,
        },
        "sampling": {"temperature": 0, "seed": PROMPT_SEED},
        "threads": 2,
        "output": "-",
        "context": 512,
        "flash_attn": "on",
        "backend": "cpu",
        "gpu_layers": 0,
        "batch": 64,
        "kv_type": "q8_0",
    }
    command = LLAMA.command(samples.request(workload), XNNPACK)
    assert command.env == {"LD_LIBRARY_PATH": "/data/local/tmp/r", "A": "b"}


def test_both_runtimes_and_llama_server_get_the_same_prompt() -> None:
    http = LlamaServer().command(samples.request(samples.stream()), samples.build()).http
    assert http is not None
    prompts = [asked(runner, samples.stream())["workload"]["prompt"] for runner in (LLAMA, EXECUTORCH)]  # type: ignore[index]
    assert prompts[0] == prompts[1] == json.loads(http.body)["prompt"]


@pytest.mark.parametrize(
    ("workload", "context"),
    [
        (samples.stream(), 256),
        (samples.stream(prompt_tokens=250, gen_tokens=10), 512),
        (samples.throughput(prompt_tokens=256, gen_tokens=255), 256),
        (samples.throughput(prompt_tokens=256, gen_tokens=256), 512),
        (samples.throughput(prompt_tokens=8192, gen_tokens=8192), 8192),
        (samples.throughput(context=1000), 1000),
    ],
)
def test_the_context_holds_the_work(workload: Workload, context: int) -> None:
    assert asked(LLAMA, workload)["context"] == context


def test_the_cache_of_an_executorch_model_is_its_own() -> None:
    assert not {"context", "flash_attn", "gpu_layers", "backend"} & asked(EXECUTORCH, samples.stream()).keys()
    given = asked(EXECUTORCH, samples.stream(context=512, batch=8))
    assert (given["context"], given["batch"]) == (512, 8)


def test_minutes_and_repetitions() -> None:
    work = asked(LLAMA, samples.stream(kind=WorkloadKind.BATTERY, minutes=0.5))["workload"]
    assert isinstance(work, dict)
    assert (work["kind"], work["seconds"]) == ("battery", 30.0)
    work = asked(LLAMA, samples.throughput())["workload"]
    assert isinstance(work, dict)
    assert (work["kind"], work["repeats"], "seconds" in work) == ("throughput", 1, False)


def test_a_prompt_of_text_goes_as_it_is() -> None:
    text = 'a "b"\n\\ü\x01'
    work = asked(LLAMA, samples.stream(prompt_file="p"), text)["workload"]
    assert isinstance(work, dict)
    assert work["text"] == text and "prompt" not in work


@pytest.mark.parametrize(
    ("runner", "workload", "model", "build", "part"),
    [
        (LLAMA, samples.stream(), samples.MODEL, samples.build(), "the build has no farm-runner"),
        (LLAMA, samples.stream(args=("-x",)), samples.MODEL, XNNPACK, "takes no arguments"),
        (LLAMA, samples.stream(kv_type="q9"), samples.MODEL, XNNPACK, "no KV cache type"),
        (LLAMA, samples.stream(kv_type="q8_0", flash_attn=False), samples.MODEL, XNNPACK, "needs flash attention"),
        (LLAMA, samples.stream(gpu_layers=3), samples.MODEL, XNNPACK, "back end is cpu"),
        (LLAMA, samples.stream(backend="vulkan"), samples.MODEL, XNNPACK, "vulkan is not in this build"),
        (LLAMA, samples.stream(context=40), samples.MODEL, XNNPACK, "context 40 cannot hold"),
        (LLAMA, samples.throughput(gen_tokens=8192), samples.MODEL, XNNPACK, "needs a context of 8193"),
        (LLAMA, samples.throughput(context=9000), samples.MODEL, XNNPACK, "needs a context of 9000"),
        (EXECUTORCH, samples.stream(), PTE, samples.build(), "the build has no farm-runner"),
        (EXECUTORCH, samples.stream(kv_type="f16"), PTE, XNNPACK, "kv_type is fixed"),
        (EXECUTORCH, samples.stream(flash_attn=True), PTE, XNNPACK, "flash_attn is fixed"),
        (EXECUTORCH, samples.stream(gpu_layers=1), PTE, XNNPACK, "gpu_layers is fixed"),
        (EXECUTORCH, samples.stream(backend="vulkan"), PTE, XNNPACK, "backend: vulkan is fixed"),
        (EXECUTORCH, samples.stream(prompt_file="p"), PTE, XNNPACK, "no tokenizer"),
        (EXECUTORCH, samples.stream(), PTE, samples.runner_build(), "exported for XnnpackBackend"),
    ],
)
def test_what_cannot_be_done_is_refused(
    runner: FarmRunner, workload: Workload, model: ModelFile, build: RunnerBuild, part: str
) -> None:
    problem = runner.refusal(workload, model, build)
    assert problem is not None
    assert part in problem.message
    assert problem.advice


def test_what_can_be_done_is_not() -> None:
    own = samples.runner_build()
    for workload in (samples.stream(), samples.throughput(), samples.stream(kind=WorkloadKind.BATTERY, minutes=1)):
        cold = dataclasses.replace(workload, page_cache="evict", load_mode="read")
        assert LLAMA.refusal(cold, samples.MODEL, own) is None
        assert EXECUTORCH.refusal(cold, PTE, XNNPACK) is None
    assert LLAMA.refusal(samples.stream(kv_type="q8_0", batch=8, prompt_file="p"), samples.MODEL, own) is None
    assert EXECUTORCH.refusal(samples.stream(), PTE, samples.runner_build(backends=None)) is None, (
        "a script may have any"
    )
    linked = samples.runner_build(backends=frozenset({"RegisterXnnpackBackend"}))
    assert EXECUTORCH.refusal(samples.stream(), PTE, linked) is None, "two texts with one end are one in the file"


@pytest.mark.parametrize("name", samples.RUNNER_EVENTS)
def test_recorded_events_are_figures(name: str) -> None:
    request = samples.runner_request(name)
    figures = LLAMA.parse(request, samples.ended(samples.read(samples.RUNNER_EVENTS[name])))
    assert figures.problem is None
    assert isinstance(figures.metrics["decode_tps"], Measured)
    assert figures.reported["prompt_seed"] == PROMPT_SEED


def test_the_end_of_the_process_counts_where_the_events_are_silent() -> None:
    request = samples.runner_request("stream")
    said = b"farm-runner: output_unwritable: the events cannot be written: No space left on device\n"
    for output, error_class in (
        (samples.ended(b"", said, exit_code=1), ErrorClass.STORAGE_FULL),
        (samples.ended(b"", b"farm-runner: model_missing: the model x\n", exit_code=1), ErrorClass.MODEL_MISSING),
        (samples.ended(b"", b"CANNOT LINK EXECUTABLE", exit_code=1), ErrorClass.LIBRARY_MISSING),
        (samples.ended(b"", b"", exit_code=None, signal=4), ErrorClass.ILLEGAL_INSTRUCTION),
        (samples.ended(b"", b"", exit_code=139), ErrorClass.CRASHED),
        (samples.ended(b"", said, exit_code=None, signal=9), ErrorClass.KILLED),
        (samples.ended(b"", said, exit_code=None, signal=15, ended_by="limit"), ErrorClass.TIMED_OUT),
        (samples.ended(b"", b"usage: farm-runner", exit_code=2), ErrorClass.RUNNER_FAILED),
        (samples.ended(b"", b""), ErrorClass.OUTPUT_GARBAGE),
    ):
        problem = LLAMA.parse(request, output).problem
        assert problem is not None and problem.error_class is error_class, output

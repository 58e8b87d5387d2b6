"""ExecuTorch's llama_main: its one line among the words of the model."""

from __future__ import annotations

import dataclasses

import pytest

from android_runner.executorch_llama_main import ExecutorchLlamaMain
from harness.errors import ErrorClass
from harness.model import Measured, Unavailable, Workload

from . import samples

TOOL = ExecutorchLlamaMain()
BUILD = samples.build(None, programs=("llama_main",))
OUTPUT = samples.read("llama_main-documented.stdout")
"""Made by hand in the form that the tool's source prints (extension/llm/runner/stats.h of ExecuTorch)."""
WORKLOAD = samples.stream(prompt_file="p.txt", args=("--tokenizer_path=/data/local/tmp/t.model",))
REQUEST = samples.request(WORKLOAD, "Once upon a 'time' ü")


def value(reading: object) -> float:
    assert isinstance(reading, Measured), reading
    return reading.value


def test_the_figures_are_those_of_its_line() -> None:
    found = TOOL.parse(REQUEST, samples.ended(OUTPUT))
    assert found.problem is None
    assert value(found.metrics["load_ms"]) == 412
    assert value(found.metrics["ttft_ms"]) == 120
    assert value(found.metrics["prefill_tps"]) == pytest.approx(31 / 0.120)
    assert value(found.metrics["decode_tps"]) == pytest.approx(23 / 0.460)
    load, decode = found.metrics["load_ms"], found.metrics["decode_tps"]
    assert isinstance(load, Measured) and isinstance(decode, Measured)
    assert load.resolution == 1.0
    assert decode.resolution == pytest.approx(50 / 460)
    assert isinstance(found.metrics["itl_ms_p50"], Unavailable)
    assert found.reported == {"prompt_tokens": 31, "generated_tokens": 23, "aggregate_sampling_time_ms": 3}


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        (b"PyTorchObserver", b"Observer", "says nothing"),
        (b"}", b"", "says nothing"),
        (b'"first_token_ms":', b'"x":', "no first_token_ms"),
        (b'"first_token_ms":1000532', b'"first_token_ms":"1000532"', "no first_token_ms"),
        (b'"generated_tokens":23', b'"generated_tokens":20', "20 tokens were generated, 24 were asked for"),
        (b'"inference_end_ms":1000992', b'"inference_end_ms":1000100', "do not ascend"),
        (b'"model_load_end_ms":1000412', b'"model_load_end_ms":0', "do not ascend"),
    ],
)
def test_what_is_no_measurement(old: bytes, new: bytes, part: str) -> None:
    assert old in OUTPUT
    problem = TOOL.parse(REQUEST, samples.ended(OUTPUT.replace(old, new))).problem
    assert problem is not None
    assert problem.error_class is ErrorClass.OUTPUT_GARBAGE
    assert part in problem.message


def test_what_is_shorter_than_a_millisecond_is_not_measured() -> None:
    quick = OUTPUT.replace(b'"model_load_end_ms":1000412', b'"model_load_end_ms":1000000')
    found = TOOL.parse(REQUEST, samples.ended(quick))
    assert found.problem is None
    assert isinstance(found.metrics["load_ms"], Unavailable)
    assert "millisecond" in found.metrics["load_ms"].reason


def test_how_it_ended_comes_first() -> None:
    problem = TOOL.parse(REQUEST, samples.ended(OUTPUT, b"Error: 0x22", exit_code=1)).problem
    assert problem is not None
    assert problem.error_class is ErrorClass.MODEL_MISSING


def test_the_prompt_is_a_file_of_the_job() -> None:
    command = TOOL.command(REQUEST, BUILD)
    assert command.argv == (
        "/data/local/tmp/r/llama_main",
        "--model_path=/data/local/tmp/m.gguf",
        "--prompt_file=prompt.txt",
        "--temperature=0",
        "--max_new_tokens=24",
        "--cpu_threads=2",
        "--ignore_eos=true",
        "--tokenizer_path=/data/local/tmp/t.model",
    )
    assert command.files == {"prompt.txt": "Once upon a 'time' ü".encode()}


@pytest.mark.parametrize(
    ("workload", "part"),
    [
        (dataclasses.replace(WORKLOAD, prompt_file=None), "takes a text"),
        (dataclasses.replace(WORKLOAD, args=()), "tokenizer"),
        (dataclasses.replace(WORKLOAD, page_cache="evict"), "page_cache: evict"),
        (dataclasses.replace(WORKLOAD, kv_type="f16", batch=8), "llama_main has no kv_type, batch"),
        (dataclasses.replace(WORKLOAD, gpu_layers=1, backend="vulkan"), "llama_main has no gpu_layers, backend"),
    ],
)
def test_what_it_cannot_do_is_refused(workload: Workload, part: str) -> None:
    problem = TOOL.refusal(workload, samples.MODEL, BUILD)
    assert problem is not None
    assert part in problem.message
    assert TOOL.refusal(WORKLOAD, samples.MODEL, BUILD) is None
    absent = TOOL.refusal(WORKLOAD, samples.MODEL, samples.build())
    assert absent is not None and "no llama_main" in absent.message

"""llama-bench: command lines over builds, and reading its JSON lines."""

from __future__ import annotations

import json

import pytest

from android_runner.figures import RUNNER_METRICS
from android_runner.llama_bench import LlamaBench
from harness.errors import ErrorClass
from harness.model import Measured, Unavailable

from . import samples

BENCH = LlamaBench()
OUTPUT = samples.read("llama-bench-0.7.0.jsonl")
STDERR = samples.read("llama-bench-0.7.0.stderr")
OLD_OPTIONS = (samples.OPTIONS - {"--load-mode", "-lm"}) | {"--mmap", "-mmp"}


def test_the_rates_are_tokens_over_the_recorded_nanoseconds() -> None:
    lines = [json.loads(line) for line in OUTPUT.splitlines()]
    figures = BENCH.parse(samples.request(samples.throughput()), samples.ended(OUTPUT, STDERR))
    assert figures.problem is None
    prefill, decode = figures.metrics["prefill_tps"], figures.metrics["decode_tps"]
    assert isinstance(prefill, Measured)
    assert isinstance(decode, Measured)
    assert prefill.value == pytest.approx(32 / (lines[0]["samples_ns"][0] / 1e9))
    assert decode.value == pytest.approx(lines[1]["samples_ts"][0], rel=1e-4)
    assert (decode.unit, decode.source) == ("tok/s", "llama-bench samples_ns")
    assert decode.resolution is not None
    assert 0 < decode.resolution < 1e-4


def test_what_llama_bench_cannot_tell_is_unavailable_with_a_reason() -> None:
    figures = BENCH.parse(samples.request(samples.throughput()), samples.ended(OUTPUT, STDERR))
    assert set(figures.metrics) == set(RUNNER_METRICS)
    for name in set(RUNNER_METRICS) - {"prefill_tps", "decode_tps"}:
        reading = figures.metrics[name]
        assert isinstance(reading, Unavailable)
        assert "stream" in reading.reason


def test_the_build_s_own_words_are_kept() -> None:
    figures = BENCH.parse(samples.request(samples.throughput()), samples.ended(OUTPUT, STDERR))
    assert figures.reported["cpu_variant"] == "libggml-cpu-cascadelake.so"
    assert figures.reported["model_n_params"] == 134_515_008
    assert figures.reported["load_mode"] == "auto"
    assert "model_type" not in figures.reported, "says 256M of a 135M model"


@pytest.mark.parametrize("name", ["llama-bench-0.7.0-kv-q8_0.jsonl", "llama-bench-0.5.0-static.jsonl"])
def test_other_builds_and_settings_read_the_same(name: str) -> None:
    figures = BENCH.parse(samples.request(samples.throughput()), samples.ended(samples.read(name)))
    assert figures.problem is None
    assert isinstance(figures.metrics["decode_tps"], Measured)


def test_two_batches_with_noise_between_are_one_result() -> None:
    first, second = OUTPUT.splitlines()
    noisy = b"warming up\n" + first + b"\n\n{not json}\n\xff\xfe\n" + second
    figures = BENCH.parse(samples.request(samples.throughput()), samples.ended(noisy))
    assert figures.problem is None
    assert isinstance(figures.metrics["prefill_tps"], Measured)


@pytest.mark.parametrize(
    "stdout",
    [
        b"",
        b"garbage",
        OUTPUT.splitlines()[0],
        OUTPUT[:-40],
        OUTPUT.replace(b'"samples_ns": [ ', b'"samples_ns": [ 0, '),
        OUTPUT.replace(b'"n_gen": 16', b'"n_gen": 17'),
    ],
    ids=["nothing", "garbage", "first batch only", "torn line", "two samples", "other work"],
)
def test_output_that_is_no_result_is_a_problem_and_no_number(stdout: bytes) -> None:
    figures = BENCH.parse(samples.request(samples.throughput()), samples.ended(stdout))
    assert figures.problem is not None
    assert figures.problem.error_class is ErrorClass.OUTPUT_GARBAGE
    assert all(isinstance(reading, Unavailable) for reading in figures.metrics.values())


def test_a_whole_output_of_a_failed_process_is_no_measurement() -> None:
    figures = BENCH.parse(samples.request(samples.throughput()), samples.ended(OUTPUT, exit_code=None, signal=9))
    assert figures.problem is not None
    assert figures.problem.error_class is ErrorClass.KILLED


def test_a_gpu_case_that_ran_on_the_cpu_is_found_out() -> None:
    workload = samples.throughput(backend="vulkan", gpu_layers=99)
    figures = BENCH.parse(samples.request(workload), samples.ended(OUTPUT, STDERR))
    assert figures.problem is not None
    assert figures.problem.error_class is ErrorClass.WORKLOAD_UNSUPPORTED


def test_the_plain_command_line() -> None:
    command = BENCH.command(samples.request(samples.throughput()), samples.build())
    assert command.argv == (
        "/data/local/tmp/r/llama-bench",
        *("-m", "/data/local/tmp/m.gguf", "-t", "2", "-ngl", "0"),
        *("-p", "32", "-n", "16", "-r", "1", "-o", "jsonl"),
    )
    assert command.env == {"LD_LIBRARY_PATH": "/data/local/tmp/r"}
    assert command.http is None


def test_every_setting_reaches_the_command_line() -> None:
    workload = samples.throughput(
        kv_type="q8_0", flash_attn=True, load_mode="read", batch=256, args=("--poll", "0"), env={"A": "b"}
    )
    command = BENCH.command(samples.request(workload), samples.build())
    text = " ".join(command.argv)
    for part in ("-ctk q8_0 -ctv q8_0", "-b 256", "-fa 1", "-lm none", "--poll 0"):
        assert part in text
    assert command.env["A"] == "b"


@pytest.mark.parametrize(
    ("mode", "options", "words"),
    [
        ("mmap", samples.OPTIONS, ("-lm", "mmap")),
        ("read", samples.OPTIONS, ("-lm", "none")),
        ("mlock", samples.OPTIONS, ("-lm", "mlock")),
        ("mmap", OLD_OPTIONS, ("-mmp", "1")),
        ("read", OLD_OPTIONS, ("-mmp", "0")),
        ("read", None, ("-lm", "none")),
    ],
)
def test_the_load_mode_is_named_as_the_build_names_it(
    mode: str, options: frozenset[str] | None, words: tuple[str, ...]
) -> None:
    workload = samples.throughput(load_mode=mode)
    build = samples.build(options)
    assert BENCH.refusal(workload, samples.MODEL, build) is None
    assert BENCH.command(samples.request(workload), build).argv[-2:] == words


@pytest.mark.parametrize(
    ("changes", "error_class", "part"),
    [
        ({"args": ("--no-such-thing", "1")}, ErrorClass.OPTION_UNKNOWN, "does not know --no-such-thing"),
        ({"args": ("--other=1",)}, ErrorClass.OPTION_UNKNOWN, "does not know --other"),
        ({"kv_type": "q9_9"}, ErrorClass.WORKLOAD_UNSUPPORTED, "q9_9"),
        ({"kv_type": "q8_0", "flash_attn": False}, ErrorClass.WORKLOAD_UNSUPPORTED, "flash attention"),
        ({"backend": "vulkan", "gpu_layers": 9}, ErrorClass.WORKLOAD_UNSUPPORTED, "vulkan is not in this build"),
        ({"gpu_layers": 9}, ErrorClass.WORKLOAD_UNSUPPORTED, "back end is cpu"),
        ({"prompt_file": "p.txt"}, ErrorClass.WORKLOAD_UNSUPPORTED, "prompt_file"),
        ({"context": 512}, ErrorClass.WORKLOAD_UNSUPPORTED, "context"),
        ({"prompt_tokens": 9000}, ErrorClass.WORKLOAD_UNSUPPORTED, "9000"),
    ],
)
def test_what_the_build_cannot_do_is_refused_before_a_phone_is_touched(
    changes: dict[str, object], error_class: ErrorClass, part: str
) -> None:
    problem = BENCH.refusal(samples.throughput(**changes), samples.MODEL, samples.build())
    assert problem is not None
    assert problem.error_class is error_class
    assert part in problem.message
    assert problem.advice


def test_an_old_build_without_mlock_says_so() -> None:
    problem = BENCH.refusal(samples.throughput(load_mode="mlock"), samples.MODEL, samples.build(OLD_OPTIONS))
    assert problem is not None
    assert problem.message == "this build of llama-bench does not know --load-mode"


def test_a_script_is_refused_nothing_for_its_options() -> None:
    workload = samples.throughput(args=("--no-such-thing",), load_mode="mlock")
    assert BENCH.refusal(workload, samples.MODEL, samples.build(None)) is None


def test_a_build_without_the_program_is_refused() -> None:
    problem = BENCH.refusal(samples.throughput(), samples.MODEL, samples.build(programs=("llama-server",)))
    assert problem is not None
    assert problem.error_class is ErrorClass.RUNNER_INVALID


def test_a_gpu_back_end_in_the_build_is_taken() -> None:
    build = samples.build(libraries=("libggml-cpu.so", "libggml-vulkan.so"))
    workload = samples.throughput(backend="vulkan", gpu_layers=99)
    assert BENCH.refusal(workload, samples.MODEL, build) is None
    assert " -ngl 99" in " ".join(BENCH.command(samples.request(workload), build).argv)

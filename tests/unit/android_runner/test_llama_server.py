"""llama-server: command line and request, and reading the event stream."""

from __future__ import annotations

import json
import re

import pytest

from android_runner.event_stream import events, read_answer
from android_runner.llama_server import LlamaServer
from android_runner.prompt import token_ids
from harness.errors import ErrorClass
from harness.model import Measured, Unavailable

from . import samples

SERVER = LlamaServer()
ANSWER = samples.read("llama-server-0.7.0.answer")
STDERR = samples.read("llama-server-0.7.0.stderr")
REQUEST = samples.request(samples.stream())
TIMINGS = [event["timings"] for event in events(read_answer(ANSWER).body)]


def value(reading: object) -> float:
    assert isinstance(reading, Measured), reading
    return reading.value


def test_the_figures_follow_from_the_server_s_own_timings() -> None:
    figures = SERVER.parse(REQUEST, samples.served(ANSWER, STDERR))
    assert figures.problem is None
    times = [timing["predicted_ms"] for timing in TIMINGS[:24]]
    assert len(TIMINGS) == 25, "24 tokens and the end"
    assert value(figures.metrics["ttft_ms"]) == pytest.approx(TIMINGS[0]["prompt_ms"] + times[0])
    assert value(figures.metrics["prefill_tps"]) == pytest.approx(TIMINGS[0]["prompt_per_second"])
    assert value(figures.metrics["decode_tps"]) == pytest.approx(23 / (times[-1] - times[0]) * 1000)
    assert len(figures.itl_ms) == 23
    assert sum(figures.itl_ms) == pytest.approx(times[-1] - times[0])
    assert value(figures.metrics["load_ms"]) == 774.414
    assert figures.reported["generated_tokens"] == 24
    assert "itl_not_separable" not in figures.reported


def test_the_stamps_give_the_load_time_where_the_log_has_none() -> None:
    figures = SERVER.parse(REQUEST, samples.served(ANSWER, b"", {"started": 100.0, "ready": 100.81}))
    reading = figures.metrics["load_ms"]
    assert value(reading) == pytest.approx(810)
    assert isinstance(reading, Measured)
    assert reading.resolution == 10.0
    without = SERVER.parse(REQUEST, samples.served(ANSWER, b""))
    assert isinstance(without.metrics["load_ms"], Unavailable)


def test_both_load_times_are_reported() -> None:
    figures = SERVER.parse(REQUEST, samples.served(ANSWER, STDERR, {"started": 1.0, "ready": 1.9}))
    assert figures.reported["load_ms_log"] == 774.414
    assert figures.reported["load_ms_stamps"] == 900.0


def test_a_body_without_its_http_header_reads_the_same() -> None:
    plain = read_answer(ANSWER).body
    figures = SERVER.parse(REQUEST, samples.served(plain, STDERR))
    assert figures.metrics == SERVER.parse(REQUEST, samples.served(ANSWER, STDERR)).metrics


def test_tokens_that_share_an_event_make_no_invented_latency() -> None:
    body = read_answer(ANSWER).body
    cut = re.sub(rb'data: \{[^\n]*"predicted_n":7,[^\n]*\n', b"", body)
    figures = SERVER.parse(REQUEST, samples.served(cut, STDERR))
    assert figures.problem is None
    assert len(figures.itl_ms) == 21
    assert figures.reported["itl_not_separable"] == 2
    assert value(figures.metrics["decode_tps"]) == value(
        SERVER.parse(REQUEST, samples.served(ANSWER, STDERR)).metrics["decode_tps"]
    )


@pytest.mark.parametrize(
    ("answer", "error_class", "part"),
    [
        (b"", ErrorClass.OUTPUT_GARBAGE, "0 events"),
        (ANSWER[:164], ErrorClass.OUTPUT_GARBAGE, "not whole"),
        (ANSWER[: len(ANSWER) // 2], ErrorClass.OUTPUT_GARBAGE, "no end mark"),
        (b"\x00\xff garbage \n\n data: 1", ErrorClass.OUTPUT_GARBAGE, "not whole"),
        (samples.read("llama-server-0.7.0-error.answer"), ErrorClass.RUNNER_FAILED, "answered 400"),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\nLoading", ErrorClass.RUNNER_FAILED, "503: Loading"),
        (b'data: {"error":{"message":"slot died"}}\n\n', ErrorClass.RUNNER_FAILED, "slot died"),
        (b'error: {"message":"slot died"}\n\n', ErrorClass.RUNNER_FAILED, "slot died"),
        (ANSWER.replace(b'"predicted_n":24', b'"predicted_n":23'), ErrorClass.RUNNER_FAILED, "23 tokens"),
        (ANSWER.replace(b'"cache_n":0', b'"cache_n":5'), ErrorClass.OUTPUT_GARBAGE, "cache"),
        (ANSWER.replace(b'"prompt_n":32', b'"prompt_n":31'), ErrorClass.OUTPUT_GARBAGE, "31 prompt tokens"),
        (ANSWER.replace(b'"timings"', b'"tomings"'), ErrorClass.OUTPUT_GARBAGE, "no timings"),
        (ANSWER.replace(b'"predicted_ms":627', b'"predicted_ms":100'), ErrorClass.OUTPUT_GARBAGE, "ascend"),
    ],
)
def test_an_answer_that_is_no_measurement_is_a_problem(answer: bytes, error_class: ErrorClass, part: str) -> None:
    figures = SERVER.parse(REQUEST, samples.served(answer, STDERR))
    assert figures.problem is not None
    assert figures.problem.error_class is error_class
    assert part in figures.problem.message
    assert all(isinstance(reading, Unavailable) for reading in figures.metrics.values())


def test_a_server_that_ends_by_itself_has_failed_even_with_exit_code_0() -> None:
    figures = SERVER.parse(REQUEST, samples.ended(stream=ANSWER))
    assert figures.problem is not None
    assert figures.problem.error_class is ErrorClass.RUNNER_FAILED


def test_a_server_that_is_never_ready_is_timed_out_with_its_last_words() -> None:
    output = samples.ended(b"", b"loading\nstill loading\n", exit_code=None, ended_by="not_ready")
    problem = SERVER.parse(REQUEST, output).problem
    assert problem is not None
    assert problem.error_class is ErrorClass.TIMED_OUT
    assert "still loading" in problem.message


def test_the_command_line_takes_what_the_build_offers() -> None:
    command = SERVER.command(REQUEST, samples.build())
    text = " ".join(command.argv)
    for part in ("--host 127.0.0.1 --port 18080", "-c 256", "-t 2", "-tb 2", "--no-ui", "--cache-ram 0"):
        assert part in text
    assert "--fit off" in text
    assert "--log-timestamps" in text
    bare = frozenset({"--model", "--host", "--port", "--ctx-size", "--threads", "--n-gpu-layers", "--no-webui"})
    old = " ".join(SERVER.command(REQUEST, samples.build(bare)).argv)
    assert old.endswith("--port 18080 -c 256 --no-webui")


@pytest.mark.parametrize(
    ("options", "flash", "words"),
    [
        (samples.OPTIONS, True, "-fa on"),
        (samples.OPTIONS, False, "-fa off"),
        (frozenset({"--flash-attn"}), True, "-fa"),
        (frozenset({"--flash-attn"}), False, ""),
    ],
)
def test_flash_attention_is_a_flag_in_old_builds(options: frozenset[str], flash: bool, words: str) -> None:
    workload = samples.stream(flash_attn=flash)
    argv = SERVER.command(samples.request(workload), samples.build(options)).argv
    given = argv[argv.index("-c") + 2 :]
    assert " ".join(given[: len(words.split())]) == words
    assert ("-fa" in given) is bool(words)


def test_load_modes_of_old_and_new_builds() -> None:
    old = frozenset({*samples.OPTIONS, "--no-mmap", "--mlock"}) - {"--load-mode"}
    for mode, options, words in (
        ("read", samples.OPTIONS, "-lm none"),
        ("mlock", samples.OPTIONS, "-lm mlock"),
        ("read", old, "--no-mmap"),
        ("mlock", old, "--mlock"),
    ):
        workload = samples.stream(load_mode=mode)
        assert SERVER.refusal(workload, samples.MODEL, samples.build(options)) is None
        assert words in " ".join(SERVER.command(samples.request(workload), samples.build(options)).argv)
    neither = samples.OPTIONS - {"--load-mode"}
    problem = SERVER.refusal(samples.stream(load_mode="read"), samples.MODEL, samples.build(neither))
    assert problem is not None
    assert problem.message == "this build of llama-server does not know --no-mmap"


def test_the_request_asks_for_the_same_work_every_night() -> None:
    http = SERVER.command(REQUEST, samples.build()).http
    assert http is not None
    body = json.loads(http.body)
    assert http.port == 18080
    assert (http.ready_path, http.path, http.stop_marker) == ("/health", "/completion", b'"stop":true')
    assert http.stop_marker in ANSWER
    assert body["prompt"] == token_ids(32, 49_152)
    assert body["n_predict"] == 24
    assert body["ignore_eos"] and body["timings_per_token"] and body["return_tokens"] and body["stream"]
    assert body["cache_prompt"] is False
    assert body["temperature"] == 0
    assert http.body == SERVER.command(REQUEST, samples.build()).http.body  # type: ignore[union-attr]


def test_a_text_prompt_is_sent_as_text_and_its_length_believed() -> None:
    request = samples.request(samples.stream(prompt_file="p.txt"), 'say "hi" $(id)')
    http = SERVER.command(request, samples.build()).http
    assert http is not None
    assert json.loads(http.body)["prompt"] == 'say "hi" $(id)'
    argv = SERVER.command(samples.request(request.workload, "x" * 1000), samples.build()).argv
    assert argv[argv.index("-c") + 1] == "1280", "a token per byte at most"
    argv = SERVER.command(samples.request(request.workload, "x" * 100_000), samples.build()).argv
    assert argv[argv.index("-c") + 1] == "8192", "the model's own context"
    longer = ANSWER.replace(b'"prompt_n":32', b'"prompt_n":31')
    assert SERVER.parse(request, samples.served(longer, STDERR)).problem is None


def test_the_context_holds_what_is_asked_for() -> None:
    small = samples.stream(context=40)
    problem = SERVER.refusal(small, samples.MODEL, samples.build())
    assert problem is not None
    assert "cannot hold 32 + 24" in problem.message
    problem = SERVER.refusal(samples.stream(context=9000), samples.MODEL, samples.build())
    assert problem is not None
    assert "the model has 8192" in problem.message
    argv = SERVER.command(samples.request(samples.stream(context=2048)), samples.build()).argv
    assert argv[argv.index("-c") + 1] == "2048"


@pytest.mark.parametrize("vocabulary", [8, 300, 1000, 32_000, 49_152, 151_936])
def test_prompt_ids_are_ordinary_tokens_of_the_vocabulary(vocabulary: int) -> None:
    ids = token_ids(500, vocabulary)
    assert len(ids) == 500
    assert all(0 < number < vocabulary for number in ids)
    assert ids[:100] == token_ids(100, vocabulary), "a longer prompt begins with the shorter one"
    assert len(set(ids)) > min(300, vocabulary // 4)

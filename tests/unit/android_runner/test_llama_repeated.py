"""llama-server for some minutes: the kept answers, and each token's time on the device's clock."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from android_runner.event_stream import events, read_answer
from android_runner.llama_repeated import SHORTEN
from android_runner.llama_server import LlamaServer
from harness.errors import ErrorClass
from harness.model import Measured, WorkloadKind

from . import samples

SERVER = LlamaServer()
ANSWER = samples.read("llama-server-0.7.0.answer")
KEPT = samples.shortened(ANSWER)
STAMPS = [(5000.0, 5001.1), (5001.12, 5002.24), (5002.26, 5003.36)]
STREAM = samples.repeated(KEPT, STAMPS)
REQUEST = samples.request(samples.stream(kind=WorkloadKind.SUSTAINED, minutes=0.05))
ALONE = SERVER.parse(samples.request(samples.stream()), samples.served(ANSWER))


def value(reading: object) -> float:
    assert isinstance(reading, Measured), reading
    return reading.value


def test_the_device_keeps_little_and_nothing_that_is_read_is_lost() -> None:
    assert len(KEPT) < len(ANSWER) / 2
    short, full = list(events(read_answer(KEPT).body)), list(events(read_answer(ANSWER).body))
    assert len(short) == len(full) == 25
    for kept, whole in zip(short, full, strict=True):
        assert kept["stop"] == whole["stop"]
        for name in ("cache_n", "prompt_n", "prompt_ms", "predicted_n", "predicted_ms"):
            assert kept["timings"][name] == whole["timings"][name]
    assert short[-1]["stop_type"] == "limit"


def test_words_of_the_model_cannot_imitate_an_event() -> None:
    said = json.dumps({"content": '"stop":true "timings":{"x":1}', "stop": False, "timings": {"predicted_n": 3}})
    (event,) = events(samples.shortened(b"data: " + said.replace(" ", "").encode() + b"\n"))
    assert event == {"stop": False, "timings": {"predicted_n": 3}}


def test_the_request_is_repeated_for_the_minutes_of_the_workload() -> None:
    http = SERVER.command(REQUEST, samples.build()).http
    assert http is not None
    assert (http.repeat_for_s, http.shorten) == (3.0, SHORTEN)
    once = SERVER.command(samples.request(samples.stream()), samples.build()).http
    assert once is not None
    assert (once.repeat_for_s, once.shorten) == (0.0, "")
    assert once.body == http.body


def test_figures_over_all_requests() -> None:
    figures = SERVER.parse(REQUEST, samples.served(STREAM, stamps={"started": 4999.0, "ready": 4999.9}))
    assert figures.problem is None
    for name in ("ttft_ms", "prefill_tps", "decode_tps"):
        assert value(figures.metrics[name]) == pytest.approx(value(ALONE.metrics[name]))
    assert value(figures.metrics["load_ms"]) == pytest.approx(900)
    assert figures.itl_ms == ALONE.itl_ms * 3, "the first token of a request has none"
    assert figures.reported["requests"] == 3
    assert figures.reported["generated_tokens"] == 72
    assert figures.reported["ttft_ms_first"] == pytest.approx(value(ALONE.metrics["ttft_ms"]))


def test_every_token_has_a_time_on_the_device_s_clock() -> None:
    figures = SERVER.parse(REQUEST, samples.served(STREAM))
    times = figures.token_times
    assert len(times) == 72
    assert [number for number, (_, tokens) in enumerate(times) if tokens == 0] == [0, 24, 48]
    assert sum(tokens for _, tokens in times) == 69
    for number, (asked, answered) in enumerate(STAMPS):
        own = times[24 * number : 24 * number + 24]
        assert asked + 0.446 < own[0][0] and own[-1][0] < answered
        assert [b[0] - a[0] for a, b in pairwise(own)] == pytest.approx([ms / 1000 for ms in ALONE.itl_ms], abs=1e-6)
    # 1.10 s between the stamps, 1.074 s of them by the server's own account.
    assert figures.reported["token_time_error_s"] == pytest.approx((1.12 - 1.0736) / 2 + 0.01, abs=0.002)


def test_tokens_that_share_an_event_count_together() -> None:
    lines = KEPT.split(b"\n")
    cut = b"\n".join(line for line in lines if b'"predicted_n":7,' not in line)
    figures = SERVER.parse(REQUEST, samples.served(samples.repeated(cut, STAMPS)))
    assert [tokens for _, tokens in figures.token_times[:8]] == [0, 1, 1, 1, 1, 1, 2, 1]
    assert len(figures.itl_ms) == 63
    assert figures.reported["itl_not_separable"] == 6


@pytest.mark.parametrize(
    ("stream", "error_class", "part"),
    [
        (b"", ErrorClass.OUTPUT_GARBAGE, "0 bytes without any request"),
        (ANSWER, ErrorClass.OUTPUT_GARBAGE, "without any request"),
        (STREAM[: len(STREAM) // 2], ErrorClass.OUTPUT_GARBAGE, "request 2 of 2"),
        (STREAM[:-20], ErrorClass.OUTPUT_GARBAGE, "request 3 of 3"),
        (samples.repeated(KEPT, STAMPS[:2]), ErrorClass.OUTPUT_GARBAGE, "lasted 2.2 s, 3 s were asked for"),
        (samples.repeated(KEPT, [STAMPS[1], STAMPS[0], STAMPS[2]]), ErrorClass.OUTPUT_GARBAGE, "do not ascend"),
        (STREAM.replace(b"answered=5002", b"answered=4002"), ErrorClass.OUTPUT_GARBAGE, "no stamps"),
        (STREAM.replace(b"answered=5002", b"answered=5.0.2"), ErrorClass.OUTPUT_GARBAGE, "no stamps"),
        (STREAM.replace(b" 200 OK", b" 500 Oops", 1), ErrorClass.RUNNER_FAILED, "request 1 of 3: the server answered"),
        (STREAM.replace(b'"predicted_n":24', b'"predicted_n":20'), ErrorClass.RUNNER_FAILED, "23 tokens"),
        (STREAM.replace(b'"cache_n":0', b'"cache_n":9'), ErrorClass.OUTPUT_GARBAGE, "cache"),
    ],
)
def test_a_stream_that_is_no_measurement_is_a_problem(stream: bytes, error_class: ErrorClass, part: str) -> None:
    figures = SERVER.parse(REQUEST, samples.served(stream))
    assert figures.problem is not None
    assert figures.problem.error_class is error_class
    assert part in figures.problem.message
    assert figures.token_times == ()


def test_a_server_that_dies_on_the_way_has_failed() -> None:
    ended = samples.ended(stream=STREAM[:-400], exit_code=None, signal=9)
    problem = SERVER.parse(REQUEST, ended).problem
    assert problem is not None
    assert problem.error_class is ErrorClass.KILLED

"""Event lines of the runner contract: figures from whole ones, a typed problem from all others."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from statistics import median
from typing import Any

import pytest

from android_runner.base import Figures, Problem
from android_runner.classify import bad_end
from android_runner.runner_errors import ERRORS
from android_runner.runner_events import CONTRACT
from android_runner.runner_figures import figures_of
from harness.errors import ErrorClass
from harness.model import Measured, Reading, Unavailable

from . import samples

RECORDED = {name: samples.read(file) for name, file in samples.RUNNER_EVENTS.items()}
STREAM = RECORDED["stream"]
KILLED = bad_end(samples.ended(exit_code=None, signal=9))


def figures(name: str, events: bytes | None = None, ended: Problem | None = None) -> Figures:
    return figures_of(RECORDED[name] if events is None else events, samples.runner_request(name).workload, ended)


def value(reading: Reading) -> float:
    assert isinstance(reading, Measured), reading
    return reading.value


def reason(reading: Reading) -> str:
    assert isinstance(reading, Unavailable), reading
    return reading.reason


def lines(events: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in events.splitlines()]


def changed(events: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The events after `change` was called for each; one for which it returns False is left out."""
    kept = [event for event in lines(events) if change(event) is not False]
    return b"".join(json.dumps(event, separators=(",", ":")).encode() + b"\n" for event in kept)


def times(events: bytes, name: str) -> list[int]:
    return [event["t"] for event in lines(events) if event["event"] == name]


def test_a_stream() -> None:
    found = figures("stream")
    assert found.problem is None
    (start,), (ready,), (begin,), (read,) = (
        times(STREAM, name) for name in ("start", "load_end", "prefill_begin", "prefill_end")
    )
    tokens = times(STREAM, "token")
    assert len(tokens) == 24
    (counting,) = (event["counting_ns"] for event in lines(STREAM) if event["event"] == "load_begin")
    assert counting > 0 and value(found.metrics["load_ms"]) == pytest.approx((ready - start - counting) / 1e6)
    assert value(found.metrics["ttft_ms"]) == pytest.approx((tokens[0] - begin) / 1e6)
    assert value(found.metrics["prefill_tps"]) == pytest.approx(32 / (read - begin) * 1e9)
    assert value(found.metrics["decode_tps"]) == pytest.approx(23 / (tokens[-1] - tokens[0]) * 1e9)
    assert found.itl_ms == pytest.approx([(b - a) / 1e6 for a, b in itertools.pairwise(tokens)])
    assert found.token_times == tuple((at / 1e9, int(place > 0)) for place, at in enumerate(tokens))
    ttft = found.metrics["ttft_ms"]
    assert isinstance(ttft, Measured)
    assert (ttft.unit, ttft.source, ttft.resolution) == ("ms", "runner events: first token - prefill_begin", 1e-6)


def test_what_the_runner_says_of_itself_is_kept() -> None:
    reported = figures("stream").reported
    start = lines(STREAM)[0]
    assert {
        name: reported[name] for name in ("runtime", "version", "build", "pid", "threads", "load_mode", "seed")
    } == {name: start[name] for name in ("runtime", "version", "build", "pid", "threads", "load_mode", "seed")}
    assert reported["backends"] == ["CPU"]
    assert "SSE3 = 1" in reported["cpu_features"]
    assert (reported["context"], reported["vocabulary"]) == (256, 49_152)
    # 30 layers, 3 heads of 64 for K and V, two bytes each; llama.cpp tells hundredths of a MiB.
    assert reported["kv_bytes"] == pytest.approx(30 * 3 * 64 * 2 * 2 * 256, abs=6000)
    assert (reported["prompt_tokens"], reported["generated_tokens"], reported["turns"]) == (32, 24, 1)
    assert reported["evicted"] is False
    assert reported["model_bytes"] == reported["cached_before_bytes"] == reported["cached_after_bytes"]
    assert reported["memory"]["vm_hwm_bytes"] >= reported["memory"]["vm_rss_bytes"] > 0
    assert 0 < reported["model_load_ms"] <= value(figures("stream").metrics["load_ms"])
    assert json.loads(json.dumps(reported)) == reported


def test_the_overhead_is_what_the_runtime_does_not_count() -> None:
    found = figures("stream").reported["framework_overhead"]
    (own,) = (event for event in lines(STREAM) if event["event"] == "own_times")
    wall = times(STREAM, "token")[-1] - times(STREAM, "prefill_begin")[0]
    assert found["us"] == pytest.approx((wall - own["prefill_ns"] - own["decode_ns"]) / 24_000, abs=0.002)
    assert found["choosing_us"] == pytest.approx(own["choosing_ns"] / 24_000, abs=0.002)
    parts = found["runner_us"] + found["choosing_us"] + found["calls_us"]
    assert found["us"] == pytest.approx(parts, abs=0.003)
    assert found["runner_us"] > 0
    silent = changed(STREAM, lambda event: event.update(prefill_ns=0, decode_ns=0) if "taking_ns" in event else None)
    assert "unavailable" in figures("stream", silent).reported["framework_overhead"]
    absent = changed(STREAM, lambda event: event["event"] != "own_times")
    assert "framework_overhead" not in figures("stream", absent).reported


def test_the_runner_tells_when_it_was_ready_asked_and_done() -> None:
    stamps = figures("stream").stamps
    assert stamps == {
        "ready": times(STREAM, "load_end")[0] / 1e9,
        "requested": times(STREAM, "prefill_begin")[0] / 1e9,
        "answered": times(STREAM, "token")[-1] / 1e9,
    }
    # Of many requests no one stands for the run.
    assert figures("sustained").stamps.keys() == {"ready"}
    assert figures("throughput").stamps.keys() == {"ready"}


def test_the_warm_up_of_throughput_counts_in_no_overhead() -> None:
    events = lines(RECORDED["throughput"])
    assert [event["what"] for event in events if event["event"] == "turn"] == ["prefill", "decode"]
    found = figures("throughput").reported["framework_overhead"]
    assert found["tokens"] == 16
    assert 0 < found["us"] < 1000, "the warm-up alone takes more than 3 ms"


def test_throughput_takes_the_median_of_its_repetitions() -> None:
    recorded = RECORDED["throughput"]
    one = figures("throughput")
    assert one.problem is None
    (begin,), (end,) = (times(recorded, name)[:1] for name in ("prefill_begin", "prefill_end"))
    assert value(one.metrics["prefill_tps"]) == pytest.approx(32 / (end - begin) * 1e9)
    assert "takes prompt and tokens apart" in reason(one.metrics["ttft_ms"])
    assert len(one.itl_ms) == 15

    # Two more repetitions, twice and three times as slow.
    events = lines(recorded)
    first = next(place for place, event in enumerate(events) if event["event"] == "turn")
    work, rest = events[first:-2], events[-2:]
    whole, shift, index = events[:first], 0, 0
    rates = []
    for slower in (1, 2, 3):
        base = work[0]["t"]
        for original in work:
            event = {**original, "t": base + shift + (original["t"] - base) * slower}
            if event["event"] == "turn":
                event["index"], index = index, index + 1
            whole.append(event)
        rates.append(value(one.metrics["decode_tps"]) / slower)
        shift = whole[-1]["t"] - base + 1
    whole += [{**event, "t": event["t"] + 10 * shift} for event in rest]
    whole[-1] |= {"turns": 6, "tokens": 48}
    found = figures("throughput", b"".join(json.dumps(event).encode() + b"\n" for event in whole))
    assert found.problem is None
    decode = found.metrics["decode_tps"]
    assert value(decode) == pytest.approx(median(rates))
    assert isinstance(decode, Measured) and decode.source.endswith("(median of 3)")


def test_a_sustained_run_sums_its_requests() -> None:
    recorded = RECORDED["sustained"]
    found = figures("sustained")
    assert found.problem is None
    begins, ends = times(recorded, "prefill_begin"), times(recorded, "prefill_end")
    passed = sum(end - begin for begin, end in zip(begins, ends, strict=True))
    assert len(begins) > 3
    assert value(found.metrics["prefill_tps"]) == pytest.approx(32 * len(begins) / passed * 1e9)
    assert sum(tokens == 0 for _, tokens in found.token_times) == len(begins)
    assert found.token_times[0] == (times(recorded, "token")[0] / 1e9, 0)
    assert sum(tokens for _, tokens in found.token_times) == len(found.itl_ms)
    assert found.reported["turns"] == len(begins)
    short = dataclasses.replace(samples.runner_request("sustained").workload, minutes=0.1)
    problem = figures_of(recorded, short, None).problem
    assert problem is not None and "6 s were asked for" in problem.message


# --- loads ------------------------------------------------------------------------------------------------------------


def test_a_cold_load_is_proven() -> None:
    recorded = RECORDED["evict"]
    found = figures("evict")
    (begin,), (ready,) = times(recorded, "load_begin"), times(recorded, "load_end")
    assert value(found.metrics["load_cold_ms"]) == pytest.approx((ready - begin) / 1e6)
    assert reason(found.metrics["load_ms"]) == "this was a cold load: see load_cold_ms"
    assert found.reported["evicted"] is True
    assert found.reported["cached_before_bytes"] < 0.01 * found.reported["model_bytes"]
    assert found.reported["cached_found_bytes"] == found.reported["cached_after_bytes"] == found.reported["model_bytes"]
    assert "was kept" in reason(figures("stream").metrics["load_cold_ms"])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"evicted": False}, "did not take the model out"),
        ({"cached_bytes": -1}, "does not tell how much"),
        ({"cached_bytes": "0"}, "does not tell how much"),
        ({"model_bytes": 0}, "does not tell how much"),
        ({"model_bytes": 1000, "cached_bytes": 10}, "1.0 % of the model was still in memory"),
        ({"model_bytes": 1000, "cached_bytes": 1000}, "100.0 % of the model was still in memory"),
    ],
)
def test_a_load_that_is_not_proven_cold_is_none(change: dict[str, object], why: str) -> None:
    events = changed(RECORDED["evict"], lambda event: event.update(change) if event["event"] == "load_begin" else None)
    found = figures("evict", events)
    assert found.problem is None
    assert why in reason(found.metrics["load_cold_ms"])
    assert why in reason(found.metrics["load_ms"])


# --- what is no measurement -------------------------------------------------------------------------------------------


def unmeasured(found: Figures, error_class: ErrorClass, part: str) -> None:
    assert found.problem is not None
    assert (found.problem.error_class, part in found.problem.message) == (error_class, True), found.problem
    assert all(isinstance(reading, Unavailable) for reading in found.metrics.values())
    assert found.itl_ms == found.token_times == ()


@pytest.mark.parametrize("moment", range(10))
@pytest.mark.parametrize("name", samples.RUNNER_EVENTS)
def test_a_runner_killed_at_ten_moments(name: str, moment: int) -> None:
    """What it wrote until then is read, and the case is typed: by the signal, or as events that are not whole."""
    whole = RECORDED[name]
    left = whole[: moment * (len(whole) - 2) // 9]
    seen = len(left.splitlines())
    unmeasured(figures(name, left, KILLED), ErrorClass.KILLED, "SIGKILL")
    unmeasured(figures(name, left), ErrorClass.OUTPUT_GARBAGE, "its events stop" if seen > 1 else "wrote no event")
    tokens = sum(
        line.startswith(b'{"event":"token"') and line.endswith(b"}\n") for line in left.splitlines(keepends=True)
    )
    assert figures(name, left, KILLED).reported.get("generated_tokens", 0) in (tokens, tokens + left.endswith(b"}"))


def test_it_is_told_how_far_it_came() -> None:
    def until(name: str, number: int = 1) -> bytes:
        place = [place for place, event in enumerate(lines(STREAM)) if event["event"] == name][number - 1]
        return b"".join(STREAM.splitlines(keepends=True)[: place + 1])

    for left, said in (
        (until("start"), "before the load"),
        (until("load_begin"), "in the load"),
        (until("load_end"), "after the load"),
        (until("prefill_begin"), "in the prompt of turn 1"),
        (until("token", 7), "after token 7 of turn 1"),
        (until("end"), "are whole"),
    ):
        problem = figures("stream", left, KILLED).problem
        assert problem is not None and problem.message.endswith(said)


@pytest.mark.parametrize("error_class", [*ERRORS, "of a later version", ""])
def test_every_error_of_the_runner_has_a_class_of_farm_s(error_class: str) -> None:
    start, error = (
        STREAM.splitlines(keepends=True)[0],
        {"event": "error", "t": 1 << 60, "class": error_class, "message": "why"},
    )
    for before in (b"", start):
        exit_1 = bad_end(samples.ended(exit_code=1))
        found = figures("stream", before + json.dumps(error).encode() + b"\n", exit_1)
        expected = ERRORS[error_class][0] if error_class in ERRORS else ErrorClass.RUNNER_FAILED
        unmeasured(found, expected, "why")
        assert found.problem is not None and found.problem.advice


def test_a_full_disk_is_told_from_other_failures_to_write() -> None:
    error = {"event": "error", "t": 1, "class": "output_unwritable", "message": "the events: No space left on device"}
    unmeasured(figures("stream", json.dumps(error).encode()), ErrorClass.STORAGE_FULL, "No space left")


@pytest.mark.parametrize(
    ("version", "read"),
    [("1.0", True), ("1.9", True), ("1", True), ("2.0", False), ("0.9", False), ("", False), (1, False)],
)
def test_another_major_version_is_refused(version: object, read: bool) -> None:
    events = changed(STREAM, lambda event: event.update(contract=version) if event["event"] == "start" else None)
    found = figures("stream", events)
    if read:
        assert found.problem is None
    else:
        unmeasured(found, ErrorClass.RUNNER_INVALID, f"farm speaks {CONTRACT}")


def test_what_a_later_version_adds_is_passed_over() -> None:
    more = changed(STREAM, lambda event: event.update(added={"a": [1]}))
    extra = b'{"event":"power","t":0,"watts":3}\n'
    first, rest = more.split(b"\n", 1)
    at = json.loads(first)["t"]
    found = figures("stream", first + b"\n" + extra.replace(b'"t":0', b'"t":%d' % at) + rest)
    assert found == figures("stream")


def test_lines_that_are_no_event_are_passed_over_and_counted() -> None:
    noise = b'ggml: hello\n\xff\xfe\n{\n[1]\n{"event":1,"t":2}\n{"event":"token"}\n\n'
    first, rest = STREAM.split(b"\n", 1)
    found = figures("stream", noise + first + b"\r\n" + noise + rest)
    assert found.problem is None
    assert found.metrics == figures("stream").metrics
    assert found.reported["foreign_lines"] == 12


def no_token_7(event: dict[str, Any]) -> object:
    return not (event["event"] == "token" and event["index"] == 7)


def backwards(event: dict[str, Any]) -> object:
    return event.update(t=event["t"] - 10**9) if event["event"] == "token" and event["index"] == 7 else None


def later(event: dict[str, Any]) -> object:
    return event.update(t=event["t"] + 10**12)


def other_prompt(event: dict[str, Any]) -> object:
    return event.update(tokens=31) if event["event"].startswith("prefill") else None


@pytest.mark.parametrize(
    ("events", "part"),
    [
        (b"", "it wrote no event"),
        (b"\x00\xff{{{\n" * 50, "it wrote no event"),
        (changed(STREAM, no_token_7), "token 8 of a turn is missing"),
        (changed(STREAM, lambda event: event["event"] != "turn"), "is of no turn"),
        (changed(STREAM, lambda event: event["event"] != "load_end"), "before the end of the load"),
        (changed(STREAM, lambda event: event["event"] != "start"), "outside start and end"),
        (changed(STREAM, lambda event: event["event"] != "prefill_end"), "token 1 of a turn is missing"),
        (changed(STREAM, backwards), "do not ascend"),
        (changed(STREAM, other_prompt), "31 tokens, 32 were asked for"),
        (
            changed(STREAM, lambda event: event.update(tokens=25) if event["event"] == "end" else None),
            "other turns or tokens",
        ),
        (changed(STREAM, lambda event: event.update(kind="battery") if "kind" in event else None), "of kind battery"),
        (changed(STREAM, lambda event: event.update(what="decode") if "what" in event else None), "there are others"),
        (STREAM + changed(STREAM, later), "started more than once"),
        (RECORDED["throughput"], "of kind throughput"),
    ],
)
def test_events_that_do_not_fit_are_a_problem(events: bytes, part: str) -> None:
    if not part.startswith("it wrote") and "ascend" not in part:
        assert events
    unmeasured(figures("stream", events), ErrorClass.OUTPUT_GARBAGE, part)


def test_fewer_tokens_than_asked_for_are_no_measurement() -> None:
    more = dataclasses.replace(samples.runner_request("stream").workload, gen_tokens=25)
    unmeasured(figures_of(STREAM, more, None), ErrorClass.OUTPUT_GARBAGE, "24 tokens were generated, 25 were asked for")


def test_a_prompt_of_text_has_as_many_tokens_as_it_has() -> None:
    text = dataclasses.replace(samples.runner_request("stream").workload, prompt_tokens=999, prompt_file="p.txt")
    assert figures_of(STREAM, text, None).problem is None


def test_a_crash_is_what_its_signal_says() -> None:
    crash = b'{"event":"error","t":%d,"class":"crashed","message":"signal 11"}\n' % (times(STREAM, "token")[5] + 1)
    cut = STREAM[: STREAM.index(b'"index":6')].rpartition(b"\n")[0] + b"\n" + crash
    for signal, error_class in ((11, ErrorClass.CRASHED), (4, ErrorClass.ILLEGAL_INSTRUCTION)):
        problem = figures("stream", cut, bad_end(samples.ended(exit_code=None, signal=signal))).problem
        assert problem is not None and problem.error_class is error_class
        assert "token 6 of turn 1" in problem.message
    # Without a signal, the event alone tells.
    problem = figures("stream", cut).problem
    assert problem is not None and problem.error_class is ErrorClass.CRASHED

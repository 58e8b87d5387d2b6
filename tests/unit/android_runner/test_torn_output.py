"""Whatever arrives, a parser gives figures or a problem, never an exception, and every figure is a finite number."""

from __future__ import annotations

import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from android_runner.adapters import ADAPTERS
from android_runner.base import Figures
from android_runner.executorch_llama_main import ExecutorchLlamaMain
from android_runner.figures import RUNNER_METRICS
from harness.model import Measured, Unavailable, WorkloadKind

from . import samples

ANSWER = samples.read("llama-server-0.7.0.answer")
RECORDED = {
    WorkloadKind.THROUGHPUT: (samples.throughput(), samples.read("llama-bench-0.7.0.jsonl")),
    WorkloadKind.STREAM: (samples.stream(), ANSWER),
    WorkloadKind.SUSTAINED: (
        samples.stream(kind=WorkloadKind.SUSTAINED, minutes=0.05),
        samples.repeated(samples.shortened(ANSWER), [(100.0, 101.2), (101.3, 102.5), (102.6, 103.8)]),
    ),
}
RECORDED[WorkloadKind.BATTERY] = RECORDED[WorkloadKind.SUSTAINED]
STOCK = [adapter for adapter in ADAPTERS if adapter.program in ("llama-bench", "llama-server")]
RECORDED_KINDS = [(adapter, kind) for adapter in STOCK for kind in sorted(adapter.kinds)]
PRINTED = [
    *((ADAPTERS[0], samples.runner_request(name), samples.read(file)) for name, file in samples.RUNNER_EVENTS.items()),
    (
        ExecutorchLlamaMain(),
        samples.request(samples.stream(prompt_file="p"), "text"),
        samples.read("llama_main-documented.stdout"),
    ),
]
"""Adapters that read standard output alone: with the request and what was recorded for it."""
LOG = samples.read("llama-server-0.7.0.stderr")


@st.composite
def mutated(draw: st.DrawFn, original: bytes) -> bytes:
    """`original` cut, overwritten, doubled or spliced at random places."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["cut", "drop", "write", "number", "double"]))
        if kind == "cut":
            del data[at:]
        elif kind == "drop":
            del data[at : at + draw(st.integers(1, 200))]
        elif kind == "write":
            data[at : at + 5] = draw(st.binary(max_size=20))
        elif kind == "number":
            data[at:at] = draw(st.sampled_from([b"NaN", b"Infinity", b"-1", b"1e999", b"null", b"true", b"[", b"{"]))
        else:
            data += data[at : at + 2000]
    return bytes(data)


def check(figures: Figures) -> None:
    assert (
        {"load_ms", "ttft_ms", "prefill_tps", "decode_tps"}
        <= set(figures.metrics)
        <= {*RUNNER_METRICS, "peak_memory_mb"}
    )
    for reading in figures.metrics.values():
        if isinstance(reading, Measured):
            assert figures.problem is None
            assert math.isfinite(reading.value)
            assert reading.value > 0
        else:
            assert isinstance(reading, Unavailable)
            assert reading.reason
    times = [at for at, _ in figures.token_times]
    assert times == sorted(times) and all(math.isfinite(at) for at in times)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_mutations_of_recorded_outputs(data: st.DataObject) -> None:
    for adapter, kind in RECORDED_KINDS:
        workload, recorded = RECORDED[kind]
        output = data.draw(mutated(recorded))
        log = data.draw(mutated(LOG))
        run = samples.ended(output, log) if kind is WorkloadKind.THROUGHPUT else samples.served(output, log)
        check(adapter.parse(samples.request(workload), run))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400), st.binary(max_size=200), st.one_of(st.none(), st.integers(-300, 300)))
def test_any_bytes_and_any_exit_code(output: bytes, log: bytes, exit_code: int | None) -> None:
    for adapter, kind in RECORDED_KINDS:
        workload, _ = RECORDED[kind]
        for ended_by in ("exit", "limit", "server_done", "not_ready", "cancel"):
            run = samples.ended(output, log, exit_code=exit_code, ended_by=ended_by, stream=output)
            check(adapter.parse(samples.request(workload), run))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_mutations_of_what_is_printed(data: st.DataObject) -> None:
    for adapter, request, recorded in PRINTED:
        output = data.draw(mutated(recorded))
        check(adapter.parse(request, samples.ended(output, exit_code=data.draw(st.sampled_from([0, 1, 137])))))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400), st.binary(max_size=200), st.one_of(st.none(), st.integers(-300, 300)))
def test_any_bytes_are_printed(output: bytes, log: bytes, exit_code: int | None) -> None:
    for adapter, request, recorded in PRINTED:
        for printed in (output, recorded[:300] + output, recorded[:-40] + output):
            check(adapter.parse(request, samples.ended(printed, log, exit_code=exit_code)))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_value_of_any_field_of_an_event(data: st.DataObject) -> None:
    values = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.just([]),
        st.just({}),
        st.sampled_from([2**62, 2**63, 10**400, -1, 0]),
    )
    adapter, request, recorded = data.draw(st.sampled_from(PRINTED[:-1]))
    lines = [json.loads(line) for line in recorded.splitlines()]
    for _ in range(data.draw(st.integers(1, 3))):
        event = data.draw(st.sampled_from(lines))
        event[data.draw(st.sampled_from(sorted(event)))] = data.draw(values)
    check(adapter.parse(request, samples.ended(b"".join(json.dumps(line).encode() + b"\n" for line in lines))))

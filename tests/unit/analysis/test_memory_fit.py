"""The memory a model will take: against peaks of real processes, and every way a figure can be unknown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.memory_fit import (
    FIRST_KILL_MB,
    LAST_KILL_MB,
    Footprint,
    MemoryRequest,
    aftermath,
    footprint,
    predict,
    repacked_bytes,
    request_of,
)
from harness.model import Artifact, ArtifactFile, Measured, ModelFile, Unavailable, Workload, WorkloadKind
from harness.model.devices import ModelShape, WeightGroup

SMALL = ModelFile(
    Artifact("model", "0" * 64, ()),
    "llama",
    134_515_008,
    49_152,
    8192,
    30,
    ModelShape(
        (
            WeightGroup("F32", "other", 140_544),
            WeightGroup("Q4_K", "matrix", 7_962_624),
            WeightGroup("Q5_0", "matrix", 53_678_592),
            WeightGroup("Q6_K", "matrix", 10_160_640),
            WeightGroup("Q8_0", "embedding", 30_081_024),
            WeightGroup("Q8_0", "matrix", 1_645_056),
        ),
        tied_output=True,
        embedding_length=576,
        feed_forward_length=1536,
        head_count=9,
        kv_head_layers=90,
        key_length=64,
        value_length=64,
    ),
)
"""SmolLM2-135M Q4_K_M, as its header gives it."""

LARGER = ModelFile(
    Artifact("model", "1" * 64, ()),
    "llama",
    361_821_120,
    49_152,
    8192,
    32,
    ModelShape(
        (
            WeightGroup("F32", "other", 249_600),
            WeightGroup("Q4_0", "matrix", 176_947_200),
            WeightGroup("Q8_0", "embedding", 50_135_040),
        ),
        tied_output=True,
        embedding_length=960,
        feed_forward_length=2560,
        head_count=15,
        kv_head_layers=160,
        key_length=64,
        value_length=64,
    ),
)
"""SmolLM2-360M Q4_0."""

BENCH = MemoryRequest("bench", 512, 512, "f16", False, "mmap", True, "x86_64")


def fits(model: ModelFile, request: MemoryRequest) -> Footprint:
    found = footprint(model, request)
    assert isinstance(found, Footprint)
    return found


@pytest.mark.parametrize(
    ("model", "request_", "peak_mb", "anonymous_mb"),
    [
        (SMALL, replace(BENCH, context=256, micro_batch=64), 148.8, 31.9),
        (SMALL, replace(BENCH, context=256, micro_batch=64, load_mode="read"), 140.7, 127.6),
        (SMALL, BENCH, 167.8, 50.8),
        (SMALL, replace(BENCH, load_mode="read"), 159.6, 146.5),
        (SMALL, replace(BENCH, load_mode="read", context=1536), 186.1, 172.9),
        (SMALL, replace(BENCH, load_mode="read", context=1536, scores=True), 218.3, 205.1),
        (SMALL, MemoryRequest("server", 768, 512, "f16", False, "read", True, "x86_64"), 174.1, 156.1),
        (LARGER, BENCH, 477.1, 237.9),
        (LARGER, replace(BENCH, load_mode="read"), 301.8, 288.6),
        (LARGER, replace(BENCH, load_mode="read", micro_batch=128), 283.8, 270.7),
        (LARGER, replace(BENCH, load_mode="read", context=256, micro_batch=256, kv_type="q8_0"), 274.5, 261.4),
        (LARGER, MemoryRequest("server", 2048, 512, "f16", False, "mmap", True, "x86_64"), 546.6, 302.8),
    ],
)
def test_peaks_of_real_processes(
    model: ModelFile, request_: MemoryRequest, peak_mb: float, anonymous_mb: float
) -> None:
    """VmHWM and largest RssAnon of llama-bench and llama-server 0.7.0 on x86-64 (AVX2 variant)."""
    told = fits(model, request_)
    assert told.peak_mb == pytest.approx(peak_mb, rel=0.04)
    assert told.unreclaimable_mb == pytest.approx(anonymous_mb, rel=0.06)


def test_mapped_weights_that_are_repacked_count_twice() -> None:
    mapped, read = fits(LARGER, BENCH), fits(LARGER, replace(BENCH, load_mode="read"))
    assert mapped.repacked_mb == pytest.approx(176.9, abs=0.1)
    assert read.repacked_mb == 0
    assert mapped.peak_mb - read.peak_mb == pytest.approx(176.9, abs=0.1)
    assert fits(LARGER, replace(BENCH, repack=False)).peak_mb == pytest.approx(read.peak_mb)


def test_locked_weights_cannot_be_taken_back() -> None:
    locked, mapped = fits(SMALL, replace(BENCH, load_mode="mlock")), fits(SMALL, BENCH)
    assert locked.peak_mb == pytest.approx(mapped.peak_mb)
    assert locked.unreclaimable_mb - mapped.unreclaimable_mb == pytest.approx(103.67, abs=0.01)


def test_arm_repacks_more_types_and_copies_a_tied_output() -> None:
    assert SMALL.shape is not None
    arm = replace(BENCH, abi="arm64-v8a")
    assert repacked_bytes(SMALL.shape, BENCH) == 7_962_624
    assert repacked_bytes(SMALL.shape, arm) == 7_962_624 + 10_160_640 + 1_645_056 + 30_081_024
    assert repacked_bytes(replace(SMALL.shape, tied_output=False), arm) == 7_962_624 + 10_160_640 + 1_645_056
    assert fits(SMALL, replace(arm, load_mode="read")).repacked_mb == pytest.approx(30.08, abs=0.01)
    assert repacked_bytes(SMALL.shape, replace(BENCH, abi="armeabi-v7a")) == 0


def test_the_request_of_a_workload() -> None:
    bench = request_of(Workload(kind=WorkloadKind.THROUGHPUT, prompt_tokens=300, gen_tokens=64), SMALL, "x86_64")
    assert (bench.program, bench.context, bench.micro_batch) == ("bench", 512, 300)
    stream = Workload(kind=WorkloadKind.STREAM, prompt_tokens=600, gen_tokens=64, kv_type="Q8_0", flash_attn=False)
    asked = request_of(stream, SMALL, "x86_64")
    assert (asked.program, asked.context, asked.micro_batch) == ("server", 768, 512)
    assert (asked.kv_type, asked.scores, asked.load_mode) == ("q8_0", True, "mmap")
    assert request_of(replace(stream, context=4096), SMALL, "x86_64").context == 4096
    assert request_of(replace(stream, batch=32), SMALL, "x86_64").micro_batch == 32
    assert request_of(stream, SMALL, "x86_64", prompt_tokens=1500).context == 1792


@pytest.mark.parametrize("args", [("--no-repack",), ("-nr",), ("--repack", "0"), ("--repack=0",)])
def test_repacking_may_be_switched_off(args: tuple[str, ...]) -> None:
    workload = Workload(kind=WorkloadKind.THROUGHPUT, args=args)
    assert not request_of(workload, SMALL, "arm64-v8a").repack
    assert request_of(replace(workload, args=("--repack", "1")), SMALL, "arm64-v8a").repack


def available(mb: float) -> Measured:
    return Measured(mb, "MB", "/proc/meminfo MemAvailable", 0.001)


def test_the_verdict_follows_the_free_memory() -> None:
    needed = fits(LARGER, BENCH)
    enough = needed.peak_mb * 1.1 + FIRST_KILL_MB
    assert predict(LARGER, BENCH, available(enough + 1)).verdict == "works"
    assert predict(LARGER, BENCH, available(enough - 1)).verdict == "risk"
    hopeless = needed.unreclaimable_mb * 0.9 + LAST_KILL_MB
    assert predict(LARGER, BENCH, available(hopeless + 1)).verdict == "risk"
    crash = predict(LARGER, BENCH, available(hopeless - 1))
    assert crash.verdict == "crashes"
    assert "240 MB cannot be taken back" in crash.reason
    assert predict(LARGER, BENCH, available(hopeless + 50), floor_mb=LAST_KILL_MB + 100).verdict == "crashes"


def test_mapped_weights_that_do_not_fit_are_a_risk_and_read_ones_a_crash() -> None:
    plain = replace(LARGER.shape, weights=(WeightGroup("Q5_1", "matrix", 2_000_000_000),))  # type: ignore[type-var]
    model = replace(LARGER, shape=plain)
    assert predict(model, BENCH, available(1500)).verdict == "risk"
    assert predict(model, replace(BENCH, load_mode="read"), available(1500)).verdict == "crashes"


@pytest.mark.parametrize(
    ("model", "request_", "said"),
    [
        (replace(SMALL, shape=None), BENCH, "tensors"),
        (SMALL, replace(BENCH, backend="vulkan"), "vulkan"),
        (SMALL, replace(BENCH, kv_type="tq9"), "tq9"),
        (replace(SMALL, layer_count=None), BENCH, "lacks a size"),
        (replace(SMALL, shape=replace(SMALL.shape, key_length=None)), BENCH, "lacks a size"),  # type: ignore[type-var]
        (
            replace(SMALL, architecture="mamba", shape=replace(SMALL.shape, other_state="mamba.ssm.state_size")),  # type: ignore[type-var]
            BENCH,
            "mamba.ssm",
        ),
    ],
)
def test_what_cannot_be_told_is_unknown(model: ModelFile, request_: MemoryRequest, said: str) -> None:
    told = predict(model, request_, available(4000))
    assert told.verdict == "unknown"
    assert said in told.reason
    assert told.to_json()["peak_mb"] is None


def test_a_file_larger_than_the_free_memory_is_judged_by_its_size() -> None:
    file = ArtifactFile("model.pte", "/m", 500_000_000, "0" * 64)
    program = ModelFile(Artifact("model", "0" * 64, (file,)), None, None, None, None, None)
    assert predict(program, BENCH, available(600)).verdict == "unknown"
    assert predict(program, BENCH, available(550)).verdict == "crashes"
    assert "500 MB" in predict(program, BENCH, available(550)).reason
    assert predict(program, BENCH, Unavailable("denied")).verdict == "unknown"
    odd = replace(program, shape=replace(SMALL.shape, key_length=None))  # type: ignore[type-var]
    assert predict(odd, BENCH, available(550)).verdict == "risk"
    assert predict(odd, replace(BENCH, load_mode="read"), available(550)).verdict == "crashes"


def test_free_memory_that_was_not_read() -> None:
    told = predict(SMALL, BENCH, Unavailable("denied"))
    assert told.verdict == "unknown"
    assert "denied" in told.reason
    assert told.to_json()["available_mb"] is None
    assert told.to_json()["peak_mb"] == pytest.approx(168.7, abs=0.5)


def test_what_then_happened_stands_beside_it() -> None:
    told = predict(SMALL, BENCH, available(4000))
    after = aftermath(told, available(167.8), None)
    assert after["happened"] == "measured"
    assert after["measured_over_predicted"] == pytest.approx(0.995, abs=0.01)
    died = aftermath(told, Unavailable("run: killed"), "out_of_memory")
    assert (died["happened"], died["measured_peak_mb"], died["measured_over_predicted"]) == (
        "out_of_memory",
        None,
        None,
    )


@given(
    context=st.integers(1, 1 << 17),
    more=st.integers(1, 1 << 16),
    batch=st.integers(1, 4096),
    mode=st.sampled_from(("mmap", "read", "mlock")),
    scores=st.booleans(),
    free=st.floats(0, 1e5),
)
def test_more_context_never_takes_less_and_more_free_memory_is_never_worse(
    context: int, more: int, batch: int, mode: str, scores: bool, free: float
) -> None:
    request = replace(BENCH, context=context, micro_batch=batch, load_mode=mode, scores=scores)  # type: ignore[arg-type]
    here = fits(SMALL, request)
    assert here.peak_mb > here.unreclaimable_mb > 0
    assert fits(SMALL, replace(request, context=context + more)).unreclaimable_mb > here.unreclaimable_mb
    order = ("crashes", "risk", "works")
    less, better = predict(SMALL, request, available(free)), predict(SMALL, request, available(free + 100))
    assert order.index(better.verdict) >= order.index(less.verdict)

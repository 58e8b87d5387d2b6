"""farm-runner's runs to checks: what was measured rightly holds, what was not does not."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from android_runner.native_calibration import SCRIPT, NativeCalibration
from harness.errors import ErrorClass, Permanent
from harness.model import ErrorInfo, Measured, Platform, Reading, Step, Unavailable
from harness.selftest import native
from harness.selftest.checks import Check, was_run
from harness.selftest.runs import Seen
from harness.supply import calibration
from tests.unit.android_runner import samples
from tests.unit.selftest.test_judges import seen as stored

MS = 1_000_000
FIRST_NS = 7_000 * MS
GAPS_MS = list(itertools.islice(itertools.cycle(native.INTERVALS_MS), native.TOKENS - 1))
ENDS = list(itertools.accumulate([FIRST_NS + native.FIRST_MS * MS, *(gap * MS for gap in GAPS_MS)]))
TRUTH: Mapping[str, Any] = {
    "load_ns": 300 * MS,
    "first_begun_ns": FIRST_NS,
    "taken_ns": ENDS,
    "between_ns": 240 * 12_000,
    "late_max_ns": 0,
    "base_anon_bytes": 400_000,
    "base_file_bytes": 1_600_000,
    "anon_bytes": 120_000_000,
    "file_bytes": 32_000_000,
    "storage_bytes": 32_002_048,
    "major_faults": 250,
}
METRICS: Mapping[str, tuple[float, str]] = {
    "load_ms": (300.2, "ms"),
    "load_cold_ms": (300.1, "ms"),
    "ttft_ms": (80.02, "ms"),
    "prefill_tps": (100.0, "tok/s"),
    "decode_tps": (239 / sum(GAPS_MS) * 1e3, "tok/s"),
    "itl_ms_p50": (10.0, "ms"),
    "itl_ms_p90": (40.0, "ms"),
    "itl_ms_p99": (40.0, "ms"),
    "framework_overhead_us": (12.2, "µs"),
    "peak_memory_mb": (154.0, "MB"),
    "rss_anon_mb": (120.4, "MB"),
    "rss_file_mb": (33.6, "MB"),
}
REPORTED: Mapping[str, Any] = {
    "start_uptime_s": 5.02,
    "end_uptime_s": 9.99,
    "model_bytes": 32_000_000,
    "cached_before_bytes": 0,
    "memory": {"vm_hwm_bytes": 154_000_000, "rss_anon_bytes": 500_000, "rss_file_bytes": 33_600_000},
    "framework_overhead": {"runner_us": 3.0, "choosing_us": 9.0, "calls_us": 0.2},
    "truth": TRUTH,
}


def seen(reported: Mapping[str, Any] | None = None, **changed: float) -> Seen:
    """A stored run that measured everything rightly, but for what is `changed`."""
    run = stored(itl=[float(gap) for gap in GAPS_MS])
    metrics: dict[str, Reading] = {
        name: Measured(changed.get(name, value), unit, "x") for name, (value, unit) in METRICS.items()
    }
    provenance = {**run.row.provenance, "reported": {**REPORTED, **(reported or {})}}
    return replace(run, row=replace(run.row, metrics=metrics, provenance=provenance))


def died(error: ErrorClass, message: str, attempt: int = 1) -> Seen:
    run = stored(error=error, attempt=attempt)
    planned = replace(run.row.planned, reason=ErrorInfo(error.value, Step.RUN, message))
    return replace(run, row=replace(run.row, planned=planned))


def deaths() -> dict[str, Seen]:
    message = "it ended; its events stop after token 3 of turn 1"
    return {name: died(death.expected, message) for name, death in native.DEATHS.items()}


def checks(**changed: Seen) -> Mapping[str, Check]:
    found = native.judge("pixel", {"timing": seen(), "memory": seen(), **deaths(), **changed})
    assert len({check.check for check in found}) == len(found)
    return {check.check: check for check in found}


def failing(**changed: Seen) -> set[str]:
    return {name for name, check in checks(**changed).items() if not check.ok}


def test_what_was_measured_rightly_holds() -> None:
    assert failing() == set()


@pytest.mark.parametrize(
    ("metric", "wrong", "check"),
    [
        ("load_ms", 301.5, "native_load_ms"),
        ("ttft_ms", 78.5, "native_ttft_ms"),
        ("prefill_tps", 102.0, "native_prefill_tps"),
        ("decode_tps", 239 / sum(GAPS_MS) * 1.002e3, "native_decode_tps"),
        ("itl_ms_p99", 42.0, "native_itl_ms_p99"),
        ("framework_overhead_us", 30.0, "native_overhead_us"),
    ],
)
def test_a_time_that_is_off_does_not_hold(metric: str, wrong: float, check: str) -> None:
    assert failing(timing=seen(**{metric: wrong})) == {check}


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        (seen(peak_memory_mb=154 / 1.048576), "native_peak_memory_mb"),
        (seen(load_cold_ms=303.0), "native_load_cold_ms"),
        (seen({"cached_before_bytes": 8_000_000}), "native_evicted_mb"),
        (seen({"memory": {**REPORTED["memory"], "rss_anon_bytes": 120_000_000}}), "native_told_anon_mb"),
        (seen({"truth": {**TRUTH, "storage_bytes": 0, "major_faults": 0}}), "native_evicted_mb"),
    ],
)
def test_memory_or_a_cold_load_that_is_off_does_not_hold(wrong: Seen, check: str) -> None:
    assert failing(memory=wrong) == {check}


def test_what_the_runner_does_not_tell_is_absent() -> None:
    found = checks(memory=seen({"memory": {}}))
    assert all(found[name].measured is None for name in ("native_told_peak_mb", "native_told_anon_mb"))


def test_storage_that_the_kernel_does_not_count_leaves_its_check_not_run() -> None:
    found = checks(memory=seen({"truth": {**TRUTH, "storage_bytes": 0}}))
    assert not was_run(found["native_evicted_mb"]) and found["native_load_cold_ms"].ok


def test_a_lost_interval_is_found() -> None:
    run = seen()
    assert "native_itl_ms" in failing(timing=replace(run, itl_ms=run.itl_ms[:-1]))


def test_a_death_needs_its_class_and_what_was_written_before_it() -> None:
    wrong = {
        "native_death_kill": died(ErrorClass.OUT_OF_MEMORY, "its events stop after token 3 of turn 1"),
        "native_death_segv": died(ErrorClass.CRASHED, "the runner crashed (SIGSEGV)"),
        "native_death_exit": seen(),
        "native_death_garbage": died(ErrorClass.OUTPUT_GARBAGE, "its events stop after token 2 of turn 1"),
    }
    assert failing(**wrong) == set(wrong)


def test_a_build_that_cannot_be_made_leaves_everything_not_run() -> None:
    refused = died(ErrorClass.RUNNER_MISSING, "no compiler", attempt=0)
    found = native.judge("pixel", dict.fromkeys(native.workloads(), refused))
    assert {check.check for check in found} == set(checks())
    assert not any(was_run(check) for check in found)
    assert all("no compiler" in check.note for check in found)


def test_every_run_has_a_script_of_its_own() -> None:
    scripts = [workload.env[SCRIPT] for workload in native.workloads().values()]
    assert len(set(scripts)) == len(scripts) == len(native.DEATHS) + 2 * native.ROUNDS
    assert {json.loads(script).get("die") for script in scripts} >= {death.how for death in native.DEATHS.values()}


@pytest.mark.parametrize("abi", ["riscv64", "armeabi-v7a"])
def test_a_phone_of_another_type_is_told_that_nothing_is_built_for_it(abi: str) -> None:
    with pytest.raises(Permanent, match=abi) as caught:
        calibration.build_native(Platform.ANDROID, abi)
    assert caught.value.error_class is ErrorClass.RUNNER_MISSING


# --- the adapter ------------------------------------------------------------------------------------------------------

ADAPTER = NativeCalibration()
WHOLE = samples.read(samples.RUNNER_EVENTS["stream"])
TOLD = b'{"event":"truth","t":%d,"load_ns":7,"taken_ns":[1,2]}\n' % (1 << 61)


def test_the_truth_stands_beside_the_figures_and_changes_none() -> None:
    request = samples.runner_request("stream")
    without = ADAPTER.parse(request, samples.ended(WHOLE))
    found = ADAPTER.parse(request, samples.ended(WHOLE + TOLD))
    assert found.problem is None and found.metrics == without.metrics and found.itl_ms == without.itl_ms
    assert found.reported["truth"] == {"load_ns": 7, "taken_ns": [1, 2]} and without.reported["truth"] == {}
    assert found.reported["start_uptime_s"] < found.token_times[0][0] < found.reported["end_uptime_s"]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_torn_output_never_raises(data: st.DataObject) -> None:
    whole = WHOLE + TOLD
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    torn = whole[:start] + data.draw(st.binary(max_size=20)) + whole[end:]
    figures = ADAPTER.parse(samples.runner_request("stream"), samples.ended(torn))
    for reading in figures.metrics.values():
        assert isinstance(reading, Unavailable) or reading.value >= 0


def test_one_stall_of_this_machine_is_no_error_of_farms() -> None:
    stalled = seen(load_ms=305.0, ttft_ms=85.0)
    assert failing(timing=stalled, timing_2=seen(), timing_3=seen()) == set()
    assert failing(timing=stalled, timing_2=seen(), timing_3=stalled) == {"native_load_ms", "native_ttft_ms"}
    assert "native_itl_ms" in failing(timing=seen(), timing_2=replace(seen(), itl_ms=seen().itl_ms[:-1]))
    refused = died(ErrorClass.TIMED_OUT, "it did not end")
    assert "native_load_ms" in failing(timing=seen(), timing_2=refused)

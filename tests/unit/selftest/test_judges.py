"""From stored runs to checks: what was measured rightly holds, what was not does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from harness.errors import ErrorClass
from harness.model import (
    CaseStatus,
    Channel,
    DeviceKind,
    ErrorInfo,
    Measured,
    Model,
    PlannedCase,
    Platform,
    Reading,
    Runner,
    Step,
    Trace,
)
from harness.selftest import judges
from harness.selftest.checks import Check, was_run
from harness.selftest.runs import Seen
from harness.store import MeasurementRow

READY_NS = 5_300_000_000
GAPS = [judges.INTERVALS_MS[number % len(judges.INTERVALS_MS)] for number in range(judges.TOKENS - 1)]


def token_times() -> list[int]:
    at = [READY_NS + judges.FIRST_MS * 1_000_000]
    for gap in GAPS:
        at.append(at[-1] + gap * 1_000_000)
    return at


TRUTH = {
    "load_ns": 300_000_000,
    "late_max_ns": 0,
    "base_anon_kb": 64,
    "base_file_kb": 800,
    "anon_bytes": 120_000_000,
    "file_bytes": 32_000_000,
    "ready_monotonic_ns": READY_NS,
    "token_monotonic_ns": token_times(),
}
PEAK_MB = (120_000_000 + 32_000_000 + 864 * 1024) / 1e6
METRICS: Mapping[str, tuple[float, str]] = {
    "load_ms": (300.0, "ms"),
    "ttft_ms": (40.0, "ms"),
    "itl_ms_p50": (10.0, "ms"),
    "itl_ms_p90": (40.0, "ms"),
    "itl_ms_p99": (40.0, "ms"),
    "peak_memory_mb": (PEAK_MB, "MB"),
    "rss_anon_mb": (120.065536, "MB"),
    "rss_file_mb": (32.8192, "MB"),
}


def trace(name: str, times: Sequence[float]) -> Trace:
    return Trace(Channel(name, "MB", "/proc", 1.0), tuple(times), (1.0,) * len(times))


def seen(
    *,
    itl: Sequence[float] = (),
    error: ErrorClass | None = None,
    attempt: int = 1,
    step_s: float = 0.1,
    **changed: float,
) -> Seen:
    """A stored run that measured everything rightly, but for what is `changed`."""
    metrics: dict[str, Reading] = {
        name: Measured(changed.get(name, value), unit, "x") for name, (value, unit) in METRICS.items()
    }
    planned = PlannedCase(
        run="r",
        case="c",
        repeat=1,
        series_key="s",
        device_id="pixel",
        serial="x",
        identity="x",
        platform=Platform.ANDROID,
        kind=DeviceKind.VIRTUAL,
        tier="t",
        model=Model("m", "f", "q", "gguf"),
        runner=Runner("r", "farm-calibration", Platform.ANDROID, "x86_64"),
        workload_id="timing",
        workload=judges.TIMING,
        model_sha256="",
        runner_sha256="",
        status=CaseStatus.FAILED if error else CaseStatus.MEASURED,
        reason=ErrorInfo(error.value, Step.RUN, "it died") if error else None,
    )
    provenance: dict[str, Any] = {
        "stamps": {"started": 5.0, "ended": 10.0},
        "reported": {"start_uptime_s": 5.02, "end_uptime_s": 9.99, "truth": {} if error else TRUTH},
    }
    times = [5.05 + step_s * number for number in range(int(4.9 / step_s))]
    files = [5.1 + 0.9 * number for number in range(6)]
    traces = {each.channel.name: each for each in (trace("runner.vm_rss", times), trace("cpu.busy", files))}
    row = MeasurementRow(planned, attempt, 1.0, 5.0, metrics, provenance)
    return Seen(row, tuple(itl) or tuple(map(float, GAPS)), traces)


def by_name(checks: Sequence[Check]) -> Mapping[str, Check]:
    return {check.check: check for check in checks}


@pytest.mark.parametrize("judge", [judges.judge_clock, judges.judge_sampler, judges.judge_timing])
def test_what_was_measured_rightly_holds(judge: judges.Judge) -> None:
    checks = judge("pixel", {"timing": seen()})
    assert checks and all(check.ok for check in checks), checks


def test_memory_that_was_measured_rightly_holds() -> None:
    assert all(check.ok for check in judges.judge_memory("pixel", {"memory": seen()}))


@pytest.mark.parametrize(("name", "wrong"), [("load_ms", 302.0), ("ttft_ms", 38.5), ("itl_ms_p99", 42.0)])
def test_a_time_that_is_off_does_not_hold(name: str, wrong: float) -> None:
    checks = by_name(judges.judge_timing("pixel", {"timing": seen(**{name: wrong})}))
    assert [check for check in checks.values() if not check.ok] == [checks[name]]


def test_one_wrong_interval_among_many_is_found() -> None:
    itl = [float(gap) for gap in GAPS]
    itl[100] += 1.5
    check = by_name(judges.judge_timing("pixel", {"timing": seen(itl=itl)}))["itl_ms"]
    assert not check.ok and check.error == pytest.approx(1.5)


def test_a_lost_interval_is_found() -> None:
    checks = judges.judge_timing("pixel", {"timing": seen(itl=[float(gap) for gap in GAPS[:-1]])})
    assert not any(check.ok for check in checks)


def test_memory_in_other_units_does_not_hold() -> None:
    checks = by_name(judges.judge_memory("pixel", {"memory": seen(peak_memory_mb=PEAK_MB / 1.048576)}))
    assert not checks["peak_memory_mb"].ok and checks["rss_file_mb"].ok


def test_a_sampler_that_is_slow_does_not_hold() -> None:
    checks = by_name(judges.judge_sampler("pixel", {"timing": seen(step_s=0.6)}))
    assert not checks["sampler_memory_rate"].ok and checks["sampler_files_rate"].ok


def test_a_sampler_that_never_reads_memory_at_its_quick_rate_does_not_hold() -> None:
    checks = by_name(judges.judge_sampler("pixel", {"timing": seen(step_s=0.24)}))
    assert not checks["sampler_memory_fast"].ok and checks["sampler_memory_rate"].ok


@pytest.mark.parametrize(
    "runs", [{}, {"timing": seen(error=ErrorClass.CRASHED)}, {"timing": seen(attempt=0, error=None)}]
)
def test_a_run_that_is_not_there_leaves_its_checks_not_run(runs: judges.Seens) -> None:
    checks = judges.judge_timing("pixel", runs)
    assert {check.check for check in checks} >= {"load_ms", "itl_ms", "itl_ms_p99"}
    assert not any(was_run(check) or check.ok for check in checks)


def test_deaths_are_compared_by_class() -> None:
    runs = {name: seen(error=death.expected) for name, death in judges.DEATHS.items()}
    assert all(check.ok for check in judges.judge_deaths("pixel", runs))
    runs["death_kill"] = seen(error=ErrorClass.OUT_OF_MEMORY)
    runs["death_hang"] = seen()
    del runs["death_ill"]
    checks = by_name(judges.judge_deaths("pixel", runs))
    assert {name for name, check in checks.items() if not check.ok} == {"death_kill", "death_hang", "death_ill"}
    assert not was_run(checks["death_ill"]) and checks["death_hang"].measured == "measured"


def test_every_way_to_die_is_asked_for_once() -> None:
    workloads = judges.death_workloads()
    assert set(workloads) == set(judges.DEATHS)
    assert len({workload.args for workload in workloads.values()}) == len(judges.DEATHS)

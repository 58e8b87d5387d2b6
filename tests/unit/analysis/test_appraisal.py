"""What telemetry adds to the figures of a run."""

from __future__ import annotations

import pytest

from harness.analysis.appraisal import appraise, other_load
from harness.model import Channel, Measured, Reading, Trace, Unavailable, WorkloadKind


def counter(name: str, *samples: tuple[float, float]) -> Trace:
    return Trace(Channel(name, "s", "/proc"), tuple(at for at, _ in samples), tuple(value for _, value in samples))


def phone(busy: float, runner: float, total: float = 80.0) -> tuple[Trace, ...]:
    return (
        counter("cpu.busy_time", (10.0, 5.0), (20.0, 5.0 + busy)),
        counter("cpu.total_time", (10.0, 100.0), (20.0, 100.0 + total)),
        counter("runner.cpu_time", (10.0, 1.0), (20.0, 1.0 + runner)),
    )


def value(reading: Reading) -> float:
    assert isinstance(reading, Measured), reading
    return reading.value


@pytest.mark.parametrize(("busy", "runner", "percent"), [(40.0, 40.0, 0.0), (48.0, 40.0, 10.0), (39.9, 40.0, 0.0)])
def test_load_by_others_is_what_neither_idle_nor_the_runner_took(busy: float, runner: float, percent: float) -> None:
    assert value(other_load(phone(busy, runner), (10.0, 20.0))) == pytest.approx(percent)


def test_load_outside_the_run_does_not_count() -> None:
    traces = (
        counter("cpu.busy_time", (0.0, 0.0), (10.0, 80.0), (20.0, 120.0)),
        counter("cpu.total_time", (0.0, 0.0), (10.0, 80.0), (20.0, 160.0)),
        counter("runner.cpu_time", (0.0, 0.0), (10.0, 0.0), (20.0, 40.0)),
    )
    assert value(other_load(traces, (10.0, 20.0))) == pytest.approx(0.0)


@pytest.mark.parametrize("missing", ["cpu.busy_time", "cpu.total_time", "runner.cpu_time"])
def test_a_counter_that_was_not_sampled_leaves_no_figure(missing: str) -> None:
    left = [trace for trace in phone(40.0, 40.0) if trace.channel.name != missing]
    found = other_load(left, (10.0, 20.0))
    assert isinstance(found, Unavailable) and missing in found.reason


def test_one_sample_is_no_growth() -> None:
    traces = tuple(counter(trace.channel.name, (10.0, 1.0)) for trace in phone(1.0, 1.0))
    assert isinstance(other_load(traces, (10.0, 20.0)), Unavailable)


def test_others_at_work_are_marked_and_a_short_workload_has_no_curve() -> None:
    seen = appraise(
        WorkloadKind.THROUGHPUT,
        (),
        phone(60.0, 40.0),
        (10.0, 20.0),
        calibration=None,
        baseline=Unavailable("none"),
        other_load_max_pct=10.0,
    )
    assert seen.marks == ("other_load: others used 25 % of the CPU while the runner ran",)
    assert "heat" not in seen.provenance and "burst_tps" not in seen.metrics


def test_a_sustained_run_without_a_gauge_says_why_it_has_no_energy() -> None:
    times = tuple((10.0 + 0.1 * step, 1) for step in range(900))
    seen = appraise(
        WorkloadKind.SUSTAINED,
        times,
        phone(40.0, 40.0),
        (10.0, 100.0),
        calibration=None,
        baseline=Unavailable("none"),
        other_load_max_pct=10.0,
    )
    assert value(seen.metrics["sustained_tps"]) == pytest.approx(10.0, rel=0.01)
    energy = seen.metrics["energy_j"]
    assert isinstance(energy, Unavailable) and energy.reason
    assert seen.provenance["heat"]["verdict"] in ("none", "unknown")

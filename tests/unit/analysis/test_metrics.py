"""Metrics of one repetition from figures and traces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from harness.analysis.metrics import PERCENTILE_TOKENS, case_metrics, percentile
from harness.model import METRICS, Channel, Measured, Reading, Trace, Unavailable

OPEN = (None, None)


def trace(name: str, samples: Sequence[tuple[float, float]], unit: str = "MB") -> Trace:
    times, values = tuple(at for at, _ in samples), tuple(value for _, value in samples)
    return Trace(Channel(name, unit, f"source of {name}", 0.5, "" if values else "denied"), times, values)


def metrics(
    *traces: Trace,
    runner: Mapping[str, Reading] | None = None,
    itl_ms: Sequence[float] = (),
    window: tuple[float | None, float | None] = OPEN,
) -> dict[str, Reading]:
    return case_metrics(runner or {}, itl_ms, traces, model_bytes=104_800_000, window=window)


def value(reading: Reading) -> float:
    assert isinstance(reading, Measured), reading
    return reading.value


def reason(reading: Reading) -> str:
    assert isinstance(reading, Unavailable), reading
    return reading.reason


def test_every_metric_is_there_with_its_unit_or_a_reason() -> None:
    found = metrics()
    assert list(found) == list(METRICS)
    assert value(found["model_mb"]) == 104.8
    assert all(reason(reading) for name, reading in found.items() if name != "model_mb")


def test_units_are_those_of_the_vocabulary() -> None:
    found = metrics(
        trace("runner.vm_hwm", [(1, 300)]),
        trace("runner.vm_rss", [(1, 300)]),
        trace("runner.rss_anon", [(1, 100)]),
        trace("runner.rss_file", [(1, 200)]),
        trace("cpu.temperature", [(1, 40)], "°C"),
        trace("thermal.status", [(1, 0)], ""),
        trace("battery.level", [(1, 80)], "%"),
        runner={"decode_tps": Measured(20, "tok/s", "x")},
        itl_ms=[50.0] * 300,
    )
    for name, reading in found.items():
        if isinstance(reading, Measured):
            assert reading.unit == METRICS[name].unit, name
    absent = {name for name, reading in found.items() if isinstance(reading, Unavailable)}
    energy = {"energy_j", "energy_counter_j", "energy_per_token_j"}
    long = {"burst_tps", "sustained_tps", "throttle_onset_s"}
    of_runners = {"load_ms", "load_first_ms", "load_cold_ms", "ttft_ms", "prefill_tps", "framework_overhead_us"}
    assert absent == of_runners | {"other_load_pct"} | energy | long


def test_ms_per_token_is_1000_over_decode_rate() -> None:
    assert value(metrics(runner={"decode_tps": Measured(80, "tok/s", "x")})["ms_per_token"]) == 12.5
    assert "crashed" in reason(metrics(runner={"decode_tps": Unavailable("crashed")})["ms_per_token"])
    for rate in (0.0, -1.0, float("nan"), float("inf")):
        assert "no time per token" in reason(
            metrics(runner={"decode_tps": Measured(rate, "tok/s", "x")})["ms_per_token"]
        )


@pytest.mark.parametrize(("percent", "needed"), PERCENTILE_TOKENS.items())
def test_percentiles_need_their_count(percent: int, needed: int) -> None:
    name = f"itl_ms_p{percent}"
    few = reason(metrics(itl_ms=[1.0] * (needed - 2))[name])
    assert str(needed - 1) in few
    assert str(needed) in few
    assert value(metrics(itl_ms=[1.0] * (needed - 1))[name]) == 1


def test_percentiles_interpolate() -> None:
    assert percentile([4, 1, 3, 2], 50) == 2.5
    assert percentile(list(range(101)), 99) == 99
    assert percentile([7], 99) == 7
    found = metrics(itl_ms=[float(number) for number in range(1, 201)])
    assert value(found["itl_ms_p50"]) == 100.5
    assert value(found["itl_ms_p90"]) == pytest.approx(180.1)
    assert value(found["itl_ms_p99"]) == pytest.approx(198.01)


def test_without_inter_token_times_the_runners_reason_stands() -> None:
    found = metrics(runner={"itl_ms_p50": Unavailable("llama-bench gives no per-token times")})
    assert "llama-bench" in reason(found["itl_ms_p50"])


def test_peak_is_the_kernels_mark_where_nothing_is_swapped() -> None:
    found = metrics(
        trace("runner.vm_hwm", [(1, 200), (2, 510)]),
        trace("runner.vm_rss", [(1, 200), (2, 480)]),
        trace("runner.vm_swap", [(1, 0), (2, 0)]),
        trace("runner.rss_anon", [(1, 150), (2, 300)]),
        trace("runner.rss_file", [(1, 50), (2, 180)]),
    )
    assert value(found["peak_memory_mb"]) == 510
    assert value(found["rss_anon_mb"]) == 300
    assert value(found["rss_file_mb"]) == 180


def test_a_mark_that_the_runner_read_later_counts() -> None:
    own = {"peak_memory_mb": Measured(512.0, "MB", "runner events")}
    sampled = (trace("runner.vm_hwm", [(1, 510)]), trace("runner.vm_rss", [(1, 480)]))
    assert value(metrics(*sampled, runner=own)["peak_memory_mb"]) == 512
    assert value(metrics(runner=own)["peak_memory_mb"]) == 512
    assert value(metrics(*sampled, runner={"peak_memory_mb": Measured(500.0, "MB", "x")})["peak_memory_mb"]) == 510


def test_file_memory_that_the_kernel_has_not_counted_yet_is_not_zero() -> None:
    found = metrics(
        trace("runner.vm_hwm", [(1, 0.4)]), trace("runner.vm_rss", [(1, 0.4)]), trace("runner.rss_file", [(1, 0)])
    )
    assert value(found["peak_memory_mb"]) == 0.4
    assert "not yet counted" in reason(found["rss_file_mb"])


def test_swapped_memory_counts_for_the_peak_and_for_anonymous_memory() -> None:
    found = metrics(
        trace("runner.vm_hwm", [(1, 400), (2, 400)]),
        trace("runner.vm_rss", [(1, 400), (2, 300)]),
        trace("runner.vm_swap", [(1, 0), (2, 250)]),
        trace("runner.rss_anon", [(1, 350), (2, 280)]),
        trace("runner.rss_file", [(1, 50), (2, 20)]),
    )
    assert value(found["peak_memory_mb"]) == 550
    assert value(found["rss_anon_mb"]) == 530
    assert value(found["rss_file_mb"]) == 20
    peak = found["peak_memory_mb"]
    assert isinstance(peak, Measured)
    assert "VmSwap" in peak.source


def test_memory_that_was_not_sampled_is_unavailable_not_zero() -> None:
    found = metrics(trace("runner.vm_hwm", []), trace("runner.vm_rss", []))
    assert "denied" in reason(found["peak_memory_mb"])
    assert "not sampled" in reason(found["rss_anon_mb"])


def test_heat_is_looked_at_inside_the_run_only() -> None:
    found = metrics(
        trace("cpu.temperature", [(1, 90), (5, 40), (6, 55), (7, 50), (20, 99)], "°C"),
        trace("thermal.status", [(1, 5), (6, 1), (20, 4)], ""),
        trace("battery.level", [(1, 99), (5, 80), (7, 79), (20, 10)], "%"),
        window=(4.0, 10.0),
    )
    assert value(found["temperature_start_c"]) == 40
    assert value(found["temperature_peak_c"]) == 55
    assert value(found["thermal_status_max"]) == 1
    assert value(found["battery_level_start_pct"]) == 80
    assert value(found["battery_level_end_pct"]) == 79
    outside = metrics(trace("cpu.temperature", [(1, 90)], "°C"), window=(4.0, 10.0))
    assert "none while the runner ran" in reason(outside["temperature_peak_c"])


def test_skin_stands_in_where_no_cpu_temperature_is_readable() -> None:
    found = metrics(trace("cpu.temperature", [], "°C"), trace("skin.temperature", [(1, 33), (2, 36)], "°C"))
    peak = found["temperature_peak_c"]
    assert isinstance(peak, Measured)
    assert peak.value == 36
    assert peak.source == "source of skin.temperature"
    assert value(found["temperature_start_c"]) == 33


@pytest.mark.parametrize(
    ("traces", "why"),
    [
        ([], "not known"),
        ([trace("battery.external", [(1, 0), (2, 1)], "")], "external power is attached"),
        ([trace("battery.external", [(1, 0)], ""), trace("battery.current", [], "A")], "gives no current"),
        (
            [trace("battery.external", [(1, 0)], ""), trace("battery.current", [(1, -0.5)], "A")],
            "idle baseline",
        ),
    ],
)
def test_energy_is_absent_for_its_true_reason(traces: list[Trace], why: str) -> None:
    found = metrics(*traces)
    assert why in reason(found["energy_j"])
    assert why in reason(found["energy_per_token_j"])


def test_an_iphones_footprint_is_its_memory() -> None:
    footprint = trace("runner.phys_footprint", [(1, 120), (2, 180), (3, 150)])
    assert value(metrics(footprint)["peak_memory_mb"]) == 180
    own = {"peak_memory_mb": Measured(190, "MB", "the app's own mark")}
    assert value(metrics(footprint, runner=own)["peak_memory_mb"]) == 190


def test_a_value_of_the_battery_holds_until_the_next_one() -> None:
    level = trace("battery.level", [(70, 81), (95, 80)], "%")
    fed = trace("battery.external", [(95, 1)], "")
    short = metrics(level, fed, window=(100, 104))
    assert value(short["battery_level_start_pct"]) == value(short["battery_level_end_pct"]) == 80
    assert "external power is attached" in reason(short["energy_j"])
    late = metrics(level, fed, window=(140, 144))
    assert "none while the runner ran" in reason(late["battery_level_start_pct"])
    later = trace("battery.level", [(95, 80), (110, 79)], "%")
    assert value(metrics(later, window=(100, 120))["battery_level_start_pct"]) == 79

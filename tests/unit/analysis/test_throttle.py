"""Throttling found in runs whose truth is known because they are simulated."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.throttle import HeatReport, heat_report
from harness.model import Channel, Measured, Trace, Unavailable

BOOT = 5000.0
WINDOW = (BOOT - 10.0, None)


@dataclass(frozen=True)
class Run:
    """A phone that decodes `tps` tokens per second until `onset`, and `slow` of that from then on.

    `decay` is the time constant of the fall, 0: at once.
    """

    tps: float = 30.0
    length: float = 300.0
    onset: float = math.inf
    slow: float = 0.7
    decay: float = 0.0
    noise: float = 0.02
    gap: float = 0.4
    request: int = 64
    seed: int = 1

    def rate(self, at: float) -> float:
        if at < self.onset:
            return self.tps
        left = math.exp(-(at - self.onset) / self.decay) if self.decay else 0.0
        return self.tps * (self.slow + (1 - self.slow) * left)

    def tokens(self) -> list[tuple[float, int]]:
        random, at, found = Random(self.seed), 0.0, [(BOOT, 0)]
        while at < self.length:
            for _ in range(self.request):
                at += max(0.1, random.gauss(1, self.noise)) / self.rate(at)
                found.append((BOOT + at, 1))
            # A prompt of the same work: slower as the phone is.
            at += self.gap * self.tps / self.rate(at)
            found.append((BOOT + at, 0))
        return found


def trace(name: str, value: Callable[[float], float | None], *, length: float, step: float = 0.9) -> Trace:
    times = [at for index in range(int((length + 12) / step)) if value(at := -10 + 0.3 + index * step) is not None]
    unit = "MHz" if name.endswith("freq") else "°C"
    return Trace(
        Channel(name, unit, "file", 1.0 if unit == "MHz" else 0.1),
        [BOOT + at for at in times],
        [float(value(at) or 0.0) for at in times],
    )


def cap(run: Run, name: str = "policy4", *, high: float = 2850.0, low: float = 2100.0, step: float = 0.9) -> Trace:
    return trace(f"{name}.max_freq", lambda at: low if at >= run.onset else high, length=run.length, step=step)


def warming(run: Run, kelvin: float = 25.0, name: str = "cpu.temperature") -> Trace:
    return trace(name, lambda at: 35 + kelvin * (1 - math.exp(-max(at, 0.0) / 60)), length=run.length)


def report(run: Run, *traces: Trace) -> HeatReport:
    return heat_report(run.tokens(), traces, WINDOW)


def onset(found: HeatReport) -> float:
    assert found.verdict == "throttled", found
    assert found.onset_s is not None, found.reason
    reading = found.readings()["throttle_onset_s"]
    assert isinstance(reading, Measured) and reading.value == found.onset_s
    return found.onset_s


def test_a_rate_that_holds_is_not_throttled() -> None:
    run = Run()
    found = report(run, cap(run), warming(run))
    assert (found.verdict, found.onset_s) == ("none", None)
    reading = found.readings()["throttle_onset_s"]
    assert isinstance(reading, Unavailable)
    assert reading.reason.startswith("not throttled: the rate held")
    assert found.burst_tps == pytest.approx(30.0, rel=0.02)
    assert found.sustained_tps == pytest.approx(30.0, rel=0.02)


def test_burst_and_sustained_leave_prompts_and_gaps_out() -> None:
    run = Run(tps=20.0, gap=3.0, onset=120.0, slow=0.6, noise=0.0)
    found = report(run, cap(run))
    assert found.burst_tps == pytest.approx(20.0, rel=0.001)
    assert found.sustained_tps == pytest.approx(12.0, rel=0.001)
    readings = found.readings()
    assert all(isinstance(reading, Measured) for reading in readings.values())


def test_the_curve_follows_the_rate_in_bins_of_five_seconds() -> None:
    run = Run(length=300.0, onset=150.0, slow=0.5, noise=0.0)
    curve = dict(report(run, cap(run)).curve)
    assert list(curve)[:3] == [2.5, 7.5, 12.5]
    assert len(curve) == 60 or len(curve) == 61
    assert all(rate == pytest.approx(30.0 if at < 150 else 15.0, rel=0.02) for at, rate in curve.items())


@settings(max_examples=30, deadline=None)
@given(
    at=st.floats(20, 400),
    slow=st.floats(0.3, 0.85),
    decay=st.sampled_from([0.0, 5.0, 30.0, 80.0]),
    step=st.sampled_from([0.25, 0.9, 1.5]),
    tps=st.sampled_from([4.0, 25.0, 90.0]),
    seed=st.integers(0, 1000),
)
def test_onset_by_the_cap_is_within_two_seconds(
    at: float, slow: float, decay: float, step: float, tps: float, seed: int
) -> None:
    run = Run(tps=tps, length=600.0, onset=at, slow=slow, decay=decay, seed=seed)
    little = trace("policy0.max_freq", lambda _: 1800.0, length=run.length, step=step)
    found = report(run, little, cap(run, step=step), warming(run))
    assert onset(found) == pytest.approx(at, abs=2.0)
    assert found.onset_source.startswith("first fall of policy4.max_freq")
    assert found.onset_step_s is not None and abs(onset(found) - at) <= found.onset_step_s + 0.01


@settings(max_examples=25, deadline=None)
@given(
    at=st.floats(60, 350),
    slow=st.floats(0.4, 0.85),
    decay=st.sampled_from([0.0, 5.0, 20.0, 80.0]),
    noise=st.sampled_from([0.005, 0.02, 0.08]),
    tps=st.sampled_from([5.0, 25.0, 90.0]),
    seed=st.integers(0, 1000),
)
def test_onset_by_the_rate_is_within_two_seconds_or_absent(
    at: float, slow: float, decay: float, noise: float, tps: float, seed: int
) -> None:
    run = Run(tps=tps, length=600.0, onset=at, slow=slow, decay=decay, noise=noise, seed=seed)
    found = report(run, warming(run))
    assert found.verdict == "throttled", found
    if found.onset_s is not None:
        assert found.onset_s == pytest.approx(at, abs=2.0)
    else:
        assert "too gradually" in found.reason
        assert isinstance(found.readings()["throttle_onset_s"], Unavailable)


@pytest.mark.parametrize("tps", [10.0, 40.0])
def test_a_sharp_fall_has_an_onset_without_any_cap(tps: float) -> None:
    run = Run(tps=tps, onset=111.4, slow=0.75)
    assert onset(report(run, warming(run))) == pytest.approx(111.4, abs=2.0)


def test_the_first_of_two_clusters_counts() -> None:
    run = Run(onset=80.0)
    late = trace("policy7.max_freq", lambda at: 2000.0 if at > 130 else 3000.0, length=run.length)
    assert onset(report(run, late, cap(run))) == pytest.approx(80.0, abs=1.0)


def test_a_cap_that_flickers_by_a_step_is_no_onset() -> None:
    run = Run(onset=140.0)

    def flickering(at: float) -> float:
        if at >= run.onset:
            return 2100.0
        return 2700.0 if 20 < at < 120 and int(at * 10) % 60 < 12 else 2850.0

    shown = trace("policy4.max_freq", flickering, length=run.length, step=0.5)
    assert 2700.0 in shown.values
    assert onset(report(run, shown)) == pytest.approx(140.0, abs=1.0)


def test_a_boost_that_begins_with_the_run_is_not_a_fall() -> None:
    run = Run(onset=100.0)
    shown = trace(
        "policy4.max_freq", lambda at: 2100.0 if at >= 100 else 2400.0 if at < 4 else 2850.0, length=run.length
    )
    assert onset(report(run, shown)) == pytest.approx(100.0, abs=1.0)


@pytest.mark.parametrize("back", [math.inf, 220.0])
def test_cores_that_are_unplugged_are_an_onset(back: float) -> None:
    run = Run(onset=90.0)
    shown = trace("policy7.max_freq", lambda at: None if run.onset <= at < back else 3000.0, length=run.length)
    found = report(run, shown, warming(run))
    assert onset(found) == pytest.approx(90.0, abs=1.0)
    assert "policy7 was unplugged" in found.reason


def test_a_sampler_that_stands_still_has_not_unplugged_cores() -> None:
    run = Run()
    names = ("policy7.max_freq", "cpu.temperature")
    shown = [trace(name, lambda at: None if 90 <= at < 120 else 60.0, length=run.length) for name in names]
    assert "unplugged" not in report(run, *shown).reason


def test_a_cap_that_fell_before_the_first_token_has_no_time() -> None:
    run = Run(onset=100.0)
    early = trace("policy4.max_freq", lambda at: 2100.0 if at > -3 else 2850.0, length=run.length)
    found = report(run, early)
    assert (found.verdict, found.onset_s) == ("throttled", None)
    assert "before the first token" in found.reason


def test_throttling_in_the_first_third_is_seen_against_the_burst() -> None:
    run = Run(length=600.0, onset=35.0, slow=0.8)
    found = report(run, cap(run))
    assert onset(found) == pytest.approx(35.0, abs=1.0)


def test_throttling_after_some_seconds_is_seen_against_the_time_before() -> None:
    run = Run(length=90.0, onset=9.5, slow=0.92)
    found = report(run, cap(run))
    assert onset(found) == pytest.approx(9.5, abs=1.0)
    assert "the rate fell by" in found.reason


def test_a_fall_of_the_cap_that_costs_nothing_is_told() -> None:
    run = Run()
    shown = trace("policy0.max_freq", lambda at: 1200.0 if at > 50 else 1800.0, length=run.length)
    found = report(run, shown)
    assert found.verdict == "none"
    assert "though the cap of policy0 fell from 1800 to 1200 MHz after 50 s" in found.reason


@pytest.mark.parametrize("kelvin", [0.0, -5.0, 0.5])
def test_a_slowdown_without_heat_is_unexplained(kelvin: float) -> None:
    run = Run(onset=120.0)
    steady = trace("policy4.max_freq", lambda _: 2850.0, length=run.length)
    found = report(run, steady, warming(run, kelvin))
    assert (found.verdict, found.onset_s) == ("slowdown_unexplained", None)
    assert "no frequency cap fell" in found.reason
    reading = found.readings()["throttle_onset_s"]
    assert isinstance(reading, Unavailable) and "not known to be throttled" in reading.reason


@pytest.mark.parametrize(("late", "verdict"), [(2850.0, "slowdown_unexplained"), (2200.0, "throttled")])
def test_warmth_alone_slows_nothing_while_caps_and_clocks_hold(late: float, verdict: str) -> None:
    run = Run(onset=120.0)
    steady = trace("policy4.max_freq", lambda _: 2850.0, length=run.length)
    clock = trace("policy4.cur_freq", lambda at: 2850.0 if at < 120 else late, length=run.length)
    found = report(run, steady, clock, warming(run))
    assert found.verdict == verdict
    assert ("no clock went down" in found.reason) == (verdict == "slowdown_unexplained")


def test_a_slowdown_without_any_channel_is_unknown() -> None:
    run = Run(onset=120.0)
    empty = Trace(Channel("policy4.max_freq", "MHz", "file", absent="permission denied"), (), ())
    found = report(run, empty)
    assert found.verdict == "unknown"
    assert "neither a frequency cap nor a temperature" in found.reason
    assert found.sustained_tps is not None


def test_too_short_is_unknown_and_gives_only_what_it_can() -> None:
    run = Run(length=45.0)
    found = report(run, cap(run))
    assert found.verdict == "unknown" and "needs 60 s" in found.reason
    readings = found.readings()
    assert isinstance(readings["burst_tps"], Measured)
    assert isinstance(readings["sustained_tps"], Unavailable)
    assert isinstance(report(Run(length=20.0)).readings()["burst_tps"], Unavailable)


def test_too_few_tokens_are_unknown() -> None:
    run = Run(tps=0.3, length=120.0, request=8)
    found = report(run, cap(run))
    assert found.verdict == "unknown" and "fewer than 20 tokens" in found.reason
    assert isinstance(found.readings()["sustained_tps"], Unavailable)


@pytest.mark.parametrize("tokens", [[], [(BOOT, 0)], [(math.nan, 1), (math.inf, 1)], [(1.0, 0), (2.0, 1)]])
def test_without_times_nothing_is_known(tokens: Sequence[tuple[float, int]]) -> None:
    found = heat_report(tokens, (), WINDOW)
    assert found.verdict == "unknown"
    assert all(isinstance(reading, Unavailable) and reading.reason for reading in found.readings().values())
    json.dumps(found.to_json(), allow_nan=False)


def test_a_report_is_json() -> None:
    run = Run(onset=100.0)
    stored = json.loads(json.dumps(report(run, cap(run)).to_json(), allow_nan=False))
    assert stored["verdict"] == "throttled"
    assert stored["onset_s"] == pytest.approx(100.0, abs=1.0)
    assert stored["start_uptime_s"] == BOOT
    assert len(stored["curve"][0]) == 2


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1e4), st.integers(0, 5)), max_size=200),
    st.lists(st.tuples(st.floats(0, 1e4), st.floats(-1e6, 1e6)), max_size=50),
    st.sampled_from(["policy0.max_freq", "cpu.temperature", "battery.temperature"]),
)
def test_any_tokens_and_any_samples(
    tokens: list[tuple[float, int]], samples: list[tuple[float, float]], name: str
) -> None:
    samples.sort()
    seen = Trace(Channel(name, "", "s"), [at for at, _ in samples], [value for _, value in samples])
    found = heat_report(sorted(tokens), (seen,), (None, None))
    assert found.reason
    assert (found.onset_s is None) or found.verdict == "throttled"
    for reading in found.readings().values():
        assert isinstance(reading, Unavailable) or (math.isfinite(reading.value) and reading.value > 0)

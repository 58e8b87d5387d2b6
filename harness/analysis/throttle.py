"""Whether a phone throttled while it generated for minutes, when it began, and the rates before and after.

Pure. The rate is that of decoding: tokens over the times between the tokens of one request, so that prompts and the
gaps between requests do not count. A fall of the rate alone is no proof of heat: the frequency cap, or a rising
temperature, must go with it (docs/measurement.md, "Heat and throttling").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Any, Literal

from harness.analysis.metrics import Window
from harness.analysis.throttle_onset import CapFall, change_point, first_fall
from harness.model import Measured, Reading, Trace, Unavailable

LEAST_S = 60.0
"""Shorter runs end before most phones throttle."""

BURST_S = 30.0
BIN_S = 5.0
LEAST_TOKENS = 20
"""In a third, or in the burst: with fewer one disturbed token moves the rate by 5 %."""

FALL = 0.05
"""Share by which the last third must lie under the first."""

WARMER_C = 1.0
"""Rise of the median temperature from the first third to the last that counts as rising."""

_TEMPERATURES = ("cpu.temperature", "skin.temperature", "battery.temperature")
_CAP = ".max_freq"
_CLOCK = ".cur_freq"

Verdict = Literal["none", "throttled", "slowdown_unexplained", "unknown"]


@dataclass(frozen=True, slots=True)
class HeatReport:
    """What became of the rate.

    Args:
        verdict: "none": it held; "throttled"; "slowdown_unexplained": it fell, and neither cap nor temperature tells
            why; "unknown", see `reason`.
        onset_s: seconds from the first token to the throttling; None when not throttled or not known to 2 s.
        reason: why this verdict, in words.
        burst_tps, sustained_tps: decode rate of the first 30 s and of the last third; None when too short.
        curve: (middle of a bin in seconds from the first token, tok/s) in bins of 5 s; bins without decoding are left
            out.
        start_uptime_s, duration_s: device uptime of the first token, and seconds to the last one.
        onset_source, onset_step_s: what told the onset, and how far off it may be.
    """

    verdict: Verdict
    onset_s: float | None
    reason: str
    burst_tps: float | None = None
    sustained_tps: float | None = None
    curve: tuple[tuple[float, float], ...] = ()
    start_uptime_s: float | None = None
    duration_s: float = 0.0
    onset_source: str = ""
    onset_step_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        """For the provenance of a result; times in seconds, rates in tok/s."""
        return {
            "verdict": self.verdict,
            "onset_s": _rounded(self.onset_s),
            "reason": self.reason,
            "burst_tps": _rounded(self.burst_tps),
            "sustained_tps": _rounded(self.sustained_tps),
            "start_uptime_s": _rounded(self.start_uptime_s),
            "duration_s": _rounded(self.duration_s),
            "onset_source": self.onset_source,
            "onset_step_s": _rounded(self.onset_step_s),
            "curve": [[round(at, 2), round(rate, 4)] for at, rate in self.curve],
        }

    def readings(self) -> dict[str, Reading]:
        """The metrics burst_tps, sustained_tps and throttle_onset_s; what is not measured has its reason."""
        source = "decode rate on the device's clock"
        return {
            "burst_tps": _rate(self.burst_tps, f"{source}, first {BURST_S:.0f} s", self, BURST_S),
            "sustained_tps": _rate(self.sustained_tps, f"{source}, last third", self, LEAST_S),
            "throttle_onset_s": Unavailable(_why_no_onset(self))
            if self.onset_s is None
            else Measured(self.onset_s, "s", f"{self.onset_source}, since the first token", self.onset_step_s),
        }


@dataclass(frozen=True, slots=True)
class _Span:
    """`tokens` came between two moments, seconds from the first token."""

    start: float
    end: float
    tokens: int


@dataclass(frozen=True, slots=True)
class _Thirds:
    first: float
    last: float
    burst: float


def heat_report(token_times: Sequence[tuple[float, int]], traces: Sequence[Trace], window: Window) -> HeatReport:
    """The verdict on one run.

    Args:
        token_times: (device uptime in seconds, tokens since the one before), ascending; 0 tokens where a request begins
            to generate.
        traces: telemetry of the run: policyN.max_freq, cpu.temperature, …
        window: device uptime at which the run started and ended.
    """
    low, high = window
    inside = [
        (at, tokens)
        for at, tokens in token_times
        if math.isfinite(at) and (low is None or at >= low) and (high is None or at <= high)
    ]
    if len(inside) < 2:
        return HeatReport("unknown", None, "the tokens have no times on the device's clock")
    start, length = inside[0][0], inside[-1][0] - inside[0][0]
    spans = [_Span(a[0] - start, b[0] - start, b[1]) for a, b in pairwise(inside) if b[1] > 0 and b[0] > a[0]]
    burst = _tps(spans, 0.0, BURST_S) if length >= BURST_S else None
    first, last = _tps(spans, 0.0, length / 3), _tps(spans, length * 2 / 3, length)
    known = HeatReport(
        "unknown", None, "", burst, last if length >= LEAST_S else None, _curve(spans, length), start, length
    )
    if length < LEAST_S:
        return replace(known, reason=f"the run gave tokens for {length:.0f} s, the verdict needs {LEAST_S:.0f} s")
    if first is None or last is None or burst is None:
        return replace(known, reason=f"fewer than {LEAST_TOKENS} tokens in a third of the run or in its first 30 s")
    return _judged(known, spans, _Thirds(first, last, burst), _moved(traces, start))


def _judged(known: HeatReport, spans: Sequence[_Span], rate: _Thirds, traces: Sequence[Trace]) -> HeatReport:
    """`traces` with their times in seconds from the first token."""
    length = known.duration_s
    caps = [trace for trace in traces if trace.channel.name.endswith(_CAP) and len(trace.values)]
    fall = first_fall(caps, [trace for trace in traces if trace not in caps], length)
    warmer = _warmer(traces, length)
    before = rate.first if fall is None else _before_fall(spans, fall, rate)
    change = (rate.last / before - 1) * 100
    if change >= -100 * FALL:
        seen = f", though {fall.what} after {max(fall.at_s, 0.0):.0f} s" if fall else ""
        return replace(known, verdict="none", reason=f"the rate held: last third {change:+.1f} %{seen}")
    fell = f"the rate fell by {-change:.1f} %"
    if fall is not None:
        return _by_cap(known, fall, fell)
    if warmer is None and not caps:
        return replace(known, reason=f"{fell}, but neither a frequency cap nor a temperature was sampled")
    held = ["no frequency cap fell"] if caps else []
    held += ["no clock went down"] if _clocks_held(traces, length) else []
    # A phone may slow its cores without telling a cap; their clocks show it all the same.
    if warmer is None or not warmer[1] or len(held) == 2:
        seen = " and ".join([*held, warmer[0] if warmer else "no temperature"])
        return replace(known, verdict="slowdown_unexplained", reason=f"{fell}: {seen}")
    return _by_rate(known, spans, f"{fell} while {warmer[0]}")


def _before_fall(spans: Sequence[_Span], fall: CapFall, rate: _Thirds) -> float:
    """What the phone could do before its cap fell, which has lowered the first third too if it was in it."""
    uncapped = _tps(spans, 0.0, fall.at_s) if fall.at_s >= BIN_S else None
    return max(rate.first, rate.burst) if uncapped is None else uncapped


def _by_cap(known: HeatReport, fall: CapFall, fell: str) -> HeatReport:
    if fall.at_s <= 0:
        return replace(known, verdict="throttled", reason=f"{fell}; {fall.what} before the first token")
    return replace(
        known,
        verdict="throttled",
        onset_s=fall.at_s,
        reason=f"{fell}; {fall.what} after {fall.at_s:.1f} s",
        onset_source=f"first fall of {fall.source}, held for 2 s",
        onset_step_s=fall.step_s,
    )


def _by_rate(known: HeatReport, spans: Sequence[_Span], seen: str) -> HeatReport:
    """No cap tells the moment: the rate itself must."""
    seconds = max(1.0, math.ceil(known.duration_s / 900))
    found = change_point(_bins(spans, known.duration_s, seconds), seconds)
    if found is None:
        reason = f"{seen}; it fell too gradually, or its times are too rough, to tell the onset to 2 s"
        return replace(known, verdict="throttled", reason=reason)
    at, error = found
    return replace(
        known,
        verdict="throttled",
        onset_s=at,
        reason=f"{seen}, from {at:.1f} s on",
        onset_source="change point of the decode rate",
        onset_step_s=error,
    )


def _tps(spans: Sequence[_Span], low: float, high: float) -> float | None:
    """Tokens over the time spent decoding inside [low, high]; None with fewer than LEAST_TOKENS."""
    tokens = covered = 0.0
    for span in spans:
        share = min(span.end, high) - max(span.start, low)
        if share > 0:
            tokens += span.tokens * share / (span.end - span.start)
            covered += share
    return tokens / covered if tokens >= LEAST_TOKENS and covered > 0 else None


def _bins(spans: Sequence[_Span], length: float, seconds: float) -> list[tuple[float, float, float]]:
    """(start of the bin, tok/s, seconds of decoding in it) of every bin that is whole and holds decoding."""
    count = int(length / seconds + 1e-9)
    tokens, covered = [0.0] * count, [0.0] * count
    for span in spans:
        number = int(span.start / seconds)
        while number < count and number * seconds < span.end:
            share = min(span.end, (number + 1) * seconds) - max(span.start, number * seconds)
            tokens[number] += span.tokens * share / (span.end - span.start)
            covered[number] += max(share, 0.0)
            number += 1
    return [(number * seconds, tokens[number] / held, held) for number, held in enumerate(covered) if held > 0]


def _curve(spans: Sequence[_Span], length: float) -> tuple[tuple[float, float], ...]:
    return tuple((at + BIN_S / 2, rate) for at, rate, _ in _bins(spans, length, BIN_S))


def _moved(traces: Sequence[Trace], start: float) -> list[Trace]:
    return [Trace(one.channel, [at - start for at in one.uptime_s], one.values) for one in traces]


def _warmer(traces: Sequence[Trace], length: float) -> tuple[str, bool] | None:
    """What the first of the temperatures that was sampled in both thirds did, and whether that is a rise."""
    by_name: Mapping[str, Trace] = {trace.channel.name: trace for trace in traces}
    for trace in (by_name[name] for name in _TEMPERATURES if name in by_name):
        pairs = list(zip(trace.uptime_s, trace.values, strict=True))
        first = [value for at, value in pairs if 0 <= at <= length / 3]
        last = [value for at, value in pairs if length * 2 / 3 <= at <= length]
        if first and last:
            rise = median(last) - median(first)
            up = rise >= max(WARMER_C, 2 * (trace.channel.resolution or 0.0))
            return f"{trace.channel.name} went from {median(first):.1f} to {median(last):.1f} °C", up
    return None


def _clocks_held(traces: Sequence[Trace], length: float) -> bool:
    """Whether clocks were sampled and the median of each in the last third is that of the first, within half of the
    fall that is asked of the rate."""
    clocks = [trace for trace in traces if trace.channel.name.endswith(_CLOCK)]
    held = []
    for trace in clocks:
        pairs = list(zip(trace.uptime_s, trace.values, strict=True))
        first = [value for at, value in pairs if 0 <= at <= length / 3]
        last = [value for at, value in pairs if length * 2 / 3 <= at <= length]
        held.append(bool(first and last) and median(last) >= (1 - FALL / 2) * median(first))
    return bool(held) and all(held)


def _rate(tps: float | None, source: str, report: HeatReport, needed_s: float) -> Reading:
    if tps is not None:
        return Measured(tps, "tok/s", source)
    if report.start_uptime_s is None:
        return Unavailable(report.reason)
    if report.duration_s < needed_s:
        return Unavailable(f"the run gave tokens for {report.duration_s:.0f} s, {needed_s:.0f} s are needed")
    return Unavailable(f"fewer than {LEAST_TOKENS} tokens in that part of the run")


def _why_no_onset(report: HeatReport) -> str:
    words = {"none": "not throttled", "slowdown_unexplained": "slower, but not known to be throttled"}
    return f"{words.get(report.verdict, report.verdict)}: {report.reason}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)

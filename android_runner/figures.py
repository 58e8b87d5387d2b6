"""Small helpers shared by the adapters: percentiles, and metrics that a tool cannot give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from android_runner.base import Figures, Problem
from harness.model import Measured, Reading, Unavailable

RUNNER_METRICS = ("load_ms", "ttft_ms", "prefill_tps", "decode_tps", "itl_ms_p50", "itl_ms_p90", "itl_ms_p99")
"""The metrics an adapter answers for."""

PERCENTILES: Mapping[str, float] = {"itl_ms_p50": 0.50, "itl_ms_p90": 0.90, "itl_ms_p99": 0.99}


def tokens_needed(quantile: float) -> int:
    """Tokens without which a percentile says nothing: two of them must lie beyond it (p99: 200)."""
    return round(2 / (1 - quantile))


def percentile(values: Sequence[float], quantile: float) -> float:
    """The quantile (0–1) of `values` (not empty), interpolated linearly between the two nearest ranks."""
    ordered = sorted(values)
    place = quantile * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def itl_metrics(itl_ms: Sequence[float], tokens: int, source: str, resolution: float) -> dict[str, Reading]:
    """Percentiles of inter-token latency; those that `tokens` generated tokens cannot support are unavailable."""
    readings: dict[str, Reading] = {}
    for name, quantile in PERCENTILES.items():
        needed = tokens_needed(quantile)
        if tokens < needed or not itl_ms:
            readings[name] = Unavailable(f"needs {needed} tokens, {tokens} were generated")
        else:
            readings[name] = Measured(percentile(itl_ms, quantile), "ms", source, resolution)
    return readings


def failed(problem: Problem) -> Figures:
    """Figures of a run that is no measurement."""
    return Figures({name: Unavailable(problem.message) for name in RUNNER_METRICS}, problem=problem)


def is_positive(value: object) -> bool:
    """A finite number above 0 (JSON true is none)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0

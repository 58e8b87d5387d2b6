"""Small helpers shared by the adapters."""

from __future__ import annotations

import math

from android_runner.base import Figures, Problem
from harness.model import Unavailable

RUNNER_METRICS = (
    "load_ms",
    "load_cold_ms",
    "ttft_ms",
    "prefill_tps",
    "decode_tps",
    "framework_overhead_us",
    "itl_ms_p50",
    "itl_ms_p90",
    "itl_ms_p99",
)
"""The metrics an adapter answers for; percentiles only where a tool gives them without the times themselves."""


def failed(problem: Problem) -> Figures:
    """Figures of a run that is no measurement."""
    return Figures({name: Unavailable(problem.message) for name in RUNNER_METRICS}, problem=problem)


def is_positive(value: object) -> bool:
    """A finite number above 0 (JSON true is none)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0

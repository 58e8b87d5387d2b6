"""How long a plan will take: from earlier measurements of the same series where there are any, else from the budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.model import MEGABYTE, PlannedCase, Tier

PUSH_BYTES_PER_S = 30 * MEGABYTE
"""What USB 2 gives a phone that hashes while it receives."""

OVERHEAD_S = 5.0
"""Checks, start, collection and clean-up of one measurement."""

DEFAULT_MS_PER_TOKEN = 100.0
PREFILL_PER_DECODE = 8.0
"""Prefill of a token costs about an eighth of its decode on phone CPUs (compute-bound against memory-bound)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Minutes of the slowest device (devices work in parallel), and how many cases of it come from history."""

    minutes: float
    from_history: int
    cases: int


def case_seconds(case: PlannedCase, tier: Tier | None, history: Mapping[str, float]) -> float:
    """Seconds of one measurement; `history` maps series_key → median seconds of earlier ones."""
    known = history.get(case.series_key)
    if known is not None:
        return known
    budget = tier.targets.ms_per_token_max if tier and tier.targets.ms_per_token_max else DEFAULT_MS_PER_TOKEN
    tokens = case.workload.gen_tokens + case.workload.prompt_tokens / PREFILL_PER_DECODE
    # A tool warms up with about as much work again.
    return OVERHEAD_S + 2 * tokens * budget / 1000


def estimate(
    cases: tuple[PlannedCase, ...],
    tiers: Mapping[str, Tier],
    missing_bytes: Mapping[str, int],
    history: Mapping[str, float],
) -> Estimate:
    """Wall-clock of a plan; `missing_bytes` maps device id → bytes to push."""
    seconds: dict[str, float] = {
        device: missing_bytes.get(device, 0) / PUSH_BYTES_PER_S for device in {case.device_id for case in cases}
    }
    for case in cases:
        seconds[case.device_id] += case_seconds(case, tiers.get(case.tier), history)
    known = sum(case.series_key in history for case in cases)
    return Estimate(max(seconds.values(), default=0.0) / 60, known, len(cases))

"""Synthetic series of nights for the tests of judging."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date, timedelta

import numpy as np

from harness.model import NightValue, PairSet, SeriesId

SERIES = SeriesId("flagship", "model", "llama", "stream", "ms_per_token")
RATE = replace(SERIES, metric="decode_tps")
BEGIN = date(2026, 1, 1)
SCATTERS = (0.012, 0.015, 0.02, 0.025, 0.03, 0.02, 0.016, 0.04)


def night_of(index: int) -> str:
    return (BEGIN + timedelta(days=index)).isoformat()


def build_of(index: int) -> str:
    return f"build{index:03d}"


def flat(_phone: int, _night: int) -> float:
    return 0.0


def step(at: int, delta: float, until: int = 10_000) -> Callable[[int, int], float]:
    """All phones move by `delta` (logarithm) from night `at` on."""
    return lambda _phone, night: delta if at <= night < until else 0.0


def together(*parts: Callable[[int, int], float]) -> Callable[[int, int], float]:
    return lambda phone, night: sum(part(phone, night) for part in parts)


def series(
    nights: int,
    candidate: Callable[[int, int], float] = flat,
    *,
    both: Callable[[int, int], float] = flat,
    phones: int = 8,
    seed: int = 7,
    scatter: float | None = None,
) -> list[NightValue]:
    """Values of a time per token. Args: candidate, both: (phone, night) → what the candidate, what both builds are
    slower by (logarithm)."""
    rows = []
    for phone in range(phones):
        own = SCATTERS[phone % len(SCATTERS)] if scatter is None else scatter
        # A shorter series is the beginning of a longer one.
        drawn = own * np.random.default_rng([seed, phone]).standard_normal((nights, 2))
        for night, noise in enumerate(drawn):
            rows.append(
                NightValue(
                    night_of(night),
                    f"serial{phone}",
                    f"phone{phone}",
                    (30 + phone) * math.exp(noise[0] + candidate(phone, night) + both(phone, night)),
                    (28 + phone) * math.exp(noise[1] + both(phone, night)),
                    5,
                    build_of(night),
                    "pinned",
                    "model",
                    "os1",
                    1,
                )
            )
    return rows


def pairs(
    night: str, good: str, bad: str, delta: float, phones: Iterable[int] = range(8), count: int = 12, seed: int = 3
) -> list[PairSet]:
    """Pairs that truly differ by `delta`."""
    source = np.random.default_rng(seed)
    return [
        PairSet(
            f"serial{phone}",
            night,
            good,
            bad,
            tuple((delta + 1.4 * SCATTERS[phone % len(SCATTERS)] * source.standard_normal(count)).tolist()),
        )
        for phone in phones
    ]


def without(rows: Sequence[NightValue], gone: Callable[[NightValue], bool]) -> list[NightValue]:
    return [row for row in rows if not gone(row)]

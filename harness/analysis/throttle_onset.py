"""When throttling began: the first lasting fall of a frequency cap, or the change point of the token rate. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from statistics import median

import numpy as np
import numpy.typing as npt

from harness.model import Trace

HELD_S = 2.0
"""A cap that is back before this has flickered: governors step down and up again without any effect."""

_BEFORE_S, _START_S = 5.0, 10.0
"""The cap's maximum is taken from shortly before the first token to shortly after it."""

_GONE_S = 5.0
"""A cap without samples for so long, while other channels have some, belongs to cores that were unplugged."""

_DECAYS_S = (0.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
"""Time constants of the falls that are tried: at once, to slower than a phone warms."""

_LIKELY = 3.84
"""95 % quantile of chi-square with one degree of freedom."""

_ONSET_ERROR_S = 2.0


@dataclass(frozen=True, slots=True)
class CapFall:
    """A frequency cap fell `at_s`, known to `step_s`; `what` says so in words, `source` names the channel."""

    at_s: float
    step_s: float
    what: str
    source: str


def first_fall(caps: Sequence[Trace], others: Sequence[Trace], length: float) -> CapFall | None:
    """The earliest lasting fall of any cap; times in seconds from the first token.

    Args:
        caps: traces of scaling_max_freq, each with samples.
        others: the other traces, by which cores that were unplugged are told from a sampler that stood still.
        length: end of the run.
    """
    found = [fall for cap in caps if (fall := _fall(cap, [*others, *(one for one in caps if one is not cap)], length))]
    return min(found, key=lambda fall: fall.at_s, default=None)


def _fall(cap: Trace, others: Sequence[Trace], length: float) -> CapFall | None:
    site = cap.channel.name.rpartition(".")[0]
    samples = [(at, value) for at, value in zip(cap.uptime_s, cap.values, strict=True) if -_BEFORE_S <= at <= length]
    at_start = [value for at, value in samples if at <= _START_S]
    if not at_start:
        return None
    most = max(at_start)
    step = median(b[0] - a[0] for a, b in pairwise(samples)) if len(samples) > 1 else 0.0
    full = False
    for number, (at, value) in enumerate(samples):
        gone = _unplugged(at, samples[number + 1][0] if number + 1 < len(samples) else length, step, others)
        if value < most and full and _held(samples[number:], most, step):
            before = samples[number - 1][0] if number else at
            lowest = min(later for _, later in samples[number:])
            what = f"the cap of {site} fell from {most:.0f} to {lowest:.0f} {cap.channel.unit}"
            return CapFall((before + at) / 2, max((at - before) / 2, 0.01), what, cap.channel.name)
        if gone:
            what = f"{site} was unplugged (its cap is no longer there)"
            return CapFall(at + step / 2, max(step / 2, 0.01), what, cap.channel.name)
        full = full or value >= most
    return None


def _held(samples: Sequence[tuple[float, float]], most: float, step: float) -> bool:
    """Whether the cap is below `most` for HELD_S: as a rule it fell half a sampling step before the first sample that
    shows it, and rose half a step after the last one."""
    low = [at for at, _ in takewhile(lambda sample: sample[1] < most, samples)]
    return low[-1] - low[0] + step >= HELD_S


def _unplugged(at: float, until: float, step: float, others: Sequence[Trace]) -> bool:
    """Whether the channel is silent from `at` to `until` while others are not."""
    if until - at < max(_GONE_S, 4 * step):
        return False
    return any(sum(at + step < moment < until for moment in one.uptime_s) >= 3 for one in others)


def change_point(bins: Sequence[tuple[float, float, float]], seconds: float) -> tuple[float, float] | None:
    """The moment from which a rate falls, and its error in seconds; None where it is not known to 2 s.

    Least squares of a rate that is constant up to the moment and then goes to a lower one, at once or exponentially.
    The error is half of the 95 % likelihood interval of the moment.

    Args:
        bins: (start, rate, weight) of bins of `seconds`, ascending.
    """
    if len(bins) < 12:
        return None
    start, rate, weight = (np.array(column, dtype=float) for column in zip(*bins, strict=True))
    candidates = start[3:-3]
    best = np.full(len(candidates), np.inf)
    for decay in _DECAYS_S:
        best = np.minimum(best, _misfits(start, rate, weight, candidates, decay, seconds))
    if not np.isfinite(best).any():
        return None
    lowest = float(best.min())
    spread = max(lowest, 1e-12 * float((weight * rate**2).sum()))
    likely = candidates[best <= lowest + spread * _LIKELY / (len(start) - 4)]
    error = float(likely.max() - likely.min()) / 2 + seconds / 2
    if error > _ONSET_ERROR_S:
        return None
    return float(candidates[int(best.argmin())]), error


def _misfits(
    start: npt.NDArray[np.float64],
    rate: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    candidates: npt.NDArray[np.float64],
    decay: float,
    seconds: float,
) -> npt.NDArray[np.float64]:
    """Sum of weighted squares for each candidate; infinite where the rate would rise.

    With shape s(t) = 0 before the moment and 1 - exp(-(t - moment) / decay) after it, the rate is a + b s(t).
    """
    misfits = np.empty(len(candidates))
    total = weight.sum()
    mean_rate = (weight * rate).sum() / total
    centred = rate - mean_rate
    all_squares = (weight * centred**2).sum()
    middle = start + seconds / 2
    for number, moment in enumerate(candidates):
        since = np.clip(middle - moment, 0.0, None)
        shape = (since > 0).astype(float) if decay == 0 else -np.expm1(-since / decay)
        shape = shape - (weight * shape).sum() / total
        squares = (weight * shape**2).sum()
        product = (weight * shape * centred).sum()
        misfits[number] = all_squares - product**2 / squares if squares > 0 and product < 0 else np.inf
    return misfits

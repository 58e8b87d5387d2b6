"""Repetitions that lie far from the others of their case, and what telemetry says of why.

Problem. One disturbed repetition among five must not vanish: it is the only trace of heat or of an update in the
background. It is marked, with its cause where one was seen, and still counts.

Method. Distance from the median in robust standard deviations (modified z score: 0.6745 × distance / median absolute
deviation) on the logarithmic scale, and at least 2 % from the median. The usual limit of 3.5 marks 21 of 100 clean
cases of five repetitions (simulated, normal noise), because five values tell their spread badly. So 3.5 is the limit
only where something independent was seen that explains the repetition: it was hotter at its start than the others, its
clock was capped lower, others used the CPU more, or its gate was marked. Without that, it takes the limit which 5 of
100 clean cases of that many repetitions pass (simulated, `LIMITS`), and the mark is "unexplained". Heat, caps and load
explain only a worse figure.

Sources. Iglewicz and Hoaglin, "How to detect and handle outliers", ASQC (1993).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any, Protocol

from harness.analysis.repeats import HEADLINE
from harness.analysis.repeats import Repetition as Figures
from harness.model import METRICS, CaseStatus, Measured, Trace

LEAST = 4
"""Repetitions below which nothing is far from the others."""

EXPLAINED_LIMIT = 3.5
SMALLEST = 0.02
"""Distance from the median below which nobody cares."""

LIMITS: Mapping[int, float] = {
    4: 6.9,
    5: 7.9,
    6: 5.6,
    7: 5.8,
    8: 4.9,
    9: 5.1,
    10: 4.6,
    11: 4.7,
    12: 4.4,
    13: 4.4,
    14: 4.2,
    15: 4.3,
    16: 4.1,
}
"""Count of repetitions → modified z score that the farthest of clean ones passes in 5 of 100 cases."""

HOTTER_K = 3.0
"""Kelvin above the others at the start: more than the steps of any source and than a passed gate leaves."""

CAP_SHARE = 0.98
"""Mean cap below this share of the others' is a lower cap: clocks step by 3 to 10 %."""

MORE_LOAD = 5.0
"""Percent points of all cores that others used more than in the other repetitions."""


class Cause(StrEnum):
    HOT = "hot"
    CAPPED = "capped"
    OTHER_LOAD = "other load"
    FEWER_CORES = "fewer cores"
    OTHER_CORES = "other cores"
    GATE = "gate"
    UNEXPLAINED = "unexplained"


CAUSES: Mapping[str, Cause] = {
    "not_cooled": Cause.HOT,
    "throttled": Cause.CAPPED,
    "other_load": Cause.OTHER_LOAD,
    "placement_unplugged": Cause.FEWER_CORES,
    "placement_changed": Cause.OTHER_CORES,
}
"""First word of a mark → what it explains. Other marks of the gate are causes by themselves (GATE); other marks of a
run, of its memory or its energy, explain no rate."""

_NO_CAUSE = frozenset({"heat_unknown"})


class Repetition(Figures, Protocol):
    """What is needed of one repetition: also what was noted about it.

    `provenance` may hold "caps" (see `cap_summary`), "gate" with "marks", and "marks" (texts, "NAME: DETAIL").
    """

    @property
    def provenance(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Evidence:
    """Args: cause; detail: the figures that show it, "" for UNEXPLAINED."""

    cause: Cause
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Outlier:
    """One figure of one repetition that lies far from the others'.

    Args:
        repeat: number of the repetition. metric: its name. value, median: in the metric's unit.
        score: modified z score; inf where all others are equal.
        evidence: what explains it, or the one entry UNEXPLAINED.
    """

    repeat: int
    metric: str
    value: float
    median: float
    score: float
    evidence: tuple[Evidence, ...]

    @property
    def text(self) -> str:
        """ "repetition 4: decode 21 % lower (hot: 44.1 °C at the start, the others 36.2 °C)"."""
        change = self.value / self.median - 1
        side = "higher" if change > 0 else "lower"
        why = "; ".join(f"{one.cause.value}: {one.detail}" if one.detail else one.cause.value for one in self.evidence)
        return (
            f"repetition {self.repeat}: {METRICS[self.metric].title.lower()} {100 * abs(change):.0f} % {side} ({why})"
        )

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; a score that is infinite becomes None."""
        return asdict(self) | {
            "score": self.score if math.isfinite(self.score) else None,
            "evidence": [{"cause": one.cause.value, "detail": one.detail} for one in self.evidence],
        }


def outliers(rows: Iterable[Repetition]) -> tuple[Outlier, ...]:
    """The marks of one case, by repetition; a warm-up repetition is to be left out by the caller.

    Args:
        rows: repetitions of one case in any state; those not measured do not count.
    """
    measured = [row for row in rows if row.status is CaseStatus.MEASURED]
    if len(measured) < LEAST:
        return ()
    found: list[Outlier] = []
    for metric in HEADLINE[measured[0].planned.workload.kind]:
        having = [(row, value) for row in measured if (value := _value(row, metric)) is not None and value > 0]
        scores = modified_z([value for _, value in having])
        middle = statistics.median([value for _, value in having]) if having else math.nan
        for (row, value), score in zip(having, scores, strict=True):
            if score <= EXPLAINED_LIMIT or abs(value / middle - 1) < SMALLEST:
                continue
            worse = (value < middle) is (METRICS[metric].better == "higher")
            evidence = _evidence(row, [other for other in measured if other is not row], worse=worse)
            if evidence or score > LIMITS.get(len(having), EXPLAINED_LIMIT):
                found.append(
                    Outlier(
                        row.planned.repeat, metric, value, middle, score, evidence or (Evidence(Cause.UNEXPLAINED),)
                    )
                )
    return tuple(sorted(found, key=lambda one: one.repeat))


def modified_z(values: Sequence[float]) -> list[float]:
    """Modified z score of each value on the logarithmic scale, 0 for fewer than LEAST; values have to be positive.

    Where more than half are equal the median deviation is 0: then any other value is infinitely far.
    """
    if len(values) < LEAST:
        return [0.0] * len(values)
    logs = [math.log(value) for value in values]
    middle = statistics.median(logs)
    distances = [abs(value - middle) for value in logs]
    deviation = statistics.median(distances)
    if deviation == 0:
        return [math.inf if distance else 0.0 for distance in distances]
    return [0.6745 * distance / deviation for distance in distances]


def _evidence(row: Repetition, others: Sequence[Repetition], *, worse: bool) -> tuple[Evidence, ...]:
    found: list[Evidence] = []
    if worse:
        found += [*_hot(row, others), *_capped(row, others), *_other_load(row, others)]
    known = {one.cause for one in found}
    seen = [_marks(other) for other in others]
    for name, (cause, text) in _marks(row).items():
        # A mark that most repetitions carry does not tell this one from them.
        common = 2 * sum(name in marks for marks in seen) >= len(others)
        if cause not in known and not common and (worse or cause is Cause.GATE):
            found.append(Evidence(cause, text))
    return tuple(found)


def _hot(row: Repetition, others: Sequence[Repetition]) -> list[Evidence]:
    own, usual = _against(row, others, "temperature_start_c")
    if own is not None and usual is not None and own - usual >= HOTTER_K:
        return [Evidence(Cause.HOT, f"{own:.1f} °C at the start, the others {usual:.1f} °C")]
    own, usual = _against(row, others, "thermal_status_max")
    if own is not None and usual is not None and own > usual:
        return [Evidence(Cause.HOT, f"thermal status {own:g}, the others {usual:g}")]
    return []


def _capped(row: Repetition, others: Sequence[Repetition]) -> list[Evidence]:
    for policy, cap in _caps(row).items():
        usual = [caps[policy] for other in others if policy in (caps := _caps(other))]
        if usual and cap < CAP_SHARE * statistics.median(usual):
            text = f"{policy} at most {cap:.0f} MHz on average, the others {statistics.median(usual):.0f} MHz"
            return [Evidence(Cause.CAPPED, text)]
    return []


def _other_load(row: Repetition, others: Sequence[Repetition]) -> list[Evidence]:
    own, usual = _against(row, others, "other_load_pct")
    if own is not None and usual is not None and own - usual >= MORE_LOAD:
        return [Evidence(Cause.OTHER_LOAD, f"{own:.0f} % of all cores, in the others {usual:.0f} %")]
    return []


def _against(row: Repetition, others: Sequence[Repetition], metric: str) -> tuple[float | None, float | None]:
    """Own value and the others' median."""
    values = [value for other in others if (value := _value(other, metric)) is not None]
    return _value(row, metric), statistics.median(values) if values else None


def _value(row: Repetition, metric: str) -> float | None:
    reading = row.metrics.get(metric)
    return reading.value if isinstance(reading, Measured) else None


# --- what was noted about a repetition --------------------------------------------------------------------------------


def cap_summary(traces: Iterable[Trace], window: tuple[float | None, float | None]) -> dict[str, float]:
    """Policy ("policy4") → mean of its frequency cap inside the window, MHz; to be stored as provenance "caps".

    Each sample holds until the next, so that uneven sampling does not weigh one moment more than another.
    """
    start, end = window
    found: dict[str, float] = {}
    for trace in traces:
        policy, dot, measure = trace.channel.name.partition(".")
        if not (dot and measure == "max_freq" and policy.startswith("policy")):
            continue
        samples = [
            (at, value)
            for at, value in zip(trace.uptime_s, trace.values, strict=True)
            if (start is None or at >= start) and (end is None or at <= end)
        ]
        if samples:
            found[policy] = _mean_over_time(samples)
    return found


def _mean_over_time(samples: Sequence[tuple[float, float]]) -> float:
    held = [(after[0] - before[0], before[1]) for before, after in pairwise(samples)]
    length = sum(seconds for seconds, _ in held)
    if length <= 0:
        return statistics.fmean(value for _, value in samples)
    return sum(seconds * value for seconds, value in held) / length


def _caps(row: Repetition) -> dict[str, float]:
    stored = row.provenance.get("caps")
    if not isinstance(stored, Mapping):
        return {}
    return {str(policy): float(cap) for policy, cap in stored.items() if isinstance(cap, int | float)}


def _marks(row: Repetition) -> dict[str, tuple[Cause, str]]:
    """Name of a mark that may explain a rate → its cause and what it says."""
    gate = row.provenance.get("gate")
    of_gate = _texts(gate.get("marks") if isinstance(gate, Mapping) else None)
    found: dict[str, tuple[Cause, str]] = {}
    for text in (*of_gate, *_texts(row.provenance.get("marks"))):
        name, _, detail = text.partition(":")
        cause = CAUSES.get(name, Cause.GATE if text in of_gate and name not in _NO_CAUSE else None)
        if cause is not None:
            found.setdefault(name, (cause, detail.strip() if name in CAUSES else text))
    return found


def _texts(stored: object) -> list[str]:
    return [text for text in stored if isinstance(text, str)] if isinstance(stored, list | tuple) else []

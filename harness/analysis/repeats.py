"""How many repetitions a case needs, and whether those it has agree.

Problem. A suite says how often a case is repeated: an exact count, or `auto`: until its figures are known well enough.

Method. `auto` begins with 5 repetitions and asks for more until the 95 % interval of the median (harness.analysis.
statistics) lies within ±2 % of it for every headline metric, at most 15; what is not known by then is unstable. Each
time it asks for half of what the present spread predicts, so that a lucky or unlucky first five neither decides nor
overshoots. Where every repetition is measured, this takes 5, 5, 6, 8, 13, 15 repetitions on average at a coefficient
of variation of 0.5, 1, 1.5, 2, 3.5, 5 %; known beforehand, the spread would ask for 3, 4, 5, 7, 15, 27.

Limits. Stopping when the interval happens to be narrow makes it hold the truth a little less often than it says: 95 %
up to CV 1.5 %, 93 to 94 % above (simulated, see docs/measurement.md). Of cases with CV 3.5 % some 40 % are called
stable, and 86 % of their intervals hold the truth.

Sources. Anscombe, "Large-sample theory of sequential estimation", Proc. Cambridge Phil. Soc. 48 (1952); Kalibera and
Jones, "Rigorous benchmarking in reasonable time", ISMM 2013.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol, TypeVar

from harness.analysis.statistics import centre, student_t
from harness.model import METRICS, CaseStatus, Measured, PlannedCase, Reading, RunRecord, Suite, WorkloadKind

AUTO_LEAST = 5
"""Measured repetitions before `auto` judges: the fewest at which a spread is worth something."""

AUTO_MOST = 15
"""Repetitions, failed ones included, after which `auto` gives up."""

WITHIN = 0.02
"""How close to the median both ends of its interval have to be."""

HEADLINE: Mapping[WorkloadKind, tuple[str, ...]] = {
    WorkloadKind.THROUGHPUT: ("prefill_tps", "decode_tps"),
    WorkloadKind.STREAM: ("prefill_tps", "decode_tps"),
    WorkloadKind.SUSTAINED: ("decode_tps", "sustained_tps"),
    WorkloadKind.BATTERY: ("decode_tps", "energy_per_token_j"),
}
"""The metrics that a workload is run for. The time per token, which targets judge, is the reciprocal of the decode
rate, and the time to first token all but the reciprocal of the prefill rate: on the logarithmic scale their intervals
are as wide. Latency percentiles and load times wander by more and would repeat every case 15 times. The prompt of a
sustained or battery workload is too small for a prefill rate."""


class Repetition(Protocol):
    """What is needed of one repetition of a case."""

    @property
    def planned(self) -> PlannedCase: ...

    @property
    def status(self) -> CaseStatus: ...

    @property
    def metrics(self) -> Mapping[str, Reading]: ...


R = TypeVar("R", bound=Repetition)


@dataclass(frozen=True, slots=True)
class RepeatPolicy:
    """What a suite says of repetitions. Args: auto: until they agree; warm_up: the first one does not count."""

    auto: bool = False
    warm_up: bool = False

    @classmethod
    def of(cls, suite: Suite, repeats: int | None = None) -> RepeatPolicy:
        """Of a suite; a count given on the command line takes the place of the suite's own."""
        return cls(suite.repeats == "auto" and repeats is None, suite.warm_up)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> RepeatPolicy:
        """What `to_json` gave; what says nothing of it had a fixed count and no warm-up."""
        return cls(stored.get("repeats_auto") is True, stored.get("warm_up") is True)

    @classmethod
    def of_run(cls, record: RunRecord | None) -> RepeatPolicy:
        """As a run was begun with (its option "repeats"); FIXED for one that is not known or older than this."""
        stored = record.options.get("repeats") if record else None
        return cls.from_json(stored) if isinstance(stored, Mapping) else cls()

    def to_json(self) -> dict[str, bool]:
        return {"repeats_auto": self.auto, "warm_up": self.warm_up}


FIXED = RepeatPolicy()


@dataclass(frozen=True, slots=True)
class RepeatDecision:
    """Args: outcome; n_more: repetitions to run now, 0 unless outcome is "more"; reason: in words."""

    outcome: Literal["enough", "more", "unstable"]
    n_more: int
    reason: str


class Agreement(StrEnum):
    """Whether the repetitions of a case agree; FIXED: their count was given, so nobody asked."""

    FIXED = "fixed"
    STABLE = "stable"
    UNSTABLE = "unstable"
    UNFINISHED = "unfinished"
    NOT_MEASURED = "not_measured"


@dataclass(frozen=True, slots=True)
class Stability:
    """Args: agreement; reason: the figures it rests on, "" for FIXED."""

    agreement: Agreement
    reason: str = ""


def counted(rows: Iterable[R], warm_up: bool) -> tuple[R, ...]:
    """The repetitions that count. With `warm_up` the first measured one, which met cold caches, is left out."""
    found = tuple(rows)
    if not warm_up:
        return found
    measured = [row for row in found if row.status is CaseStatus.MEASURED]
    first = min(measured, key=lambda row: row.planned.repeat, default=None)
    return tuple(row for row in found if row is not first)


def headline_values(rows: Iterable[Repetition]) -> dict[str, list[float]]:
    """Headline metric → its measured values; metrics that no repetition has are left out."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.status is not CaseStatus.MEASURED:
            continue
        for name in HEADLINE[row.planned.workload.kind]:
            reading = row.metrics.get(name)
            if isinstance(reading, Measured):
                found.setdefault(name, []).append(reading.value)
    return found


def half_width(values: Sequence[float]) -> float:
    """Distance of the farther end of the interval from the median, relative to it; inf where it has none."""
    found = centre(values)
    if found is None or found.low is None or found.high is None or found.value <= 0:
        return math.inf
    return max(found.high - found.value, found.value - found.low) / found.value


def needed(values_by_metric: Mapping[str, Sequence[float]], *, made: int) -> RepeatDecision:
    """What `repeats: auto` asks for next.

    Args:
        values_by_metric: headline metric → values of the repetitions that count.
        made: repetitions that have ended, failed and refused ones included.
    """
    values = {name: found for name, found in values_by_metric.items() if found}
    measured = max(map(len, values.values()), default=0)
    if measured < AUTO_LEAST:
        return _too_few(measured, made)
    # Two values that happen to be close say nothing: a metric that is often absent is not known.
    widths = {name: half_width(found) if len(found) >= AUTO_LEAST else math.inf for name, found in values.items()}
    wide = {name: width for name, width in widths.items() if width > WITHIN}
    if not wide:
        return RepeatDecision("enough", 0, f"{_told(widths)}, {measured} repetitions")
    if made >= AUTO_MOST:
        return RepeatDecision(
            "unstable", 0, f"{_told(wide)}, more than ±{100 * WITHIN:.0f} %, after {made} repetitions"
        )
    more = max(_predicted(values[name]) - len(values[name]) for name in wide)
    return RepeatDecision("more", min(max(1, math.ceil(more / 2)), AUTO_MOST - made), f"{_told(wide)} so far")


def _too_few(measured: int, made: int) -> RepeatDecision:
    if made < AUTO_LEAST:
        return RepeatDecision("more", AUTO_LEAST - made, f"{made} of at least {AUTO_LEAST} repetitions are done")
    if not measured:
        return RepeatDecision("enough", 0, f"none of {made} repetitions has a figure, and more would not have one")
    # Repeating what mostly fails costs a night and gives no figure.
    if made - measured > measured or made >= AUTO_MOST:
        return RepeatDecision("unstable", 0, f"only {measured} of {made} repetitions have a figure")
    more = min(AUTO_LEAST - measured, AUTO_MOST - made)
    return RepeatDecision("more", more, f"{measured} of {made} repetitions have a figure")


def _told(widths: Mapping[str, float]) -> str:
    return ", ".join(
        f"{METRICS[name].title.lower()} known within ±{100 * width:.1f} %"
        if width < math.inf
        else f"{METRICS[name].title.lower()} not measured often enough"
        for name, width in widths.items()
    )


def _predicted(values: Sequence[float]) -> int:
    """How many repetitions of this spread bring the interval within the limit, AUTO_MOST at most."""
    if len(values) < 2 or min(values) <= 0:
        return AUTO_MOST
    spread = statistics.stdev([math.log(value) for value in values])
    for count in range(len(values) + 1, AUTO_MOST):
        if student_t(count - 1) * spread / math.sqrt(count) <= WITHIN:
            return count
    return AUTO_MOST


def more_repeats(policy: RepeatPolicy, rows: Sequence[Repetition]) -> int:
    """How many more repetitions of a case are to be run; 0 when it is done, and always for a fixed count.

    Args:
        rows: all repetitions of one case, in any state; those still to be run are taken off.
    """
    if not policy.auto or _never_ran(rows):
        return 0
    decision, waiting = _decide(policy, rows)
    return max(0, decision.n_more - waiting)


def stability(policy: RepeatPolicy, rows: Sequence[Repetition]) -> Stability:
    """Whether the repetitions of one case agree, for tables and exports; `rows` as in `more_repeats`."""
    if not policy.auto:
        return Stability(Agreement.FIXED)
    if _never_ran(rows):
        why = next((row.planned.reason.message for row in rows if row.planned.reason), "no repetition was run")
        return Stability(Agreement.NOT_MEASURED, why)
    decision, _ = _decide(policy, rows)
    if decision.outcome == "more":
        return Stability(Agreement.UNFINISHED, f"the run ended first: {decision.reason}")
    if decision.outcome == "unstable":
        return Stability(Agreement.UNSTABLE, decision.reason)
    measured = headline_values(counted(rows, policy.warm_up))
    return Stability(Agreement.STABLE if measured else Agreement.NOT_MEASURED, decision.reason)


def _never_ran(rows: Sequence[Repetition]) -> bool:
    """Whether all of a case was refused or skipped, so that more repetitions would be too."""
    return all(row.status in (CaseStatus.REFUSED, CaseStatus.SKIPPED) for row in rows)


def _decide(policy: RepeatPolicy, rows: Sequence[Repetition]) -> tuple[RepeatDecision, int]:
    """What is needed, and how many repetitions are still to be run."""
    ended = (CaseStatus.MEASURED, CaseStatus.FAILED, CaseStatus.REFUSED)
    valid = counted(rows, policy.warm_up)
    made = sum(row.status in ended for row in valid)
    waiting = sum(row.status in (CaseStatus.PLANNED, CaseStatus.RUNNING) for row in valid)
    return needed(headline_values(valid), made=made), waiting

"""The search for the first bad build of a series: pairs against the good end, until `bisect_step` knows.

What is known is only what is stored: each round reads every pair of these builds that was ever run in a search, so that
one that was killed goes on, and none is run twice.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from harness.analysis.nights import BisectAction, BisectStep, bisect_step
from harness.analysis.nights.pairs import ratios_by_phone, shift
from harness.model import BuildFound, CaseStatus, ErrorInfo, PairSet, Unavailable
from harness.nightly import pair_sets
from harness.nightly.build_line import BuildLine, key_of
from harness.nightly.builds import Build, CheckedBuild
from harness.nightly.pair_plan import PairWish, missing_pairs

TRIAL = 2
"""Pairs of a build that has no figure yet: one that does not run is found out at the cost of two of the other's."""


class Row(pair_sets.Row, Protocol):
    """What is needed of one measurement."""

    @property
    def error(self) -> ErrorInfo | None: ...


@dataclass(frozen=True, slots=True)
class PairRows:
    """Args: rows: of one model file and workload, oldest first. nights: run → night, an ISO date."""

    rows: Sequence[Row]
    nights: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched for, and where.

    Args:
        metric: a name of METRICS of which one direction is better. model, runner, workload: ids.
        line: the builds.
        phones: identity → id, of phones that are there and can run them.
    """

    metric: str
    model: str
    runner: str
    workload: str
    line: BuildLine
    phones: Mapping[str, str]


class NightLab(Protocol):
    """What a search needs of the lab."""

    @property
    def interrupted(self) -> bool:
        """Whether the operator wants it to end."""

    def measured(self, search: Search) -> PairRows:
        """All pairs so far that compared builds with this good end, failed halves included."""

    def run_pairs(self, search: Search, wish: PairWish, pairs: Mapping[str, int], deadline: float | None) -> str:
        """Measure so many pairs of each phone (identity → count) and store them; returns "", or why it cannot.

        Args:
            deadline: monotonic second after which nothing is begun; None: no limit.
        """


@dataclass(frozen=True, slots=True)
class BuildSeen:
    """What is known of a build.

    Args:
        key: its name within the line. sha256: "" for one whose files were refused.
        pairs: against the good end, on how many phones.
        delta, low, high: how much worse it is (logarithm), with the 95 % interval; None without pairs.
        problem: why it cannot be tried, "" where it can.
    """

    build: Build
    key: str
    sha256: str
    pairs: int
    phones: int
    delta: float | None
    low: float | None
    high: float | None
    problem: str


@dataclass(frozen=True, slots=True)
class Bisection:
    """How a search ended.

    Args:
        search: what was searched for. step: what its pairs say.
        builds: what is known of each build of the line.
        stopped: why it could not come to its end; "" when it did.
        dropped: phones that were left out on the way: id → why.
    """

    search: Search
    step: BisectStep
    builds: tuple[BuildSeen, ...]
    stopped: str = ""
    dropped: Mapping[str, str] = field(default_factory=dict)

    @property
    def found(self) -> bool:
        return not self.stopped and self.step.action is BisectAction.FOUND

    def name(self, key: str) -> str:
        """Name of a build of the line."""
        return next((one.build.name for one in self.builds if one.key == key), "")

    def told(self, series: str) -> BuildFound:
        """For the summary of a night. Args: series: its key."""
        step = self.step
        first_bad, last_good = (self.name(step.first_bad), self.name(step.last_good)) if self.found else ("", "")
        untried = tuple(map(self.name, step.untried))
        reason = f"{worse_by(step)}; {step.reason}" if self.found else self.stopped or step.reason
        return BuildFound(series, self.search.runner, first_bad, last_good, untried, step.confidence, reason)


def worse_by(step: BisectStep) -> str:
    """The whole step in words, e.g. "10.2 % worse (95 % interval 9.1 to 11.4 %)"; "" where it is not known."""
    if step.delta is None or step.low is None or step.high is None:
        return ""
    delta, low, high = (100 * math.expm1(one) for one in (step.delta, step.low, step.high))
    return f"{delta:.1f} % worse (95 % interval {low:.1f} to {high:.1f} %)"


def bisect_series(lab: NightLab, search: Search, deadline: float | None = None) -> Bisection:
    """Search for the first bad build of a line, or go on with a search.

    A build that gives no figure where the good end gives one is tried around; a phone that gives no pair is left out
    from there on.

    Args:
        deadline: monotonic second after which no measurement is begun; None: no limit.
    """
    keys = [key_of(one) for one in search.line.builds]
    phones = dict(search.phones)
    dropped: dict[str, str] = {}
    while True:
        known = _Known.of(search, lab.measured(search), phones)
        step = bisect_step(keys, known.sets, broken=known.problems, phones=phones)
        going_on = step.action is BisectAction.MEASURE
        why = _obstacle(lab, known, step, phones, dropped, deadline) if going_on else ""
        if not going_on or why:
            return Bisection(search, step, known.builds(search), why, dropped)
        wish = PairWish(search.model, search.runner, search.workload, keys[0], step.build, phones=tuple(phones))
        wanted = step.pairs if step.build in known.tried else TRIAL
        lacking = missing_pairs(phones, known.of_build(step.build), wanted)
        why = lab.run_pairs(search, wish, lacking, deadline)
        if why:
            return Bisection(search, step, known.builds(search), why, dropped)
        if not lab.interrupted and not _is_over(deadline):
            silent = _without(search, lab.measured(search), phones, known, lacking, step.build)
            for identity, reason in silent.items():
                dropped[phones.pop(identity)] = reason


def _obstacle(
    lab: NightLab,
    known: _Known,
    step: BisectStep,
    phones: Mapping[str, str],
    dropped: Mapping[str, str],
    deadline: float | None,
) -> str:
    """Why nothing more can be measured, "" when it can."""
    if lab.interrupted:
        return "it was interrupted"
    if _is_over(deadline):
        return "its time is up"
    if step.build in known.problems:
        return f"the bad end does not run: {known.problems[step.build]}"
    if not phones:
        return "no phone gives a pair: " + "; ".join(f"{name}: {reason}" for name, reason in dropped.items())
    return ""


def _is_over(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() > deadline


@dataclass(frozen=True, slots=True)
class _Known:
    """What the stored pairs say.

    Args:
        sets: of the phones that are searched on, against the good end.
        tried: keys of builds that have a figure.
        problems: key of a build that cannot be tried → why.
    """

    sets: tuple[PairSet, ...]
    tried: Collection[str]
    problems: Mapping[str, str]

    @classmethod
    def of(cls, search: Search, stored: PairRows, phones: Collection[str]) -> _Known:
        rows = [row for row in stored.rows if row.planned.identity in phones]
        good = key_of(search.line.builds[0])
        sets: list[PairSet] = []
        problems: dict[str, str] = {}
        tried: set[str] = set()
        for one in search.line.builds[1:]:
            key = key_of(one)
            own = [row for row in rows if row.planned.runner_sha256 == key]
            if isinstance(one.found, ErrorInfo):
                problems[key] = one.found.message
            elif any(pair_sets.figure(search.metric, row) is not None for row in own):
                tried.add(key)
                sets += pair_sets.pair_sets(rows, good, key, stored.nights, [search.metric])[search.metric]
            elif problem := _problem(search.metric, own, _gave(search.metric, rows, good)):
                problems[key] = problem
        return cls(tuple(sets), tried, problems)

    def of_build(self, key: str) -> list[PairSet]:
        return [one for one in self.sets if one.bad == key]

    def builds(self, search: Search) -> tuple[BuildSeen, ...]:
        return tuple(self._seen(one) for one in search.line.builds)

    def _seen(self, checked: CheckedBuild) -> BuildSeen:
        key = key_of(checked)
        ratios = list(ratios_by_phone(self.of_build(key)).values())
        delta: tuple[float | None, float | None, float | None] = shift(ratios) if ratios else (None,) * 3
        total, problem = sum(map(len, ratios)), self.problems.get(key, "")
        return BuildSeen(checked.build, key, checked.sha256, total, len(ratios), *delta, problem)


def _gave(metric: str, rows: Iterable[Row], build: str) -> set[tuple[str, str]]:
    """Run and phone of every figure of a build."""
    return {
        (row.planned.run, row.planned.identity)
        for row in rows
        if row.planned.runner_sha256 == build and pair_sets.figure(metric, row) is not None
    }


def _problem(metric: str, own: Sequence[Row], beside: set[tuple[str, str]]) -> str:
    """Why a build without any figure cannot be tried: TRIAL times it ran, gave none, and the good end did beside it.

    What was refused says nothing: a hot phone and one in use refuse any build.
    """
    ended = [
        row
        for row in own
        if row.status in (CaseStatus.FAILED, CaseStatus.MEASURED) and (row.planned.run, row.planned.identity) in beside
    ]
    return _reason(metric, ended) if len(ended) >= TRIAL else ""


def _reason(metric: str, rows: Sequence[Row]) -> str:
    """Why the newest of these that has no figure has none."""
    without = [row for row in rows if pair_sets.figure(metric, row) is None]
    newest = next((row for row in reversed(without) if row.status is not CaseStatus.PLANNED), None)
    if newest is None:
        return "nothing was measured"
    if newest.error is not None:
        return newest.error.message
    reading = newest.metrics.get(metric)
    return reading.reason if isinstance(reading, Unavailable) else f"it gave no {metric}"


def _without(
    search: Search, stored: PairRows, phones: Collection[str], before: _Known, asked: Iterable[str], build: str
) -> dict[str, str]:
    """Phones that were asked for pairs of a build and gave none, with the reason; none when the build is to blame."""
    now = _Known.of(search, stored, phones)
    if build in now.problems:
        return {}
    counts = [
        {identity: len(ratios) for identity, ratios in ratios_by_phone(known.of_build(build)).items()}
        for known in (before, now)
    ]
    ends = (key_of(search.line.builds[0]), build)
    return {
        identity: _reason(
            search.metric,
            [row for row in stored.rows if row.planned.identity == identity and row.planned.runner_sha256 in ends],
        )
        for identity in asked
        if counts[1].get(identity, 0) <= counts[0].get(identity, 0)
    }

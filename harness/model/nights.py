"""Nights and what is judged over them: values, pairs, steps, changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

SERIES_PARTS = 5


class ChangeState(StrEnum):
    """STEADY: nothing is seen. INSUFFICIENT: too few nights to say. SUSPECT: the nights say that the level changed,
    pairs are to decide. REGRESSION, IMPROVEMENT: pairs agreed. CLEARED: pairs did not agree. ACKNOWLEDGED: a person
    said that the change is known; its new level is not known well enough yet."""

    STEADY = "steady"
    INSUFFICIENT = "insufficient"
    SUSPECT = "suspect"
    REGRESSION = "regression"
    IMPROVEMENT = "improvement"
    CLEARED = "cleared"
    ACKNOWLEDGED = "acknowledged"


class PairOutcome(StrEnum):
    """CONFIRMED: the pairs agree with the suspicion. CLEARED: they do not. UNDECIDED: there are too few yet."""

    CONFIRMED = "confirmed"
    CLEARED = "cleared"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class SeriesId:
    """Names one judged series; its members are the phones of the tier."""

    tier: str
    model: str
    runner: str
    workload: str
    metric: str

    @property
    def key(self) -> str:
        """TIER/MODEL/RUNNER/WORKLOAD/METRIC; a "/" within a part is "%2F" and a "%" is "%25"."""
        parts = (self.tier, self.model, self.runner, self.workload, self.metric)
        return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)

    @classmethod
    def parse(cls, text: str) -> SeriesId:
        """What `key` gave. Raises ValueError when it is no such name."""
        parts = text.split("/")
        if len(parts) != SERIES_PARTS or not all(parts):
            raise ValueError(f"{text!r} is no series; one is named TIER/MODEL/RUNNER/WORKLOAD/METRIC")
        return cls(*(part.replace("%2F", "/").replace("%25", "%") for part in parts))


@dataclass(frozen=True, slots=True)
class NightValue:
    """What one phone gave for a series in one night.

    Args:
        night: ISO date on which the night began.
        identity: the phone's own serial. device_id: its name in the inventory.
        value: median of the night's repetitions, in the metric's unit.
        reference: that of the reference build in the same night; None where it has none.
        repeats: how many repetitions are behind `value`.
        build: sha256 of the runner. reference_build: of the reference's; "" without a reference in the inventory, and
            then `value` itself is judged.
        model_sha256: of the model file. os: fingerprint of the system. contract: version of the measuring contract.
        marks: what was special: "throttled", "hot", "other_load", …
    """

    night: str
    identity: str
    device_id: str
    value: float
    reference: float | None
    repeats: int
    build: str
    reference_build: str
    model_sha256: str
    os: str
    contract: int
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PairSet:
    """Interleaved pairs of two builds on one phone in one night.

    Args:
        good, bad: the builds (sha256). ratios: log(bad / good) of each pair, turned so that + is worse.
    """

    identity: str
    night: str
    good: str
    bad: str
    ratios: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Ack:
    """A person's word that a change of a series is known. Args: night: the newest one that the person had seen."""

    series: SeriesId
    night: str
    author: str
    reason: str
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class LevelStep:
    """Where the level of a series changed.

    Args:
        night: the first of the new level. index: its place among the nights of the series.
        delta: logarithm of new / old level, + is worse. low, high: its 95 % interval.
        earliest, latest: nights between which the first one lies in 95 of 100 cases.
    """

    night: str
    index: int
    delta: float
    low: float
    high: float
    earliest: str
    latest: str


@dataclass(frozen=True, slots=True)
class PairResult:
    """What pairs say. Args: delta: logarithm, + is worse. low, high: its 95 % interval; all three None without pairs.
    p_value: one-sided, in the direction asked for; None without pairs. pairs: in all. phones: that have any."""

    outcome: PairOutcome
    delta: float | None
    low: float | None
    high: float | None
    p_value: float | None
    pairs: int
    phones: int
    reason: str


@dataclass(frozen=True, slots=True)
class Change:
    """What is said of one series after its newest night.

    Args:
        nights: that have a value. phones: identities that were judged, sorted.
        step: of the change that `state` speaks of, None without one. since: its first bad night, "" without one.
        bad_build: of the first bad night. good_build: the newest that is surely older than the change: of the night
            before `step.earliest`. pair_build: of the night of the suspicion; "" where there is no change.
        ab: what pairs said of it, None while there are none.
        suspected: night of the suspicion, "" where there is no change; pairs count from it on.
        wants_pairs: pairs of `good_build` against `pair_build` are to decide it.
        regressed: a confirmed regression is open, also while a further change is suspect.
        events: what happened to phones, systems and files near it, in words.
        reason: why the state is what it is, in words.
    """

    series: SeriesId
    state: ChangeState
    nights: int
    phones: tuple[str, ...]
    step: LevelStep | None = None
    since: str = ""
    good_build: str = ""
    bad_build: str = ""
    pair_build: str = ""
    ab: PairResult | None = None
    wants_pairs: bool = False
    regressed: bool = False
    events: tuple[str, ...] = ()
    reason: str = ""
    suspected: str = ""

    @property
    def p_value(self) -> float | None:
        """Of the pairs."""
        return self.ab.p_value if self.ab else None

    @property
    def pairs(self) -> int:
        """How many there are in all."""
        return self.ab.pairs if self.ab else 0

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; `series` by its key."""
        return asdict(self) | {"series": self.series.key}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Change:
        """What `to_json` gave. Raises KeyError, TypeError or ValueError for anything else."""
        step, ab = stored["step"], stored["ab"]
        return cls(
            **{
                **stored,
                "series": SeriesId.parse(stored["series"]),
                "state": ChangeState(stored["state"]),
                "phones": tuple(stored["phones"]),
                "events": tuple(stored["events"]),
                "step": LevelStep(**step) if step is not None else None,
                "ab": PairResult(**{**ab, "outcome": PairOutcome(ab["outcome"])}) if ab is not None else None,
            }
        )


@dataclass(frozen=True, slots=True)
class PhoneDrift:
    """How far a phone's own reference values have moved within their epoch.

    Args:
        metric: the one that moved most. nights: of its epoch. delta: logarithm of now / then, + is worse.
        low, high: its 95 % interval. drifted: it lies beyond the limit, and its interval excludes 0.
    """

    identity: str
    device_id: str
    metric: str
    nights: int
    delta: float
    low: float
    high: float
    drifted: bool

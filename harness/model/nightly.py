"""One night of a lab: what it is, what became of it, and what a person has to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from harness.model.nights import Change, ChangeState, PhoneDrift
from harness.model.words import DeviceKind, RunStatus, TargetVerdict


class NightRole(StrEnum):
    """What a run of a night is for. MEASURE: the suite, judged over the nights. PAIRS: two builds in turn, to decide a
    suspicion. BISECT: the same, to find the first bad build. Kept in a run's options as
    {"nightly": {"night": …, "role": …}}."""

    MEASURE = "measure"
    PAIRS = "pairs"
    BISECT = "bisect"

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> NightRole | None:
        """That of a run with these options; None for a run that is of no night."""
        stored = options.get("nightly")
        name = stored.get("role") if isinstance(stored, Mapping) else None
        return next((role for role in cls if role.value == name), None)

    @classmethod
    def decides_builds(cls, options: Mapping[str, Any]) -> bool:
        """Whether a run with these options measured builds against one another: it is no run of a suite."""
        role = cls.of(options)
        return role is not None and role.compares

    @property
    def compares(self) -> bool:
        """Whether its runs hold pairs of builds: what is missing of such a run is planned anew, never resumed."""
        return self is not NightRole.MEASURE


@dataclass(frozen=True, slots=True)
class NightRecord:
    """A night as stored.

    Args:
        night: ISO date on which it began, in the lab's own time. lab: name of the lab.
        until: Unix seconds at which it has to be over, None without a limit.
        status: running, interrupted or finished. host, pid, pid_started: the process that drives it, as in LeaseInfo.
        summary: what became of it, None before its end.
    """

    night: str
    lab: str
    started_at: float
    status: RunStatus
    until: float | None = None
    ended_at: float | None = None
    host: str = ""
    pid: int = 0
    pid_started: float = 0.0
    summary: NightSummary | None = None


@dataclass(frozen=True, slots=True)
class Baseline:
    """The build that a runner is compared with in every night.

    Args:
        runner: id of the runner. name: of the build, as its folder shows it. path: farm's own copy of it.
        at: Unix seconds. author, reason: who pinned it, and why.
    """

    runner: str
    sha256: str
    name: str
    path: str
    author: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A phone whose results are kept apart. Args: since: Unix seconds. author: "farm", or who did it."""

    identity: str
    device_id: str
    reason: str
    since: float
    author: str = "farm"


@dataclass(frozen=True, slots=True)
class HandNeeded:
    """What only a person can do, for one phone or for all of a hub: a lost hub is one finding.

    Args: devices: ids in the inventory. problem: what is wrong. advice: what to do.
    """

    devices: tuple[str, ...]
    problem: str
    advice: str


@dataclass(frozen=True, slots=True)
class VerdictFlip:
    """A target whose verdict is another one than in the night before.

    Args:
        owner: of the model, "" where the inventory names none. target: "ms_per_token_max", …
        value: tonight's median in `unit`, None when it was not measured. limit: of the target.
    """

    tier: str
    device_id: str
    kind: DeviceKind
    model: str
    owner: str
    runner: str
    workload: str
    target: str
    before: TargetVerdict
    after: TargetVerdict
    value: float | None
    unit: str
    limit: float | None


@dataclass(frozen=True, slots=True)
class BuildFound:
    """How a search for the first bad build of a series stands.

    Args:
        series: key of the series. runner: id. first_bad, last_good: names of the builds, "" while unknown.
        untried: names of builds between them that could not be tried.
        confidence: that `first_bad` is right, None while the search goes on. reason: in words.
    """

    series: str
    runner: str
    first_bad: str
    last_good: str
    untried: tuple[str, ...]
    confidence: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class NightSummary:
    """What a night gave, as every reader gets it: the report, the webhook, the JSON.

    Args:
        measured, failed, refused, left: repetitions of the suite; `left` did not fit into the night.
        changes: every series that is not steady and not short of nights, the worst first.
        flips: verdicts that are not what they were in the night before.
        builds: runner id → name of the build that was measured. names: sha256 → name of every build that is known.
        pairs_left: how many suspicions wait for pairs that did not fit.
        bisections: one for each confirmed regression that was searched for.
        notes: what else has to be said, in words.
        runs: ids of the runs of the night, the suite first. phones: how many took part. tiers: names.
        report: folder of the report, "" when it could not be written.
        exit_code: of `farm nightly`.
    """

    night: str
    lab: str
    started_at: float
    ended_at: float
    measured: int
    failed: int
    refused: int
    left: int
    changes: tuple[Change, ...] = ()
    flips: tuple[VerdictFlip, ...] = ()
    hands: tuple[HandNeeded, ...] = ()
    quarantined: tuple[Quarantine, ...] = ()
    drifts: tuple[PhoneDrift, ...] = ()
    builds: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    pairs_left: int = 0
    bisections: tuple[BuildFound, ...] = ()
    notes: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    phones: int = 0
    tiers: tuple[str, ...] = ()
    report: str = ""
    exit_code: int = 0

    @property
    def due(self) -> int:
        """Repetitions that were planned."""
        return self.measured + self.failed + self.refused + self.left

    @property
    def regressions(self) -> tuple[Change, ...]:
        """Confirmed and open; not acknowledged."""
        return tuple(change for change in self.changes if change.regressed)

    def of(self, state: ChangeState) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.state is state)

    def build_name(self, sha256: str) -> str:
        """Name of a build, the beginning of its hash where it has none, "" for ""."""
        return self.names.get(sha256) or sha256[:12]

    def builds_of(self, change: Change) -> tuple[str, str]:
        """Names of the last good and the first bad build of a change: as a search found them, which tells one build
        from the next, else as the nights have them."""
        key = change.series.key
        found = next((one for one in self.bisections if one.series == key and one.confidence is not None), None)
        # A further suspicion of a series is about other builds than the search for what is open already.
        if found is not None and found.first_bad and change.state is ChangeState.REGRESSION:
            return found.last_good, found.first_bad
        return self.build_name(change.good_build), self.build_name(change.bad_build)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"changes": [change.to_json() for change in self.changes]}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> NightSummary:
        """What `to_json` gave. Raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            **{
                **stored,
                "changes": tuple(Change.from_json(one) for one in stored["changes"]),
                "flips": tuple(_flip(one) for one in stored["flips"]),
                "hands": tuple(HandNeeded(**{**one, "devices": tuple(one["devices"])}) for one in stored["hands"]),
                "quarantined": tuple(Quarantine(**one) for one in stored["quarantined"]),
                "drifts": tuple(PhoneDrift(**one) for one in stored["drifts"]),
                "bisections": tuple(
                    BuildFound(**{**one, "untried": tuple(one["untried"])}) for one in stored["bisections"]
                ),
                **{name: tuple(stored[name]) for name in ("notes", "runs", "tiers")},
            }
        )


def _flip(stored: Mapping[str, Any]) -> VerdictFlip:
    kind, before, after = DeviceKind(stored["kind"]), TargetVerdict(stored["before"]), TargetVerdict(stored["after"])
    return VerdictFlip(**{**stored, "kind": kind, "before": before, "after": after})

"""The plan of interleaved pairs: two builds of a runner in turn, on the same phones. Pure.

Order. Repetition by repetition, and in every second one the builds change places: good, bad, bad, good, … What drifts
steadily meanwhile (heat, the battery, a system that settles) then adds to one pair what it takes from the next, and is
not in their mean: the weighing cycle ABBA of OIML R 111-1 (2004), annex C, also known as double substitution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.model import Change, ErrorInfo, Inventory, Model, ModelFile, PairSet, PlannedCase, Runner
from harness.nightly.builds import CheckedBuild, entry_of
from harness.plan import Assets, Formats, Refusal, ResolvedDevice, case_of

_DIGITS = 12
"""Of a build's hash in the id of the runner that it is measured as."""


@dataclass(frozen=True, slots=True)
class PairWish:
    """Two builds of a runner that are to be compared.

    Args:
        model, runner, workload: ids. good, bad: sha256 of the builds.
        tier: of the phones, "" for any. phones: their identities, empty for any.
    """

    model: str
    runner: str
    workload: str
    good: str
    bad: str
    tier: str = ""
    phones: tuple[str, ...] = ()

    @classmethod
    def of(cls, change: Change) -> PairWish:
        """What a suspicion wants (`change.wants_pairs`)."""
        series = change.series
        builds = change.good_build, change.pair_build
        return cls(series.model, series.runner, series.workload, *builds, series.tier, change.phones)


@dataclass(frozen=True, slots=True)
class PairPlan:
    """Args: cases: of the run `run`, in the order of work. assets: what they need. devices: that they are on."""

    run: str
    wish: PairWish
    cases: tuple[PlannedCase, ...]
    assets: Assets
    devices: tuple[ResolvedDevice, ...]


@dataclass(frozen=True, slots=True)
class NoPairs:
    """Why there is no plan, in words."""

    reason: str


def pair_id(runner: str, sha256: str) -> str:
    """Id of the runner that a build is measured as beside another one."""
    return f"{runner}@{sha256[:_DIGITS]}"


def missing_pairs(identities: Iterable[str], sets: Iterable[PairSet], wanted: int) -> dict[str, int]:
    """How many pairs each phone lacks; those that lack none are left out. Args: sets: of one comparison."""
    done: dict[str, int] = {}
    for one in sets:
        done[one.identity] = done.get(one.identity, 0) + len(one.ratios)
    lacking = {identity: wanted - done.get(identity, 0) for identity in identities}
    return {identity: count for identity, count in lacking.items() if count > 0}


def plan_pairs(
    run: str,
    inventory: Inventory,
    wish: PairWish,
    pairs: Mapping[str, int],
    devices: Iterable[ResolvedDevice],
    builds: Sequence[CheckedBuild],
    models: Mapping[str, ModelFile | ErrorInfo],
    *,
    formats: Formats,
    refusal: Refusal,
) -> PairPlan | NoPairs:
    """The run that measures what a wish asks for.

    Args:
        run: its id.
        pairs: identity → how many; phones that are not in it get none.
        devices: READY ones.
        builds: of the runner, as far as they are on disk.
        models: checked; the wish's one has to be among them where the inventory has it.
        formats, refusal: as for `harness.plan.build`.
    Returns:
        The plan, or why there can be none: model, runner or workload is gone, a build is no longer on disk, no phone is
        there that can run both.
    """
    found = _parts(inventory, wish, builds, models)
    if isinstance(found, NoPairs):
        return found
    model, runner, good, bad, model_file = found
    sides = [entry_of(runner, one.build, pair_id(runner.id, one.sha256)) for one in (good, bad)]
    assets = Assets({model.id: model_file}, {sides[0].id: good.found, sides[1].id: bad.found})
    cases: list[PlannedCase] = []
    used: list[ResolvedDevice] = []
    reasons: list[str] = []
    chosen = [one for one in devices if _wanted(one, wish)]
    if not chosen:
        return NoPairs(f"none of the phones{f' of tier {wish.tier}' if wish.tier else ''} is attached")
    for device in chosen:
        planned = [
            case_of(
                run, device, model, side, wish.workload, inventory.workloads[wish.workload], assets, formats, refusal
            )
            for side in sides
        ]
        count = pairs.get(device.facts.identity, 0)
        reason = next((case.reason.message for case in planned if case.reason is not None), "")
        if reason or not count:
            reasons.append(f"{device.id}: {reason or 'no pairs are wanted of it'}")
            continue
        used.append(device)
        cases += _turns(planned, count)
    if not cases:
        return NoPairs("; ".join(reasons))
    return PairPlan(run, wish, tuple(cases), assets, tuple(used))


_Parts = tuple[Model, Runner, CheckedBuild, CheckedBuild, ModelFile]


def _parts(
    inventory: Inventory, wish: PairWish, builds: Sequence[CheckedBuild], models: Mapping[str, ModelFile | ErrorInfo]
) -> _Parts | NoPairs:
    """Everything that a wish names, good build before bad one."""
    model = next((one for one in inventory.models if one.id == wish.model), None)
    runner = next((one for one in inventory.runners if one.id == wish.runner), None)
    workload = inventory.workloads.get(wish.workload)
    named = (("model", wish.model, model), ("runner", wish.runner, runner), ("workload", wish.workload, workload))
    gone = [f"{kind} {name}" for kind, name, there in named if there is None]
    if model is None or runner is None or gone:
        return NoPairs(f"no longer in the inventory: {', '.join(gone)}")
    if wish.good == wish.bad:
        return NoPairs(f"both are the same build of {wish.runner}, so there is nothing to compare")
    by_sha = {one.sha256: one for one in reversed(builds) if one.sha256}
    lost = next((sha256 for sha256 in (wish.good, wish.bad) if sha256 not in by_sha), None)
    if lost is not None:
        return NoPairs(f"build {lost[:_DIGITS]} of {wish.runner} is no longer on disk")
    model_file = models[model.id]
    if isinstance(model_file, ErrorInfo):
        return NoPairs(model_file.message)
    return model, runner, by_sha[wish.good], by_sha[wish.bad], model_file


def _wanted(device: ResolvedDevice, wish: PairWish) -> bool:
    return (not wish.tier or device.entry.tier == wish.tier) and (
        not wish.phones or device.facts.identity in wish.phones
    )


def _turns(pair: Sequence[PlannedCase], count: int) -> list[PlannedCase]:
    """The two cases of one phone `count` times in turn; in every second repetition the second goes first."""
    return [
        replace(case, repeat=repeat)
        for repeat in range(1, count + 1)
        for case in (pair if repeat % 2 else reversed(pair))
    ]

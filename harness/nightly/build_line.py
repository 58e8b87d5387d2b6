"""The builds between a good one and a bad one, as a search goes through them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ErrorClass, Permanent, UsageError
from harness.model import ErrorInfo, Inventory, RunnerBuild
from harness.nightly.builds import Build, BuildsFound, CheckedBuild, build_by_sha, check_build


@dataclass(frozen=True, slots=True)
class BuildLine:
    """Args: builds: two or more, from the good end to the bad one, no two with the same files; the ends are sound, one
    between them may have been refused. notes: what was left out and why, a sentence each."""

    builds: tuple[CheckedBuild, ...]
    notes: tuple[str, ...] = ()


def line_between(
    inventory: Inventory,
    base: Path,
    builds: Sequence[Build],
    good: Build,
    bad: Build,
    unfit: Callable[[RunnerBuild], ErrorInfo | None],
    cache: Path | None = None,
) -> BuildLine:
    """The builds from `good` to `bad`, their files checked.

    Args:
        base: folder of the inventory.
        builds: those of the runner in their order; `good` and `bad` are among them.
        unfit: why a sound build cannot do what is to be measured, or None.
        cache: cache folder; None: the user's.
    Raises:
        UsageError: `bad` is not newer than `good`, or both are the same build.
        Permanent: an end is no build that could be run.
    """
    first, last = builds.index(good), builds.index(bad)
    if last < first:
        raise UsageError(
            f"{bad.name!r} is older than {good.name!r}: builds are ordered by the time of their newest change"
        )
    checked = [_fit(check_build(inventory, base, build, cache), unfit) for build in builds[first : last + 1]]
    for end in (checked[0], checked[-1]):
        if isinstance(end.found, ErrorInfo):
            error_class = ErrorClass(end.found.error_class)
            raise Permanent(end.found.message, error_class=error_class, advice=end.found.advice)
    if checked[0].sha256 == checked[-1].sha256:
        raise UsageError(f"{good.name!r} and {bad.name!r} are the same build, file by file")
    return _single(checked)


@dataclass(frozen=True, slots=True)
class NoLine:
    """Why there is no line, in words."""

    reason: str


def line_of_hashes(
    inventory: Inventory,
    base: Path,
    found: BuildsFound,
    good: str,
    bad: str,
    unfit: Callable[[RunnerBuild], ErrorInfo | None],
    cache: Path | None = None,
) -> BuildLine | NoLine:
    """As `line_between`, for ends that are known by their whole hashes; of several alike the oldest good and the newest
    bad one are the ends.

    Args:
        found: the builds in the folder of the runner: only these have an order.
    Returns:
        The line, or why there is none: an end is no longer in the folder, or is none that could be run.
    """
    first = build_by_sha(inventory, base, found.builds, good, cache)
    last = build_by_sha(inventory, base, reversed(found.builds), bad, cache)
    if first is None or last is None:
        lost = good if first is None else bad
        return NoLine(f"build {lost[:12]} of {found.runner} is no longer in its folder")
    try:
        return line_between(inventory, base, found.builds, first.build, last.build, unfit, cache)
    except UsageError as wrong:
        return NoLine(str(wrong))
    except Permanent as refused:
        return NoLine(refused.message)


def _fit(checked: CheckedBuild, unfit: Callable[[RunnerBuild], ErrorInfo | None]) -> CheckedBuild:
    problem = None if isinstance(checked.found, ErrorInfo) else unfit(checked.found)
    return checked if problem is None else CheckedBuild(checked.build, problem)


def _single(checked: Sequence[CheckedBuild]) -> BuildLine:
    """Each build once. It begins between the last that is like the good end and the first after it that is like the
    bad one."""
    good, bad = checked[0].sha256, checked[-1].sha256
    begin = max(at for at, one in enumerate(checked) if one.sha256 == good)
    end = next(at for at, one in enumerate(checked) if one.sha256 == bad and at > begin)
    notes = [
        f"{used.build.name!r} is the same build as {named.build.name!r} and takes its place"
        for used, named in ((checked[begin], checked[0]), (checked[end], checked[-1]))
        if used is not named
    ]
    kept: dict[str, CheckedBuild] = {}
    for one in checked[begin : end + 1]:
        same = kept.setdefault(key_of(one), one)
        if same is not one:
            notes.append(f"{one.build.name!r} is left out: it is the same build as {same.build.name!r}")
    return BuildLine(tuple(kept.values()), tuple(notes))


def key_of(checked: CheckedBuild) -> str:
    """Names a build within a line: its hash, and for one that has none its name."""
    return checked.sha256 or f"refused: {checked.build.name}"

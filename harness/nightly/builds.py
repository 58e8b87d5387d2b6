"""Builds of a runner as they appear in its folder: which there are, in which order, and which files each has."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.artifacts import check_runner
from harness.artifacts.locate import local_path
from harness.cache import cache_dir
from harness.errors import FarmError, UsageError
from harness.inventory_types import suggest
from harness.model import Baseline, ErrorInfo, Inventory, Runner, RunnerBuild, Step
from harness.nightly.folders import SETTLE_S, left_out, listing

_ENDINGS = (".tar.gz", ".tgz", ".zip", ".ipa")
_SHA = re.compile(r"[0-9a-fA-F]{6,64}")
_NAMED = 8
"""Builds that an error names, the newest."""


@dataclass(frozen=True, slots=True)
class Build:
    """A build on disk.

    Args:
        runner: id of the runner it is for. name: of its folder or file. path: absolute.
        modified_at: Unix seconds of the newest change in it.
    """

    runner: str
    name: str
    path: Path
    modified_at: float


@dataclass(frozen=True, slots=True)
class BuildsFound:
    """Builds of one runner. Args: builds: oldest first. notes: what was left out and why, a sentence each."""

    runner: str
    builds: tuple[Build, ...]
    notes: tuple[str, ...] = ()

    @property
    def newest(self) -> Build | None:
        return self.builds[-1] if self.builds else None


@dataclass(frozen=True, slots=True)
class CheckedBuild:
    """A build and its files, or why it is none."""

    build: Build
    found: RunnerBuild | ErrorInfo

    @property
    def sha256(self) -> str:
        """Of what runs of it; "" for one that was refused."""
        return self.found.artifact.sha256 if isinstance(self.found, RunnerBuild) else ""


def builds_of(
    inventory: Inventory, base: Path, runner_id: str, *, now: float | None = None, settle_s: float = SETTLE_S
) -> BuildsFound:
    """The builds in the folder of a runner (`nightly.builds`), oldest first: by the time of the newest change in them,
    since names of builds do not tell which is newer, then by name, numbers in it by their value.

    What is hidden, partial or changed within `settle_s` seconds is left out, see `harness.nightly.folders.listing`.

    Args:
        base: folder of the inventory. now: Unix seconds; None: the present.
    Returns:
        No builds and no notes for a runner without a folder.
    """
    folder = next((one.folder for one in inventory.nightly.builds if one.runner == runner_id), None)
    if folder is None:
        return BuildsFound(runner_id, ())
    found = listing(_place(base, folder), folder, now=time.time() if now is None else now, settle_s=settle_s)
    builds: list[Build] = []
    notes = list(found.notes)
    for entry in found.entries:
        if entry.path.is_dir() or entry.name.lower().endswith(_ENDINGS):
            builds.append(Build(runner_id, entry.name, entry.path.absolute(), entry.modified_at))
        else:
            notes.append(left_out(folder, entry.name, "it is neither a folder nor a .tar.gz, .zip or .ipa"))
    return BuildsFound(runner_id, tuple(builds), tuple(notes))


def all_on_disk(
    inventory: Inventory, base: Path, runner_id: str, pinned: Iterable[Baseline] = (), *, settle_s: float = SETTLE_S
) -> tuple[Build, ...]:
    """Every place where a build of a runner may be: its folder, the entry's own files, pinned copies. The same build
    may be among them several times; those in the folder come first, the newest before the others.

    Args:
        pinned: of any runners.
    """
    runner = runner_of(inventory, runner_id)
    own = local_path(runner, base, cache_dir())
    places = [(own.name, own)]
    places += [(one.name, base / one.path) for one in pinned if one.runner == runner_id]
    others = [Build(runner_id, name, path.absolute(), path.stat().st_mtime) for name, path in places if path.exists()]
    return (*reversed(builds_of(inventory, base, runner_id, settle_s=settle_s).builds), *others)


def check_build(inventory: Inventory, base: Path, build: Build, cache: Path | None = None) -> CheckedBuild:
    """Check the files of a build; hashes are remembered as long as the files are the same.

    Args:
        base: folder of the inventory. cache: cache folder; None: the user's.
    """
    try:
        entry = entry_of(runner_of(inventory, build.runner), build)
        return CheckedBuild(build, check_runner(entry, base, cache, fetch=False))
    except FarmError as error:
        return CheckedBuild(build, error.info(Step.CHECK))


def build_by_sha(
    inventory: Inventory, base: Path, builds: Iterable[Build], sha256: str, cache: Path | None = None
) -> CheckedBuild | None:
    """The first of `builds` whose hash begins with `sha256`; None when there is none. Reads files up to there."""
    wanted = sha256.lower()
    checked = (check_build(inventory, base, build, cache) for build in builds)
    return next((one for one in checked if wanted and one.sha256.startswith(wanted)), None)


def builds_by_sha(
    inventory: Inventory, base: Path, builds: Iterable[Build], wanted: Collection[str], cache: Path | None = None
) -> tuple[CheckedBuild, ...]:
    """Those of `builds` that have one of these hashes, each once; fewer where some are not on disk. Reads files until
    all are found.

    Args:
        base: folder of the inventory. wanted: sha256, whole. cache: cache folder; None: the user's.
    """
    found: dict[str, CheckedBuild] = {}
    for build in builds:
        if len(found) == len(set(wanted)):
            break
        checked = check_build(inventory, base, build, cache)
        if checked.sha256 in wanted:
            found.setdefault(checked.sha256, checked)
    return tuple(found.values())


def find_build(
    inventory: Inventory, base: Path, found: BuildsFound, wanted: str, option: str, cache: Path | None = None
) -> Build:
    """The build with that name, or whose hash begins with `wanted` (6 digits at least).

    Args:
        found: builds of a runner.
        option: that it was asked for with, for the message.
    Raises:
        UsageError: there is none; it names the nearest, and what there is.
    """
    named = next((build for build in found.builds if build.name == wanted), None)
    if named is not None:
        return named
    if _SHA.fullmatch(wanted):
        hit = build_by_sha(inventory, base, reversed(found.builds), wanted, cache)
        if hit is not None:
            return hit.build
    names = [build.name for build in found.builds]
    there = ", ".join(repr(name) for name in names[-_NAMED:]) or "none"
    more = f"the newest of {len(names)} are" if len(names) > _NAMED else "there are"
    lines = [f"{option}: no build {wanted!r} of {found.runner}{suggest(wanted, names)} ({more}: {there})"]
    if all(one.runner != found.runner for one in inventory.nightly.builds):
        lines.append("  what to do: name the folder of its builds under nightly.builds in the inventory")
    raise UsageError("\n".join((*lines, *(f"  {note}" for note in found.notes))))


def with_build(inventory: Inventory, build: Build) -> Inventory:
    """The inventory with the files of a build in the place of its runner's own."""
    runners = tuple(entry_of(one, build) if one.id == build.runner else one for one in inventory.runners)
    return replace(inventory, runners=runners)


def entry_of(runner: Runner, build: Build, name: str | None = None) -> Runner:
    """The entry of a runner that means a build. Args: name: its id; None: the runner's own."""
    return replace(runner, id=name or runner.id, path=str(build.path), url=None, sha256=None)


def runner_of(inventory: Inventory, runner_id: str) -> Runner:
    """Raises UsageError when the inventory does not have it."""
    found = next((runner for runner in inventory.runners if runner.id == runner_id), None)
    if found is None:
        names: Sequence[str] = [runner.id for runner in inventory.runners]
        raise UsageError(
            f"no runner {runner_id!r} in the inventory{suggest(runner_id, names)} (there are: {', '.join(names)})"
        )
    return found


def _place(base: Path, folder: str) -> Path:
    return base / Path(folder).expanduser()

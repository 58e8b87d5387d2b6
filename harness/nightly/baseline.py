"""The builds that runners are compared with in every night: pinned by copy, so that none goes away with its folder."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.artifacts import check_runner
from harness.errors import ErrorClass, Permanent
from harness.model import Artifact, Baseline, Platform, Runner
from harness.supply.folders import new_folder

if TYPE_CHECKING:
    from harness.store import Store

FOLDER = "baseline"
"""Below farm's own folder; each build in a folder that is named by the beginning of its sha256."""
_DIGITS = 16


def pin(
    store: Store,
    lab: str,
    runner: Runner,
    path: Path,
    name: str,
    author: str,
    reason: str,
    state_dir: Path,
    base_dir: Path,
    at: float,
) -> Baseline:
    """From now on nights compare the runner with this build.

    Its files are copied first, whole or not at all; a copy that is there already is kept.

    Args:
        lab: name of the lab. runner: whose files the build takes the place of.
        path: of the build: a folder, .tar.gz, .zip or .ipa; a relative one is relative to `base_dir`.
        name: of the build, as its folder shows it. author, reason: who pins it, and why.
        state_dir: farm's own folder. base_dir: the inventory's folder. at: Unix seconds.
    Returns:
        What was stored; its `path` is of the copy, relative to `base_dir` where it lies below it.
    Raises:
        Permanent: the build is none for this runner (as `check_runner` says), or it cannot be copied.
        StoreError: the database cannot be used.
    """
    entry = replace(runner, path=str(path), url=None, sha256=None)
    artifact = check_runner(entry, base_dir).artifact
    folder = state_dir.resolve() / FOLDER / artifact.sha256[:_DIGITS]
    if not _holds(entry, folder, artifact):
        try:
            _copy(entry, artifact, folder)
        except OSError as wrong:
            raise Permanent(
                f"build {name} of {runner.id} cannot be copied to {folder}: {wrong.strerror or wrong}",
                error_class=ErrorClass.STORAGE_FULL,
                advice="free some space, check permissions",
            ) from wrong
    copied = _place(entry, folder, artifact)
    base = base_dir.resolve()
    shown = copied.relative_to(base) if copied.is_relative_to(base) else copied
    baseline = Baseline(runner.id, artifact.sha256, name, str(shown), author, reason, at)
    store.nights.pin(lab, baseline)
    return baseline


def _place(entry: Runner, folder: Path, artifact: Artifact) -> Path:
    """What an entry of the inventory would name: the folder, of an app the file in it."""
    return folder / artifact.files[0].name if entry.platform is Platform.IOS else folder


def _holds(entry: Runner, folder: Path, artifact: Artifact) -> bool:
    """Whether the folder holds this very build."""
    if not folder.is_dir():
        return False
    try:
        found = check_runner(replace(entry, path=str(_place(entry, folder, artifact))), folder)
    except Permanent:
        return False
    return found.artifact.sha256 == artifact.sha256


def _copy(entry: Runner, artifact: Artifact, folder: Path) -> None:
    """Copy the files of a build.

    Raises:
        Permanent: RUNNER_INVALID: the files changed meanwhile.
        OSError: no room, no permission.
    """
    with new_folder(folder) as part:
        for file in artifact.files:
            target = part / file.name
            shutil.copyfile(file.path, target)
            target.chmod(0o755 if file.executable else 0o644)
        if not _holds(entry, part, artifact):
            raise Permanent(
                f"runner {entry.id}: {entry.path} changed while it was copied",
                error_class=ErrorClass.RUNNER_INVALID,
                advice="wait until the build is complete, then pin it again",
            )

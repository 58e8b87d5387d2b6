"""What a night works with: new builds and models from their folders, and beside each runner the build it is compared
with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.artifacts.locate import local_path
from harness.cache import cache_dir
from harness.errors import FarmError
from harness.model import Baseline, Runner
from harness.nightly.baseline import pin
from harness.nightly.builds import BuildsFound, builds_of, with_build
from harness.nightly.new_models import models_in, with_models
from harness.nightly.pinned import baseline_id

if TYPE_CHECKING:
    from harness.inventory import LoadedInventory
    from harness.plan import ResolvedDevice
    from harness.store import Store

AUTHOR = "farm"
FIRST_NIGHT = "the first night that measured this runner"
"""Why a build is pinned that nobody chose."""


@dataclass(frozen=True, slots=True)
class Tonight:
    """Args: loaded: the inventory as this night has it. builds: of each runner that has a folder of them. notes: what
    was left out and why, a sentence each."""

    loaded: LoadedInventory
    builds: Mapping[str, BuildsFound]
    notes: tuple[str, ...]

    @property
    def base(self) -> Path:
        """Folder of the inventory."""
        return self.loaded.path.resolve().parent


def with_new_files(loaded: LoadedInventory, now: float) -> Tonight:
    """The newest build of each runner, and the models that appeared. Args: now: Unix seconds."""
    base = loaded.path.resolve().parent
    models = models_in(loaded.inventory, base)
    inventory = with_models(loaded.inventory, models.models)
    notes = list(models.notes)
    builds: dict[str, BuildsFound] = {}
    for watched in loaded.inventory.nightly.builds:
        found = builds[watched.runner] = builds_of(loaded.inventory, base, watched.runner, now=now)
        notes += found.notes
        if found.newest is None:
            notes.append(f"{watched.folder} holds no build of {watched.runner}: the inventory's own files are measured")
        else:
            inventory = with_build(inventory, found.newest)
    return Tonight(replace(loaded, inventory=inventory), builds, tuple(notes))


def with_pinned(
    store: Store, tonight: Tonight, devices: Iterable[ResolvedDevice], state_dir: Path, now: float
) -> Tonight:
    """The same, with the pinned build of each runner as a runner of its own directly before it. Tonight's build is
    pinned for a runner that has none yet, and that a phone can run.

    Args: state_dir: farm's own folder, where pinned builds are kept. now: Unix seconds.
    """
    inventory = tonight.loaded.inventory
    phones = [(one.attached.platform, one.facts.abis) for one in devices]
    pinned = dict(store.nights.baselines(inventory.lab.name))
    notes = list(tonight.notes)
    runners: list[Runner] = []
    for runner in inventory.runners:
        if not any(runner.platform == platform and runner.abi in abis for platform, abis in phones):
            continue
        if runner.id not in pinned:
            try:
                pinned[runner.id] = _pin(store, tonight, runner, state_dir, now)
            except FarmError as error:
                notes.append(f"no build of {runner.id} could be pinned: {error.message}")
            else:
                notes.append(f"{pinned[runner.id].name} is pinned now as what {runner.id} is compared with")
        if runner.id in pinned:
            baseline = pinned[runner.id]
            runners.append(replace(runner, id=baseline_id(runner.id), path=baseline.path, url=None, sha256=None))
        runners.append(runner)
    return replace(
        tonight,
        loaded=replace(tonight.loaded, inventory=replace(inventory, runners=tuple(runners))),
        notes=tuple(notes),
    )


def _pin(store: Store, tonight: Tonight, runner: Runner, state_dir: Path, now: float) -> Baseline:
    found = tonight.builds.get(runner.id)
    newest = found.newest if found is not None else None
    path = newest.path if newest is not None else local_path(runner, tonight.base, cache_dir())
    name = newest.name if newest is not None else path.name
    lab = tonight.loaded.inventory.lab.name
    return pin(store, lab, runner, path, name, AUTHOR, FIRST_NIGHT, state_dir, tonight.base, at=now)

"""Pairs of builds in a night: those that decide suspicions, then those that search for the first bad build."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

from harness.cli import compose
from harness.cli.main import Context
from harness.cli.night_setup import Tonight
from harness.cli.pairs import PairLab
from harness.model import (
    BuildFound,
    Change,
    ErrorInfo,
    Inventory,
    ModelFile,
    NightRole,
    Runner,
    RunnerBuild,
    SeriesId,
)
from harness.nightly import quarantine
from harness.nightly.bisecting import Bisection, Search, bisect_series
from harness.nightly.build_line import BuildLine, NoLine, line_of_hashes
from harness.nightly.builds import CheckedBuild, all_on_disk, builds_by_sha, builds_of, runner_of
from harness.nightly.judging import Judged
from harness.nightly.pair_plan import NoPairs, PairWish
from harness.nightly.wanted import PairsWanted, pairs_wanted, searches_wanted
from harness.plan import ResolvedDevice

if TYPE_CHECKING:
    from harness.store import Store


@dataclass(slots=True)
class PairWork:
    """The pairs of one night.

    Args:
        budget_s: seconds for all of them; what a killed night spent counts.
        cancel: ends what runs.
        notes: why some could not be run. found: searches for the first bad build.
    """

    context: Context
    store: Store
    tonight: Tonight
    devices: tuple[ResolvedDevice, ...]
    night: str
    budget_s: float
    cancel: Event
    notes: list[str] = field(default_factory=list)
    found: list[BuildFound] = field(default_factory=list)

    @property
    def _inventory(self) -> Inventory:
        return self.tonight.loaded.inventory

    def decide(self, judged: Judged, deadline: float | None) -> None:
        """Run the pairs that suspicions wait for, the worst first.

        Args: deadline: monotonic second after which nothing is begun; None: no limit but the budget.
        """
        here = {device.facts.identity for device in self._trusted()}
        for wanted in pairs_wanted(judged.changes.values(), judged.pairs, self._inventory.nightly.pairs):
            lacking = {phone: count for phone, count in wanted.lacking.items() if phone in here}
            if lacking and not self._is_over(deadline):
                self._pairs(wanted, lacking, deadline)

    def _pairs(self, wanted: PairsWanted, lacking: Mapping[str, int], deadline: float | None) -> None:
        wish = wanted.wish
        lab = self._lab((wish.model,))
        plan = lab.plan(wish, lacking, self._builds(wish))
        if isinstance(plan, NoPairs):
            self.notes.append(f"no pairs for {', '.join(wanted.series)}: {plan.reason}")
            return
        lab.run(plan, NightRole.PAIRS, deadline=self._until(deadline))

    def search(self, judged: Judged, deadline: float | None) -> None:
        """Search for the first bad build of each confirmed regression; arguments as for `decide`."""
        for group in searches_wanted(judged.changes.values()):
            series = group[0].series
            if not self._is_known(series):
                self.notes.append(
                    f"no search for the first bad build of {series.key}: it is no longer in the inventory"
                )
                continue
            found = self._search(group[0], deadline)
            if isinstance(found, NoLine):
                self.notes.append(f"no search for the first bad build of {series.key}: {found.reason}")
            else:
                self.found += [found.told(change.series.key) for change in group]

    def _is_known(self, series: SeriesId) -> bool:
        inventory = self._inventory
        return (
            series.workload in inventory.workloads
            and any(model.id == series.model for model in inventory.models)
            and any(runner.id == series.runner for runner in inventory.runners)
        )

    def _search(self, change: Change, deadline: float | None) -> Bisection | NoLine:
        series = change.series
        runner = runner_of(self._inventory, series.runner)
        lab = self._lab((series.model,))
        line = self._line(change, runner, lab.models[series.model])
        if isinstance(line, NoLine):
            return line
        phones = {
            device.facts.identity: device.id
            for device in self._trusted()
            if device.entry.tier == series.tier
            and device.attached.platform == runner.platform
            and runner.abi in device.facts.abis
        }
        search = Search(series.metric, series.model, series.runner, series.workload, line, phones)
        return bisect_series(lab, search, self._until(deadline))

    def _line(self, change: Change, runner: Runner, model_file: ModelFile | ErrorInfo) -> BuildLine | NoLine:
        """The builds from the good one to the one that pairs confirmed as bad, or why there are none."""
        inventory, series = self._inventory, change.series
        if isinstance(model_file, ErrorInfo):
            return NoLine(model_file.message)
        model = next(one for one in inventory.models if one.id == series.model)
        workload = inventory.workloads[series.workload]

        def unfit(build: RunnerBuild) -> ErrorInfo | None:
            return compose.refusal(workload, model, model_file, runner, build)

        found = builds_of(inventory, self.tonight.base, runner.id)
        return line_of_hashes(inventory, self.tonight.base, found, change.good_build, change.pair_build, unfit)

    # --- what they need -----------------------------------------------------------------------------------------------

    def _trusted(self) -> tuple[ResolvedDevice, ...]:
        """Phones that are not kept apart: pairs of the others would count for nothing."""
        apart = quarantine.current(self.store)
        return tuple(device for device in self.devices if device.facts.identity not in apart)

    def _lab(self, models: Sequence[str]) -> PairLab:
        wanted = [model for model in self._inventory.models if model.id in models]
        return PairLab(
            self.context,
            self.store,
            self.tonight.loaded,
            self.devices,
            compose.check_assets(wanted, (), self.tonight.base).models,
            self.night,
            self.cancel,
        )

    def _builds(self, wish: PairWish) -> tuple[CheckedBuild, ...]:
        """Both builds of a wish, as far as they are on disk."""
        inventory, base = self._inventory, self.tonight.base
        if all(runner.id != wish.runner for runner in inventory.runners):
            return ()
        pinned = self.store.nights.baselines(inventory.lab.name).values()
        places = all_on_disk(inventory, base, wish.runner, pinned)
        return builds_by_sha(inventory, base, places, (wish.good, wish.bad))

    def _spent_s(self) -> float:
        """Seconds that this night has spent on pairs so far, a killed part of it included."""
        return sum(
            (run.ended_at or run.started_at) - run.started_at
            for run in self.store.runs()
            if run.lab == self._inventory.lab.name
            and NightRole.decides_builds(run.options)
            and run.options["nightly"].get("night") == self.night
        )

    def _until(self, deadline: float | None) -> float:
        end = time.monotonic() + self.budget_s - self._spent_s()
        return end if deadline is None else min(end, deadline)

    def _is_over(self, deadline: float | None) -> bool:
        return self.cancel.is_set() or time.monotonic() >= self._until(deadline)

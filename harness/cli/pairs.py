"""Interleaved pairs of two builds as runs of a night: here alone they are planned, stored, measured and closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Event
from typing import TYPE_CHECKING, Any

import click

from harness.analysis.repeats import FIXED
from harness.cli import compose
from harness.cli.execution import Execution, close_run
from harness.cli.main import Context
from harness.cli.run import Prepared, record_of, run_id
from harness.leases import is_alive
from harness.model import ErrorInfo, ModelFile, NightRole, RunRecord, RunStatus
from harness.nightly.bisecting import PairRows, Search
from harness.nightly.build_line import key_of
from harness.nightly.builds import CheckedBuild
from harness.nightly.pair_plan import NoPairs, PairPlan, PairWish, plan_pairs
from harness.plan import Plan, ResolvedDevice, Selection, canonical_parameters

if TYPE_CHECKING:
    from harness.inventory import LoadedInventory
    from harness.store import Store


@dataclass(frozen=True, slots=True)
class PairLab:
    """The lab as pairs of builds need it; the `NightLab` of searches.

    Args:
        loaded: the inventory, with the models that appeared in folders.
        devices: READY ones.
        models: checked.
        night: ISO date of the night that the runs belong to.
        cancel: set when the operator wants it to end.
    """

    context: Context
    store: Store
    loaded: LoadedInventory
    devices: tuple[ResolvedDevice, ...]
    models: Mapping[str, ModelFile | ErrorInfo]
    night: str
    cancel: Event

    @property
    def interrupted(self) -> bool:
        return self.cancel.is_set()

    def measured(self, search: Search) -> PairRows:
        """All pairs with this good end so far, of today's model file and workload; those that decided a suspicion say
        as much of a build as those of a search."""
        wanted = {
            "model": search.model,
            "runner": search.runner,
            "workload": search.workload,
            "good": key_of(search.line.builds[0]),
        }
        model = self.models[search.model]
        sha256 = model.artifact.sha256 if isinstance(model, ModelFile) else ""
        parameters = canonical_parameters(self.loaded.inventory.workloads[search.workload])
        nights = {
            record.id: str(about["night"])
            for record in self.store.runs()
            if NightRole.decides_builds(record.options)
            and wanted.items() <= (about := record.options["nightly"]).items()
        }
        rows = (row for run in nights for row in self.store.measurements(run))
        same = (
            row
            for row in rows
            if row.planned.model_sha256 == sha256 and canonical_parameters(row.planned.workload) == parameters
        )
        return PairRows(tuple(same), nights)

    def run_pairs(self, search: Search, wish: PairWish, pairs: Mapping[str, int], deadline: float | None) -> str:
        """Measure pairs of a search; returns "", or why there can be none. Arguments as in `NightLab`."""
        plan = self.plan(wish, pairs, search.line.builds)
        if isinstance(plan, NoPairs):
            return plan.reason
        self.run(plan, NightRole.BISECT, metric=search.metric, deadline=deadline)
        return ""

    def plan(self, wish: PairWish, pairs: Mapping[str, int], builds: Sequence[CheckedBuild]) -> PairPlan | NoPairs:
        """The run that measures what a wish asks for, or why there can be none; arguments as for `plan_pairs`."""
        return plan_pairs(
            run_id(),
            self.loaded.inventory,
            wish,
            pairs,
            self.devices,
            builds,
            self.models,
            formats=compose.formats,
            refusal=compose.refusal,
        )

    def run(self, plan: PairPlan, role: NightRole, *, metric: str = "", deadline: float | None = None) -> str:
        """Store, measure and close the run of a plan; returns its id. It has no report, and what is left of it is
        planned anew by whoever wants it.

        Args:
            role: PAIRS or BISECT. metric: that is searched for, "" for none.
            deadline: monotonic second after which no measurement is begun; None: no limit.
        """
        wish = plan.wish
        runners = tuple(dict.fromkeys(case.runner.id for case in plan.cases))
        devices = tuple(device.id for device in plan.devices)
        selection = Selection(role.value, devices=devices, models=(wish.model,), runners=runners)
        prepared = Prepared(self.loaded, selection, (), plan.devices, plan.assets, Plan(plan.run, plan.cases))
        about: dict[str, Any] = {
            "night": self.night,
            "role": role.value,
            "model": wish.model,
            "runner": wish.runner,
            "workload": wish.workload,
            "good": wish.good,
            "bad": wish.bad,
        }
        if metric:
            about["metric"] = metric
        options: dict[str, Any] = {"repeats": FIXED.to_json(), "gates": None, "force": False, "published": []}
        record = replace(record_of(prepared), options={**options, "nightly": about})
        self.store.begin_run(record, plan.cases)
        if self.context.verbosity >= 0:
            names = " and ".join(runners)
            click.echo(f"run {record.id}: {len(plan.cases) // 2} pairs of {names} on {', '.join(devices)}", err=True)
        execution = Execution(self.context, self.store, self.loaded, record, plan.devices, plan.assets, plan.cases)
        execution.carry_out(self.cancel, deadline=deadline, in_order=True, resumable=False)
        return record.id


def close_left(store: Store) -> None:
    """Close the runs of pairs whose process was killed: what is missing of them is planned anew."""
    for record in store.runs():
        unfinished = record.status is not RunStatus.FINISHED
        if unfinished and NightRole.decides_builds(record.options) and not _is_driven(record):
            close_run(store, record.id, resumable=False)


def _is_driven(record: RunRecord) -> bool:
    return record.status is RunStatus.RUNNING and is_alive(record.host, record.pid, record.pid_started)

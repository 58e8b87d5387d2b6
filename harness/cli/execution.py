"""Cases of a run, measured: from the plan and the store to agents, gates and the live view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.main import Context

if TYPE_CHECKING:
    from threading import Event

    from harness.cli.progress import LiveReporter
    from harness.inventory import LoadedInventory
    from harness.model import PlannedCase, RunRecord
    from harness.plan import Assets, ResolvedDevice
    from harness.store import Store


@dataclass(frozen=True, slots=True)
class Execution:
    """Cases that are about to be measured, and all they need."""

    context: Context
    store: Store
    loaded: LoadedInventory
    record: RunRecord
    devices: tuple[ResolvedDevice, ...]
    assets: Assets
    cases: tuple[PlannedCase, ...]

    def go(self, *, max_hours: float | None, report_dir: Path | None, check: bool) -> int:
        """Measure, report, summarise; returns the exit code."""
        import time

        from harness.cli import finishing, interrupts

        deadline = None if max_hours is None else time.monotonic() + max_hours * 3600
        with interrupts.until_signalled() as cancel:
            left = self.carry_out(cancel, deadline=deadline)
            pages = finishing.write_report(self.context, self.store, self.record.id, report_dir)
            interrupted = cancel.is_set() or (bool(left) and max_hours is not None)
            finishing.summarise(self.context, self.store, self.record.id, pages, left=len(left))
            return finishing.exit_code(self.store, self.record.id, interrupted=interrupted, check=check)

    def carry_out(
        self,
        cancel: Event,
        *,
        deadline: float | None = None,
        in_order: bool = False,
        resumable: bool = True,
    ) -> tuple[PlannedCase, ...]:
        """Measure, and close the run; arguments as for `measure` and `close_run`. Returns what is left of it."""
        self.measure(cancel, deadline=deadline, in_order=in_order)
        return close_run(self.store, self.record.id, resumable=resumable)

    def measure(self, cancel: Event, *, deadline: float | None = None, in_order: bool = False) -> None:
        """Measure the cases with a live view.

        Args:
            cancel: ends it when set.
            deadline: monotonic second after which no measurement is begun; None: no limit. A run that has one begins
                with what is worth most.
            in_order: the order of the cases is kept, with a deadline too.
        """
        from harness.cli import output
        from harness.cli.progress import LiveReporter
        from harness.value_order import by_value, past_of

        keep = in_order or deadline is None
        cases = self.cases if keep else by_value(self.cases, past_of(self.store.measurements()))
        kinds = {device.id: device.facts.kind for device in self.devices}
        with LiveReporter(output.stderr_console(self.context), cases, kinds, self.context.verbosity) as reporter:
            self._work(cases, reporter, cancel, deadline)

    def _work(
        self, cases: Sequence[PlannedCase], reporter: LiveReporter, cancel: Event, deadline: float | None
    ) -> None:
        import tempfile

        from device_agents.samples import parse_samples
        from harness.analysis.repeats import RepeatPolicy
        from harness.cli import compose
        from harness.lease_keeper import LeaseKeeper
        from harness.leases import identity_of_this_process
        from harness.phone_memory import PhoneMemory
        from harness.schedule import execute
        from harness.setup import Setup, Work

        inventory, chosen = self.loaded.inventory, self.record.options
        gates = replace(inventory.gates, mode=chosen["gates"]) if chosen.get("gates") else inventory.gates
        template = replace(identity_of_this_process(), owner=self.record.owner)
        keeper = LeaseKeeper(self.store, template)
        work = [Work(device, tuple(case for case in cases if case.device_id == device.id)) for device in self.devices]
        try:
            with tempfile.TemporaryDirectory(prefix="farm-") as work_dir:
                execute(
                    Setup(
                        run=self.record.id,
                        store=self.store,
                        assets=self.assets,
                        open_agent=compose.opener(inventory),
                        adapter_for=compose.adapter_of,
                        parse_samples=parse_samples,
                        prompt_text=compose.prompt_reader(self.loaded.path.resolve().parent),
                        leases=keeper,
                        provenance=_run_provenance(self.record),
                        work_dir=Path(work_dir),
                        reporter=reporter,
                        cancel=cancel,
                        deadline=deadline,
                        gates=gates,
                        phone_settings=inventory.phone_settings,
                        repeats=RepeatPolicy.from_json(chosen.get("repeats", {})),
                        memory=lambda identity: PhoneMemory(self.store, identity),
                        force=bool(chosen.get("force")),
                    ),
                    [item for item in work if item.cases],
                )
        finally:
            keeper.close()


def close_run(store: Store, run: str, *, resumable: bool = True) -> tuple[PlannedCase, ...]:
    """End a run; what was being measured is planned again. Returns what is left.

    Args:
        resumable: a run of which something is left is interrupted, not finished: `farm resume` goes on with it.
    """
    from harness.model import CaseStatus, RunStatus

    store.requeue_running(run)
    left = store.cases(run, status=CaseStatus.PLANNED)
    status = RunStatus.INTERRUPTED if left and resumable else RunStatus.FINISHED
    store.set_run_status(run, status, ended_at=datetime.now(UTC).timestamp())
    return left


def _run_provenance(record: RunRecord) -> dict[str, Any]:
    return {
        "harness_version": record.harness_version,
        "git_sha": record.git_sha,
        "inventory_sha256": record.inventory_sha256,
        "lab": record.lab,
        "suite": record.suite,
    }

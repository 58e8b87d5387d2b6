"""`farm plan`, `farm run`, `farm resume`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.main import Context

if TYPE_CHECKING:
    from threading import Event

    from harness.cli.progress import LiveReporter
    from harness.inventory import LoadedInventory
    from harness.model import Attached, PlannedCase, RunRecord
    from harness.plan import Assets, Plan, ResolvedDevice, Selection
    from harness.store import Store


def _selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option("--tier", "tiers", multiple=True, help="Tier; may be repeated.  [default: all]"),
        click.option("--device", "devices", multiple=True, help="Device id; may be repeated."),
        click.option("--model", "models", multiple=True, help="Model id, or a pattern (smollm2-*); may be repeated."),
        click.option("--runner", "runners", multiple=True, help="Runner id; may be repeated."),
        click.option("--suite", default="standard", show_default=True, help="Suite of the inventory."),
        click.option("--repeats", type=click.IntRange(min=1), help="Repetitions of each case.  [default: the suite's]"),
    )
    for option in reversed(options):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan with everything it was made from."""

    loaded: LoadedInventory
    selection: Selection
    attached: tuple[Attached, ...]
    devices: tuple[ResolvedDevice, ...]
    assets: Assets
    plan: Plan


def _prepare(context: Context, selection: Selection, *, fetch: bool) -> Prepared:
    from harness.cli import compose
    from harness.plan import check_selection, resolve_devices, select_devices

    loaded = compose.load_inventory(context)
    inventory = loaded.inventory
    check_selection(inventory, selection)
    attached = compose.discover_to_use(inventory) if fetch else compose.discover(inventory)
    chosen = select_devices(inventory, selection, resolve_devices(inventory, attached))
    what = ", ".join((*(f"tier {tier}" for tier in selection.tiers), *selection.devices)) or "any tier"
    devices = compose.require_usable(what, chosen, attached)
    return plan_of(loaded, selection, devices, attached, fetch=fetch)


def plan_of(
    loaded: LoadedInventory,
    selection: Selection,
    devices: tuple[ResolvedDevice, ...],
    attached: tuple[Attached, ...] = (),
    *,
    fetch: bool = True,
) -> Prepared:
    """What a selection means on these devices, which are READY; its files are checked, and fetched with `fetch`."""
    from harness.cli import compose
    from harness.plan import build, models_of

    inventory = loaded.inventory
    models = models_of(inventory, selection.models, inventory.suites[selection.suite])
    runners = [runner for runner in inventory.runners if not selection.runners or runner.id in selection.runners]
    fitting = [runner for runner in runners if any(_could_fit(runner.platform, runner.abi, each) for each in devices)]
    assets = compose.check_assets(models, fitting, loaded.path.resolve().parent, fetch=fetch)
    plan = build(run_id(), inventory, selection, devices, assets, formats=compose.formats, refusal=compose.refusal)
    return Prepared(loaded, selection, attached, devices, assets, plan)


def _could_fit(platform: str, abi: str, device: ResolvedDevice) -> bool:
    return platform == device.attached.platform and abi in device.facts.abis


def run_id() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.urandom(2).hex()}"


@click.command()
@_selection_options
@click.pass_obj
def plan(context: Context, /, **options: Any) -> None:
    """Show the cases a run would execute; touches nothing."""
    from harness.analysis.repeats import RepeatPolicy
    from harness.cli import plan_view, power_check, quarantine
    from harness.store import Store

    prepared = _prepare(context, _selection(options), fetch=False)
    missing = plan_view.missing_bytes(prepared.plan, prepared.devices, prepared.assets, prepared.loaded.inventory)
    history: Mapping[str, float] = {}
    waits: Mapping[str, float] = {}
    if Store.exists(context.db_url):
        with Store.open(context.db_url) as store:
            history, waits = store.median_durations(), store.mean_waits()
    apart = quarantine.current(context)
    inventory = prepared.loaded.inventory
    selection = prepared.selection
    plan_view.show(
        context,
        prepared.plan,
        inventory.tiers,
        missing,
        history,
        waits=waits,
        gates=inventory.gates,
        auto=RepeatPolicy.of(inventory.suites[selection.suite], selection.repeats).auto,
        no_energy=plan_view.absent_energy(
            prepared.plan, prepared.devices, lambda device: power_check.known(context, device)
        ),
        quarantined={
            device.id: apart[device.facts.identity].reason
            for device in prepared.devices
            if device.facts.identity in apart
        },
    )


def _selection(options: dict[str, Any]) -> Selection:
    from harness.plan import Selection

    return Selection(
        suite=options["suite"],
        tiers=options["tiers"],
        devices=options["devices"],
        models=options["models"],
        runners=options["runners"],
        repeats=options["repeats"],
    )


@click.command()
@_selection_options
@click.option("--max-hours", type=click.FloatRange(min=0, min_open=True), help="Begin nothing after this time.")
@click.option("--report", "report_dir", type=click.Path(path_type=Path), help="Folder for the HTML report.")
@click.option("--check", is_flag=True, help="Exit with 4 when a target is missed.")
@click.option(
    "--gates",
    type=click.Choice(["strict", "record", "off"]),
    help="Before each case: wait and refuse, wait and mark, or only look.  [default: the inventory's]",
)
@click.option("--force", is_flag=True, help="Run also what will probably not fit into memory.")
@click.pass_obj
def run(
    context: Context,
    /,
    max_hours: float | None,
    report_dir: Path | None,
    check: bool,
    gates: str | None,
    force: bool,
    **options: Any,
) -> None:
    """Measure: push, run, collect, store, report."""
    from harness.analysis.repeats import RepeatPolicy
    from harness.model import CaseStatus
    from harness.store import Store

    selection = _selection(options)
    # First, so that a mistake in the inventory leaves no database behind.
    prepared = _prepare(context, selection, fetch=True)
    with Store.open(context.db_url) as store:
        policy = RepeatPolicy.of(prepared.loaded.inventory.suites[selection.suite], selection.repeats)
        published = [asdict(figure) for figure in prepared.loaded.inventory.published]
        chosen = {"repeats": policy.to_json(), "gates": gates, "force": force, "published": published}
        record = replace(record_of(prepared), options=chosen)
        store.begin_run(record, prepared.plan.cases)
        planned = prepared.plan.of(CaseStatus.PLANNED)
        _note_unusable(prepared, selection)
        execution = Execution(context, store, prepared.loaded, record, prepared.devices, prepared.assets, planned)
        sys.exit(execution.go(max_hours=max_hours, report_dir=report_dir, check=check))


def _note_unusable(prepared: Prepared, selection: Selection) -> None:
    """Say which attached phones of the selection stand aside, and what to do about each."""
    from harness.plan import resolve_devices, select_devices, usable

    inventory = prepared.loaded.inventory
    for device in select_devices(inventory, selection, resolve_devices(inventory, prepared.attached)):
        if not usable(device.attached):
            click.echo(f"{device.id}: {device.attached.state.value}: {device.attached.advice}", err=True)


def record_of(prepared: Prepared) -> RunRecord:
    from harness.leases import identity_of_this_process
    from harness.model import RunRecord, RunStatus

    me = identity_of_this_process()
    selection = prepared.selection
    return RunRecord(
        id=prepared.plan.run,
        started_at=datetime.now(UTC).timestamp(),
        status=RunStatus.RUNNING,
        tiers=prepared.loaded.inventory.tiers,
        suite=selection.suite,
        inventory_name=prepared.loaded.path.name,
        inventory_sha256=prepared.loaded.sha256,
        harness_version=version("farm"),
        git_sha=_git_sha(),
        lab=prepared.loaded.inventory.lab.name,
        selection={
            "tiers": list(selection.tiers),
            "devices": list(selection.devices),
            "models": list(selection.models),
            "runners": list(selection.runners),
            "repeats": selection.repeats,
        },
        command=tuple(sys.argv[1:]),
        owner=f"{me.owner}, run {prepared.plan.run}",
        host=me.host,
        pid=me.pid,
        pid_started=me.pid_started,
    )


def _git_sha() -> str:
    """Commit of the checkout farm runs from, "-dirty" when it was changed; "" for an installed wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    with suppress(OSError, subprocess.SubprocessError):
        told = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
        return told.stdout.strip()
    return ""


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--max-hours", type=click.FloatRange(min=0, min_open=True), help="Begin nothing after this time.")
@click.option("--report", "report_dir", type=click.Path(path_type=Path), help="Folder for the HTML report.")
@click.option("--check", is_flag=True, help="Exit with 4 when a target is missed.")
@click.pass_obj
def resume(context: Context, run_id: str | None, max_hours: float | None, report_dir: Path | None, check: bool) -> None:
    """Go on with the newest interrupted run; what is measured is never measured again."""
    from harness.cli import resuming
    from harness.store import Store

    with Store.open(context.db_url) as store:
        record = resuming.find(store, run_id)
        if record is None:
            click.echo("nothing to resume: no run is interrupted", err=True)
            if context.json:
                click.echo('{"run": null}')
            return
        execution = resuming.prepare(context, store, record)
        sys.exit(execution.go(max_hours=max_hours, report_dir=report_dir, check=check))


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

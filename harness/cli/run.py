"""`farm plan`, `farm run`, `farm resume`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.main import Context

if TYPE_CHECKING:
    from harness.inventory import LoadedInventory
    from harness.model import Attached, RunRecord
    from harness.plan import Assets, Plan, ResolvedDevice, Selection


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
    from harness.cli.execution import Execution
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

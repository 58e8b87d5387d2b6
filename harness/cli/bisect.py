"""`farm bisect`: which of the builds on disk is the first bad one."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.main import Context
from harness.cli.words import visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.inventory import LoadedInventory
    from harness.model import ErrorInfo, Inventory, Model, ModelFile, Quarantine, Runner, RunnerBuild
    from harness.nightly.build_line import BuildLine
    from harness.plan import ResolvedDevice


@click.command()
@click.option("--metric", required=True, help="A metric that got worse.")
@click.option("--good", required=True, metavar="BUILD", help="Build that was good: its name, or the start of its hash.")
@click.option("--bad", required=True, metavar="BUILD", help="Build that is bad.")
@click.option("--runner", help="Runner id.  [default: the only one with a folder of builds]")
@click.option("--model", help="Model id.  [default: the first of the nightly suite that the runner reads]")
@click.option("--workload", help="Workload of the inventory.  [default: the first of the nightly suite]")
@click.option("--tier", "tiers", multiple=True, help="Tier; may be repeated.  [default: all]")
@click.option("--device", "devices", multiple=True, help="Device id; may be repeated.")
@click.option("--max-minutes", type=click.FloatRange(min=0, min_open=True), help="Begin nothing after this time.")
@click.pass_obj
def bisect(
    context: Context,
    /,
    metric: str,
    good: str,
    bad: str,
    runner: str | None,
    model: str | None,
    workload: str | None,
    tiers: tuple[str, ...],
    devices: tuple[str, ...],
    max_minutes: float | None,
) -> None:
    """Find the first bad build between a good one and a bad one: interleaved pairs, as many as it takes.

    The builds are those in the runner's folder (nightly.builds in the inventory). Called again, it goes on where it
    ended.
    """
    from harness.cli import compose, interrupts, pairs, quarantine
    from harness.cli.bisect_view import exit_code, show
    from harness.nightly.bisecting import Search, bisect_series
    from harness.store import Store

    _check_metric(metric)
    loaded, notes = _with_new_models(compose.load_inventory(context))
    inventory, base = loaded.inventory, loaded.path.resolve().parent
    entry = _runner(inventory, runner)
    chosen = _model(inventory, entry, model)
    work = _workload(inventory, workload)
    files = compose.check_assets((chosen,), (), base).models
    line = _line(inventory, base, entry, good, bad, chosen, files[chosen.id], work)
    phones = _phones(inventory, entry, tiers, devices, quarantine.current(context))
    for note in (*notes, *line.notes):
        click.echo(note, err=True)
    names = {phone.facts.identity: phone.id for phone in phones}
    search = Search(metric, chosen.id, entry.id, work, line, names)
    deadline = None if max_minutes is None else time.monotonic() + max_minutes * 60
    with Store.open(context.db_url) as store, interrupts.until_signalled() as cancel:
        pairs.close_left(store)
        # The night of the lab's own calendar, as `farm nightly` names it.
        night = date.today().isoformat()
        lab = pairs.PairLab(context, store, loaded, phones, files, night, cancel)
        found = bisect_series(lab, search, deadline)
        show(context, found, phones, runs=tuple(lab.measured(search).nights))
        is_over = deadline is not None and time.monotonic() > deadline
        sys.exit(exit_code(found, interrupted=cancel.is_set() or is_over))


def _check_metric(name: str) -> None:
    """Raises UsageError for what is no metric, or of which neither direction is better."""
    from harness.errors import UsageError
    from harness.inventory_types import suggest
    from harness.model import METRICS

    spec = METRICS.get(name)
    if spec is None:
        raise UsageError(f"--metric: no metric {name!r}{suggest(name, METRICS)} (there are: {', '.join(METRICS)})")
    if not spec.better:
        raise UsageError(f"--metric: neither direction of {name} is better, so no build can be worse in it")


def _with_new_models(loaded: LoadedInventory) -> tuple[LoadedInventory, tuple[str, ...]]:
    """The inventory with the models that appeared in its folders, and what was left out."""
    from harness.nightly.new_models import models_in, with_models

    found = models_in(loaded.inventory, loaded.path.resolve().parent)
    return replace(loaded, inventory=with_models(loaded.inventory, found.models)), found.notes


def _runner(inventory: Inventory, asked: str | None) -> Runner:
    """The runner that was asked for, or the only one that has a folder of builds; else UsageError is raised."""
    from harness.errors import UsageError
    from harness.nightly.builds import runner_of

    watched = [one.runner for one in inventory.nightly.builds]
    if asked is None and len(watched) != 1:
        raise UsageError(
            f"--runner: name the one whose builds are searched (with a folder: {', '.join(watched) or 'none'})"
        )
    return runner_of(inventory, asked or watched[0])


def _model(inventory: Inventory, runner: Runner, asked: str | None) -> Model:
    """The model that was asked for, or the first of the nightly suite that the runner reads; else UsageError is
    raised."""
    from harness.cli import compose
    from harness.errors import UsageError
    from harness.inventory_types import suggest
    from harness.plan import models_of

    suite = inventory.suites.get(inventory.nightly.suite)
    readable = compose.formats(runner.runtime)
    if asked is None:
        candidates = models_of(inventory, (), suite) if suite else inventory.models
        fitting = [one for one in candidates if readable is None or one.format in readable]
    else:
        fitting = [one for one in inventory.models if one.id == asked]
    if not fitting:
        names = [one.id for one in inventory.models]
        what = f"no model {asked!r}{suggest(asked, names)}" if asked else f"no model for {runner.id}"
        raise UsageError(f"--model: {what} in the inventory (there are: {', '.join(names) or 'none'})")
    return fitting[0]


def _workload(inventory: Inventory, asked: str | None) -> str:
    """The workload that was asked for, or the first of the nightly suite; else UsageError is raised."""
    from harness.errors import UsageError
    from harness.inventory_types import suggest

    suite = inventory.suites.get(inventory.nightly.suite)
    name = asked or (suite.workloads[0] if suite else "")
    if name not in inventory.workloads:
        what = f"no workload {name!r}{suggest(name, inventory.workloads)}" if name else "name one"
        raise UsageError(f"--workload: {what} (there are: {', '.join(inventory.workloads) or 'none'})")
    return name


def _line(
    inventory: Inventory,
    base: Path,
    runner: Runner,
    good: str,
    bad: str,
    model: Model,
    model_file: ModelFile | ErrorInfo,
    workload: str,
) -> BuildLine:
    """The builds that are searched; raises UsageError or Permanent when it has no two sound ends, or no model."""
    from harness.cli import compose
    from harness.errors import ErrorClass, Permanent
    from harness.model import ErrorInfo
    from harness.nightly.build_line import line_between
    from harness.nightly.builds import builds_of, find_build

    if isinstance(model_file, ErrorInfo):
        error_class = ErrorClass(model_file.error_class)
        raise Permanent(model_file.message, error_class=error_class, advice=model_file.advice)
    found = builds_of(inventory, base, runner.id)
    first = find_build(inventory, base, found, good, "--good")
    last = find_build(inventory, base, found, bad, "--bad")

    def unfit(build: RunnerBuild) -> ErrorInfo | None:
        return compose.refusal(inventory.workloads[workload], model, model_file, runner, build)

    line = line_between(inventory, base, found.builds, first, last, unfit)
    return replace(line, notes=(*found.notes, *line.notes))


def _phones(
    inventory: Inventory,
    runner: Runner,
    tiers: Sequence[str],
    devices: Sequence[str],
    apart: Mapping[str, Quarantine],
) -> tuple[ResolvedDevice, ...]:
    """The phones of the selection that can run the builds; raises NoDeviceError when there is none.

    Args: apart: identity → quarantine; such a phone takes part only when `devices` names it.
    """
    from harness.cli import compose
    from harness.errors import UsageError
    from harness.inventory_types import suggest
    from harness.plan import Selection, resolve_devices, select_devices

    for tier in tiers:
        if tier not in inventory.tiers:
            raise UsageError(f"--tier: no tier {tier!r} in the inventory{suggest(tier, inventory.tiers)}")
    attached = compose.discover_to_use(inventory)
    asked = Selection(inventory.nightly.suite, tiers=tuple(tiers), devices=tuple(devices))
    chosen = select_devices(inventory, asked, resolve_devices(inventory, attached))
    fitting = [
        one
        for one in chosen
        if one.attached.platform == runner.platform
        and (one.attached.facts is None or runner.abi in one.attached.facts.abis)
    ]
    what = ", ".join((*(f"tier {tier}" for tier in tiers), *devices)) or "any tier"
    usable = compose.require_usable(f"{what} that runs {runner.id}", fitting, attached)
    return usable if devices else _trusted(usable, apart)


def _trusted(phones: Sequence[ResolvedDevice], apart: Mapping[str, Quarantine]) -> tuple[ResolvedDevice, ...]:
    """Those not in quarantine: a search rests on phones whose figures count. Raises NoDeviceError when none is left.

    Args: apart: identity → quarantine.
    """
    from harness.errors import NoDeviceError

    kept = tuple(one for one in phones if one.facts.identity not in apart)
    for one in phones:
        if one not in kept:
            why = apart[one.facts.identity].reason
            click.echo(visible(f"{one.id} is left out, it is in quarantine: {why}"), err=True)
    if not kept:
        raise NoDeviceError(
            "every phone that could be used is in quarantine\n"
            "  what to do: name one with --device to use it all the same, or lift it: farm quarantine lift ID"
        )
    return kept

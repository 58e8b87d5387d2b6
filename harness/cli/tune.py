"""`farm tune`: try threads and cores on one phone, keep the best setting with its evidence."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from harness.cli.main import Context

if TYPE_CHECKING:
    from threading import Event

    from harness.cli.run import Prepared
    from harness.model import CaseStatus, PlannedCase, RunRecord, Workload
    from harness.store import Store
    from harness.tuning import Conclusion, Setting, Trial

SUITE = "tune"
"""Name of the suite that a sweep's run carries; it is not in the inventory."""

_METRICS = ("decode_tps", "prefill_tps", "ttft_ms")


@click.command()
@click.option("--device", required=True, help="Device id.")
@click.option("--model", required=True, help="Model id.")
@click.option("--runner", help="Runner id.  [default: the only one that fits]")
@click.option("--workload", help="Workload of the inventory.  [default: the first of suite standard]")
@click.option(
    "--metric", type=click.Choice(_METRICS), default="decode_tps", show_default=True, help="What is to be best."
)
@click.option(
    "--gates", type=click.Choice(["strict", "record", "off"]), help="As for `farm run`.  [default: the inventory's]"
)
@click.option(
    "--rounds", type=click.IntRange(1, 4), default=4, show_default=True, help="Fewer: quicker, with wider intervals."
)
@click.pass_obj
def tune(
    context: Context,
    /,
    device: str,
    model: str,
    runner: str | None,
    workload: str | None,
    metric: str,
    gates: str | None,
    rounds: int,
) -> None:
    """Find the threads and cores that are fastest on a phone; `threads: tuned` uses them."""
    from harness.store import Store

    sweep = _prepare(context, device, model, runner, workload)
    with Store.open(context.db_url) as store:
        sys.exit(_Sweep(context, store, sweep, metric, rounds, gates).go())


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is tried: the plan of a run whose workloads are the variants, by the name of their setting."""

    prepared: Prepared
    workload_id: str
    settings: tuple[Setting, ...]


def variant(workload: Workload, setting: Setting) -> Workload:
    """The workload run as `setting` says."""
    changes: dict[str, Any] = {"threads": "auto"}
    if not setting.auto:
        changes = {"threads": setting.threads, "cores": setting.cores}
    return replace(workload, **changes)


def variant_id(workload_id: str, setting: Setting) -> str:
    """Name of a variant in the stored run."""
    return f"{workload_id}@{setting.name}"


def _prepare(context: Context, device: str, model: str, runner: str | None, workload: str | None) -> Sweep:
    """Find phone, files and settings; raises UsageError or NoDeviceError before anything is touched."""
    from harness.cli import compose, run
    from harness.errors import UsageError
    from harness.model import Suite
    from harness.plan import Selection, build, placement, resolve_devices, select_devices
    from harness.tuning import ROUNDS, Setting, settings

    loaded = compose.load_inventory(context)
    inventory = loaded.inventory
    name = workload or _first_workload(inventory.suites, inventory.workloads)
    if name not in inventory.workloads:
        raise UsageError(f"--workload: no workload {name!r} (there are: {', '.join(inventory.workloads) or 'none'})")
    if model not in {each.id for each in inventory.models}:
        raise UsageError(f"--model: no model {model!r} (there are: {', '.join(m.id for m in inventory.models)})")
    attached = compose.discover_to_use(inventory)
    asked = Selection(SUITE, devices=(device,), models=(model,), runners=() if runner is None else (runner,))
    chosen = select_devices(inventory, asked, resolve_devices(inventory, attached))
    phones = compose.require_usable(device, chosen, attached)
    if len(phones) > 1:
        raise UsageError(f"--device: {device} means several phones: {', '.join(phone.id for phone in phones)}")
    facts = phones[0].facts
    fitting = [
        each
        for each in inventory.runners
        if each.platform == phones[0].attached.platform and each.abi in facts.abis and runner in (None, each.id)
    ]
    if len(fitting) != 1:
        names = ", ".join(each.id for each in fitting) or "none"
        raise UsageError(f"--runner: name the one to tune for; those that fit {device}: {names}")
    base = replace(inventory.workloads[name], threads="auto")
    where = placement(base, facts)
    found = settings(facts, Setting(where.threads, where.cpus, auto=True))
    variants = {variant_id(name, setting): variant(base, setting) for setting in found}
    suite = Suite(workloads=tuple(variants), repeats=ROUNDS[0], models=(model,))
    selection = replace(asked, runners=(fitting[0].id,))
    changed = replace(inventory, workloads=variants, suites={SUITE: suite})
    models = [each for each in inventory.models if each.id == model]
    assets = compose.check_assets(models, fitting, loaded.path.resolve().parent)
    plan = build(run.run_id(), changed, selection, phones, assets, formats=compose.formats, refusal=compose.refusal)
    return Sweep(run.Prepared(loaded, selection, attached, phones, assets, plan), name, found)


def _first_workload(suites: Any, workloads: Any) -> str:
    """The workload that is tuned when none is named."""
    standard = suites.get("standard")
    return str(standard.workloads[0] if standard else next(iter(workloads), ""))


class _Sweep:
    """The rounds of one sweep, on one phone."""

    def __init__(
        self, context: Context, store: Store, sweep: Sweep, metric: str, rounds: int, gates: str | None
    ) -> None:
        from harness.cli import run

        self._context = context
        self._store = store
        self._sweep = sweep
        self._metric = metric
        self._count = rounds
        self._record: RunRecord = replace(
            run.record_of(sweep.prepared), options={"gates": gates, "force": False, "tune": metric}
        )

    def go(self) -> int:
        """Measure, conclude, keep, show; returns the exit code."""
        from harness.cli import exits, interrupts
        from harness.cli.execution import close_run
        from harness.tuning import conclude

        prepared = self._sweep.prepared
        self._store.begin_run(self._record, prepared.plan.cases)
        with interrupts.until_signalled() as cancel:
            self._rounds(cancel)
        left = close_run(self._store, self._record.id)
        trials = self._trials()
        conclusion = conclude(trials, self._metric)
        if not left and conclusion.best is not None:
            self._keep(conclusion, trials)
        self._show(conclusion, trials, left=len(left))
        if cancel.is_set() or left:
            return exits.INTERRUPTED if cancel.is_set() else exits.INCOMPLETE
        return exits.MEASURED if conclusion.best is not None else exits.INCOMPLETE

    def _rounds(self, cancel: Event) -> None:
        from harness.tuning import ROUNDS, survivors

        cases = self._sweep.prepared.plan.of(self._planned())
        done = 0
        for number, repeats in enumerate(ROUNDS[: self._count]):
            if number:
                kept = {variant_id(self._sweep.workload_id, each) for each in survivors(self._trials(), self._metric)}
                first = {case.workload_id: case for case in self._sweep.prepared.plan.of(self._planned())}
                cases = tuple(
                    replace(case, repeat=repeat)
                    for repeat in range(done + 1, done + repeats + 1)
                    for name, case in first.items()
                    if name in kept
                )
                if len({case.workload_id for case in cases}) < 2:
                    return
                self._store.add_cases(self._record.id, cases)
            done += repeats
            self._measure(cases, cancel)
            if cancel.is_set() or self._store.cases(self._record.id, status=self._planned()):
                return

    def _measure(self, cases: Sequence[PlannedCase], cancel: Event) -> None:
        from harness.cli.execution import Execution

        context, prepared = self._context, self._sweep.prepared
        execution = Execution(
            context, self._store, prepared.loaded, self._record, prepared.devices, prepared.assets, tuple(cases)
        )
        execution.measure(cancel)

    @staticmethod
    def _planned() -> CaseStatus:
        from harness.model import CaseStatus

        return CaseStatus.PLANNED

    def _trials(self) -> tuple[Trial, ...]:
        """Every setting with the figures it has so far."""
        from harness.model import CaseStatus, Measured
        from harness.tuning import Trial

        rows = tuple(self._store.measurements(self._record.id))
        trials = []
        for setting in self._sweep.settings:
            name = variant_id(self._sweep.workload_id, setting)
            ended = [row for row in rows if row.planned.workload_id == name and row.status is not self._planned()]
            readings = [row.metrics.get(self._metric) for row in ended if row.status is CaseStatus.MEASURED]
            values = tuple(reading.value for reading in readings if isinstance(reading, Measured))
            trials.append(Trial(setting, values, len(ended) - len(values)))
        return tuple(trials)

    def _keep(self, conclusion: Conclusion, trials: Sequence[Trial]) -> None:
        from harness.tuning import RECORD_KIND, record_key, record_of

        prepared = self._sweep.prepared
        case, facts = prepared.plan.cases[0], prepared.devices[0].facts
        evidence = {
            "run": self._record.id,
            "workload": self._sweep.workload_id,
            "model_sha256": case.model_sha256,
            "runner_sha256": case.runner_sha256,
            "os_fingerprint": facts.os_fingerprint,
        }
        value = record_of(conclusion, trials, self._metric, evidence)
        key = record_key(case.model.id, case.runner.id)
        self._store.add_device_record(facts.identity, RECORD_KIND, key, _now(), value)

    def _show(self, conclusion: Conclusion, trials: Sequence[Trial], *, left: int) -> None:
        from harness.cli import output
        from harness.model import METRICS
        from harness.tuning import trial_json

        rows = [trial_json(trial) for trial in trials]
        best = conclusion.best.setting.name if conclusion.best else None
        if self._context.json:
            import json

            said = {
                "run": self._record.id,
                "best": best,
                "kept": best is not None and not left,
                "beats_auto": conclusion.beats_auto,
                "reason": conclusion.reason,
                "alike": [setting.name for setting in conclusion.alike],
                "metric": self._metric,
                "left": left,
                "trials": rows,
            }
            click.echo(json.dumps(said, ensure_ascii=False))
            return
        spec, device = METRICS[self._metric], self._sweep.prepared.devices[0]
        titles = ("setting", "threads", "cores", "measured", f"median {spec.unit}", "95 % interval", "")
        body = [_line(row, best, {setting.name for setting in conclusion.alike}) for row in rows]
        output.print_table(f"{spec.title} on {output.device_name(device.id, device.facts.kind)}", titles, body)
        head = "" if best is None else "best so far: " if left else "best: "
        click.echo(f"{head}{conclusion.reason}")
        if left:
            click.echo(f"run {self._record.id} was interrupted: nothing is kept; tune again", err=True)
        elif best is not None:
            click.echo(f"kept for `threads: tuned` (run {self._record.id})")


def _line(row: dict[str, Any], best: str | None, alike: set[str]) -> tuple[str, ...]:
    from harness.analysis.placement import cpu_list

    interval = "–" if row["low"] is None else f"{row['low']:.4g} to {row['high']:.4g}"
    mark = "best" if row["setting"] == best else "not distinguishable" if row["setting"] in alike else ""
    return (
        row["setting"],
        str(row["threads"]),
        "any" if row["cores"] is None else cpu_list(row["cores"]),
        f"{row['n']}/{row['n'] + row['failed']}",
        "–" if row["median"] is None else f"{row['median']:.4g}",
        interval,
        mark,
    )


def _now() -> float:
    import time

    return time.time()

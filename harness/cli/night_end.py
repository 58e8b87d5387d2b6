"""The end of a night: health of the phones, old data dropped, the summary, the report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from device_agents.ports_off import held_ports
from harness.analysis.repeats import RepeatPolicy
from harness.cli import compose, exits
from harness.errors import FarmError, UsageError
from harness.lease_keeper import LeaseKeeper
from harness.leases import identity_of_this_process
from harness.model import (
    Attached,
    CaseStatus,
    Change,
    ChangeState,
    NightRole,
    NightSummary,
    RunRecord,
    RunStatus,
    VerdictFlip,
)
from harness.nightly import charge, quarantine
from harness.nightly.builds import check_build
from harness.nightly.flips import CaseVerdicts, flips, verdicts_of
from harness.nightly.hands import hands_needed
from harness.nightly.judging import Judged
from harness.nightly.looks import known_phones, look_at_all
from harness.nightly.pruning import prune_phone, prune_telemetry, wanted_files
from harness.plan import ResolvedDevice

if TYPE_CHECKING:
    from harness.cli.night_pairs import PairWork
    from harness.cli.night_setup import Tonight
    from harness.cli.night_work import NightWork

_WORST_FIRST = (
    ChangeState.REGRESSION,
    ChangeState.SUSPECT,
    ChangeState.IMPROVEMENT,
    ChangeState.CLEARED,
    ChangeState.ACKNOWLEDGED,
)
"""States that are told; the others are no news."""


def finish(
    work: NightWork,
    tonight: Tonight,
    devices: tuple[ResolvedDevice, ...],
    pairs: PairWork,
) -> NightSummary:
    """Do what belongs to the end of a night, and store what became of it. Args: devices: that took part."""
    store, inventory, notes = work.store, work.loaded.inventory, work.notes
    opener = compose.opener(inventory)
    judged = work.judged()
    # A phone that was lost during the night needs a hand in the morning.
    attached = compose.discover(inventory)
    attempted(
        "health of the phones",
        notes,
        lambda: notes.extend(
            f"{look.device_id} was not looked at: {look.reason}"
            for look in look_at_all(store, inventory, attached, opener, night=work.wish.night)
            if look.record is None
        ),
    )
    attempted("quarantine", notes, lambda: _quarantine(work, judged))
    attempted("old telemetry", notes, lambda: _drop_telemetry(work))
    attempted("files on phones", notes, lambda: _tidy_phones(work, tonight, devices))
    summary = _summary(work, tonight, attached, devices, pairs, judged)
    store.nights.end(work.lab, work.wish.night, RunStatus.FINISHED, summary.ended_at, summary)
    attempted("charge of the phones", notes, lambda: _hold_charge(work))
    return summary


def attempted(what: str, notes: list[str], step: Callable[[], object]) -> None:
    """Do a step whose failure must not end the night; it becomes a note."""
    try:
        step()
    except (FarmError, UsageError) as error:
        advice = f" ({error.advice})" if isinstance(error, FarmError) and error.advice else ""
        notes.append(f"{what}: {error}{advice}")
        click.echo(f"farm: {notes[-1]}", err=True)


def _quarantine(work: NightWork, judged: Judged) -> None:
    for one in quarantine.update(work.store, work.lab, judged.drifts, at=time.time()):
        work.notes.append(f"{one.device_id} is quarantined from now on: {one.reason}")


def _drop_telemetry(work: NightWork) -> None:
    days = work.loaded.inventory.nightly.keep_telemetry_days
    if days is None:
        return
    dropped = prune_telemetry(work.store, now=time.time(), days=days, lab=work.lab)
    if dropped.measurements:
        size_mb = dropped.size_bytes / 1e6
        work.notes.append(
            f"telemetry of {dropped.measurements} measurements older than {days} days dropped ({size_mb:.1f} MB)"
        )


def _tidy_phones(work: NightWork, tonight: Tonight, devices: Sequence[ResolvedDevice]) -> None:
    """Remove from the phones what no plan wants any more."""
    inventory = tonight.loaded.inventory
    days = inventory.nightly.keep_on_phone_days
    if days is None or not devices:
        return
    pinned = work.store.nights.baselines(work.lab).values()
    assets = compose.check_assets(inventory.models, inventory.runners, tonight.base, fetch=False)
    keep = wanted_files(inventory, assets, pinned)
    me = identity_of_this_process()
    keeper = LeaseKeeper(work.store, replace(me, owner=f"{me.owner}, tidies up"))
    try:
        for device in devices:
            done = prune_phone(device, compose.opener(inventory), keeper, keep, days)
            if done.note:
                work.notes.append(done.note)
            if done.removed:
                work.notes.append(f"{len(done.removed)} files that nothing uses any more removed from {device.id}")
    finally:
        keeper.close()


def _hold_charge(work: NightWork) -> None:
    inventory = work.loaded.inventory
    if inventory.nightly.charge is None:
        return
    for held in charge.hold_once(work.store, inventory, lambda: compose.discover(inventory), compose.opener(inventory)):
        if held.action == "failed":
            click.echo(f"farm: charge of {held.device_id}: {held.text}\n  what to do: {held.advice}", err=True)


# --- the summary ------------------------------------------------------------------------------------------------------


def _summary(
    work: NightWork,
    tonight: Tonight,
    attached: Sequence[Attached],
    devices: Sequence[ResolvedDevice],
    pairs: PairWork,
    judged: Judged,
) -> NightSummary:
    store, inventory = work.store, work.loaded.inventory
    now = time.time()
    started = store.nights.get(work.lab, work.wish.night)
    runs = [run for role in NightRole for run in work.runs(role, work.wish.night)]
    counts: Counter[CaseStatus] = Counter()
    for run in work.runs(NightRole.MEASURE, work.wish.night):
        counts.update(store.counts().get(run.id, {}))
    changes = sorted((one for one in judged.changes.values() if one.state in _WORST_FIRST), key=_order)
    summary = NightSummary(
        night=work.wish.night,
        lab=work.lab,
        started_at=started.started_at if started is not None else now,
        ended_at=now,
        measured=counts[CaseStatus.MEASURED],
        failed=counts[CaseStatus.FAILED],
        refused=counts[CaseStatus.REFUSED],
        left=counts[CaseStatus.PLANNED] + counts[CaseStatus.RUNNING],
        changes=tuple(changes),
        flips=_flips(work),
        hands=hands_needed(inventory, attached, known_phones(store), now=now, held=held_ports()),
        quarantined=tuple(quarantine.current(store).values()),
        drifts=judged.drifts,
        builds=_measured_builds(tonight),
        names=_names(work, tonight),
        pairs_left=sum(change.wants_pairs for change in changes),
        bisections=tuple(pairs.found),
        notes=tuple(dict.fromkeys(work.notes)),
        runs=tuple(run.id for run in runs),
        phones=len(devices),
        tiers=tuple(dict.fromkeys(device.entry.tier for device in devices)),
        report=str(work.wish.report_dir),
    )
    return replace(summary, exit_code=exits.of_night(summary))


def _order(change: Change) -> tuple[int, float, str]:
    delta = change.step.delta if change.step is not None else 0.0
    return _WORST_FIRST.index(change.state), -delta, change.series.key


def _flips(work: NightWork) -> tuple[VerdictFlip, ...]:
    """Against the newest earlier night that measured anything; phones that are kept apart tell nothing."""
    runs = work.runs(NightRole.MEASURE)
    apart = quarantine.current(work.store)
    earlier = [night for run in runs if (night := str(run.options["nightly"]["night"])) < work.wish.night]
    if not earlier:
        return ()
    before, after = (
        {
            name: judged
            for run in runs
            if run.options["nightly"]["night"] == night
            for name, judged in _verdicts(work, run).items()
            if judged.planned.identity not in apart
        }
        for night in (max(earlier), work.wish.night)
    )
    return flips(before, after)


def _verdicts(work: NightWork, run: RunRecord) -> dict[tuple[str, str, str, str, str], CaseVerdicts]:
    return verdicts_of(work.store.measurements(run.id), run.tiers, RepeatPolicy.of_run(run))


def _measured_builds(tonight: Tonight) -> dict[str, str]:
    return {name: found.newest.name for name, found in tonight.builds.items() if found.newest is not None}


def _names(work: NightWork, tonight: Tonight) -> dict[str, str]:
    """sha256 → name of each build that is on disk or pinned."""
    pinned = work.store.nights.baseline_history(work.lab)
    names = {one.sha256: one.name for one in pinned}
    for found in tonight.builds.values():
        for build in found.builds:
            checked = check_build(work.loaded.inventory, tonight.base, build)
            if checked.sha256:
                names[checked.sha256] = build.name
    return names

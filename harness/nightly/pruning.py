"""What keeps disks small: old telemetry is dropped from the database, files that nobody wants from the phones.

Telemetry (samples, inter-token times, ends of logs) goes run by run; figures, steps and provenance stay for ever. It is
kept of a run that is unfinished, of the newest run of a suite, and of the runs that an open confirmed change rests on:
its first bad night, and every comparison of builds since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from device_agents.base import DAY_S, DeviceAgent
from harness.errors import FarmError
from harness.lease_keeper import LeaseKeeper
from harness.model import (
    Baseline,
    Change,
    ChangeState,
    ErrorInfo,
    Inventory,
    Model,
    NightRecord,
    NightRole,
    Runner,
    RunRecord,
    RunStatus,
    SeriesId,
)
from harness.plan import Assets, ResolvedDevice
from harness.store import Store

BATCH = 100
"""Measurements that are dropped in one transaction: a fraction of a second, after which others get their turn."""

PHONE_S = 60.0
"""Limit of tidying up one phone; removing gigabytes takes seconds."""


# --- telemetry --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was dropped, or would be. Args: runs: ids, oldest first. measurements: of them. size_bytes: that it took."""

    runs: tuple[str, ...]
    measurements: int
    size_bytes: int


def prune_telemetry(store: Store, *, now: float, days: float, lab: str | None = None, dry_run: bool = False) -> Pruned:
    """Drop the telemetry of runs that are older than `days`, a few measurements at a time.

    A process that is ended meanwhile has dropped some of it; the next one goes on.

    Args:
        now: Unix seconds. lab: of this lab only; None: of all in the database. dry_run: only count.
    """
    runs = [run for run in store.runs() if lab in (None, run.lab)]
    done: list[str] = []
    measurements = size = 0
    for run in old_runs(runs, store.nights.all(lab), now=now, days=days):
        keys = store.old_telemetry.keys(run)
        for begin in range(0, len(keys), BATCH):
            some = keys[begin : begin + BATCH]
            size += store.old_telemetry.size(some)
            if not dry_run:
                store.old_telemetry.drop(some, now)
        measurements += len(keys)
        done += [run] if keys else []
    return Pruned(tuple(done), measurements, size)


def old_runs(runs: Iterable[RunRecord], nights: Sequence[NightRecord], *, now: float, days: float) -> tuple[str, ...]:
    """Ids of the runs whose telemetry may go, oldest first.

    Args:
        runs, nights: all that there are, of one lab or of several. now: Unix seconds.
    """
    ordered = sorted(runs, key=lambda run: (run.started_at, run.id))
    newest = {(run.lab, run.suite, _nightly(run, "role")): run.id for run in ordered}
    kept = frozenset(newest.values())
    opened = _open_since(nights)
    return tuple(
        run.id
        for run in ordered
        if run.started_at < now - days * DAY_S
        and run.status is RunStatus.FINISHED
        and run.id not in kept
        and not _rests_on(run, opened.get(run.lab, frozenset()))
    )


def _nightly(run: RunRecord, what: str) -> str:
    """What a run of a night says of itself; "" for one by hand."""
    told: Any = run.options.get("nightly")
    found = told.get(what) if isinstance(told, Mapping) else None
    return found if isinstance(found, str) else ""


def _rests_on(run: RunRecord, since: frozenset[str]) -> bool:
    """Whether an open change that began in one of these nights rests on the run."""
    night, role = _nightly(run, "night"), _nightly(run, "role")
    if not since or not night:
        return False
    return night in since or (role in (NightRole.PAIRS, NightRole.BISECT) and night >= min(since))


def _open_since(nights: Sequence[NightRecord]) -> dict[str, frozenset[str]]:
    """Lab → first bad nights of the confirmed changes that are open, each as every night told it since it is open."""
    still: dict[str, frozenset[SeriesId]] = {}
    since: dict[str, frozenset[str]] = {}
    for record in sorted(nights, key=lambda record: record.night, reverse=True):
        if record.summary is None:
            continue
        confirmed = {change.series: change for change in record.summary.changes if _is_confirmed(change)}
        still[record.lab] = still.get(record.lab, frozenset(confirmed)) & frozenset(confirmed)
        told = frozenset(confirmed[series].since for series in still[record.lab]) - {""}
        since[record.lab] = since.get(record.lab, frozenset()) | told
    return since


def _is_confirmed(change: Change) -> bool:
    return change.regressed or change.state is ChangeState.IMPROVEMENT


# --- files on phones --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PhonePruned:
    """Args: removed: sha256 of what was removed. note: why the phone could not be tidied up, "" when it was."""

    device_id: str
    removed: tuple[str, ...] = ()
    note: str = ""


def wanted_files(inventory: Inventory, assets: Assets, baselines: Iterable[Baseline]) -> frozenset[str]:
    """sha256 of everything that a plan of the inventory may put on a phone.

    Args:
        assets: every checked model and runner, those of the folders of builds and models among them.
        baselines: the pinned builds.
    """
    checked = [
        found for found in (*assets.models.values(), *assets.runners.values()) if not isinstance(found, ErrorInfo)
    ]
    entries: tuple[Model | Runner, ...] = (*inventory.models, *inventory.runners)
    named = [entry.sha256.lower() for entry in entries if entry.sha256]
    return frozenset((*(found.artifact.sha256 for found in checked), *named, *(one.sha256 for one in baselines)))


def prune_phone(
    device: ResolvedDevice,
    open_agent: Callable[[ResolvedDevice], DeviceAgent],
    leases: LeaseKeeper,
    keep: frozenset[str],
    unused_days: float,
) -> PhonePruned:
    """Remove from a phone what is not in `keep` (sha256) and was not used for so long, under the phone's lease.

    A phone that somebody works with, or that cannot be asked, is left as it is.
    """
    try:
        agent = open_agent(device)
        try:
            holder = leases.acquire(device, agent)
            if holder is not None:
                return PhonePruned(device.id, note=f"{device.id} was not tidied up: it is in use by {holder.owner}")
            try:
                return PhonePruned(device.id, agent.files.prune(keep, unused_days, limit_s=PHONE_S))
            finally:
                leases.release(device, agent)
        finally:
            agent.close()
    except FarmError as error:
        return PhonePruned(device.id, note=f"{device.id} was not tidied up: {error.message}")

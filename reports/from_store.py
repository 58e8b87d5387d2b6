"""The one place that knows the store: its rows → the inputs of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from harness.analysis.repeats import RepeatPolicy
from harness.leases import is_alive
from harness.model import NightRecord, NightSummary, PlannedCase, RunRecord, RunStatus
from harness.nightly.spans import QUARANTINE, quarantine_spans, quarantined_now
from harness.store import Store
from reports.cases import UNTOLD
from reports.inputs import DeviceInput, NightInput, Past, Repetition, RunInput, decides_builds
from reports.matrix import METRIC

NEWEST_RUNS = 30
"""Earlier runs whose figures a page shows."""


def read_run(store: Store, record: RunRecord) -> RunInput:
    """Everything of a run but its samples, which are read one measurement at a time when they are drawn."""
    outputs, steps = store.run_outputs(record.id), store.run_steps(record.id)
    found = tuple(
        Repetition(row, *outputs.get(row.planned.key, ("", ())), steps.get(row.planned.key, ()))
        for row in store.measurements(record.id)
    )
    devices = {one.planned.device_id: one for one in found}
    # The newest measurement that ran knows its device best: later rows win, those without facts never do.
    devices |= {one.planned.device_id: one for one in found if one.provenance}
    apart = _quarantines(store, record)
    known = tuple(_device(one.planned, one.provenance, apart) for one in devices.values())
    return RunInput(record, known, found)


def read_past(store: Store, record: RunRecord, tier: str, records: Sequence[RunRecord]) -> Past:
    """What the store knows of a tier from before a run.

    Args: records: all runs, oldest first.
    """
    known = store.runs_of_tier(tier)
    earlier = [one for one in records if one.id in known and _is_before(one, record)]
    if not earlier:
        return Past()
    previous = earlier[-1]
    rows = tuple(row for row in store.measurements(previous.id) if row.planned.tier == tier)
    # Figures of another measuring contract mean something else.
    alike = [one for one in earlier if one.contract == record.contract][-NEWEST_RUNS:]
    return Past(previous, rows, tuple(one.id for one in alike), _medians(store, alike, tier))


def read_nights(store: Store, lab: str, tonight: NightSummary | None = None) -> NightInput | None:
    """The nights of a lab, with what people said of changes; None where it has none.

    Args: tonight: of a night that has ended and is not stored as such yet.
    """
    records = list(store.nights.all(lab))
    if tonight is not None:
        known = next((one for one in records if one.night == tonight.night), None)
        begun = known or NightRecord(tonight.night, lab, tonight.started_at, RunStatus.RUNNING)
        ended = replace(begun, status=RunStatus.FINISHED, ended_at=tonight.ended_at, summary=tonight)
        records = [one for one in records if one.night < tonight.night] + [ended]
    if not records:
        return None
    *before, newest = (_as_it_is(one) for one in records)
    return NightInput(newest, tuple(before), store.nights.acks(lab))


def _as_it_is(night: NightRecord) -> NightRecord:
    """A night whose process died without a word is interrupted."""
    dead = night.status is RunStatus.RUNNING and not is_alive(night.host, night.pid, night.pid_started)
    return replace(night, status=RunStatus.INTERRUPTED) if dead else night


def _medians(store: Store, runs: Sequence[RunRecord], tier: str) -> Mapping[str, Mapping[str, float]]:
    """Series key → run → median over the repetitions that count."""
    warmed = {run.id for run in runs if RepeatPolicy.of_run(run).warm_up}
    found: dict[str, dict[str, dict[int, float]]] = {}
    for figure in store.figures([run.id for run in runs], tier, METRIC):
        found.setdefault(figure.series_key, {}).setdefault(figure.run, {})[figure.repeat] = figure.value
    medians: dict[str, dict[str, float]] = {}
    for series, by_run in found.items():
        for run, values in by_run.items():
            counting = [values[repeat] for repeat in sorted(values)[run in warmed :]]
            if counting:
                medians.setdefault(series, {})[run] = median(counting)
    return medians


def _is_before(one: RunRecord, record: RunRecord) -> bool:
    """Whether `one` is a run of the same kind from before."""
    earlier = (one.started_at, one.id) < (record.started_at, record.id)
    return one.suite == record.suite and earlier and not decides_builds(one)


def _quarantines(store: Store, record: RunRecord) -> Mapping[str, str]:
    """Identity → why what the phone gave in a run is kept apart: it was in quarantine when the run ended, or is now."""
    records = store.device_records(kind=QUARANTINE)
    held = quarantined_now(quarantine_spans(records))
    if record.ended_at is not None:
        held |= quarantined_now(quarantine_spans(one for one in records if one.at <= record.ended_at))
    return {identity: one.reason or UNTOLD for identity, one in held.items()}


def _device(planned: PlannedCase, provenance: Mapping[str, Any], apart: Mapping[str, str]) -> DeviceInput:
    told = provenance.get("device")
    facts = told if isinstance(told, Mapping) else {}
    ram = facts.get("ram_bytes")
    return DeviceInput(
        id=planned.device_id,
        manufacturer=_text(facts, "manufacturer"),
        model=_text(facts, "model"),
        soc=_text(facts, "soc"),
        os_version=_text(facts, "os_version"),
        ram_bytes=ram if isinstance(ram, int) else None,
        quarantine=apart.get(planned.identity, ""),
    )


def _text(facts: Mapping[str, Any], name: str) -> str:
    value = facts.get(name)
    return value if isinstance(value, str) else ""

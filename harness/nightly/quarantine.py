"""Phones whose results are kept apart: the rules that put one there, and the record of it.

A quarantine is a device record of kind "quarantine", value {device_id, reason, author, lifted}; the newest one holds.
A phone in quarantine is measured on, so that it shows when it is well again; nobody but a person lets it out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from harness.errors import ErrorClass
from harness.model import (
    HealthRecord,
    Measured,
    NightFailures,
    PhoneDrift,
    Quarantine,
    battery_word,
)
from harness.nightly.failures import night_failures
from harness.nightly.hands import BAD_BATTERY, CAPACITY_LEAST_PCT
from harness.nightly.looks import known_phones
from harness.nightly.spans import QUARANTINE, last_lift, quarantine_spans, quarantined_at, quarantined_now
from harness.phone_memory import QUALIFICATION
from harness.store import DeviceRecord, MeasurementRow, Store

FARM = "farm"
"""Author of what the rules decide."""

DEVICE_CLASSES = frozenset(
    error.value
    for error in (
        ErrorClass.DEVICE_LOST,
        ErrorClass.DEVICE_OFFLINE,
        ErrorClass.DEVICE_REBOOTED,
        ErrorClass.DEVICE_SUSPENDED,
        ErrorClass.TRANSPORT_STALLED,
        ErrorClass.ADBD_RESTART,
        ErrorClass.CLIENT_LOST,
        ErrorClass.THERMAL_SHUTDOWN,
        ErrorClass.PUSH_FAILED,
        ErrorClass.HASH_MISMATCH,
    )
)
"""Classes of errors that speak against the phone, its cable or its flash. Not among them: what a person cures in a
moment (authorization, space, settings), what others cause (a lease, adb's server), what the room causes (a gate refuses
every phone in a hot night), and what a model or a runner may cause."""

NIGHTS_RUNNING = 2
_DAY_S = 86_400.0

_Evidence = tuple[str, str, float]
"""Identity, what speaks against the phone in words, and Unix seconds from which on it was seen."""


# --- the record -------------------------------------------------------------------------------------------------------


def kept_apart(store: Store, rows: Iterable[MeasurementRow]) -> dict[str, str]:
    """Device id → why its results are kept apart, of the phones that were in quarantine when they were measured; what
    never started counts as of the start of its run."""
    spans = quarantine_spans(store.device_records(kind=QUARANTINE))
    if not spans:
        return {}
    begun: dict[str, float] = {}
    found: dict[str, str] = {}
    for row in rows:
        run, at = row.planned.run, row.started_at
        if at is None:
            if run not in begun:
                record = store.run(run)
                begun[run] = record.started_at if record is not None else 0.0
            at = begun[run]
        held = quarantined_at(spans, row.planned.identity, at)
        if held is not None:
            found[row.planned.device_id] = held.reason
    return found


def current(store: Store) -> Mapping[str, Quarantine]:
    """Identity → the quarantine that the phone is in now."""
    return quarantined_now(quarantine_spans(store.device_records(kind=QUARANTINE)))


def put(store: Store, quarantine: Quarantine) -> None:
    """Keep the results of a phone apart from `quarantine.since` on."""
    _add(store, quarantine, quarantine.since, quarantine.reason, quarantine.author, lifted=False)


def lift(store: Store, quarantine: Quarantine, *, author: str, reason: str, at: float) -> None:
    """Let a phone out. Args: author, reason: who did it and why. at: Unix seconds."""
    _add(store, quarantine, at, reason, author, lifted=True)


def _add(store: Store, quarantine: Quarantine, at: float, reason: str, author: str, *, lifted: bool) -> None:
    value = {"device_id": quarantine.device_id, "reason": reason, "author": author, "lifted": lifted}
    store.add_device_record(quarantine.identity, QUARANTINE, "", at, value)


# --- the rules --------------------------------------------------------------------------------------------------------


def update(store: Store, lab: str, drifts: Iterable[PhoneDrift], *, at: float) -> tuple[Quarantine, ...]:
    """Quarantine what the rules find in the store and in `drifts`; returns the new ones.

    Args: lab: name of the lab. at: now, Unix seconds.
    """
    records = (*store.device_records(kind=QUARANTINE), *store.device_records(kind=QUALIFICATION))
    found = to_quarantine(drifts, night_failures(store, lab), known_phones(store).values(), records, at=at)
    for each in found:
        put(store, each)
    return found


def to_quarantine(
    drifts: Iterable[PhoneDrift],
    failures: Mapping[str, Sequence[NightFailures]],
    health: Iterable[HealthRecord],
    known: Iterable[DeviceRecord],
    *,
    at: float,
) -> tuple[Quarantine, ...]:
    """The phones to be quarantined now that are not yet, each for the first reason that holds. Pure.

    A phone that a person let out is put back only for what was seen after that.

    Args:
        drifts: of the phones' own reference builds, as `harness.analysis.nights.drift_of` gives them for the limit
            `nightly.drift_limit_pct` and values since the newest lift.
        failures: identity → nights, oldest first (`failures.night_failures`).
        health: newest look at each phone (`looks.known_phones`).
        known: device records of the kinds "quarantine" and "qualification".
        at: now, Unix seconds.
    """
    records, looks, moved = tuple(known), tuple(health), tuple(drifts)
    spans = quarantine_spans(records)
    held = quarantined_now(spans)
    names = {drift.identity: drift.device_id for drift in moved} | {look.identity: look.device_id for look in looks}
    found: dict[str, Quarantine] = {}
    for identity, reason, seen_at in (
        *_of_batteries(looks),
        *_of_selftests(records),
        *_of_failures(failures),
        *_of_drifts(moved, at),
    ):
        fresh = seen_at > last_lift(spans, identity)
        if fresh and identity not in found and identity not in held:
            found[identity] = Quarantine(identity, names.get(identity, identity), reason, at, FARM)
    return tuple(found.values())


def _of_batteries(looks: Iterable[HealthRecord]) -> Iterator[_Evidence]:
    for look in looks:
        word, capacity = battery_word(look.reading("battery_health")), look.reading("capacity_pct")
        if word in BAD_BATTERY:
            yield look.identity, f"its battery reports {word}", look.at
        elif isinstance(capacity, Measured) and capacity.value < CAPACITY_LEAST_PCT:
            yield look.identity, f"its battery holds {capacity.value:.0f} % of its design", look.at


def _of_selftests(records: Iterable[DeviceRecord]) -> Iterator[_Evidence]:
    newest = {
        record.identity: record for record in sorted(records, key=lambda each: each.at) if record.kind == QUALIFICATION
    }
    for identity, record in newest.items():
        if not record.value.get("ok"):
            held = f"{record.value.get('held')} of {record.value.get('ran')} checks held"
            yield identity, f"it failed its self-test: {held}", record.at


def _of_failures(failures: Mapping[str, Sequence[NightFailures]]) -> Iterator[_Evidence]:
    for identity, nights in failures.items():
        tried = [night for night in nights if night.measured or _of_device(night)]
        newest = tried[-NIGHTS_RUNNING:]
        if len(newest) < NIGHTS_RUNNING or not all(_of_device(night) > night.measured for night in newest):
            continue
        classes = {name for night in newest for name in night.failed if name in DEVICE_CLASSES}
        why = f"most of its repetitions failed in {NIGHTS_RUNNING} nights running: {', '.join(sorted(classes))}"
        yield identity, why, newest[0].at


def _of_device(night: NightFailures) -> int:
    """Repetitions that failed for reasons of the device."""
    return sum(count for name, count in night.failed.items() if name in DEVICE_CLASSES)


def _of_drifts(drifts: Iterable[PhoneDrift], at: float) -> Iterator[_Evidence]:
    for drift in drifts:
        if drift.drifted:
            # So many nights take so many days: a longer line of them reaches back beyond a lift.
            yield drift.identity, drift_words(drift), at - (drift.nights - 1) * _DAY_S


def drift_words(drift: PhoneDrift) -> str:
    """How far a phone moved on its own reference build."""
    moved = 100 * math.expm1(drift.delta)
    direction = "worse" if moved > 0 else "better"
    return f"{drift.metric} of its own reference build is {abs(moved):.1f} % {direction} than at first"

"""What is known of every phone of the lab: newest look, nights, self-test, quarantine, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from harness.model import (
    NEVER_SEEN,
    NOT_ATTACHED,
    OFF_ITS_POWER,
    Attached,
    Device,
    HealthProblem,
    Inventory,
    PhoneDrift,
    PhoneHealth,
    Qualification,
    UsbPort,
)
from harness.nightly import hands, quarantine
from harness.nightly.failures import night_failures
from harness.nightly.looks import known_phones
from harness.phone_memory import QUALIFICATION
from harness.store import DeviceRecord, Store


def fleet(
    store: Store,
    inventory: Inventory,
    attached: Iterable[Attached],
    now: float,
    *,
    held: frozenset[UsbPort] = frozenset(),
) -> tuple[PhoneHealth, ...]:
    """Every phone of the inventory, and every other one that is attached; the worst first.

    Args:
        now: Unix seconds. held: hub ports that farm keeps off to hold a charge.
    """
    known = known_phones(store)
    past = _Past(store, inventory.lab.name)
    here = hands.listed(inventory, attached, known)
    gone = hands.missing(inventory, here, known, now=now)
    off = [each for each in gone if each.port in held]
    away = [each for each in gone if each.port not in held]
    hubs = hands.lost_hubs(here, away)
    phones = [past.listed(phone, now) for phone in here]
    phones += [past.missing(each, OFF_ITS_POWER, ()) for each in off]
    for each in away:
        hub = each.port.hub if each.port is not None else ""
        problem = hands.hub_problem(hub, hubs[hub]) if hub in hubs else each.problem
        phones.append(past.missing(each, NOT_ATTACHED, (problem,)))
    filled = {phone.entry.id for phone in here if phone.entry is not None} | {each.record.entry for each in gone}
    phones += [_never_seen(entry) for entry in inventory.devices if entry.id not in filled]
    return tuple(sorted(phones, key=_worst_first))


def newest_drifts(store: Store, lab: str) -> Mapping[str, PhoneDrift]:
    """Identity → drift, as the newest night of a lab that has a summary found it."""
    for night in reversed(store.nights.all(lab)):
        if night.summary is not None:
            return {drift.identity: drift for drift in night.summary.drifts}
    return {}


def qualification_of(record: DeviceRecord) -> Qualification:
    """The self-test in a device record."""
    counts = {name: count for name in ("held", "ran") if isinstance(count := record.value.get(name), int)}
    return Qualification(record.at, bool(record.value.get("ok")), counts.get("held", 0), counts.get("ran", 0))


class _Past:
    """What the store knows of the phones of a lab."""

    def __init__(self, store: Store, lab: str) -> None:
        self._store = store
        self._failures = night_failures(store, lab)
        self._drifts = newest_drifts(store, lab)
        self._quarantined = quarantine.current(store)

    def listed(self, phone: hands.Listed, now: float) -> PhoneHealth:
        """A phone that is listed now."""
        facts, record = phone.attached.facts, phone.record
        return self._completed(
            PhoneHealth(
                device_id=phone.device_id,
                identity=facts.identity if facts else record.identity if record else "",
                kind=facts.kind if facts else record.kind if record else None,
                model=facts.model if facts else record.model if record else "",
                tier=phone.entry.tier if phone.entry else "",
                state=phone.attached.state.value,
                last_seen=now,
                looked_at=record.at if record else None,
                readings=record.readings if record else {},
                problems=phone.problems,
            )
        )

    def missing(self, gone: hands.Missing, state: str, away: tuple[HealthProblem, ...]) -> PhoneHealth:
        """A phone that was there and is not listed now. Args: away: what that means, where it is a problem."""
        record = gone.record
        worked = [night.at for night in self._failures.get(record.identity, ()) if night.measured]
        return self._completed(
            PhoneHealth(
                device_id=record.device_id,
                identity=record.identity,
                kind=record.kind,
                model=record.model,
                tier=record.tier,
                state=state,
                last_seen=max((record.at, *worked)),
                looked_at=record.at,
                readings=record.readings,
                problems=(*away, *hands.condition_problems(record)),
            )
        )

    def _completed(self, phone: PhoneHealth) -> PhoneHealth:
        """With what the nights, the self-test and people say of it."""
        if not phone.identity:
            return phone
        tested = self._store.latest_device_record(phone.identity, QUALIFICATION)
        told = replace(
            phone,
            failures=self._failures.get(phone.identity, ()),
            drift=self._drifts.get(phone.identity),
            qualification=qualification_of(tested) if tested is not None else None,
            quarantine=self._quarantined.get(phone.identity),
        )
        return replace(told, problems=(*phone.problems, *_of_distrust(told)))


def _of_distrust(phone: PhoneHealth) -> Iterator[HealthProblem]:
    """Why the figures of a phone are to be looked at twice; none of it needs a hand at the phone."""
    if phone.quarantine is not None:
        lift = f"its results are kept apart; when it is in order again: farm quarantine lift {phone.device_id}"
        yield HealthProblem(f"quarantined: {phone.quarantine.reason}", lift, hands=False)
    if phone.drift is not None and phone.drift.drifted:
        advice = "look at its battery, its heat and what else runs on it"
        yield HealthProblem(quarantine.drift_words(phone.drift), advice, hands=False)
    if phone.qualification is not None and not phone.qualification.ok:
        held = f"{phone.qualification.held} of {phone.qualification.ran} checks held"
        yield HealthProblem(
            f"failed its self-test: {held}", f"farm selftest --device {phone.device_id} shows which", hands=False
        )


def _never_seen(entry: Device) -> PhoneHealth:
    return PhoneHealth(entry.id, "", None, "", entry.tier, NEVER_SEEN, None, None, {})


def _worst_first(phone: PhoneHealth) -> tuple[bool, bool, bool, int, str]:
    """Those that need hands, then quarantined ones, then others with problems; never seen ones last."""
    return (
        not phone.needs_hands,
        phone.quarantine is None,
        phone.state == NEVER_SEEN,
        -len(phone.problems),
        phone.device_id,
    )

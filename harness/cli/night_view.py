"""What a report shows of the nights of a lab, put together from the store and from what is judged."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from device_agents.ports_off import held_ports
from harness.model import (
    Attached,
    DeviceKind,
    DeviceState,
    HandNeeded,
    Inventory,
    Measured,
    NightValue,
    PhoneHealth,
    Reading,
    SeriesId,
    Unavailable,
    battery_word,
)
from harness.nightly.health import fleet
from harness.nightly.judging import Judged, judge_lab
from reports.from_store import read_nights
from reports.inputs import FleetRow, NightInput
from reports.series import drawn_series

if TYPE_CHECKING:
    from harness.store import Store

TREND = "decode_tps"
"""Metric by which a phone is told that has no trend yet."""


def night_input(
    store: Store, inventory: Inventory, upto: str | None = None, *, attached: Sequence[Attached] | None = None
) -> NightInput | None:
    """The nights of the inventory's lab as of one night; None where it has none.

    Args: upto: ISO date; None: the newest. attached: what is attached now; None: not asked, and there is no fleet.
    """
    known = read_nights(store, inventory.lab.name)
    if known is None:
        return None
    nightly = inventory.nightly
    judged = judge_lab(
        store,
        inventory.lab.name,
        nightly.metrics,
        upto=upto,
        wanted=nightly.pairs,
        drift_limit=nightly.drift_limit,
    )
    changes = tuple(judged.changes.values())
    phones = () if attached is None else fleet(store, inventory, attached, time.time(), held=held_ports())
    return replace(
        known,
        judged=changes,
        series=drawn_series(changes, judged.values),
        fleet=tuple(_row(phone, judged) for phone in phones if phone.identity),
    )


def _row(phone: PhoneHealth, judged: Judged) -> FleetRow:
    health = battery_word(phone.reading("battery_health"))
    tested = phone.qualification
    metric, trend = _trend(phone.identity, judged.values)
    return FleetRow(
        identity=phone.identity,
        device_id=phone.device_id,
        kind=phone.kind or DeviceKind.PHONE,
        tier=phone.tier,
        model=phone.model,
        state=phone.state,
        ready=phone.state == DeviceState.READY,
        battery_health=health or _absent(phone.reading("battery_health")),
        cycles=_figure(phone.reading("cycle_count")),
        capacity_pct=_figure(phone.reading("capacity_pct")),
        level_pct=_figure(phone.reading("battery_level_pct")),
        free_mb=_figure(phone.reading("storage_free_mb")),
        qualified_at=tested.at if tested is not None and tested.ok else Unavailable(_unqualified(phone)),
        reference_metric=metric,
        reference=trend or Unavailable("no pinned build was measured on it yet"),
        failures=tuple((night.night, sum(night.failed.values())) for night in phone.failures)
        or Unavailable("it took part in no night yet"),
        drift=phone.drift,
        quarantine=phone.quarantine,
        hands=tuple(
            HandNeeded((phone.device_id,), problem.text, problem.advice) for problem in phone.problems if problem.hands
        ),
    )


def _unqualified(phone: PhoneHealth) -> str:
    if phone.qualification is None:
        return f"`farm selftest --device {phone.device_id}` was never run on it"
    return f"its newest self-test failed: {phone.qualification.held} of {phone.qualification.ran} checks held"


def _figure(reading: Reading) -> float | Unavailable:
    return reading.value if isinstance(reading, Measured) else reading


def _absent(reading: Reading) -> Unavailable:
    return reading if isinstance(reading, Unavailable) else Unavailable("the phone gives a word that is not known")


def _trend(identity: str, values: Mapping[SeriesId, Sequence[NightValue]]) -> tuple[str, tuple[tuple[str, float], ...]]:
    """Values of the pinned build on one phone, of the series in which it was measured most often: that shows the phone
    itself. Name of the metric, and (night, value) oldest first."""
    lines: dict[SeriesId, tuple[tuple[str, float], ...]] = {}
    for series, nights in values.items():
        own = [(one.night, one.reference) for one in nights if one.identity == identity]
        line = tuple((night, value) for night, value in own if value is not None)
        if line:
            lines[series] = line
    if not lines:
        return TREND, ()
    best = max(lines, key=lambda series: (len(lines[series]), series.metric == "decode_tps", series.key))
    return best.metric, lines[best]

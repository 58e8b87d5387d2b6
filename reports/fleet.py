"""Inputs → the view model of the page of the fleet: how every phone of the lab is, and what to do for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from statistics import median
from urllib.parse import quote

from harness.model import METRICS, PhoneDrift, Unavailable
from reports.cases import Notes, natural
from reports.charts import Point, Scale, coordinate, line
from reports.inputs import FleetRow, NightInput
from reports.night_views import FailureBars, FleetPage, FleetPhone
from reports.nights import Phones, apart_row, fleet_name, hand, how_much, interval
from reports.numbers import day, moment, plural, significant, span
from reports.pages import notice
from reports.plots import Spark
from reports.views import DeviceName, MetricCell, Tally

WIDTH, HEIGHT = 150.0, 30.0
NEWEST = 30
"""Nights that are drawn."""
_LEAST = 0.03
"""Half the smallest range that is drawn: noise of 1 % is no mountain."""
_NO_DRIFT = "too few nights with the reference build to say whether it drifts"


def fleet_page(nights: NightInput, lab: str, phones: Phones, generated_at: float) -> FleetPage:
    """The phones that need something stand first, then by name. Args: generated_at: Unix seconds."""
    notes = Notes()
    rows = sorted(nights.fleet, key=lambda row: (not _needs_something(row), natural(row.device_id)))
    return FleetPage(
        lab=lab,
        night=day(nights.night.night),
        generated=moment(generated_at),
        notice=notice(row.kind for row in nights.fleet if row.kind),
        tally=fleet_tally(nights.fleet),
        phones=tuple(_phone(row, phones, notes) for row in rows),
        notes=notes.listed(),
    )


def fleet_tally(fleet: Sequence[FleetRow]) -> tuple[Tally, ...]:
    """How many phones are fine, need hands, are kept apart; none without phones."""
    if not fleet:
        return ()
    return (
        Tally("fine", sum(not _needs_something(row) for row in fleet), "pass"),
        Tally("need hands", sum(bool(row.hands) or not row.ready for row in fleet), "fail"),
        Tally("kept apart", sum(row.quarantine is not None for row in fleet), "inconclusive"),
    )


def phone_anchor(device_id: str) -> str:
    """The id of the element that a permalink `#phone=ID` leads to."""
    return "phone=" + quote(device_id, safe="")


def _needs_something(row: FleetRow) -> bool:
    return bool(row.hands) or not row.ready or row.quarantine is not None


def _phone(row: FleetRow, phones: Phones, notes: Notes) -> FleetPhone:
    name = fleet_name(row)
    # In the order of the columns, which is that of the numbers of the notes.
    battery, level = _text(row.battery_health, notes), _figure(row.level_pct, "%", notes)
    cycles, capacity = _figure(row.cycles, "", notes), _figure(row.capacity_pct, "%", notes)
    free = _storage(row.free_mb, notes)
    spark, trend = _trend(row, notes)
    bars, failures = _failures(row, notes)
    return FleetPhone(
        anchor=phone_anchor(row.device_id),
        # Being kept apart has a column of its own here.
        name=DeviceName(name.id, name.model, name.mark),
        tier=row.tier,
        state=row.state.replace("_", " "),
        state_style="pass" if row.ready else "fail",
        battery=battery,
        level=level,
        cycles=cycles,
        capacity=capacity,
        free=free,
        trend=trend,
        drifted=row.drift is not None and row.drift.drifted,
        spark=spark,
        failures=failures,
        bars=bars,
        qualified=_moment(row.qualified_at, notes),
        apart=apart_row(row.quarantine, phones) if row.quarantine else None,
        hands=tuple(hand(one, phones) for one in row.hands),
    )


# --- cells ------------------------------------------------------------------------------------------------------------


def _absent(reason: str, notes: Notes) -> MetricCell:
    return MetricCell("", "", notes.number(reason), reason)


def _text(value: str | Unavailable, notes: Notes) -> MetricCell:
    return _absent(value.reason, notes) if isinstance(value, Unavailable) else MetricCell(value, "")


def _figure(value: float | Unavailable, unit: str, notes: Notes) -> MetricCell:
    if isinstance(value, Unavailable):
        return _absent(value.reason, notes)
    return MetricCell(f"{significant(value)} {unit}".strip(), "")


def _storage(megabytes: float | Unavailable, notes: Notes) -> MetricCell:
    if isinstance(megabytes, Unavailable):
        return _absent(megabytes.reason, notes)
    small = megabytes < 1000
    return MetricCell(f"{significant(round(megabytes))} MB" if small else f"{megabytes / 1000:.1f} GB", "")


def _moment(unix_s: float | Unavailable, notes: Notes) -> MetricCell:
    return _absent(unix_s.reason, notes) if isinstance(unix_s, Unavailable) else MetricCell(moment(unix_s)[:10], "")


# --- nights of a phone ------------------------------------------------------------------------------------------------


def _trend(row: FleetRow, notes: Notes) -> tuple[Spark | None, MetricCell]:
    """The values of the reference build over the nights, and what is said of them."""
    if isinstance(row.reference, Unavailable):
        return None, _absent(row.reference.reason, notes)
    spark = _spark(row) if row.reference else None
    return spark, _drift(row.drift) if row.drift else _absent(_NO_DRIFT, notes)


def _drift(drift: PhoneDrift) -> MetricCell:
    spec = METRICS.get(drift.metric)
    detail = f"{interval(drift.delta, drift.low, drift.high)}, {spec.title if spec else drift.metric}, "
    return MetricCell(how_much(drift.delta), detail + plural(drift.nights, "night"))


def _spark(row: FleetRow) -> Spark | None:
    assert not isinstance(row.reference, Unavailable)
    placed = [(date.fromisoformat(night).toordinal(), value) for night, value in row.reference[-NEWEST:]]
    middle = median(value for _, value in placed)
    if middle <= 0:
        return None
    relative = [(at, value / middle) for at, value in placed]
    values = [value for _, value in relative]
    x = Scale(relative[0][0], relative[-1][0], 3, WIDTH - 5)
    y = Scale(min(*values, 1 - _LEAST), max(*values, 1 + _LEAST), HEIGHT - 3, 3)
    stretches: list[list[Point]] = [[]]
    before = relative[0][0]
    for at, value in relative:
        if at - before > 1:
            stretches.append([])
        stretches[-1].append((x(at), y(value)))
        before = at
    spec = METRICS.get(row.reference_metric)
    title, unit = (spec.title, spec.unit) if spec else (row.reference_metric, "")
    shown = [value for _, value in placed]
    return Spark(
        width=WIDTH,
        height=HEIGHT,
        line="".join(line(points) for points in stretches),
        band="",
        base=coordinate(y(1.0)),
        dot=(round(stretches[-1][-1][0], 1), round(stretches[-1][-1][1], 1)),
        label=f"{title} of the reference build on {_marked(row)} over {plural(len(placed), 'night')}: "
        f"{span(min(shown), max(shown))} {unit}".strip()
        + f", newest {significant(shown[-1])}",
    )


def _failures(row: FleetRow, notes: Notes) -> tuple[FailureBars | None, MetricCell]:
    """Failed repetitions by night."""
    if isinstance(row.failures, Unavailable):
        return None, _absent(row.failures.reason, notes)
    shown = row.failures[-NEWEST:]
    total = sum(count for _, count in shown)
    text = MetricCell(str(total), f"in {plural(len(shown), 'night')}")
    if not total:
        return None, text
    placed = [(date.fromisoformat(night).toordinal(), count) for night, count in shown]
    most = max(count for _, count in placed)
    x = Scale(placed[-1][0] - NEWEST + 1, placed[-1][0], 3, WIDTH - 5)
    y = Scale(0, most, HEIGHT - 3, 3)
    last = next(night for night, count in reversed(shown) if count)
    return (
        FailureBars(
            width=WIDTH,
            height=HEIGHT,
            bars="".join(
                f"M{coordinate(x(at))},{coordinate(HEIGHT - 3)}V{coordinate(y(count))}"
                for at, count in placed
                if count and at >= x.low
            ),
            label=f"Failed repetitions of {_marked(row)} by night: {total} in {plural(len(shown), 'night')}, at most "
            f"{most} in one, the last on {last}",
        ),
        text,
    )


def _marked(row: FleetRow) -> str:
    name = fleet_name(row)
    return f"{name.id} ({name.marks})" if name.marks else name.id

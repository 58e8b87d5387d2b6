"""What every page says of nights in the same words: states of changes, how much, which phones, what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from harness.model import (
    METRICS,
    NOT_A_PHONE,
    Change,
    ChangeState,
    HandNeeded,
    Quarantine,
    SeriesId,
)
from reports.cases import UNTOLD, apart_words, device_name
from reports.inputs import FleetRow, NightInput, RunInput
from reports.night_chart import per_cent
from reports.night_views import ApartRow, Hand
from reports.numbers import DASH, MINUS, moment
from reports.views import DeviceName


@dataclass(frozen=True, slots=True)
class StateWords:
    """How a state is shown: `style` is a class of the style sheet, `explained` what it means."""

    word: str
    style: str
    explained: str


STATES: Mapping[ChangeState, StateWords] = {
    ChangeState.REGRESSION: StateWords("confirmed", "fail", "worse, and interleaved pairs of the two builds agree"),
    ChangeState.SUSPECT: StateWords("suspect", "inconclusive", "the nights say so; pairs are to decide"),
    ChangeState.IMPROVEMENT: StateWords("improved", "pass", "better, and pairs agree"),
    ChangeState.CLEARED: StateWords("cleared", "known", "was suspect; pairs did not agree"),
    ChangeState.ACKNOWLEDGED: StateWords("acknowledged", "known", "a person said that it is known"),
}
"""States that are listed one by one, in their order."""


@dataclass(frozen=True, slots=True)
class Phones:
    """What is known of phones by their id in the inventory and by their own serial: kind, model, and why a phone is
    kept apart."""

    by_id: Mapping[str, DeviceName] = field(default_factory=dict)
    by_identity: Mapping[str, DeviceName] = field(default_factory=dict)

    def name(self, device_id: str) -> DeviceName:
        return self.by_id.get(device_id) or DeviceName(device_id, "", "")

    def pooled(self, identities: Iterable[str]) -> str:
        """The mark of several phones taken together, "" when all are real."""
        known = [self.by_identity.get(one) for one in identities]
        marks = Counter(one.mark for one in known if one is not None and one.mark)
        if len(marks) == 1 and marks.total() == len(known):
            return next(iter(marks))
        return ", ".join(f"{count} of {len(known)} × {mark}" for mark, count in marks.items())


def phones_of(run: RunInput, fleet: Sequence[FleetRow] = ()) -> Phones:
    """Every phone of a run and of the fleet; where both know one, the fleet knows it better."""
    devices = {device.id: device for device in run.devices}
    planned = {one.planned.device_id: one.planned for one in run.repetitions}
    by_id: dict[str, DeviceName] = {}
    by_identity: dict[str, DeviceName] = {}
    for id, one in planned.items():
        by_id[id] = by_identity[one.identity] = device_name(one, devices.values())
    for row in fleet:
        by_id[row.device_id] = fleet_name(row)
        if row.identity:
            by_identity[row.identity] = fleet_name(row)
    return Phones(by_id, by_identity)


def fleet_name(row: FleetRow) -> DeviceName:
    reason = (row.quarantine.reason or UNTOLD) if row.quarantine else ""
    mark = NOT_A_PHONE.get(row.kind, "") if row.kind else ""
    return DeviceName(row.device_id, row.model, mark, apart_words(reason))


def apart_row(one: Quarantine, phones: Phones) -> ApartRow:
    # The reason has a column of its own here.
    name = phones.name(one.device_id)
    return ApartRow(DeviceName(name.id, name.model, name.mark), one.reason, moment(one.since), one.author)


def hand(one: HandNeeded, phones: Phones) -> Hand:
    return Hand(tuple(phones.name(device) for device in one.devices), one.problem, one.advice)


def state_of(change: Change) -> ChangeState:
    """The state under which a change is listed: an open regression stays one while a further change is suspect."""
    return ChangeState.REGRESSION if change.regressed else change.state


def listed_changes(nights: NightInput) -> tuple[Change, ...]:
    """Changes that are listed one by one: the worst state first, within one as they were given."""
    order = list(STATES)
    shown = [change for change in nights.changes if state_of(change) in STATES]
    return tuple(sorted(shown, key=lambda change: order.index(state_of(change))))


def anchor(series: SeriesId) -> str:
    """The id of the element that a permalink `#change=SERIES` leads to."""
    return "change=" + quote(series.key, safe="")


def href(series: SeriesId) -> str:
    return "#" + quote(anchor(series), safe="=")


def metric_title(series: SeriesId) -> str:
    spec = METRICS.get(series.metric)
    return spec.title if spec else series.metric


def how_much(delta: float) -> str:
    """ "5.1 % worse". The measure is that of `LevelStep.delta`: + is worse, whichever direction of the metric is."""
    return f"{per_cent(abs(delta)):.1f} % {'worse' if delta > 0 else 'better'}"


def interval(delta: float, low: float, high: float) -> str:
    """The interval of a change in the direction of `delta`; an end on the other side of 0 has a minus."""
    ends = (low, high) if delta > 0 else (-high, -low)
    return f" {DASH} ".join(f"{per_cent(end):.1f}".replace("-", MINUS) for end in ends) + " %"

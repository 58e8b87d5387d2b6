"""What the nights of a lab say: read from the store, judged anew each time. Nothing judged is kept, so that what a
night says later, or of an earlier one, is what the same rules say of the same figures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING

from harness.analysis.nights import PAIRS, drift_of, judge
from harness.analysis.nights.drift import LIMIT
from harness.model import Ack, Change, NightRole, NightValue, PairSet, PhoneDrift, SeriesId
from harness.nightly.series import pairs_of, values_of
from harness.nightly.spans import QUARANTINE, Spans, last_lift, quarantine_spans

if TYPE_CHECKING:
    from harness.store import Store


@dataclass(frozen=True, slots=True)
class LabNights:
    """What is judged of a lab. Args: values, pairs: by series, by night. acks: oldest first. quarantines: of phones."""

    values: Mapping[SeriesId, Sequence[NightValue]]
    pairs: Mapping[SeriesId, Sequence[PairSet]]
    acks: tuple[Ack, ...]
    quarantines: Spans

    def judge(self, series: SeriesId, wanted: int = PAIRS) -> Change:
        """What is said of one series after its newest night. Args: wanted: pairs per phone that a suspicion gets."""
        return judge(series, self.values.get(series, ()), self.acks, self.pairs.get(series, ()), wanted=wanted)


@dataclass(frozen=True, slots=True)
class Judged:
    """What the nights of a lab say.

    Args:
        changes: of each series, in the order of their keys. values, pairs: what they rest on.
        drifts: of each phone that has a reference and enough nights since a person last lifted a quarantine of it.
    """

    changes: Mapping[SeriesId, Change]
    drifts: tuple[PhoneDrift, ...]
    values: Mapping[SeriesId, Sequence[NightValue]]
    pairs: Mapping[SeriesId, Sequence[PairSet]]


def read_lab(
    store: Store, lab: str, metrics: Sequence[str], *, upto: str | None = None, models: Collection[str] | None = None
) -> LabNights:
    """Read what is judged. Raises StoreError when the database cannot be used.

    Args:
        lab: its name. metrics: that are judged.
        upto: as of this night (ISO date): later values, pairs and acknowledgements are left out; None: the newest.
        models: ids that it is limited to; None: all.
    """
    nights = store.nights
    quarantines = quarantine_spans(store.device_records(kind=QUARANTINE))
    measured = nights.figures(lab, metrics, upto=upto, models=models)
    # Pairs of a bisection stand apart: they would decide a suspicion once more that was decided without them.
    paired = nights.figures(lab, metrics, (NightRole.PAIRS,), upto=upto, models=models)
    return LabNights(
        values_of(measured, nights.baseline_history(lab), quarantines),
        pairs_of(paired, quarantines),
        tuple(ack for ack in nights.acks(lab) if upto is None or ack.night <= upto),
        quarantines,
    )


def judge_lab(
    store: Store,
    lab: str,
    metrics: Sequence[str],
    *,
    upto: str | None = None,
    wanted: int = PAIRS,
    drift_limit: float = LIMIT,
) -> Judged:
    """Judge every series and every phone of a lab; arguments as for `read_lab`.

    Args:
        wanted: pairs per phone that a suspicion gets.
        drift_limit: of a phone's own reference values (logarithm).
    """
    read = read_lab(store, lab, metrics, upto=upto)
    changes = {series: read.judge(series, wanted) for series in sorted(read.values, key=attrgetter("key"))}
    return Judged(changes, drift_of(_since_lift(read), drift_limit), read.values, read.pairs)


def _since_lift(read: LabNights) -> dict[SeriesId, Iterable[NightValue]]:
    """What the drift of phones rests on. Who lifts a quarantine says that the phone is sound as it is now: what it
    gave before is no measure of it any more."""
    first = {
        identity: datetime.fromtimestamp(at).date().isoformat()
        for identity in read.quarantines
        if (at := last_lift(read.quarantines, identity)) > 0
    }
    return {
        series: [value for value in values if value.night >= first.get(value.identity, "")]
        for series, values in read.values.items()
    }

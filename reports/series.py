"""Values of nights → the nights of a series as they are drawn: its phones put together, gaps left as gaps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

import numpy as np

from harness.analysis.nights.epochs import Floats, Panel, panel
from harness.analysis.nights.pool import WINDOW
from harness.model import Change, LevelStep, NightValue, SeriesId
from reports.inputs import NightPoint, SeriesNights
from reports.night_chart import MOST_NIGHTS
from reports.nights import STATES, state_of


def series_nights(series: SeriesId, values: Iterable[NightValue], step: LevelStep | None = None) -> SeriesNights:
    """The nights of one series, for its plot.

    Args:
        values: those that were judged, in any order; nights that are too old to be drawn or compared with are left out.
        step: the change that is drawn; without one each phone is set against the median of all its nights.
    """
    given = _recent(tuple(values), step)
    table = panel(series.metric, given)
    level = _relative(table, step.night if step else "")
    return SeriesNights(
        series=series,
        points=tuple(_point(night, level[:, at]) for at, night in enumerate(table.nights)),
        referenced=all(value.reference_build for value in given),
        borders=_borders(table),
        events=tuple((table.nights[at], words) for at, words in table.events),
    )


def drawn_series(
    changes: Iterable[Change], values: Mapping[SeriesId, Sequence[NightValue]]
) -> tuple[SeriesNights, ...]:
    """The nights of every series that a report lists one by one; steady ones and those short of nights are not drawn.

    Args: values: that `changes` rest on, by series.
    """
    listed = [change for change in changes if state_of(change) in STATES]
    return tuple(series_nights(one.series, values.get(one.series, ()), one.step) for one in listed)


def _recent(values: Sequence[NightValue], step: LevelStep | None) -> tuple[NightValue, ...]:
    """What is drawn, and before the step as many nights as a level is judged from."""
    if not values:
        return ()
    first = date.fromisoformat(max(value.night for value in values)) - timedelta(days=MOST_NIGHTS)
    if step is not None:
        first = min(first, date.fromisoformat(step.earliest) - timedelta(days=WINDOW))
    return tuple(value for value in values if value.night >= first.isoformat())


def _point(night: str, column: Floats) -> NightPoint:
    own = column[np.isfinite(column)]
    return NightPoint(night, float(np.median(own)), float(own.min()), float(own.max()), len(own))


def _relative(table: Panel, step: str) -> Floats:
    """Each phone against its own median before the step, epoch by epoch; an epoch that began after the step has nothing
    before it, and is set against itself."""
    before = np.array([not step or night < step for night in table.nights], dtype=bool)
    found = np.full_like(table.level, np.nan)
    for row, epochs in enumerate(table.epoch):
        for epoch in np.unique(epochs[epochs >= 0]):
            own = epochs == epoch
            known = own & before if (own & before).any() else own
            found[row, own] = table.level[row, own] - np.median(table.level[row, known])
    return found


def _borders(table: Panel) -> tuple[str, ...]:
    nights: set[str] = set()
    for epochs in table.epoch:
        columns = np.flatnonzero(epochs >= 0)
        nights.update(table.nights[at] for at in columns[1:][np.diff(epochs[columns]) > 0])
    return tuple(sorted(nights))

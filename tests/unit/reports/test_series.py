"""Values of nights put together for a picture."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reports.inputs import SeriesNights
from reports.series import series_nights
from tests.unit.reports.night_sample import GAP, HOT, NIGHTS, PHONES, STEP, UPDATE, night_of, series, step, values

DELTA = 0.052


def levels(found: SeriesNights) -> dict[str, float]:
    return {point.night: point.level for point in found.points}


def test_the_new_level_is_set_against_that_before_whichever_way_the_metric_goes() -> None:
    for metric, worse in (("decode_tps", DELTA), ("ttft_ms", -DELTA)):
        found = levels(series_nights(series(metric), values(worse=worse), step(DELTA)))
        before = [found[night_of(place)] for place in range(STEP) if place != GAP]
        after = [found[night_of(place)] for place in range(STEP, NIGHTS)]
        assert sum(before) / len(before) == pytest.approx(0, abs=0.004)
        assert sum(after) / len(after) == pytest.approx(DELTA, abs=0.006)


def test_a_night_without_a_value_is_not_there_and_nothing_is_put_in_its_place() -> None:
    found = series_nights(series(), values())
    assert night_of(GAP) not in levels(found)
    assert len(found.points) == NIGHTS - 1


def test_a_phone_that_is_missing_moves_nothing() -> None:
    """Its absolute value is three times another one's; only its distance from itself counts."""
    whole = series_nights(series(), values())
    torn = series_nights(series(), values(missing=[(PHONES[2], 25)]))
    assert levels(torn)[night_of(25)] == pytest.approx(levels(whole)[night_of(25)], abs=0.02)
    assert [point.phones for point in torn.points if point.night == night_of(25)] == [2]


def test_best_and_worst_phone_hold_the_median() -> None:
    found = series_nights(series(), values())
    assert all(point.best <= point.level <= point.worst for point in found.points)
    assert any(point.best < point.worst for point in found.points)


def test_an_update_is_told_and_ends_no_epoch_while_there_is_a_reference() -> None:
    found = series_nights(series(), values())
    assert found.referenced
    assert found.borders == ()
    assert (night_of(UPDATE), "operating system of pixel-8-pro changed") in found.events
    assert (night_of(HOT), "hot on 3 phones") in found.events


def test_without_a_reference_the_update_is_a_border() -> None:
    found = series_nights(series(), values(referenced=False))
    assert not found.referenced
    assert found.borders == (night_of(UPDATE),)


def test_an_epoch_after_the_step_is_set_against_itself() -> None:
    given = [
        replace(value, reference_build="dd" * 32, value=value.value * 2) if value.night >= night_of(STEP + 4) else value
        for value in values(worse=DELTA)
    ]
    found = series_nights(series(), given, step(DELTA))
    assert found.borders == (night_of(STEP + 4),)
    assert levels(found)[night_of(STEP + 2)] == pytest.approx(DELTA, abs=0.03)
    assert levels(found)[night_of(NIGHTS - 1)] == pytest.approx(0, abs=0.03)


def test_nights_of_long_ago_are_left_out_and_a_level_before_an_old_step_is_not() -> None:
    first = values(worse=DELTA)
    late = [replace(value, night="2026-06-30") for value in values(worse=DELTA) if value.night == night_of(NIGHTS - 1)]
    assert [point.night for point in series_nights(series(), [*first, *late]).points] == ["2026-06-30"]
    found = levels(series_nights(series(), [*first, *late], step(DELTA)))
    assert len(found) == NIGHTS
    assert found["2026-06-30"] == pytest.approx(DELTA, abs=0.03)
    assert series_nights(series(), ()).points == ()

"""The picture of a series over its nights."""

from __future__ import annotations

import re

import pytest

from harness.model import Change, ChangeState
from reports.inputs import NightPoint, SeriesNights
from reports.night_chart import BEFORE, LEFT, MOST_NIGHTS, RIGHT, night_chart, per_cent
from reports.night_views import NightChart
from reports.series import series_nights
from tests.unit.reports.night_sample import GAP, NIGHTS, STEP, UPDATE, change, night_of, series, step, values


@pytest.fixture(scope="module")
def chart() -> NightChart:
    nights = series_nights(series(), values(worse=0.052), step())
    found = night_chart(change(ChangeState.REGRESSION, series()), nights, "c", "Decode", "virtual phone")
    assert found is not None
    return found


def stretches(path: str) -> list[int]:
    return [len(re.findall(r"[\d.]+,[\d.]+", part)) for part in path.split("M") if part]


def test_a_gap_stays_a_gap(chart: NightChart) -> None:
    assert stretches(chart.line) == [GAP, NIGHTS - 1 - GAP]
    assert len(stretches(chart.band)) == 2
    assert chart.dots.count("M") == NIGHTS - 1
    assert "1 night without a value" in chart.description


def test_the_step_stands_between_two_nights_with_what_it_may_be(chart: NightChart) -> None:
    assert chart.step is not None
    dots = [float(x) for x in re.findall(r"M([\d.]+),", chart.dots)]
    assert dots[STEP - 2] < chart.step.x < dots[STEP - 1], "one night is a gap"
    assert chart.step.low_x < chart.step.x < chart.step.high_x
    assert chart.step.label == "+5.3 % from 11 Nov"
    assert f"between {night_of(STEP - 1)} and {night_of(STEP)}" in chart.description
    level, zero = float(re.findall(r",([\d.]+)", chart.level)[0]), chart.zero
    assert level < zero, "worse is up"


def test_what_happened_is_marked_once_a_night(chart: NightChart) -> None:
    assert [event.text for event in chart.events] == [
        "2 Nov: operating system of pixel-8-pro changed",
        "5 Nov: hot on 3 phones",
    ]
    xs = [event.x for event in chart.events]
    assert len(set(xs)) == len(xs)


def test_the_picture_is_marked_and_told_in_words(chart: NightChart) -> None:
    assert chart.mark == "virtual phone"
    assert "reference build of the same night" in chart.told
    assert "newest +" in chart.description


def points(first: int, last: int) -> SeriesNights:
    """Nights counted in days from 2025-01-01."""
    from datetime import date, timedelta

    nights = [(date(2025, 1, 1) + timedelta(days=at)).isoformat() for at in range(first, last)]
    return SeriesNights(series(), tuple(NightPoint(night, 0.01, 0.0, 0.02, 3) for night in nights), False)


def test_only_the_newest_nights_are_drawn_unless_the_change_is_older() -> None:
    steady = Change(series(), ChangeState.ACKNOWLEDGED, 200, ())
    found = night_chart(steady, points(0, 200), "c", "t", "")
    assert found is not None
    assert found.dots.count("M") == MOST_NIGHTS
    assert found.step is None
    assert found.level == ""
    old = night_chart(change(ChangeState.REGRESSION, series()), points(200, 500), "c", "t", "")
    assert old is not None
    assert old.dots.count("M") == 500 - (313 - BEFORE), "it began on 2025-11-10 at the earliest, which is day 313"


def test_one_night_is_a_dot_and_none_is_no_picture() -> None:
    steady = Change(series(), ChangeState.ACKNOWLEDGED, 1, ())
    found = night_chart(steady, points(0, 1), "c", "t", "")
    assert found is not None
    assert (found.line, found.band) == ("", "")
    assert found.dots.count("M") == 1
    assert night_chart(steady, points(0, 0), "c", "t", "") is None


def test_a_border_is_marked_and_said() -> None:
    nights = series_nights(series(), values(referenced=False), step())
    found = night_chart(change(ChangeState.SUSPECT, series()), nights, "c", "t", "")
    assert found is not None
    assert len(found.borders) == 1
    assert LEFT < found.borders[0] < RIGHT
    assert f"values before and from {night_of(UPDATE)} on cannot be compared" in found.description
    assert found.told.startswith("Each dot is a night: the value of the night")


def test_a_level_beyond_all_measure_is_still_a_number() -> None:
    assert per_cent(0.0) == 0
    assert per_cent(1e9) > 1e100
    assert per_cent(-1e9) == pytest.approx(-100)

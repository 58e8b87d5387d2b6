"""When a night begins and ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from harness.errors import UsageError
from harness.nightly.window import as_night, margin_s, night_of, until
from tests.unit.store import samples

EVENING = datetime(2026, 11, 21, 22, 30, tzinfo=UTC)
MORNING = datetime(2026, 11, 22, 1, 5, tzinfo=UTC)


def test_a_night_has_the_name_of_the_day_on_which_it_began() -> None:
    assert night_of(EVENING) == night_of(MORNING) == "2026-11-21"
    assert night_of(datetime(2026, 11, 22, 12, 0)) == "2026-11-22"
    assert night_of(datetime(2026, 1, 1, 3, 0)) == "2025-12-31"


def test_until_is_the_next_time_the_clock_shows_it() -> None:
    assert until("06:00", EVENING) == datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
    assert until("06:00", MORNING) == datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
    assert until("1:05", MORNING) == MORNING + timedelta(days=1)
    zone = timezone(timedelta(hours=-8))
    assert until("6:30", EVENING.astimezone(zone)).isoformat() == "2026-11-22T06:30:00-08:00"


@pytest.mark.parametrize("text", ["", "6", "24:00", "06:60", "6 pm", "-1:00", "06:00:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected HH:MM"):
        until(text, EVENING)


def test_names_of_nights() -> None:
    assert as_night("2026-11-21") == "2026-11-21"
    for text in ("yesterday", "2026-02-30", "21.11.2026", ""):
        with pytest.raises(UsageError, match="is no night"):
            as_night(text)


def test_the_longest_measurement_decides_how_early_nothing_begins_any_more() -> None:
    cases = [samples.planned_case(case="aa"), samples.planned_case(case="bb")]
    durations = {"series-aa": 30.0, "series-bb": 90.0, "series-other": 5000.0}
    assert margin_s(cases, durations, 3600.0) == 90.0
    assert margin_s(cases, durations, 200.0) == 50.0, "never more than a quarter of the window"
    assert margin_s(cases, {}, 3600.0) == margin_s((), durations, 3600.0) == 0.0

"""The page of the fleet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reports.fleet import fleet_page, fleet_tally
from reports.inputs import NightInput
from reports.night_views import FleetPage, FleetPhone
from reports.nights import phones_of
from tests.unit.reports.night_sample import ENDED, NIGHTS, UNTOLD, fleet, night_input
from tests.unit.reports.sample import run_input


@pytest.fixture(scope="module")
def page() -> FleetPage:
    return page_of(night_input())


def page_of(nights: NightInput) -> FleetPage:
    run, _ = run_input(repeats=1)
    return fleet_page(nights, "example-lab", phones_of(run, nights.fleet), ENDED)


def phone(page: FleetPage, name: str) -> FleetPhone:
    return next(one for one in page.phones if one.name.id == name)


def test_what_needs_something_stands_first(page: FleetPage) -> None:
    assert [one.name.id for one in page.phones] == ["a14-1", "s24-ultra-a", "bench-host", "pixel-8-pro", "s24-ultra-b"]
    assert [(item.label, item.count) for item in page.tally] == [("fine", 3), ("need hands", 2), ("kept apart", 1)]
    assert fleet_tally(()) == ()


def test_each_phone_has_its_figures(page: FleetPage) -> None:
    found = phone(page, "pixel-8-pro")
    values = (found.battery, found.cycles, found.capacity, found.level, found.free, found.qualified)
    assert [cell.value for cell in values] == ["good", "312", "91.4 %", "78 %", "61.2 GB", "2025-11-12"]
    assert (found.state, found.state_style, found.apart, found.hands) == ("ready", "pass", None, ())


def test_what_is_not_known_has_its_reason_once(page: FleetPage) -> None:
    notes = {note.number: note.text for note in page.notes}
    virtual, lost = phone(page, "s24-ultra-b"), phone(page, "a14-1")
    assert (virtual.cycles.value, notes[virtual.cycles.note]) == ("", UNTOLD)
    assert virtual.cycles.note == virtual.capacity.note
    assert notes[lost.trend.note] == "the reference build never ran on it"
    assert notes[lost.failures.note] == "it took part in no night"
    assert (lost.spark, lost.bars) == (None, None)
    assert len(set(notes.values())) == len(notes)


def test_a_phone_that_is_kept_apart_says_why_and_what_to_do(page: FleetPage) -> None:
    found = phone(page, "s24-ultra-a")
    assert found.apart is not None
    assert (found.apart.reason, found.apart.since, found.apart.author) == ("drifts", "2025-11-18 07:00:00 UTC", "farm")
    assert (found.state, found.state_style, found.drifted) == ("unauthorized", "fail", True)
    assert [one.advice for one in found.hands] == ["authorize it"]
    assert found.trend.value == "7.4 % worse"


def test_the_reference_is_drawn_over_the_nights_with_its_gap(page: FleetPage) -> None:
    found = phone(page, "pixel-8-pro")
    assert found.spark is not None
    assert found.spark.line.count("M") == 2
    assert f"Decode of the reference build on pixel-8-pro over {NIGHTS - 1} nights" in found.spark.label
    assert found.trend.detail == "\u22120.6 – 1.3 %, Decode, 29 nights"


def test_pictures_of_phones_that_are_none_say_so(page: FleetPage) -> None:
    for one in page.phones:
        for picture in (one.spark, one.bars):
            assert picture is None or (one.name.mark in picture.label)
    assert {one.name.id: one.name.mark for one in page.phones}["bench-host"] == "not a phone"
    assert page.notice.startswith("Some figures on this page come from virtual phones")


def test_failures_are_bars_and_none_is_a_zero(page: FleetPage) -> None:
    found = phone(page, "pixel-8-pro")
    assert found.bars is not None
    assert found.bars.bars.count("M") == 3
    assert (found.failures.value, found.failures.detail) == ("3", "in 29 nights")
    clean = replace(fleet()[0], failures=(("2025-11-20", 0),))
    one = phone(page_of(replace(night_input(), fleet=(clean,))), "pixel-8-pro")
    assert (one.failures.value, one.failures.detail, one.bars) == ("0", "in 1 night", None)


def test_too_few_nights_with_the_reference_say_so() -> None:
    young = replace(fleet()[0], drift=None, reference=())
    one = phone(page_of(replace(night_input(), fleet=(young,))), "pixel-8-pro")
    assert one.trend.value == ""
    assert "too few nights" in one.trend.reason
    assert one.spark is None


def test_little_storage_is_told_in_mb() -> None:
    full = replace(fleet()[0], free_mb=412.0)
    assert phone(page_of(replace(night_input(), fleet=(full,))), "pixel-8-pro").free.value == "412 MB"

"""Numbers as readers see them."""

from __future__ import annotations

import pytest

from reports.numbers import alike, duration, iso, moment, significant, span


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (5.0, "5"),
        (41.234, "41.2"),
        (0.045678, "0.0457"),
        (999.6, "1000"),
        (1234.4, "1234"),
        (1004.0, "1004"),
        (123456.0, "123\u202f456"),
        (-3.14159, "\u22123.14"),
        (0.000000012, "1.20e\u221208"),
        (float("nan"), "not a number"),
    ],
)
def test_three_significant_digits_and_no_digit_before_the_point_is_lost(value: float, text: str) -> None:
    assert significant(value) == text


def test_a_range_names_both_ends() -> None:
    assert span(40.12, 42.38) == "40.1 \u2013 42.4"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0.400 s"), (59.94, "59.9 s"), (185.2, "3 min 5 s"), (7800, "2 h 10 min")]
)
def test_durations_name_their_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_times_name_their_zone() -> None:
    assert moment(1_763_701_200.0) == "2025-11-21 05:00:00 UTC"
    assert iso(1_763_701_200.25) == "2025-11-21T05:00:00.250Z"


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((32.0, 30.6, 33.14), ("32.0", "30.6", "33.1")),
        ((74.0, 74.0), ("74", "74")),
        ((98.04, 101.2), ("98.0", "101.2")),
        ((0.0, 1.5), ("0", "1.50")),
        ((0.01234, 512.3), ("0.0123", "512")),
        ((1234.5, 1300.0), ("1234", "1300")),
    ],
)
def test_values_side_by_side_have_equally_many_decimals(values: tuple[float, ...], texts: tuple[str, ...]) -> None:
    assert alike(values) == texts

"""Numbers as readers see them."""

from __future__ import annotations

import pytest

from reports.numbers import duration, iso, moment, significant, span


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

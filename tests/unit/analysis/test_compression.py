"""Smaller models against their original."""

from __future__ import annotations

import pytest

from harness.analysis.compression import Compressed, Entry, compressions
from harness.model import Measured, Reading, Unavailable


def entry(model: str, quant: str, size: float | None, tps: float | None = 10.0, phone: str = "p", **more: str) -> Entry:
    def reading(value: float | None, unit: str) -> Reading:
        return Unavailable("not read") if value is None else Measured(value, unit, "test")

    family = more.get("family", "F")
    size_mb, peak = reading(size, "MB"), reading(None if size is None else size + 100, "MB")
    return Entry(
        f"{phone}/{model}", (phone, "llama", "chat"), model, family, quant, size_mb, reading(tps, "tok/s"), peak
    )


def ratios(one: Compressed) -> list[float | str]:
    found = (one.size, one.speed_up, one.memory)
    return [round(each.value, 3) if isinstance(each, Measured) else each.reason for each in found]


def test_each_model_stands_against_the_unquantised_one_of_its_family_on_its_phone() -> None:
    rows = compressions(
        [
            entry("q4", "Q4_K_M", 100, 40),
            entry("big", "F32", 800, 5),
            entry("f16", "f16", 400, 10),
            entry("q4", "Q4_K_M", 100, 18, phone="other"),
            entry("f16", "F16", 400, 9, phone="other"),
            entry("alien", "Q8_0", 50, 90, family="G"),
        ]
    )
    assert [(row.entry.key, row.base.model, row.original) for row in rows] == [
        ("p/big", "f16", True),
        ("p/f16", "f16", True),
        ("p/q4", "f16", True),
        ("other/f16", "f16", True),
        ("other/q4", "f16", True),
        ("p/alien", "alien", False),
    ]
    assert ratios(rows[1]) == [1, 1, 1]
    assert ratios(rows[2]) == [0.25, 4, 0.4]
    assert ratios(rows[4]) == [0.25, 2, 0.4]


def test_without_an_original_the_largest_takes_its_place_and_is_told() -> None:
    q8, q4 = compressions([entry("q4", "Q4_0", 100, 40), entry("q8", "Q8_0", 200, 20)])
    assert (q8.entry.model, q8.base.model, q8.original) == ("q8", "q8", False)
    assert (q4.base.model, ratios(q4)) == ("q8", [0.5, 2, 0.667])


def test_what_was_not_measured_has_no_ratio() -> None:
    f16, q4 = compressions([entry("f16", "F16", 400, None), entry("q4", "Q4_0", None, 20)])
    assert ratios(f16) == [1, "not read", 1]
    assert ratios(q4) == ["not read", "of the original: not read", "not read"]


@pytest.mark.parametrize("value", [0.0, None])
def test_an_original_of_nothing_gives_no_ratio(value: float | None) -> None:
    rows = compressions([entry("f16", "F16", 400, value), entry("q4", "Q4_0", 100, 20)])
    assert isinstance(rows[1].speed_up, Unavailable)


def test_one_alone_has_nothing_to_be_compared_with() -> None:
    (row,) = compressions([entry("q4", "Q4_0", 100)])
    assert ratios(row) == ["no other model of its family was measured on this phone with this runner and workload"] * 3
    assert compressions([]) == ()

"""How fast a program is on the cores that it may use."""

from __future__ import annotations

import pytest

from device_agents.virtual import profiles
from device_agents.virtual.load import cores_of, slowest_core

PIXEL = profiles.load("pixel-8-pro").capacities
LITTLE, MIDDLE, BIG = frozenset(range(4)), frozenset(range(4, 8)), frozenset({8})


@pytest.mark.parametrize(
    ("masks", "speed"),
    [
        ([None], 1.0),
        ([None] * 2, 696 / 1024),
        ([None] * 5, 696 / 1024),
        ([None] * 6, 0.25),
        ([LITTLE], 0.25),
        ([MIDDLE] * 4, 696 / 1024),
        ([BIG] * 4, 1.0),  # they share one core, and the one CPU that it stands for
        ([BIG, None], 696 / 1024),
        ([BIG, LITTLE], 0.25),
        ([frozenset({40})], 1.0),
        ([], 1.0),
    ],
)
def test_the_slowest_core_in_use_decides(masks: list[frozenset[int] | None], speed: float) -> None:
    assert slowest_core(masks, PIXEL) == pytest.approx(speed)


def test_masks_are_read_as_they_are_noted() -> None:
    assert cores_of("1f0\n") == {4, 5, 6, 7, 8}
    assert cores_of("") == cores_of("torn g") == frozenset()

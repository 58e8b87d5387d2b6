"""How fast a program is on the cores that it may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from device_agents.virtual import profiles
from device_agents.virtual.load import Throttle, cores_of, slowest_core
from device_agents.virtual.usage import Usage

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


def test_a_program_on_slow_cores_keeps_them_busy(tmp_path: Path) -> None:
    """Held to a quarter of the time, for the speed of its cores, it warms the phone as one that runs all the time."""
    us = os.getpid()
    (tmp_path / str(us)).write_text("f\n", encoding="ascii")
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        throttle = Throttle(PIXEL, tmp_path)
        before, now, later = (Usage(used, 0, 0, {us: used}) for used in (1.0, 1.2, 1.3))
        sum(number * number for number in range(100_000))
        shares = throttle.shares(proc, before, now, seconds=0.2, cap=1.0, exempt=frozenset())
        assert shares == {us: pytest.approx(0.25)}
        assert throttle.withheld(now, later) == pytest.approx(0.1 * 3)
    finally:
        os.close(proc)

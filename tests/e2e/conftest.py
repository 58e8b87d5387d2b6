"""Virtual phones and folders for the tests of the whole command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.support import HOST, Farm, base_inventory, phones_of
from tests.lab.conftest import RunningLab, start, start_lab

__all__ = ["start_lab"]

MakeFarm = Callable[..., Farm]


@pytest.fixture(scope="session")
def lab() -> Iterator[RunningLab]:
    """Two phones; tests leave them as they were. The second loses everything that adbd started with adbd."""
    running = start(["pixel-8-pro", "galaxy-a34+adbd_restart_kills"])
    yield running
    running.lab.down()


@pytest.fixture
def on_phones(tmp_path: Path, lab: RunningLab) -> Iterator[MakeFarm]:
    """A farm of phones of the lab: `on_phones("pixel-8-pro")`, or of all."""
    made: list[Farm] = []

    def make(*ids: str, of: RunningLab | None = None) -> Farm:
        chosen = of or lab
        made.append(Farm(tmp_path, dict(chosen.env), base_inventory(phones_of(chosen, *ids))))
        return made[-1]

    yield make
    for farm in made:
        farm.end_all()


@pytest.fixture
def on_host(tmp_path: Path) -> Iterator[Farm]:
    """A farm whose only device is this host; its cache holds no more than the test put there."""
    farm = Farm(tmp_path, inventory=base_inventory([HOST]))
    farm.env["FARM_CACHE"] = str(tmp_path / "cache")
    yield farm
    farm.end_all()

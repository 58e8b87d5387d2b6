"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from device_agents import ports_off
from tests.order import long_first


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items[:] = long_first(items, lambda item: item.get_closest_marker("long") is not None, workers)


@pytest.fixture(autouse=True)
def own_port_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test switches off is no port of this machine."""
    monkeypatch.setattr(ports_off, "cache_dir", lambda: tmp_path / "port-notes")


@pytest.fixture(autouse=True)
def own_muxer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole command sees the iPhones that it is told of: tests of a lab's services name theirs for the process."""
    if request.path.parent.name not in {"lab", "contract"}:
        monkeypatch.delenv("USBMUXD_SOCKET_ADDRESS", raising=False)


@pytest.fixture(scope="session")
def captures() -> Path:
    """Folder of real phone outputs: FARM_CAPTURES, else `shared/captures` beside the checkout."""
    named = os.environ.get("FARM_CAPTURES")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "captures"
    if not folder.is_dir():
        pytest.skip(f"no folder of captured phone outputs at {folder} (set FARM_CAPTURES)")
    return folder

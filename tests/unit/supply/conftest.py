"""A cache folder of its own for tests that ask for one."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """FARM_CACHE in the test's own folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("FARM_CACHE", str(folder))
    return folder

"""Where the lab keeps things: the user's cache folder (rootfs, keys) and one folder per running lab."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_dir() -> Path:
    """The user's cache folder of farm: `FARM_CACHE`, else the platform's cache folder."""
    chosen = os.environ.get("FARM_CACHE")
    return Path(chosen).expanduser().absolute() if chosen else Path(platformdirs.user_cache_dir("farm"))


def labs_dir() -> Path:
    """Parent of the folders of running labs; on disk, because the phones' storage lives there."""
    return cache_dir() / "labs"

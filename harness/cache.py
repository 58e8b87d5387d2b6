"""Where farm keeps what is slow to get: one folder per user, shared by every checkout."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_dir() -> Path:
    """The user's cache folder of farm: `FARM_CACHE`, else the platform's cache folder."""
    chosen = os.environ.get("FARM_CACHE")
    return Path(chosen).expanduser().absolute() if chosen else Path(platformdirs.user_cache_dir("farm"))

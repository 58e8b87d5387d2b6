"""The flash of a virtual iPhone: folders on this machine's disk, and how much still fits in."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
from pathlib import Path

from device_agents.virtual.iphone.profiles import IphoneProfile

_PLAIN = re.compile(r"[A-Za-z0-9.-]{1,100}")


class Storage:
    """Folders of one phone and a count of the bytes in them. May be used from any thread.

    Media is what AFC shows, `bundles` and the containers hold apps, `crashes` the reports.
    """

    def __init__(self, folder: Path, profile: IphoneProfile) -> None:
        self.media = folder / "media"
        self.bundles = folder / "bundles"
        self.crashes = folder / "crashes"
        self._containers = folder / "containers"
        self._folder = folder
        self._capacity = profile.storage_bytes
        self._system = profile.storage_used_bytes
        self._lock = threading.Lock()
        self._used = 0
        self._limit: int | None = None
        for needed in (self.media / "DCIM", self.media / "PublicStaging", self.bundles, self.crashes, self._containers):
            needed.mkdir(parents=True, exist_ok=True)
        self.recount()

    def container(self, bundle: str) -> Path:
        """The folder of an app's data, made when it is not there."""
        plain = bundle if _PLAIN.fullmatch(bundle) else hashlib.sha256(bundle.encode()).hexdigest()
        folder = self._containers / plain
        for needed in ("Documents", "Library/Caches", "tmp"):
            (folder / needed).mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def capacity(self) -> int:
        return self._capacity

    @property
    def free(self) -> int:
        """Bytes that still fit in; never more than this machine has."""
        with self._lock:
            left = self._capacity - self._system - self._used
            if self._limit is not None:
                left = min(left, self._limit)
        return max(0, min(left, shutil.disk_usage(self._folder).free))

    def limit(self, free: int | None) -> None:
        """Let only so many more bytes fit in (None: as many as the profile says)."""
        with self._lock:
            self._limit = free

    def take(self, count: int) -> int:
        """Reserve bytes; returns how many of them fit in."""
        with self._lock:
            left = self._capacity - self._system - self._used
            if self._limit is not None:
                left = min(left, self._limit)
            granted = max(0, min(count, left))
            self._used += granted
            if self._limit is not None:
                self._limit -= granted
        return granted

    def give(self, count: int) -> None:
        """Bytes that are free again."""
        with self._lock:
            self._used = max(0, self._used - count)
            if self._limit is not None:
                self._limit += count

    def recount(self) -> None:
        """Count anew what lies in the folders."""
        used = sum(map(size_of, (self.media, self.bundles, self.crashes, self._containers)))
        with self._lock:
            if self._limit is not None:
                self._limit += self._used - used
            self._used = used


def size_of(path: Path) -> int:
    """Bytes in a file or in all files of a folder; links are not followed."""
    try:
        if not path.is_dir() or path.is_symlink():
            return path.lstat().st_size
        with os.scandir(path) as entries:
            return sum(size_of(Path(entry.path)) for entry in entries)
    except OSError:
        return 0

"""SHA-256 of files, remembered as long as a file is the same by path, size, times and inode."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path

_BLOCK = 1 << 20


def sha256_of(file: Path, cache: Path) -> str:
    """The file's SHA-256, from the cache when the file has not changed since.

    Raises:
        OSError: the file cannot be read.
    """
    file = file.resolve()
    entry = cache / "hashes" / f"{hashlib.sha256(os.fsencode(file)).hexdigest()}.json"
    before = _mark(file)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(entry.read_text(encoding="utf-8"))
        if known["mark"] == before:
            return str(known["sha256"])
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    value = digest.hexdigest()
    if _mark(file) == before:
        remember(entry, {"mark": before, "sha256": value})
    return value


def remember(entry: Path, value: object) -> None:
    """Write a cache entry as JSON in one step; a cache that cannot be written is no error, only slower."""
    with contextlib.suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=entry.parent, prefix=f".{entry.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump(value, stream)
            Path(name).replace(entry)
        except OSError:
            Path(name).unlink(missing_ok=True)


def _mark(file: Path) -> list[int]:
    """What changes when the file does; the change time catches a file whose modification time was put back."""
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev]

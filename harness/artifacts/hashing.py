"""Digests of files, remembered as long as a file is the same by path, size, times and inode."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Digests:
    """Of one file: `sha256` identifies it, `sha1` checks its transfer."""

    sha256: str
    sha1: str


def sha256_of(file: Path, cache: Path) -> str:
    """The file's SHA-256; see `digests_of`."""
    return digests_of(file, cache).sha256


def digests_of(file: Path, cache: Path) -> Digests:
    """The file's digests, from the cache when the file has not changed since.

    Raises:
        OSError: the file cannot be read.
    """
    file = file.resolve()
    entry = cache / "hashes" / f"{hashlib.sha256(os.fsencode(file)).hexdigest()}.json"
    before = _mark(file)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(entry.read_text(encoding="utf-8"))
        if known["mark"] == before:
            return Digests(str(known["sha256"]), str(known["sha1"]))
    sha256, sha1 = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            sha256.update(block)
            sha1.update(block)
    value = Digests(sha256.hexdigest(), sha1.hexdigest())
    if _mark(file) == before:
        remember(entry, {"mark": before, **asdict(value)})
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

"""The cache folder of models and runners, and putting files and folders in place in one step."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.cache import cache_dir
from harness.errors import ErrorClass, Permanent

__all__ = [
    "cache_dir",
    "downloads_dir",
    "locked",
    "models_dir",
    "new_file",
    "new_folder",
    "place",
    "runners_dir",
    "told",
]


def models_dir() -> Path:
    """Made and fetched models."""
    return cache_dir() / "models"


def runners_dir() -> Path:
    """Runner builds, a folder each."""
    return cache_dir() / "runners"


def downloads_dir() -> Path:
    """Files fetched by URL, and what is left of a cut download."""
    return cache_dir() / "downloads"


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold an exclusive lock on `file`, so that two processes do not make the same thing twice."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` that becomes `target` when the block ends well, and is removed when not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o644)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that replaces `target` when the block ends well, and is removed when not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        yield part
        part.chmod(0o755)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
            target.rename(old / target.name)
            part.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Turn an operating system error while `what` is written into one that a lab operator can act on.

    Raises:
        Permanent: STORAGE_FULL.
    """
    try:
        yield
    except OSError as wrong:
        raise Permanent(
            f"cannot write {what}: {wrong.strerror or wrong} ({wrong.filename})",
            error_class=ErrorClass.STORAGE_FULL,
            advice=f"free some space, check permissions, or set FARM_CACHE to another folder than {cache_dir()}",
        ) from wrong


def place(source: Path, target: Path) -> Path:
    """Make `target` a copy of the cached `source` (file or folder); one that is the same already is left as it is.

    A copy and no link: whatever is done to it later, the cache stays whole.

    Raises:
        Permanent: `target` is there and is of another kind (a folder where a file should be); no room or no permission.
    """
    with told(str(target)):
        return _place(source, target)


def _place(source: Path, target: Path) -> Path:
    if source.is_dir():
        if target.is_symlink() or target.is_file():
            raise Permanent(
                f"{target} is in the way: a folder of that name was to be made",
                error_class=ErrorClass.RUNNER_INVALID,
                advice="remove it or choose another --out",
            )
        if not target.is_dir() or _listing(target) != _listing(source):
            with new_folder(target) as part:
                for file in sorted(source.iterdir()):
                    if file.is_file():
                        shutil.copy2(file, part / file.name)
        return target
    if target.is_dir():
        raise Permanent(
            f"{target} is a folder where a file was to be written",
            error_class=ErrorClass.MODEL_INVALID,
            advice="remove it or choose another --out",
        )
    if not target.is_file() or _mark(target) != _mark(source):
        with new_file(target) as part:
            shutil.copy2(source, part)
    return target


def _mark(file: Path) -> tuple[int, int]:
    """Size and time of change: `shutil.copy2` keeps both."""
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {file.name: _mark(file) for file in folder.iterdir() if file.is_file()}

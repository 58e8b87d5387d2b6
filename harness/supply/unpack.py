"""Unpack archives safely: nothing leaves the folder, no link is made, and the size is bounded.

The standard library's own extraction filter came with Python 3.11.4; this works on every 3.11.
"""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from harness.errors import ErrorClass, Permanent
from harness.supply.folders import new_folder

MAX_BYTES = 4_000_000_000
"""Most that an archive may unpack to: the largest official builds (all GPU back ends) have about 1 GB."""

MAX_ENTRIES = 20_000
_BLOCK = 1 << 20


def is_archive(file: Path) -> bool:
    """Whether `file` is a ZIP or tar archive, by its content."""
    return zipfile.is_zipfile(file) or tarfile.is_tarfile(file)


def unpacked(file: Path, sha256: str, cache: Path) -> Path:
    """The folder with the archive's content, from the cache when it was unpacked before.

    Raises:
        Permanent: RUNNER_INVALID: a member would leave the folder, the archive is broken or too large.
        OSError: no room.
    """
    target = cache / "unpacked" / sha256
    if not target.is_dir():
        with new_folder(target) as part:
            unpack(file, part)
    return target


def unpack(file: Path, into: Path, *, below: str = "") -> None:
    """Unpack the archive, or only what it has below the folder `below`, into `into`.

    A link to another member becomes a copy of it.

    Raises:
        Permanent: as for `unpacked`.
        OSError: no room.
    """
    room = _Room(file)
    try:
        members = _zip_members(file) if zipfile.is_zipfile(file) else _tar_members(file)
        for name, mode, content in members:
            path = PurePosixPath(name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or "\0" in name:
                raise _invalid(file, f"holds a member outside its folder: {name!r}")
            room.count_entry()
            if below and not path.is_relative_to(below):
                continue
            target = into / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as sink:
                room.copy(content, sink)
            target.chmod(0o755 if mode & stat.S_IXUSR else 0o644)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as bad:
        raise _invalid(file, f"cannot be unpacked: {bad}") from bad


class _Room:
    """Counts what an archive unpacks to and stops at the bounds."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.entries = 0
        self.bytes = 0

    def count_entry(self) -> None:
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise _invalid(self.file, f"holds more than {MAX_ENTRIES} files")

    def copy(self, source: IO[bytes], sink: IO[bytes]) -> None:
        while block := source.read(_BLOCK):
            self.bytes += len(block)
            if self.bytes > MAX_BYTES:
                raise _invalid(self.file, f"unpacks to more than {MAX_BYTES} bytes")
            sink.write(block)


def _invalid(file: Path, why: str) -> Permanent:
    return Permanent(
        f"{file} {why}", error_class=ErrorClass.RUNNER_INVALID, advice="get the archive again, from its official source"
    )


def _tar_members(file: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, mode and content of each file; a link is read as what it leads to inside the archive."""
    with tarfile.open(file) as tar:
        for member in tar:
            if member.isdir():
                continue
            if not (member.isfile() or member.islnk() or member.issym()):
                raise _invalid(file, f"holds something that is no file: {member.name!r}")
            try:
                content = tar.extractfile(member)
            except (KeyError, RecursionError):
                raise _invalid(file, f"holds a link out of it: {member.name!r} → {member.linkname!r}") from None
            if content is not None:
                yield member.name, member.mode, content


def _zip_members(file: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.is_dir():
                continue
            mode = member.external_attr >> 16
            if stat.S_ISLNK(mode):
                raise _invalid(file, f"holds a symbolic link, which no official build does: {member.filename!r}")
            with archive.open(member) as content:
                yield member.filename, mode, content

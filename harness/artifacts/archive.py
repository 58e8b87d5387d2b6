"""Unpack an archive of a runner build safely: nothing leaves the folder, and its size is bounded."""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

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
            try:
                if zipfile.is_zipfile(file):
                    _unzip(file, part)
                else:
                    _untar(file, part)
            except (
                tarfile.TarError,
                zipfile.BadZipFile,
                zlib.error,
                EOFError,
                NotImplementedError,
                RuntimeError,
            ) as bad:
                raise _invalid(file, f"cannot be unpacked: {bad}") from bad
    return target


def _invalid(file: Path, why: str) -> Permanent:
    return Permanent(
        f"{file} {why}", error_class=ErrorClass.RUNNER_INVALID, advice="get the archive again, from its official source"
    )


def _untar(file: Path, into: Path) -> None:
    total = 0
    with tarfile.open(file) as tar:
        for count, member in enumerate(tar, 1):
            total += member.size
            if count > MAX_ENTRIES or total > MAX_BYTES:
                raise _invalid(file, f"unpacks to more than {MAX_ENTRIES} files or {MAX_BYTES} bytes")
            tar.extract(member, into, filter="data")


def _unzip(file: Path, into: Path) -> None:
    total = 0
    with zipfile.ZipFile(file) as archive:
        if len(archive.infolist()) > MAX_ENTRIES:
            raise _invalid(file, f"holds more than {MAX_ENTRIES} files")
        for member in archive.infolist():
            path = PurePosixPath(member.filename.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or "\0" in member.filename:
                raise _invalid(file, f"holds a member outside its folder: {member.filename!r}")
            if stat.S_ISLNK(member.external_attr >> 16):
                raise _invalid(
                    file, f"holds a symbolic link, which a ZIP of programs has no need of: {member.filename!r}"
                )
            target = into / path
            if member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("wb") as sink:
                while block := source.read(_BLOCK):
                    total += len(block)
                    if total > MAX_BYTES:
                        raise _invalid(file, f"unpacks to more than {MAX_BYTES} bytes")
                    sink.write(block)

"""What AFC does with files: paths that stay below a root, errors by number, and the count of what fits in."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from enum import IntEnum
from pathlib import Path

from device_agents.virtual.iphone.storage import Storage, size_of


class Status(IntEnum):
    """AFC's error numbers."""

    SUCCESS = 0
    UNKNOWN_ERROR = 1
    OP_HEADER_INVALID = 2
    READ_ERROR = 4
    UNKNOWN_PACKET_TYPE = 6
    INVALID_ARG = 7
    OBJECT_NOT_FOUND = 8
    OBJECT_IS_DIR = 9
    PERM_DENIED = 10
    OBJECT_EXISTS = 16
    OBJECT_BUSY = 17
    NO_SPACE_LEFT = 18
    OP_WOULD_BLOCK = 19
    IO_ERROR = 20
    DIR_NOT_EMPTY = 33


_BY_ERRNO = {
    errno.ENOENT: Status.OBJECT_NOT_FOUND,
    errno.ENOTDIR: Status.OBJECT_NOT_FOUND,
    errno.EISDIR: Status.OBJECT_IS_DIR,
    errno.EACCES: Status.PERM_DENIED,
    errno.EPERM: Status.PERM_DENIED,
    errno.EROFS: Status.PERM_DENIED,
    errno.ELOOP: Status.PERM_DENIED,
    errno.EEXIST: Status.OBJECT_EXISTS,
    errno.EBUSY: Status.OBJECT_BUSY,
    errno.ENOSPC: Status.NO_SPACE_LEFT,
    errno.EDQUOT: Status.NO_SPACE_LEFT,
    errno.EWOULDBLOCK: Status.OP_WOULD_BLOCK,
    errno.ENOTEMPTY: Status.DIR_NOT_EMPTY,
    errno.EINVAL: Status.INVALID_ARG,
    errno.ENAMETOOLONG: Status.INVALID_ARG,
    errno.EBADF: Status.INVALID_ARG,
}


class AfcError(Exception):
    """An operation that the phone refuses, with its number."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


def status_of(wrong: OSError) -> Status:
    return _BY_ERRNO.get(wrong.errno or 0, Status.IO_ERROR)


class Root:
    """A folder of the phone that a client may see.

    Args:
        folder: the folder itself; only: the one name at its top that the client may use, "" for all.
    """

    def __init__(self, folder: Path, storage: Storage, *, only: str = "") -> None:
        self._folder = os.path.realpath(folder)
        self._storage = storage
        self._only = only

    def resolve(self, raw: bytes, *, follow: bool = False) -> str:
        """The local path of a path of the client. It stays below the root, also where links would lead out of it.

        Raises:
            AfcError: it would not.
        """
        parts: list[str] = []
        for part in os.fsdecode(raw).split("/"):
            if part == "..":
                del parts[-1:]
            elif part not in ("", "."):
                parts.append(part)
        if not parts:
            return self._folder
        if self._only and parts[0] != self._only:
            raise AfcError(Status.PERM_DENIED)
        parent = os.path.realpath(os.path.join(self._folder, *parts[:-1]))  # noqa: PTH118 - names of any bytes
        target = f"{parent}/{parts[-1]}"
        for path in (parent, os.path.realpath(target) if follow else target):
            if path != self._folder and not path.startswith(self._folder + "/"):
                raise AfcError(Status.PERM_DENIED)
        return target

    def names(self, raw: bytes) -> list[bytes]:
        """What is in a folder, "." and ".." first."""
        folder = self.resolve(raw, follow=True)
        found = sorted(os.fsencode(entry.name) for entry in os.scandir(folder))
        if self._only and folder == self._folder:
            found = [name for name in found if name == os.fsencode(self._only)]
        return [b".", b"..", *found]

    def info(self, raw: bytes) -> dict[str, bytes]:
        """What is known of a file, a folder or a link."""
        path = self.resolve(raw)
        seen = os.lstat(path)
        kinds = {stat.S_IFREG: b"S_IFREG", stat.S_IFDIR: b"S_IFDIR", stat.S_IFLNK: b"S_IFLNK", stat.S_IFIFO: b"S_IFIFO"}
        found = {
            "st_size": b"%d" % seen.st_size,
            "st_blocks": b"%d" % seen.st_blocks,
            "st_nlink": b"%d" % seen.st_nlink,
            "st_ifmt": kinds.get(stat.S_IFMT(seen.st_mode), b"S_IFSOCK"),
            "st_mtime": b"%d" % seen.st_mtime_ns,
            "st_birthtime": b"%d" % min(seen.st_mtime_ns, seen.st_ctime_ns),
        }
        if stat.S_ISLNK(seen.st_mode):
            found["LinkTarget"] = os.fsencode(os.readlink(path))  # noqa: PTH115
        return found

    def make_folder(self, raw: bytes) -> None:
        os.makedirs(self.resolve(raw), exist_ok=True)  # noqa: PTH103

    def remove(self, raw: bytes, *, tree: bool) -> None:
        """Remove a file, a link or an empty folder; a folder with all in it when asked for."""
        path = self.resolve(raw)
        if path == self._folder or (self._only and path == f"{self._folder}/{self._only}"):
            raise AfcError(Status.PERM_DENIED)
        size = size_of(Path(path))
        if stat.S_ISDIR(os.lstat(path).st_mode):
            if tree:
                shutil.rmtree(path)
            else:
                os.rmdir(path)  # noqa: PTH106
                return
        else:
            os.unlink(path)  # noqa: PTH108
        self._storage.give(size)

    def rename(self, source: bytes, target: bytes) -> None:
        old, new = self.resolve(source), self.resolve(target)
        replaced = os.lstat(new).st_size if os.path.isfile(new) and old != new else 0  # noqa: PTH113
        os.rename(old, new)  # noqa: PTH104
        self._storage.give(replaced)

    def link(self, target: bytes, source: bytes, *, symbolic: bool) -> None:
        path = self.resolve(source)
        if symbolic:
            os.symlink(os.fsdecode(target), path)  # noqa: PTH211
        else:
            os.link(self.resolve(target), path)

    def set_time(self, raw: bytes, nanoseconds: int) -> None:
        os.utime(self.resolve(raw, follow=True), ns=(nanoseconds, nanoseconds))

    def open(self, raw: bytes, flags: int) -> int:
        """A descriptor of a file."""
        path = self.resolve(raw, follow=True)
        if os.path.isdir(path):  # noqa: PTH112
            raise AfcError(Status.OBJECT_IS_DIR)
        before = os.stat(path).st_size if flags & os.O_TRUNC and os.path.exists(path) else 0  # noqa: PTH110, PTH116
        opened = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
        os.set_blocking(opened, True)
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            os.close(opened)
            raise AfcError(Status.PERM_DENIED)
        self._storage.give(before)
        return opened

    def truncate(self, opened: int, size: int) -> None:
        """Make a file that long, if it fits in."""
        if size > 1 << 50:
            raise AfcError(Status.INVALID_ARG)
        growth = size - os.fstat(opened).st_size
        if growth > 0 and self._storage.take(growth) < growth:
            raise AfcError(Status.NO_SPACE_LEFT)
        os.ftruncate(opened, size)
        self._storage.give(max(0, -growth))

    def room_for(self, opened: int, count: int) -> int:
        """How many of `count` bytes can be written where the descriptor stands; the room is taken."""
        size = os.fstat(opened).st_size
        at = size if _appends(opened) else os.lseek(opened, 0, os.SEEK_CUR)
        over = max(0, size - at)
        growth = max(0, count - over)
        return count - growth + self._storage.take(growth)


def _appends(opened: int) -> bool:
    """Whether what is written goes to the end of the file."""
    return bool(fcntl.fcntl(opened, fcntl.F_GETFL) & os.O_APPEND)

"""Apple File Connection: files of a folder of the phone, spoken by a thread per connection.

A thread with a blocking socket, because what counts here is how fast a file of gigabytes goes through: no byte of it is
copied through the event loop.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from device_agents.virtual.iphone import afc_files
from device_agents.virtual.iphone.afc_files import AfcError, Root, Status

if TYPE_CHECKING:
    from device_agents.virtual.iphone.phone import Iphone

MAGIC = b"CFA6LPAA"
_HEAD = struct.Struct("<8sQQQQ")
_U64 = struct.Struct("<Q")
_BODY_LIMIT = 1 << 20
_WRITE_LIMIT = 1 << 31
_BUFFER = 1 << 20
_READ_LIMIT = 64 * 1024 * 1024
_STALL_LOOK_S = 0.02

STATUS, DATA, READ_DIR, TRUNCATE, REMOVE_PATH, MAKE_DIR = 0x1, 0x2, 0x3, 0x7, 0x8, 0x9
GET_FILE_INFO, GET_DEVINFO, FILE_OPEN, FILE_OPEN_RES = 0xA, 0xB, 0xD, 0xE
READ, WRITE, FILE_SEEK, FILE_TELL, FILE_TELL_RES, FILE_CLOSE = 0xF, 0x10, 0x11, 0x12, 0x13, 0x14
FILE_SET_SIZE, GET_CON_INFO, SET_CON_OPTIONS, RENAME_PATH = 0x15, 0x16, 0x17, 0x18
SET_FS_BS, SET_SOCKET_BS, FILE_LOCK, MAKE_LINK, SET_FILE_TIME = 0x19, 0x1A, 0x1B, 0x1C, 0x1E
REMOVE_TREE = 0x22

_MODES = {
    1: os.O_RDONLY,
    2: os.O_RDWR | os.O_CREAT,
    3: os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    4: os.O_RDWR | os.O_CREAT | os.O_TRUNC,
    5: os.O_WRONLY | os.O_APPEND | os.O_CREAT,
    6: os.O_RDWR | os.O_APPEND | os.O_CREAT,
}
_ANSWERS = {
    FILE_OPEN: FILE_OPEN_RES,
    FILE_TELL: FILE_TELL_RES,
    READ_DIR: DATA,
    GET_FILE_INFO: DATA,
    GET_DEVINFO: DATA,
    GET_CON_INFO: DATA,
    READ: DATA,
}
"""How operations that tell something are answered; the others have a status only."""


class Gone(Exception):
    """The connection has ended or was cut."""


class Connection:
    """One client's AFC connection, in a thread of its own."""

    def __init__(self, phone: Iphone, connected: socket.socket, root: Root, cut: threading.Event) -> None:
        self._phone = phone
        self._socket = connected
        self._root = root
        self._cut = cut
        self._handles: dict[int, int] = {}
        self._numbers = itertools.count(1)
        self._buffer = memoryview(bytearray(_BUFFER))
        self._does: dict[int, Callable[[bytes], bytes]] = {
            READ_DIR: self._read_dir,
            TRUNCATE: self._truncate,
            REMOVE_PATH: lambda body: self._remove(body, tree=False),
            REMOVE_TREE: lambda body: self._remove(body, tree=True),
            MAKE_DIR: self._make_dir,
            GET_FILE_INFO: self._file_info,
            GET_DEVINFO: self._device_info,
            FILE_OPEN: self._open,
            READ: self._read,
            FILE_SEEK: self._seek,
            FILE_TELL: self._tell,
            FILE_CLOSE: self._close,
            FILE_SET_SIZE: self._set_size,
            GET_CON_INFO: lambda _: b"",
            SET_CON_OPTIONS: lambda _: b"",
            RENAME_PATH: self._rename,
            SET_FS_BS: lambda _: b"",
            SET_SOCKET_BS: lambda _: b"",
            FILE_LOCK: self._lock,
            MAKE_LINK: self._link,
            SET_FILE_TIME: self._set_time,
        }

    def run(self) -> None:
        """Answer until the client is gone."""
        try:
            while True:
                self._answer()
        except Gone:
            pass
        finally:
            for opened in self._handles.values():
                os.close(opened)

    def _answer(self) -> None:
        head = self._exactly(_HEAD.size)
        magic, entire, _, number, operation = _HEAD.unpack(head)
        length = entire - _HEAD.size
        if magic != MAGIC or not 0 <= length <= (_WRITE_LIMIT if operation == WRITE else _BODY_LIMIT):
            self._send(number, STATUS, _U64.pack(Status.OP_HEADER_INVALID))
            raise Gone
        try:
            if operation == WRITE:
                self._write(length)
                payload = b""
            else:
                body = self._exactly(length)
                does = self._does.get(operation)
                if does is None:
                    raise AfcError(Status.UNKNOWN_PACKET_TYPE)
                payload = does(body)
        except AfcError as refused:
            self._send(number, STATUS, _U64.pack(refused.status))
        except (struct.error, ValueError, OverflowError):
            self._send(number, STATUS, _U64.pack(Status.INVALID_ARG))
        except OSError as wrong:
            self._send(number, STATUS, _U64.pack(afc_files.status_of(wrong)))
        else:
            answer = _ANSWERS.get(operation, STATUS)
            self._send(number, answer, _U64.pack(Status.SUCCESS) if answer == STATUS else payload)

    # --- bytes --------------------------------------------------------------------------------------------------------

    def _stall(self) -> None:
        """A phone that has stopped reading and answering, until that is over or the cable is pulled."""
        while "afc_stall" in self._phone.faults:
            if self._cut.wait(_STALL_LOOK_S):
                raise Gone

    def _receive(self, view: memoryview) -> int:
        self._stall()
        try:
            count = self._socket.recv_into(view)
        except OSError as broken:
            raise Gone from broken
        if count == 0:
            raise Gone
        self._phone.cable.take(count)
        return count

    def _exactly(self, size: int) -> bytes:
        data = memoryview(bytearray(size))
        filled = 0
        while filled < size:
            filled += self._receive(data[filled:])
        return bytes(data)

    def _send(self, number: int, operation: int, payload: bytes) -> None:
        self._stall()
        size = _HEAD.size + len(payload)
        # What a read returns is the payload behind a header of its own, as in a write.
        head = _HEAD.pack(MAGIC, size, _HEAD.size if operation == DATA else size, number, operation)
        try:
            self._socket.sendall(head + payload if payload else head)
        except OSError as broken:
            raise Gone from broken

    def _handle(self, body: bytes) -> int:
        """The descriptor of the handle at the beginning of a body."""
        opened = self._handles.get(_U64.unpack_from(body)[0])
        if opened is None:
            raise AfcError(Status.INVALID_ARG)
        return opened

    # --- a write: straight from the socket into the file --------------------------------------------------------------

    def _write(self, length: int) -> None:
        if length < _U64.size:
            self._skip(length)
            raise AfcError(Status.INVALID_ARG)
        number, left = self._exactly(_U64.size), length - _U64.size
        opened = self._handles.get(_U64.unpack(number)[0])
        if opened is None:
            self._skip(left)
            raise AfcError(Status.INVALID_ARG)
        room = self._root.room_for(opened, left)
        failure: Exception | None = AfcError(Status.NO_SPACE_LEFT) if room < left else None
        try:
            while left:
                filled = self._fill(min(left, _BUFFER), opened)
                left -= filled
                allowed, blown = self._phone.fuse.spend(min(filled, room))
                room -= allowed
                try:
                    _write_all(opened, self._buffer[:allowed])
                except OSError as wrong:
                    # The rest must be read all the same: the next request stands behind it.
                    failure, room = wrong, 0
                if blown:
                    raise Gone
        except Gone:
            self._phone.storage.recount()
            raise
        if failure is not None:
            self._phone.storage.recount()
            raise failure

    def _fill(self, size: int, opened: int) -> int:
        """Fill the buffer from the socket. What came before the connection broke is in the file, as on a phone."""
        filled = 0
        try:
            while filled < size:
                filled += self._receive(self._buffer[filled:size])
        except Gone:
            with contextlib.suppress(OSError):
                _write_all(opened, self._buffer[: self._phone.fuse.spend(filled)[0]])
            raise
        return filled

    def _skip(self, left: int) -> None:
        while left:
            left -= self._receive(self._buffer[: min(left, _BUFFER)])

    # --- the other operations -----------------------------------------------------------------------------------------

    def _read_dir(self, body: bytes) -> bytes:
        return b"".join(name + b"\0" for name in self._root.names(_texts(body, 1)[0]))

    def _file_info(self, body: bytes) -> bytes:
        return _pairs(self._root.info(_texts(body, 1)[0]))

    def _device_info(self, _: bytes) -> bytes:
        storage = self._phone.storage
        return _pairs(
            {
                "Model": self._phone.profile.product_type.encode(),
                "FSTotalBytes": b"%d" % storage.capacity,
                "FSFreeBytes": b"%d" % storage.free,
                "FSBlockSize": b"4096",
            }
        )

    def _make_dir(self, body: bytes) -> bytes:
        self._root.make_folder(_texts(body, 1)[0])
        return b""

    def _remove(self, body: bytes, *, tree: bool) -> bytes:
        self._root.remove(_texts(body, 1)[0], tree=tree)
        return b""

    def _rename(self, body: bytes) -> bytes:
        source, target = _texts(body, 2)
        self._root.rename(source, target)
        return b""

    def _link(self, body: bytes) -> bytes:
        target, source = _texts(body[_U64.size :], 2)
        self._root.link(target, source, symbolic=_U64.unpack_from(body)[0] == 2)
        return b""

    def _set_time(self, body: bytes) -> bytes:
        self._root.set_time(_texts(body[_U64.size :], 1)[0], _U64.unpack_from(body)[0])
        return b""

    def _truncate(self, body: bytes) -> bytes:
        opened = self._root.open(_texts(body[_U64.size :], 1)[0], os.O_WRONLY)
        try:
            self._root.truncate(opened, _U64.unpack_from(body)[0])
        finally:
            os.close(opened)
        return b""

    def _open(self, body: bytes) -> bytes:
        flags = _MODES.get(_U64.unpack_from(body)[0])
        if flags is None:
            raise AfcError(Status.INVALID_ARG)
        opened = self._root.open(_texts(body[_U64.size :], 1)[0], flags)
        number = next(self._numbers)
        self._handles[number] = opened
        return _U64.pack(number)

    def _close(self, body: bytes) -> bytes:
        os.close(self._handle(body))
        del self._handles[_U64.unpack_from(body)[0]]
        return b""

    def _read(self, body: bytes) -> bytes:
        opened, size = self._handle(body), _U64.unpack_from(body, 8)[0]
        return os.read(opened, min(size, _READ_LIMIT))

    def _seek(self, body: bytes) -> bytes:
        whence, offset = struct.unpack_from("<Qq", body, 8)
        if whence > 2:
            raise AfcError(Status.INVALID_ARG)
        os.lseek(self._handle(body), offset, whence)
        return b""

    def _tell(self, body: bytes) -> bytes:
        return _U64.pack(os.lseek(self._handle(body), 0, os.SEEK_CUR))

    def _set_size(self, body: bytes) -> bytes:
        self._root.truncate(self._handle(body), _U64.unpack_from(body, 8)[0])
        return b""

    def _lock(self, body: bytes) -> bytes:
        fcntl.flock(self._handle(body), (_U64.unpack_from(body, 8)[0] & 0xF) | fcntl.LOCK_NB)
        return b""


def _write_all(opened: int, data: memoryview) -> None:
    while data:
        data = data[os.write(opened, data) :]


def _texts(body: bytes, count: int) -> list[bytes]:
    """Texts that each end with a zero byte; the last one may lack it.

    Raises:
        ValueError: there are fewer.
    """
    parts = body.split(b"\0")
    if len(parts) < count:
        raise ValueError("too few texts")
    return parts[:count]


def _pairs(values: dict[str, bytes]) -> bytes:
    return b"".join(key.encode() + b"\0" + value + b"\0" for key, value in values.items())

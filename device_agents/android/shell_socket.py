"""A command on a phone over a connection to the adb server, without a process of its own on this host.

The shell protocol (adb's shell_protocol.h): packets of one byte that says what follows, four bytes of length in little
endian, and the data. A phone speaks it when its features name `shell_v2`.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from adbutils.errors import AdbError

from device_agents.android.adb import AdbServer
from device_agents.android.explain import explain
from harness.errors import FarmError

FEATURE = "shell_v2"
"""Name of the protocol among a phone's features."""

_SERVER_S = 5.0
"""Limit of one answer of the server; it answers from memory within milliseconds."""

_STARTING = "a command was to start"

_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)
_HEADER = struct.Struct("<BI")
_PAYLOAD = 4096
"""Most that adbd took in one packet before its buffers grew (MAX_PAYLOAD_V1)."""

_READ = 1 << 16
_WATCH_S = 0.25


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended. `exit_code` is None when the connection ended before it; `stderr` then tells what the
    server said of it."""

    exit_code: int | None
    stdout: bytes
    stderr: bytes


def framed(stdin: bytes) -> bytes:
    """Standard input as packets, with its end."""
    parts = [stdin[start : start + _PAYLOAD] for start in range(0, len(stdin), _PAYLOAD)]
    packets = [_HEADER.pack(_STDIN, len(part)) + part for part in parts]
    return b"".join((*packets, _HEADER.pack(_CLOSE_STDIN, 0)))


class Reply:
    """What came back so far: the server's word, then packets."""

    def __init__(self) -> None:
        self._left = bytearray()
        self._out: dict[int, bytearray] = {_STDOUT: bytearray(), _STDERR: bytearray()}
        self._exit_code: int | None = None
        self.accepted = False
        self._refusal: bytes | None = None

    @property
    def ended(self) -> bool:
        """Whether the command's own end has come."""
        return self._exit_code is not None

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the connection."""
        self._left += data
        if not self.accepted and not self._take_word():
            return
        while len(self._left) >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._left)
            if len(self._left) < _HEADER.size + length:
                return
            content = bytes(self._left[_HEADER.size : _HEADER.size + length])
            del self._left[: _HEADER.size + length]
            if kind in self._out:
                self._out[kind] += content
            elif kind == _EXIT and content:
                self._exit_code = content[0]

    def _take_word(self) -> bool:
        if len(self._left) < 4:
            return False
        if self._left[:4] == b"OKAY":
            del self._left[:4]
            self.accepted = True
        else:
            # FAIL, four hexadecimal digits, and the reason.
            self._refusal = bytes(self._left[8:])
        return self.accepted

    def ending(self) -> Ending:
        """The end, once the connection or the command has ended."""
        if self._refusal is not None:
            return Ending(None, b"", b"error: " + self._refusal)
        return Ending(self._exit_code, bytes(self._out[_STDOUT]), bytes(self._out[_STDERR]))


def open_shell(server: AdbServer, serial: str, command: str) -> socket.socket:
    """A connection on which the phone was asked to run a command; its answer follows the server's word for it.

    Raises:
        Transient: SERVER_LOST. What `explain` and `AdbServer.ready` raise.
    """
    try:
        connection = server.dial(_SERVER_S)
    except ConnectionRefusedError:
        server.ready()
        try:
            connection = server.dial(_SERVER_S)
        except ConnectionRefusedError as error:
            raise server.lost(str(error)) from None
    raw: socket.socket = connection.conn
    try:
        connection.send_command(f"host:transport:{serial}")
        if connection.read(4) != b"OKAY":
            raise explain(server, serial, f"error: {connection.read_string_block()}", _STARTING)
        # Not adbutils' send_command, which takes no bytes that are not UTF-8 and may send a part of them only.
        request = f"shell,v2,raw:{command}".encode("utf-8", "surrogateescape")
        raw.sendall(f"{len(request):04x}".encode() + request)
    except (OSError, AdbError, ValueError) as error:
        raw.close()
        raise explain(server, serial, str(error), _STARTING) from None
    except FarmError:
        raw.close()
        raise
    return raw


class ShellSocket:
    """A command under way.

    Args:
        connection: to the adb server, switched to the phone, with the request for the command already sent.
        stdin: what the command reads; it reads nothing when this is empty.
    """

    def __init__(self, connection: socket.socket, stdin: bytes) -> None:
        self._connection = connection
        self._connection.setblocking(False)
        self._unsent = memoryview(framed(stdin))
        self._reply = Reply()
        self._closed = False

    @property
    def runs(self) -> bool:
        """Whether it may still run on the phone, as far as was read."""
        return not self._closed

    def finish(self, limit_s: float, watch: Callable[[], None] | None) -> Ending:
        """Wait for the end.

        Raises:
            TimeoutError: after `limit_s`; the command goes on. What `watch` raises, four times a second.
        """
        deadline = time.monotonic() + limit_s
        while not self._reply.ended:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if not self._move(left if watch is None else min(left, _WATCH_S)):
                break
            if watch is not None:
                watch()
        self.drop()
        return self._reply.ending()

    def _move(self, wait_s: float) -> bool:
        """Send and receive what can be within `wait_s`; False when the connection has ended."""
        sends = self._reply.accepted and len(self._unsent) > 0
        # Not select(), which cannot watch a descriptor above 1023.
        poll = select.poll()
        poll.register(self._connection, select.POLLIN | (select.POLLOUT if sends else 0))
        events = next((found for _, found in poll.poll(wait_s * 1000)), 0)
        try:
            if events & select.POLLOUT:
                self._unsent = self._unsent[self._connection.send(self._unsent) :]
            if events & ~select.POLLOUT:
                data = self._connection.recv(_READ)
                self._reply.feed(data)
                return bool(data)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def drop(self) -> None:
        """End our side of it only."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._connection.close()

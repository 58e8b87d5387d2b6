"""Property lists over a stream, as lockdown and the services that it starts speak them."""

from __future__ import annotations

import asyncio
import contextlib
import plistlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any
from xml.parsers.expat import ExpatError

from device_agents.virtual.iphone.services import Incoming

if TYPE_CHECKING:
    from device_agents.virtual.iphone.phone import Iphone

LIMIT_BYTES = 64 * 1024 * 1024
_HANDSHAKE_S = 10.0
_READ_AHEAD = 1 << 20

BROKEN = (OSError, asyncio.IncompleteReadError, ssl.SSLError, EOFError)
"""How a connection shows that its other end is gone."""


class BadMessage(Exception):
    """What arrived is not a message of the protocol."""


def pack(message: Any) -> bytes:
    """A property list behind its length."""
    data = plistlib.dumps(message)
    return struct.pack(">I", len(data)) + data


def parse(data: bytes) -> dict[str, Any]:
    """Raises:
    BadMessage: not a property list with a dictionary at its root.
    """
    try:
        message = plistlib.loads(data)
    except (plistlib.InvalidFileException, ExpatError, ValueError, KeyError, IndexError, OverflowError) as wrong:
        raise BadMessage(f"not a property list: {data[:40]!r}") from wrong
    if not isinstance(message, dict):
        raise BadMessage("not a dictionary")
    return message


class Talk:
    """A connection over which property lists go to and fro."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def receive(self) -> dict[str, Any] | None:
        """The next message; None when the other end has closed.

        Raises:
            BadMessage: it is none.
        """
        try:
            head = await self.reader.readexactly(4)
        except asyncio.IncompleteReadError:
            return None
        (size,) = struct.unpack(">I", head)
        if size > LIMIT_BYTES:
            raise BadMessage(f"{size} bytes announced")
        return parse(await self.reader.readexactly(size))

    async def send(self, message: dict[str, Any]) -> None:
        self.writer.write(pack(message))
        await self.writer.drain()


def cutter(connected: socket.socket) -> tuple[socket.socket, Callable[[], None]]:
    """A second handle of a connection, and a function that cuts it from any thread."""
    twin = connected.dup()

    def cut() -> None:
        with contextlib.suppress(OSError):
            twin.shutdown(socket.SHUT_RDWR)

    return twin, cut


async def open_streams(
    connected: socket.socket, tls: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Streams over an accepted connection, after the handshake as server when there is one.

    Raises:
        OSError: the connection broke or the handshake failed.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_READ_AHEAD)
    opened: asyncio.Future[asyncio.StreamWriter] = loop.create_future()

    def took(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not opened.done():
            opened.set_result(writer)

    protocol = asyncio.StreamReaderProtocol(reader, took)
    await loop.connect_accepted_socket(
        lambda: protocol, connected, ssl=tls, ssl_handshake_timeout=_HANDSHAKE_S if tls else None
    )
    return reader, await opened


@contextlib.asynccontextmanager
async def talk(phone: Iphone, incoming: Incoming, kind: str) -> AsyncIterator[Talk]:
    """A service's conversation with one client: TLS, check-in, and an end that is never an error of the phone."""
    connected = incoming.socket
    twin, cut = cutter(connected)
    forget = phone.links.add(kind, cut)
    writer: asyncio.StreamWriter | None = None
    try:
        reader, writer = await open_streams(connected, incoming.tls)
        conversation = Talk(reader, writer)
        if incoming.checkin:
            await check_in(conversation)
        yield conversation
    except (*BROKEN, BadMessage):
        pass
    finally:
        forget()
        if writer is None:
            connected.close()
        else:
            # A connection that broke in the handshake of `start_tls` leaves the writer without a transport.
            with contextlib.suppress(AttributeError):
                writer.close()
        twin.close()


async def check_in(conversation: Talk) -> None:
    """What a service over a tunnel says before its own protocol.

    Raises:
        BadMessage: the client does not check in.
    """
    request = await conversation.receive()
    if request is None or request.get("Request") != "RSDCheckin":
        raise BadMessage("no check-in")
    await conversation.send({"Request": "RSDCheckin"})
    await conversation.send({"Request": "StartService"})

"""`CoreDeviceProxy` of a virtual iPhone (iOS 17.4 and later): a tunnel of IPv6 packets through a lockdown service.

After a handshake in JSON the connection carries whole IPv6 packets in both directions. The client has a TCP stack of
its own in its process; here is the phone's end: every connection that it opens to a port of the phone is passed on to
the loopback port where that service listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from device_agents.virtual.iphone.phone import Iphone
from device_agents.virtual.iphone.services import Incoming
from device_agents.virtual.iphone.tunnel_packets import (
    HEADER_BYTES,
    OVERHEAD_BYTES,
    SYN,
    PacketError,
    Segment,
    pack,
    parse,
    payload_bytes,
)
from device_agents.virtual.iphone.tunnel_tcp import TcpConnection, reset
from device_agents.virtual.iphone.wire import BadMessage, talk

_LOG = logging.getLogger(__name__)
NAME = "com.apple.internal.devicecompute.CoreDeviceProxy"
SINCE = (17, 4)
LINK = "proxy"
DISCOVERY_PORT = 58783
"""Where discovery listens on every iPhone, inside the tunnel."""

_MAGIC = b"CDTunnel"
_HOST = "127.0.0.1"
_SMALLEST_MTU, _LARGEST_MTU = 1280, 16_000
_READ_BYTES = 1 << 16
_FULL_BYTES = 1 << 14

Find = Callable[[int], int | None]


@dataclass(slots=True)
class _Pipe:
    """One connection through the tunnel, and what listens behind it. `full`: bytes wait for that to take them."""

    connection: TcpConnection = field(init=False)
    writer: asyncio.StreamWriter | None = None
    early: list[bytes] = field(default_factory=list)
    full: asyncio.Event = field(default_factory=asyncio.Event)

    def received(self, data: bytes) -> None:
        if self.writer is None:
            self.early.append(data)
        elif data:
            self.writer.write(data)
            if self.backlog() > _FULL_BYTES:
                self.full.set()
        elif self.writer.can_write_eof():
            with contextlib.suppress(OSError):
                self.writer.write_eof()

    def backlog(self) -> int:
        if self.writer is None:
            return sum(len(data) for data in self.early)
        return self.writer.transport.get_write_buffer_size()

    async def connect(self, port: int) -> asyncio.StreamReader:
        reader, self.writer = await asyncio.open_connection(_HOST, port)
        self.writer.transport.set_write_buffer_limits(_FULL_BYTES)
        early, self.early = self.early, []
        for data in early:
            self.received(data)
        return reader

    async def copy(self, reader: asyncio.StreamReader) -> None:
        """Send what comes from behind, to its end."""
        try:
            while data := await reader.read(_READ_BYTES):
                await self.connection.write(data)
            self.connection.finish()
        except OSError:
            self.connection.abort()

    async def make_room(self) -> None:
        """Tell the client whenever what waited was taken."""
        assert self.writer is not None
        with contextlib.suppress(OSError):
            while await self.full.wait():
                self.full.clear()
                await self.writer.drain()
                self.connection.acknowledge()


class Tunnel:
    """The phone's end of one tunnel.

    Args:
        write: takes each packet to be sent.
        address: the phone's, of 16 bytes.
        find: the loopback port behind a port of the phone, None when nothing listens there.
        mtu: the largest packet.
    """

    def __init__(self, write: Callable[[bytes], None], address: bytes, find: Find, mtu: int) -> None:
        self._write = write
        self._address = address
        self._find = find
        self._mss = mtu - OVERHEAD_BYTES
        self._pipes: dict[tuple[bytes, int, int], _Pipe] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, packet: bytes) -> None:
        """A packet from the client."""
        segment = parse(packet)
        if segment is None or segment.target != self._address:
            return
        key = (segment.source, segment.source_port, segment.target_port)
        pipe = self._pipes.get(key)
        if pipe is not None and not pipe.connection.ended.is_set():
            pipe.connection.take(segment)
        elif segment.flags & SYN and (port := self._find(segment.target_port)) is not None:
            self._open(key, segment, port)
        else:
            self._send(reset(segment))

    def _send(self, segment: Segment) -> None:
        self._write(pack(segment))

    def _open(self, key: tuple[bytes, int, int], opening: Segment, port: int) -> None:
        pipe = _Pipe()
        pipe.connection = TcpConnection(
            opening, send=self._send, received=pipe.received, backlog=pipe.backlog, mss=self._mss
        )
        self._pipes[key] = pipe
        task = asyncio.create_task(self._pass_on(key, pipe, port))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, key: tuple[bytes, int, int], pipe: _Pipe, port: int) -> None:
        beside: list[asyncio.Task[None]] = []
        try:
            reader = await pipe.connect(port)
            beside = [asyncio.create_task(pipe.copy(reader)), asyncio.create_task(pipe.make_room())]
            await pipe.connection.ended.wait()
        except OSError as error:
            _LOG.info("nothing behind port %d: %s", port, error)
        finally:
            pipe.connection.abort()
            if self._pipes.get(key) is pipe:
                del self._pipes[key]
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            if pipe.writer is not None:
                pipe.writer.close()

    async def close(self) -> None:
        """Break every connection."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def addresses(udid: str) -> tuple[ipaddress.IPv6Address, ipaddress.IPv6Address]:
    """Of the phone and of the client in its tunnel: a private network of its own."""
    network = b"\xfd" + hashlib.sha256(udid.encode("utf-8", "replace")).digest()[:7]
    phone, client = (ipaddress.IPv6Address(network + number.to_bytes(8, "big")) for number in (1, 2))
    return phone, client


async def _handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, udid: str) -> int:
    head = await reader.readexactly(len(_MAGIC) + 2)
    if head[: len(_MAGIC)] != _MAGIC:
        raise BadMessage("no tunnel is asked for")
    try:
        asked = json.loads(await reader.readexactly(int.from_bytes(head[len(_MAGIC) :], "big")))
        mtu = min(max(int(asked["mtu"]), _SMALLEST_MTU), _LARGEST_MTU)
    except (ValueError, TypeError, KeyError) as wrong:
        raise BadMessage("no tunnel is asked for") from wrong
    phone, client = addresses(udid)
    answer = {
        "type": "serverHandshakeResponse",
        "clientParameters": {"address": str(client), "mtu": mtu, "netmask": "ffff:ffff:ffff:ffff::"},
        "serverAddress": str(phone),
        "serverRSDPort": DISCOVERY_PORT,
    }
    body = json.dumps(answer).encode()
    writer.write(_MAGIC + len(body).to_bytes(2, "big") + body)
    await writer.drain()
    return mtu


async def serve(phone: Iphone, incoming: Incoming, find: Find) -> None:
    """Be the phone's end of a tunnel until its client is gone."""
    async with talk(phone, incoming, LINK) as conversation:
        if "no_tunnel" in phone.faults:
            return
        reader, writer = conversation.reader, conversation.writer
        mtu = await _handshake(reader, writer, phone.udid)
        tunnel = Tunnel(writer.write, addresses(phone.udid)[0].packed, find, mtu)
        try:
            while True:
                header = await reader.readexactly(HEADER_BYTES)
                tunnel.take(header + await reader.readexactly(payload_bytes(header)))
                await writer.drain()
        except PacketError as error:
            raise BadMessage(str(error)) from error
        finally:
            await tunnel.close()

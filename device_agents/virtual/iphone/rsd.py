"""Remote service discovery of a virtual iPhone (iOS 17 and later): the services behind the tunnel and their ports.

A real phone has an address of its own inside the tunnel; this one has a port of its own for every service on loopback.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from device_agents.virtual.iphone import http2, xpc
from device_agents.virtual.iphone.phone import Iphone
from device_agents.virtual.iphone.services import Incoming, Registry, Service, why_not
from device_agents.virtual.iphone.values import chip_unique_id
from device_agents.virtual.iphone.wire import BROKEN, BadMessage, Talk, cutter, open_streams

_LOG = logging.getLogger(__name__)
FIRST_MAJOR = 17
LINK = "tunnel"
_HOST = "127.0.0.1"
_ROOT, _REPLIES = 1, 3
_TRUSTED = "com.apple.mobile.lockdown.remote.trusted"
_SHIM = ".shim.remote"
_VERSION_FLAGS = 0x0100000000000006
_PROTOCOL_VERSION = 7
_WINDOW = 1 << 20


@dataclass(frozen=True, slots=True)
class _Door:
    """A listening port of one service. `checkin`: a client must say `RSDCheckin` before the service's own protocol."""

    name: str
    service: Service
    checkin: bool
    listener: socket.socket

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])


class Rsd:
    """The tunnel's end on one phone.

    Args:
        registry: what lockdown offers; each of it is offered here too, as a shim.
        lockdown: lockdown itself.
        native: services that exist only here.
    """

    def __init__(self, phone: Iphone, registry: Registry, *, lockdown: Service, native: Sequence[Service]) -> None:
        self.phone = phone
        self._registry = registry
        self._lockdown = lockdown
        self._native = native
        self._doors: list[_Door] = []
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> tuple[str, int]:
        """Where discovery listens.

        Raises:
            RuntimeError: it was not started.
        """
        if self._listener is None:
            raise RuntimeError("discovery was not started")
        return _HOST, int(self._listener.getsockname()[1])

    @property
    def open(self) -> bool:
        """Whether there is a tunnel now."""
        return self.phone.plugged and "no_tunnel" not in self.phone.faults

    async def start(self) -> None:
        """Open all ports.

        Raises:
            OSError: there are none left.
        """
        offered = [(service.name, service, False) for service in self._native]
        offered.append((_TRUSTED, self._lockdown, True))
        for name in self._registry.names(self.phone):
            service = self._registry.find(self.phone, name)
            if service is not None and name != self._lockdown.name:
                offered.append((name + _SHIM, service, True))
        self._doors = [_Door(name, service, checkin, _listen()) for name, service, checkin in offered]
        for door in self._doors:
            self._spawn(self._keep_accepting(door.listener, door))
        self._listener = _listen()
        self._spawn(self._keep_accepting(self._listener, None))

    def has(self, port: int) -> bool:
        """Whether a service listens there."""
        return any(door.port == port for door in self._doors)

    async def close(self) -> None:
        """Close all ports and every connection."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listener in [self._listener, *(door.listener for door in self._doors)]:
            if listener is not None:
                listener.close()
        self._listener, self._doors = None, []

    def cut(self) -> None:
        """End every connection through the tunnel."""
        self.phone.links.cut(LINK)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_accepting(self, listener: socket.socket, door: _Door | None) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connected, _ = await loop.sock_accept(listener)
            except OSError as error:
                _LOG.warning("%s: no connection taken: %s", self.phone.udid, error)
                await asyncio.sleep(0.1)
                continue
            connected.setblocking(False)
            if self.open:
                self._spawn(self._serve(connected, door))
            else:
                connected.close()

    async def _serve(self, connected: socket.socket, door: _Door | None) -> None:
        twin, cut = cutter(connected)
        forget = self.phone.links.add(LINK, cut)
        try:
            if door is None:
                await self._discovery(connected)
            elif door.checkin and (refused := why_not(self.phone, door.service)):
                await _refuse(connected, refused)
            else:
                await door.service.serve(self.phone, Incoming(connected, checkin=door.checkin))
        finally:
            forget()
            twin.close()

    # --- discovery ----------------------------------------------------------------------------------------------------

    async def _discovery(self, connected: socket.socket) -> None:
        reader, writer = await open_streams(connected, None)
        try:
            await _Discovery(reader, writer, self.handshake).serve()
        except (*BROKEN, http2.Http2Error, xpc.XpcError) as error:
            _LOG.info("%s: discovery ended: %r", self.phone.udid, error)
        finally:
            writer.close()

    def handshake(self) -> dict[str, object]:
        """What the phone tells about itself and its services now."""
        profile = self.phone.profile
        properties = {
            "UniqueDeviceID": self.phone.udid,
            "ProductType": profile.product_type,
            "ProductName": "iPhone OS",
            "HWModel": profile.hardware_model,
            "HardwarePlatform": profile.hardware_platform,
            "UniqueChipID": chip_unique_id(self.phone),
            "ChipID": profile.chip_id,
            "BoardId": profile.board_id,
            "CPUArchitecture": profile.cpu,
            "DeviceClass": "iPhone",
            "OSVersion": profile.ios_version,
            "BuildVersion": profile.build_version,
            "BootSessionUUID": self.phone.boot_id,
            "RemoteXPCVersionFlags": _VERSION_FLAGS,
            "SensitivePropertiesVisible": True,
        }
        return {
            "MessageType": "Handshake",
            "MessagingProtocolVersion": _PROTOCOL_VERSION,
            "UUID": uuid.uuid5(uuid.NAMESPACE_OID, self.phone.udid),
            "Properties": properties,
            "Services": {door.name: self._described(door) for door in self._doors if self._offered(door)},
        }

    def _offered(self, door: _Door) -> bool:
        # What the developer image brings is not there before it is mounted.
        return not door.service.developer or (self.phone.developer_mode and self.phone.image_mounted)

    @staticmethod
    def _described(door: _Door) -> dict[str, object]:
        return {
            "Port": str(door.port),
            "Entitlement": _TRUSTED if door.checkin else "com.apple.private.dt.instruments.dtservicehub.client",
            "Properties": {"UsesRemoteXPC": False, "ServiceVersion": 1},
        }


class _Discovery:
    """One client of discovery: it opens a root stream and one for replies, and is told about the phone."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handshake: Callable[[], object]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._handshake = handshake
        self._received: dict[int, bytes] = {}
        self._opened: set[int] = set()
        self._begun: set[int] = set()
        self._told = False

    async def serve(self) -> None:
        """Until the client goes.

        Raises:
            Http2Error, XpcError: it speaks something else.
            OSError, asyncio.IncompleteReadError: it is gone.
        """
        if await self._reader.readexactly(len(http2.PREFACE)) != http2.PREFACE:
            raise http2.Http2Error("no HTTP/2 preface")
        await self._send(
            http2.settings(streams=100, window=_WINDOW), http2.window_update(0, _WINDOW - http2.DEFAULT_WINDOW)
        )
        while True:
            frame = await http2.read(self._reader)
            if frame.kind == http2.SETTINGS and not frame.flags & http2.ACK:
                await self._send(replace(frame, flags=http2.ACK, data=b""))
            elif frame.kind == http2.PING and not frame.flags & http2.ACK:
                await self._send(replace(frame, flags=http2.ACK))
            elif frame.kind == http2.GO_AWAY:
                return
            elif frame.kind == http2.DATA and frame.data:
                await self._take(frame)

    async def _take(self, frame: http2.Frame) -> None:
        size = len(frame.data)
        await self._send(http2.window_update(0, size), http2.window_update(frame.stream, size))
        received = self._received.get(frame.stream, b"") + frame.data
        while (found := xpc.unpack(received)) is not None:
            wrapper, used = found
            received = received[used:]
            await self._answer(frame.stream, wrapper)
        self._received[frame.stream] = received

    async def _answer(self, stream: int, wrapper: xpc.Wrapper) -> None:
        """Every step of a client's opening is answered on its stream; some clients wait for that before the next."""
        if stream == _ROOT and wrapper.value == {}:
            await self._say(_ROOT, xpc.Wrapper(xpc.Flags.ALWAYS, value={}))
        elif stream == _ROOT and wrapper.flags & xpc.Flags.OPENED:
            await self._say(_ROOT, xpc.Wrapper(xpc.Flags.ALWAYS | xpc.Flags.OPENED))
            await self._opened_by(_ROOT)
        elif stream == _REPLIES and wrapper.flags & xpc.Flags.HANDSHAKE:
            await self._say(_REPLIES, xpc.Wrapper(xpc.Flags.ALWAYS | xpc.Flags.HANDSHAKE))
            await self._opened_by(_REPLIES)

    async def _opened_by(self, stream: int) -> None:
        self._begun.add(stream)
        if self._begun == {_ROOT, _REPLIES} and not self._told:
            self._told = True
            # The phone tells this whether or not the client tells anything about itself.
            await self._say(_ROOT, xpc.Wrapper(xpc.Flags.ALWAYS | xpc.Flags.DATA, number=2, value=self._handshake()))

    async def _say(self, stream: int, wrapper: xpc.Wrapper) -> None:
        data = xpc.pack(wrapper)
        frames = [] if stream in self._opened else [http2.Frame(http2.HEADERS, http2.END_HEADERS, stream)]
        self._opened.add(stream)
        for at in range(0, len(data), http2.MAX_FRAME_BYTES):
            frames.append(http2.Frame(http2.DATA, 0, stream, data[at : at + http2.MAX_FRAME_BYTES]))
        await self._send(*frames)

    async def _send(self, *frames: http2.Frame) -> None:
        self._writer.write(b"".join(http2.pack(frame) for frame in frames))
        await self._writer.drain()


def _listen() -> socket.socket:
    listener = socket.create_server((_HOST, 0), backlog=32)
    listener.setblocking(False)
    return listener


async def _refuse(connected: socket.socket, reason: str) -> None:
    """Let a client check in and tell it that the service does not start."""
    reader, writer = await open_streams(connected, None)
    conversation = Talk(reader, writer)
    try:
        if await conversation.receive() is not None:
            await conversation.send({"Request": "RSDCheckin"})
            await conversation.send({"Request": "StartService", "Error": reason})
    except (*BROKEN, BadMessage):
        pass
    finally:
        writer.close()

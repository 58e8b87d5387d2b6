"""The services that show folders of the phone by AFC: media, containers of apps, crash reports."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from device_agents.virtual.iphone.afc import Connection, Gone
from device_agents.virtual.iphone.afc_files import Root
from device_agents.virtual.iphone.services import Incoming, Service
from device_agents.virtual.iphone.wire import LIMIT_BYTES, BadMessage, cutter, pack, parse, talk

if TYPE_CHECKING:
    from device_agents.virtual.iphone.phone import Iphone

_HANDSHAKE_S = 10.0


class _PlainTalk:
    """Property lists over a blocking socket, before AFC begins."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def receive(self) -> dict[str, Any]:
        """Raises:
        Gone, BadMessage: there is none.
        """
        (size,) = struct.unpack(">I", self._exactly(4))
        if size > LIMIT_BYTES:
            raise BadMessage(f"{size} bytes announced")
        return parse(self._exactly(size))

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise Gone
            data += part
        return bytes(data)

    def send(self, message: dict[str, Any]) -> None:
        self._socket.sendall(pack(message))

    def check_in(self) -> None:
        if self.receive().get("Request") != "RSDCheckin":
            raise BadMessage("no check-in")
        self.send({"Request": "RSDCheckin"})
        self.send({"Request": "StartService"})


Begin = Callable[["Iphone", _PlainTalk], "Root | None"]
"""What is said before AFC; None when there is nothing to show."""


def _converse(phone: Iphone, incoming: Incoming, cut: threading.Event, begin: Begin) -> None:
    """One connection from its handshake to its end, in its own thread."""
    connected = incoming.socket
    try:
        connected.settimeout(_HANDSHAKE_S)
        if incoming.tls is not None:
            connected = incoming.tls.wrap_socket(connected, server_side=True)
        connected.settimeout(None)
        first = _PlainTalk(connected)
        if incoming.checkin:
            first.check_in()
        root = begin(phone, first)
        if root is not None:
            Connection(phone, connected, root, cut).run()
    except (Gone, BadMessage, OSError):
        pass
    finally:
        connected.close()


def _server(kind: str, begin: Begin) -> Callable[[Iphone, Incoming], Awaitable[None]]:
    async def serve(phone: Iphone, incoming: Incoming) -> None:
        twin, shut = cutter(incoming.socket)
        was_cut = threading.Event()

        def cut() -> None:
            was_cut.set()
            shut()

        forget = phone.links.add(kind, cut)
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def run() -> None:
            try:
                incoming.socket.setblocking(True)
                _converse(phone, incoming, was_cut, begin)
            finally:
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=run, name=f"{kind} of {phone.udid}", daemon=True).start()
        try:
            await ended.wait()
        finally:
            cut()
            forget()
            twin.close()

    return serve


def _media(phone: Iphone, _: _PlainTalk) -> Root:
    return Root(phone.storage.media, phone.storage)


def _crash_reports(phone: Iphone, _: _PlainTalk) -> Root:
    return Root(phone.storage.crashes, phone.storage)


def _container(phone: Iphone, first: _PlainTalk) -> Root | None:
    """house_arrest: the container of the app that the client names."""
    request = first.receive()
    app = phone.apps.get(str(request.get("Identifier")))
    command = request.get("Command")
    if command not in ("VendContainer", "VendDocuments"):
        first.send({"Error": "InvalidCommand"})
        return None
    if app is None:
        first.send({"Error": "ApplicationLookupFailed"})
        return None
    shared = bool(app.info.get("UIFileSharingEnabled"))
    if (command == "VendDocuments" and not shared) or (command == "VendContainer" and not app.developer):
        first.send({"Error": "InstallationLookupFailed"})
        return None
    first.send({"Status": "Complete"})
    return Root(app.container, phone.storage, only="Documents" if command == "VendDocuments" else "")


async def _move_reports(phone: Iphone, incoming: Incoming) -> None:
    """crashreportmover: reports are where they belong at once; the client waits for this word."""
    async with talk(phone, incoming, "crash_mover") as conversation:
        conversation.writer.write(b"ping\0")
        await conversation.writer.drain()
        await conversation.reader.read(1)


SERVICES = (
    Service("com.apple.afc", _server("afc", _media)),
    Service("com.apple.mobile.house_arrest", _server("afc", _container)),
    Service("com.apple.crashreportcopymobile", _server("crash_copy", _crash_reports)),
    Service("com.apple.crashreportmover", _move_reports),
)

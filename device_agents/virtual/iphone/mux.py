"""usbmuxd: which phones are attached, and connections to their ports.

A connection that was asked to lead to a port of a phone is handed over as it is: the phone's services read from the
client's own socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import plistlib
import socket
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.parsers.expat import ExpatError

from device_agents.virtual.iphone.phone import Iphone
from device_agents.virtual.iphone.ports import Ports

OK, BAD_COMMAND, BAD_DEVICE, REFUSED, NO_RECORD, BAD_VERSION = 0, 1, 2, 3, 2, 6
_PLIST_MESSAGE, _PLIST_VERSION = 8, 1
_HEAD = struct.Struct("<IIII")
_LIMIT_BYTES = 4 * 1024 * 1024
_PRODUCT_ID = 0x12A8


@dataclass(slots=True)
class Attached:
    """A phone at the muxer. Args: number: of the device, a new one each time it is plugged in."""

    phone: Iphone
    ports: Ports
    number: int = 0


@dataclass(slots=True, eq=False)
class _Client:
    """One connection to the muxer. Args: listening: it wants to hear of phones that come and go."""

    socket: socket.socket
    listening: bool = False
    unsent: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)


class Muxer:
    """The muxer of a lab, on a loopback port; its pair records are in the lab's own folder."""

    def __init__(self, records: Path) -> None:
        records.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._records = records
        self._phones: dict[str, Attached] = {}
        self._number = 0
        self._clients: dict[_Client, asyncio.Task[None]] = {}
        self._talks: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self.port = 0
        self.buid = str(uuid.uuid4()).upper()

    # --- phones -------------------------------------------------------------------------------------------------------

    def add(self, phone: Iphone, ports: Ports) -> None:
        self._phones[phone.udid] = Attached(phone, ports)
        self.attach(phone)

    def attach(self, phone: Iphone) -> None:
        """The cable is plugged in."""
        known = self._phones[phone.udid]
        self._number += 1
        known.number = self._number
        phone.plugged = True
        self._tell(self._attached(known))

    def detach(self, phone: Iphone) -> None:
        """The cable is pulled: every connection to the phone breaks."""
        known = self._phones[phone.udid]
        if not phone.plugged:
            return
        phone.plugged = False
        known.ports.close_all()
        phone.links.cut()
        self._tell({"MessageType": "Detached", "DeviceID": known.number})

    def _attached(self, known: Attached) -> dict[str, Any]:
        phone = known.phone
        properties: dict[str, Any] = {
            "ConnectionType": phone.connection,
            "DeviceID": known.number,
            "SerialNumber": phone.udid,
        }
        if phone.connection == "USB":
            properties |= {
                "ConnectionSpeed": 480000000,
                "LocationID": 0x100000 * known.number,
                "ProductID": _PRODUCT_ID,
                "UDID": phone.udid,
                "USBSerialNumber": phone.udid.replace("-", ""),
            }
        else:
            # A sockaddr_in of a private address, as a real muxer shows where the phone is.
            address = ipaddress.IPv4Address("192.168.64.0") + known.number
            properties |= {
                "EscapedFullServiceName": f"{phone.profile.name}._apple-mobdev2._tcp.local.",
                "InterfaceIndex": 0,
                "NetworkAddress": struct.pack("<BBH", 16, 2, 0) + address.packed + bytes(120),
            }
        return {"MessageType": "Attached", "DeviceID": known.number, "Properties": properties}

    def _tell(self, message: dict[str, Any]) -> None:
        for client in self._clients:
            if client.listening:
                client.unsent.put_nowait(_packet(message, 0))

    # --- server -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen; on the same port again after `stop`."""
        listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        listener.setblocking(False)
        self._listener = listener
        self.port = int(listener.getsockname()[1])
        self._accepting = asyncio.create_task(self._accept(listener))

    async def stop(self) -> None:
        """Stop listening and break every connection, those that lead to phones too."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            self._accepting = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for known in self._phones.values():
            known.phone.links.cut()
        tasks = [*self._clients.values(), *self._talks]
        for task in self._clients.values():
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def restart(self) -> None:
        """What a restart of usbmuxd is to its clients: all is cut, and the same phones have new numbers."""
        await self.stop()
        for known in self._phones.values():
            known.ports.close_all()
            if known.phone.plugged:
                self._number += 1
                known.number = self._number
        await self.start()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connected, _ = await loop.sock_accept(listener)
            connected.setblocking(False)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = _Client(connected)
            task = asyncio.create_task(self._serve(client))
            self._clients[client] = task
            task.add_done_callback(partial(self._forget, client))

    def _forget(self, client: _Client, _: asyncio.Task[None]) -> None:
        self._clients.pop(client, None)

    async def _serve(self, client: _Client) -> None:
        """Answer one client until it is gone or leads to a phone."""
        sending = asyncio.create_task(_send_all(client))
        handed_over = False
        try:
            while (received := await _receive(client.socket)) is not None:
                message, tag = received
                if message.get("MessageType") == "Connect":
                    target = self._target(message)
                    if isinstance(target, int):
                        client.unsent.put_nowait(_result(target, tag))
                        continue
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)
                    await asyncio.get_running_loop().sock_sendall(client.socket, _result(OK, tag))
                    handed_over = True
                    self._lead(target[0], target[1], client.socket)
                    return
                self._answer(client, message, tag)
        except (OSError, plistlib.InvalidFileException, ExpatError, ValueError):
            pass
        finally:
            sending.cancel()
            if not handed_over:
                client.socket.close()

    def _lead(self, known: Attached, port: int, connected: socket.socket) -> None:
        task = asyncio.create_task(known.ports.connected(known.phone, port, connected))
        self._talks.add(task)
        task.add_done_callback(self._talks.discard)

    def _target(self, message: dict[str, Any]) -> tuple[Attached, int] | int:
        """Where a connection shall lead, or the number of the error."""
        number, port = message.get("DeviceID"), message.get("PortNumber")
        if not isinstance(port, int) or not 0 <= port <= 0xFFFF:
            return BAD_COMMAND
        port = socket.ntohs(port)
        for known in self._phones.values():
            if known.number == number and known.phone.plugged:
                return (known, port) if known.ports.has(port) else REFUSED
        return BAD_DEVICE

    def _answer(self, client: _Client, message: dict[str, Any], tag: int) -> None:
        plugged = [known for known in self._phones.values() if known.phone.plugged]
        send: Callable[[bytes], None] = client.unsent.put_nowait
        match message.get("MessageType"):
            case "Listen":
                send(_result(OK, tag))
                client.listening = True
                for known in plugged:
                    send(_packet(self._attached(known), 0))
            case "ListDevices":
                send(_packet({"DeviceList": [self._attached(known) for known in plugged]}, tag))
            case "ListListeners":
                send(_packet({"ListenerList": []}, tag))
            case "ReadBUID":
                send(_packet({"BUID": self.buid}, tag))
            case "ReadPairRecord":
                file = self._record(message)
                if file is None or not file.exists():
                    send(_result(NO_RECORD, tag))
                else:
                    send(_packet({"PairRecordData": file.read_bytes()}, tag))
            case "SavePairRecord":
                send(_result(self._save(message), tag))
            case "DeletePairRecord":
                file = self._record(message)
                if file is not None:
                    file.unlink(missing_ok=True)
                send(_result(OK if file is not None else BAD_COMMAND, tag))
            case _:
                send(_result(BAD_COMMAND, tag))

    # --- pair records -------------------------------------------------------------------------------------------------

    def _record(self, message: dict[str, Any]) -> Path | None:
        name = message.get("PairRecordID")
        return self.record_of(name) if isinstance(name, str) and name else None

    def record_of(self, udid: str) -> Path:
        """The file of the pair record that hosts keep of a phone; a UDID of any characters makes a plain file name."""
        return self._records / f"{quote(udid, safe='')[:200]}.plist"

    def _save(self, message: dict[str, Any]) -> int:
        file, data = self._record(message), message.get("PairRecordData")
        if file is None or not isinstance(data, bytes):
            return BAD_COMMAND
        temporary = file.with_suffix(".new")
        temporary.write_bytes(data)
        temporary.replace(file)
        self._tell({"MessageType": "Paired", "DeviceID": message.get("DeviceID", 0)})
        return OK


def _packet(message: dict[str, Any], tag: int) -> bytes:
    data = plistlib.dumps(message)
    return _HEAD.pack(_HEAD.size + len(data), _PLIST_VERSION, _PLIST_MESSAGE, tag) + data


def _result(number: int, tag: int) -> bytes:
    return _packet({"MessageType": "Result", "Number": number}, tag)


async def _receive(connected: socket.socket) -> tuple[dict[str, Any], int] | None:
    """The next message and its tag, and not a byte more: what follows a Connect is not the muxer's. None at the end.

    Raises:
        ValueError: not a message of the protocol.
    """
    head = await _exactly(connected, _HEAD.size)
    if head is None:
        return None
    size, version, kind, tag = _HEAD.unpack(head)
    if version != _PLIST_VERSION or kind != _PLIST_MESSAGE or not _HEAD.size <= size <= _LIMIT_BYTES:
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(connected, _result(BAD_VERSION, tag))
        raise ValueError("not a message of the plist protocol")
    data = await _exactly(connected, size - _HEAD.size)
    if data is None:
        return None
    message = plistlib.loads(data)
    if not isinstance(message, dict):
        raise ValueError("not a dictionary")
    return message, tag


async def _exactly(connected: socket.socket, size: int) -> bytes | None:
    loop, parts = asyncio.get_running_loop(), bytearray()
    while len(parts) < size:
        part = await loop.sock_recv(connected, size - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)


async def _send_all(client: _Client) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while True:
            await loop.sock_sendall(client.socket, await client.unsent.get())

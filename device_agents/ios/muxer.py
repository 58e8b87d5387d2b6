"""usbmuxd's list of attached iPhones, asked without the client library: whether there is any is known in milliseconds.

A message is a header of four little-endian words (length of all, protocol 1, type 8, tag) and a property list.
"""

from __future__ import annotations

import os
import plistlib
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from device_agents.ios.failures import typed
from harness.errors import FarmError, UsageError

VARIABLE = "USBMUXD_SOCKET_ADDRESS"
"""Names the muxer for every program that uses libusbmuxd; wins over the inventory."""

_SOCKET = "/var/run/usbmuxd"
_ITUNES = "127.0.0.1:27015"
_HEADER = struct.Struct("<IIII")
_PROTOCOL, _PLIST = 1, 8
_ANSWER_BYTES_MAX = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Muxed:
    """One way to an iPhone: by "USB" or "Network"."""

    udid: str
    connection: str


def muxer_address(configured: str | None) -> str:
    """Where the muxer is: the environment, the inventory's, or the system's own; HOST:PORT or a path.

    Raises:
        UsageError: the environment names neither.
    """
    said = os.environ.get(VARIABLE, "")
    if not said:
        return configured or (_ITUNES if sys.platform == "win32" else _SOCKET)
    if said.startswith("UNIX:"):
        return said.removeprefix("UNIX:")
    host, colon, port = said.rpartition(":")
    if said.startswith("/") or (colon and host and ":" not in host and port.isdigit()):
        return said
    raise UsageError(f"{VARIABLE}: expected HOST:PORT, UNIX:PATH or a path, found {said!r}")


def is_there(configured: str | None) -> bool:
    """Whether a muxer is to be expected: one is named, or the system's socket exists."""
    address = muxer_address(configured)
    return bool(os.environ.get(VARIABLE) or configured) or (address.startswith("/") and Path(address).exists())


def listed(address: str, *, limit_s: float) -> tuple[Muxed, ...]:
    """Every iPhone that the muxer at `address` has, USB before network.

    Raises:
        Transient: MUXER_LOST.
    """
    request = {"MessageType": "ListDevices", "ClientVersionString": "farm", "ProgName": "farm", "kLibUSBMuxVersion": 3}
    try:
        with _connected(address, limit_s) as link:
            content = plistlib.dumps(request)
            link.sendall(_HEADER.pack(_HEADER.size + len(content), _PROTOCOL, _PLIST, 1) + content)
            (length, *_) = _HEADER.unpack(_exactly(link, _HEADER.size))
            if not _HEADER.size < length <= _ANSWER_BYTES_MAX:
                raise _lost(address, f"an answer of {length} bytes")
            answer = plistlib.loads(_exactly(link, length - _HEADER.size))
    except (OSError, ValueError, plistlib.InvalidFileException) as error:
        raise _lost(address, str(error) or type(error).__name__) from error
    devices = answer.get("DeviceList") if isinstance(answer, dict) else None
    if not isinstance(devices, list):
        raise _lost(address, "an answer without a list of devices")
    found = [_muxed(each) for each in devices]
    return tuple(sorted((each for each in found if each is not None), key=lambda each: each.connection != "USB"))


def _connected(address: str, limit_s: float) -> socket.socket:
    if address.startswith("/"):
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.settimeout(limit_s)
        try:
            link.connect(address)
        except BaseException:
            link.close()
            raise
        return link
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=limit_s)


def _exactly(link: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        block = link.recv(size - len(data))
        if not block:
            raise OSError("it closed the connection")
        data += block
    return bytes(data)


def _muxed(entry: object) -> Muxed | None:
    properties = entry.get("Properties") if isinstance(entry, dict) else None
    if not isinstance(properties, dict):
        return None
    udid, connection = properties.get("SerialNumber"), properties.get("ConnectionType")
    return Muxed(udid, connection) if isinstance(udid, str) and udid and isinstance(connection, str) else None


def _lost(address: str, why: str) -> FarmError:
    return typed(address, "muxer", why, "listing iPhones")

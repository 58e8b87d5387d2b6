"""As much of HTTP/2 as RemoteXPC uses: frames, no header fields, small messages."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GO_AWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 3, 4
DEFAULT_WINDOW = 65_535
MAX_FRAME_BYTES = 16_384
_PADDED = 0x8


class Http2Error(ValueError):
    """Bytes that are not HTTP/2; the connection cannot go on."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; `data` without padding."""

    kind: int
    flags: int
    stream: int
    data: bytes = b""


def pack(frame: Frame) -> bytes:
    size = struct.pack(">I", len(frame.data))[1:]
    return size + struct.pack(">BBI", frame.kind, frame.flags, frame.stream) + frame.data


def settings(**values: int) -> Frame:
    """`streams` and `window`: how many streams, and how many bytes on each before a window update."""
    numbers = {"streams": MAX_CONCURRENT_STREAMS, "window": INITIAL_WINDOW_SIZE}
    return Frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", numbers[name], value) for name, value in values.items()))


def window_update(stream: int, bytes_more: int) -> Frame:
    return Frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", bytes_more))


async def read(reader: asyncio.StreamReader) -> Frame:
    """The next frame.

    Raises:
        Http2Error: it is longer than allowed, or padded with more than it has.
        asyncio.IncompleteReadError, OSError: the connection ended.
    """
    head = await reader.readexactly(9)
    size = int.from_bytes(head[:3], "big")
    if size > MAX_FRAME_BYTES:
        raise Http2Error(f"a frame of {size} bytes")
    kind, flags, stream = struct.unpack(">BBI", head[3:])
    data = await reader.readexactly(size)
    if kind == DATA and flags & _PADDED:
        padding = data[0] if data else 0
        if padding >= len(data):
            raise Http2Error("a frame that is all padding")
        data = data[1 : len(data) - padding]
    return Frame(kind, flags, stream & 0x7FFFFFFF, data)

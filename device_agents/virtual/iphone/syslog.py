"""The phone's log, and the two services that show it: syslog_relay (text) and os_trace_relay (records)."""

from __future__ import annotations

import asyncio
import plistlib
import struct
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from device_agents.virtual.iphone.services import Incoming, Service
from device_agents.virtual.iphone.wire import Talk, talk

if TYPE_CHECKING:
    from device_agents.virtual.iphone.phone import Iphone

_KEPT = 1000
_HISTORICAL = 0x8
_LEVELS = {"Notice": 0x00, "Info": 0x01, "Debug": 0x02, "Error": 0x10, "Fault": 0x11}
_NO_UUID = uuid.UUID(int=0).bytes


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the log.

    Args:
        at: seconds since 1970; ticks: boot clock in ns; image: the library that spoke, the process itself when empty.
    """

    at: float
    ticks: int
    process: str
    pid: int
    message: str
    level: str
    image: str


class SystemLog:
    """The last lines of a phone's log, and whoever waits for more."""

    def __init__(self, host: str) -> None:
        self._host = host.replace(" ", "-")
        self._lines: deque[Line] = deque(maxlen=_KEPT)
        self._waiting: set[asyncio.Queue[Line]] = set()

    def write(self, process: str, message: str, *, pid: int = 0, level: str = "Notice", image: str = "") -> None:
        ticks = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        line = Line(time.time(), ticks, process, pid, message, level, image)
        self._lines.append(line)
        for queue in self._waiting:
            if queue.qsize() < _KEPT:
                queue.put_nowait(line)

    async def follow(self, *, history: bool) -> AsyncIterator[Line]:
        """Lines to come, after those kept when asked for."""
        queue: asyncio.Queue[Line] = asyncio.Queue()
        self._waiting.add(queue)
        try:
            for line in list(self._lines) if history else ():
                yield line
            while True:
                yield await queue.get()
        finally:
            self._waiting.discard(queue)

    def text(self, line: Line) -> bytes:
        """A line as syslog_relay sends it."""
        when = time.strftime("%b %e %H:%M:%S", time.localtime(line.at))
        source = f"{line.process}({line.image})" if line.image else line.process
        words = f"{when} {self._host} {source}[{line.pid}] <{line.level}>: {line.message}"
        return words.encode("utf-8", "surrogateescape") + b"\n\x00"


def record(line: Line) -> bytes:
    """A line as os_trace_relay sends it."""
    filename = f"/usr/libexec/{line.process}".encode() + b"\0"
    image = (line.image or line.process).encode() + b"\0"
    message = line.message.encode("utf-8", "replace")[:60_000] + b"\0"
    seconds = int(line.at)
    head = struct.pack(
        "<9xIQ16s18xI4xIxB6xQQ16sHHHIII4x",
        line.pid,
        line.pid,
        _NO_UUID,
        seconds,
        int((line.at - seconds) * 1e6),
        _LEVELS.get(line.level, 0),
        line.ticks,
        1,
        _NO_UUID,
        len(image),
        len(message),
        0,
        0,
        0,
        0,
    )
    return head + filename + image + message


async def _until_gone(conversation: Talk, sending: asyncio.Task[None]) -> None:
    """Let `sending` run until the client has closed."""
    closed = asyncio.create_task(conversation.reader.read(1))
    try:
        await asyncio.wait([closed, sending], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (closed, sending):
            task.cancel()
        await asyncio.gather(closed, sending, return_exceptions=True)


async def serve_relay(phone: Iphone, incoming: Incoming) -> None:
    """com.apple.syslog_relay: lines from now on."""
    async with talk(phone, incoming, "syslog") as conversation:

        async def send() -> None:
            async for line in phone.log.follow(history=False):
                conversation.writer.write(phone.log.text(line))
                await conversation.writer.drain()

        await _until_gone(conversation, asyncio.create_task(send()))


async def serve_os_trace(phone: Iphone, incoming: Incoming) -> None:
    """com.apple.os_trace_relay: list of processes, stream of records."""
    async with talk(phone, incoming, "os_trace") as conversation:
        request = await conversation.receive()
        if request is None:
            return
        if request.get("Request") == "PidList":
            listed = {str(known.pid): {"ProcessName": known.name} for known in phone.running()}
            data = plistlib.dumps({"Status": "RequestSuccessful", "Payload": listed})
            conversation.writer.write(b"\x01" + struct.pack(">I", len(data)) + data)
            await conversation.writer.drain()
            return
        known = request.get("Request") == "StartActivity"
        data = plistlib.dumps({"Status": "RequestSuccessful" if known else "RequestFailed"})
        conversation.writer.write(struct.pack("<II", 4, len(data)) + data)
        await conversation.writer.drain()
        if not known:
            return
        pid, flags = request.get("Pid", -1), request.get("StreamFlags", 0)

        async def send() -> None:
            async for line in phone.log.follow(history=isinstance(flags, int) and bool(flags & _HISTORICAL)):
                if pid in (-1, line.pid, 0xFFFFFFFF):
                    data = record(line)
                    conversation.writer.write(b"\x02" + struct.pack("<I", len(data)) + data)
                    await conversation.writer.drain()

        await _until_gone(conversation, asyncio.create_task(send()))


SERVICES = (
    Service("com.apple.syslog_relay", serve_relay),
    Service("com.apple.os_trace_relay", serve_os_trace),
)

"""The cable of a virtual phone: a loopback port of this machine, carried into the phone's own network.

A cable can be cut, put back, stalled (bytes stop, the connection stays) and held to a rate.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

_CHUNK = 1 << 18
_SLICE_S = 0.005
_CREDIT_S = 0.1
_IDLE_S = 0.005

Connect = Callable[[], Awaitable[socket.socket | None]]
"""Opens a connection to the phone's adbd; None when nobody listens there."""


class Rate:
    """Holds one direction of a cable to a number of bytes per second."""

    def __init__(self) -> None:
        self.bytes_per_s: float | None = None
        self._free_at = 0.0

    async def take(self, size: int, waited_s: float) -> None:
        """Return when `size` bytes have had the time they need on the cable.

        Args:
            waited_s: how long the bytes were waited for. A cable that was idle starts anew; one that was busy makes up
                for a late wake-up of this process.
        """
        if not self.bytes_per_s:
            return
        now = asyncio.get_running_loop().time()
        credit = _CREDIT_S if waited_s < _IDLE_S else 0.0
        self._free_at = max(self._free_at, now - credit) + size / self.bytes_per_s
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)

    def chunk(self) -> int:
        """Bytes to move at once, so that a slow cable is smooth."""
        return _CHUNK if not self.bytes_per_s else int(min(_CHUNK, max(4096, self.bytes_per_s * _SLICE_S)))


class Relay:
    """One loopback port that leads to a phone."""

    def __init__(self, listener: socket.socket, connect: Connect) -> None:
        self._listener = listener
        self._connect = connect
        self._plugged = True
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._links: set[asyncio.Task[None]] = set()
        self._to_phone, self._from_phone = Rate(), Rate()
        self._accepting: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def plugged(self) -> bool:
        return self._plugged

    def start(self) -> None:
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept())

    def unplug(self) -> None:
        self._plugged = False
        self.cut()

    def replug(self) -> None:
        self._plugged = True
        self._flowing.set()

    def stall(self, stalled: bool) -> None:
        if stalled:
            self._flowing.clear()
        else:
            self._flowing.set()

    def limit(self, bytes_per_s: float | None) -> None:
        """None: as fast as it goes."""
        self._to_phone.bytes_per_s = self._from_phone.bytes_per_s = bytes_per_s

    def cut(self) -> None:
        """End every connection that is open now."""
        for link in self._links:
            link.cancel()

    async def close(self) -> None:
        tasks = [*self._links, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(self._listener)
            near.setblocking(False)
            if not self._plugged:
                near.close()
                continue
            link = asyncio.create_task(self._carry(near))
            self._links.add(link)
            link.add_done_callback(self._links.discard)

    async def _carry(self, near: socket.socket) -> None:
        with near:
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            far = await self._connect()
            if far is None:
                return
            with far:
                far.setblocking(False)
                far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                pumps = [
                    asyncio.create_task(self._pump(near, far, self._to_phone)),
                    asyncio.create_task(self._pump(far, near, self._from_phone)),
                ]
                try:
                    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for pump in pumps:
                        pump.cancel()
                    await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, source: socket.socket, target: socket.socket, rate: Rate) -> None:
        loop = asyncio.get_running_loop()
        room = memoryview(bytearray(_CHUNK))
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            while True:
                asked = loop.time()
                size = await loop.sock_recv_into(source, room[: rate.chunk()])
                if size == 0:
                    return
                await self._flowing.wait()
                await rate.take(size, loop.time() - asked)
                await loop.sock_sendall(target, room[:size])

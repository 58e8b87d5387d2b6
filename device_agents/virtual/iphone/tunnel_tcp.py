"""The phone's end of a TCP connection through a tunnel.

The tunnel itself loses and reorders nothing; only the client's own stack may drop a packet when its buffer is full. So
there is no congestion control: a window that fits into any buffer, and everything unacknowledged again after a while.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import replace

from device_agents.virtual.iphone.tunnel_packets import ACK, FIN, PSH, RST, SYN, Segment

_MODULUS = 1 << 32
_HALF = 1 << 31
_WINDOW = 0xFFFF
_SCALE = 2
"""Not 0, which some clients take for no answer to the option: then their own windows, scaled, do not fit."""

_KEPT_BYTES = 1 << 18
_AGAIN_S = 0.4
_TRIES = 25


def reset(segment: Segment) -> Segment:
    """The answer to a segment that belongs to no connection."""
    length = len(segment.data) + bool(segment.flags & SYN) + bool(segment.flags & FIN)
    return Segment(
        source=segment.target,
        target=segment.source,
        source_port=segment.target_port,
        target_port=segment.source_port,
        sequence=segment.acknowledged if segment.flags & ACK else 0,
        acknowledged=(segment.sequence + length) % _MODULUS,
        flags=RST | ACK,
        window=0,
    )


class TcpConnection:
    """One connection that a client opened.

    What is sent is counted from 0: first the opening, then the bytes, then the end, each of them acknowledged.

    Args:
        opening: its SYN.
        send: takes each segment to be sent.
        received: takes the bytes that arrive, b"" at their end.
        backlog: how many received bytes wait to be taken on.
        mss: the largest segment that may be received.
    """

    def __init__(
        self,
        opening: Segment,
        *,
        send: Callable[[Segment], None],
        received: Callable[[bytes], None],
        backlog: Callable[[], int],
        mss: int,
    ) -> None:
        self._send = send
        self._received = received
        self._backlog = backlog
        self._mss = mss
        self._largest = min(opening.largest, mss)
        self._frame = reset(opening)
        self._next_in = (opening.sequence + 1) % _MODULUS
        self._window = opening.window
        self._shift = opening.scale or 0
        self._scale = None if opening.scale is None else _SCALE
        self._first = secrets.randbelow(_MODULUS)
        self._acked = self._next = 0
        self._furthest = 1
        self._base = 1
        self._buffer = bytearray()
        self._ending = self._in_ended = False
        self._tries = 0
        self._timer: asyncio.TimerHandle | None = None
        self._room = asyncio.Event()
        self._room.set()
        self.ended = asyncio.Event()
        self._answer_opening()
        self._next = 1
        self._watch()

    async def write(self, data: bytes) -> None:
        """Send, waiting while too much is on its way."""
        self._buffer += data
        if len(self._buffer) >= _KEPT_BYTES:
            self._room.clear()
        self._output()
        await self._room.wait()

    def finish(self) -> None:
        """Nothing more will be sent."""
        self._ending = True
        self._output()

    def abort(self, *, tell: bool = True) -> None:
        """Break the connection."""
        if self.ended.is_set():
            return
        if tell:
            self._emit(RST | ACK, self._next)
        self._end()

    def acknowledge(self) -> None:
        """Tell the client what arrived and how much room there is."""
        if not self.ended.is_set():
            self._emit(ACK, self._next)

    def take(self, segment: Segment) -> None:
        """A segment of this connection has arrived."""
        if segment.flags & RST:
            self.abort(tell=False)
        elif segment.flags & SYN:
            self._answer_opening()
        elif segment.flags & ACK:
            self._take_acknowledgement(segment)
            if segment.data or segment.flags & FIN:
                self._take_data(segment)
            self._output()
            if self._in_ended and self._ending and self._acked > self._base + len(self._buffer):
                self._end()

    def _take_data(self, segment: Segment) -> None:
        known = (self._next_in - segment.sequence) % _MODULUS
        # What begins later than expected is asked for again by the acknowledgement.
        if known < _HALF and known <= len(segment.data) and not self._in_ended:
            fresh = segment.data[known:]
            self._next_in = (self._next_in + len(fresh)) % _MODULUS
            if fresh:
                self._received(fresh)
            if segment.flags & FIN:
                self._next_in = (self._next_in + 1) % _MODULUS
                self._in_ended = True
                self._received(b"")
        self.acknowledge()

    def _take_acknowledgement(self, segment: Segment) -> None:
        count = (segment.acknowledged - self._first - self._acked) % _MODULUS
        if count > self._furthest - self._acked:
            return
        self._window = segment.window << self._shift
        if count:
            self._acked += count
            self._next = max(self._next, self._acked)
            done = min(max(0, self._acked - self._base), len(self._buffer))
            del self._buffer[:done]
            self._base += done
            self._tries = 0
            self._watch()
        if len(self._buffer) < _KEPT_BYTES:
            self._room.set()

    def _output(self) -> None:
        if self._acked == 0 or self.ended.is_set():
            return
        end = self._base + len(self._buffer)
        # A closed window is knocked at with one byte.
        limit = self._acked + max(self._window, 1 if self._tries else 0)
        while self._next < min(end, limit):
            at = self._next - self._base
            data = bytes(self._buffer[at : at + min(self._largest, limit - self._next)])
            self._emit(ACK | PSH, self._next, data=data)
            self._next += len(data)
        if self._ending and self._next == end:
            self._emit(ACK | FIN, self._next)
            self._next += 1
        self._furthest = max(self._furthest, self._next)
        if self._timer is None:
            self._watch()

    def _answer_opening(self) -> None:
        self._emit(SYN | ACK, 0, mss=self._mss, scale=self._scale)

    def _emit(self, flags: int, position: int, *, mss: int = 0, scale: int | None = None, data: bytes = b"") -> None:
        window = max(0, _WINDOW - self._backlog())
        self._send(
            replace(
                self._frame,
                sequence=(self._first + position) % _MODULUS,
                acknowledged=self._next_in,
                flags=flags,
                window=window if flags & SYN else window >> (self._scale or 0),
                mss=mss,
                scale=scale,
                data=data,
            )
        )

    def _watch(self) -> None:
        """Wait for the next acknowledgement, when there is one to come."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting = self._acked < self._furthest or self._buffer
        if waiting and not self.ended.is_set():
            self._timer = asyncio.get_running_loop().call_later(_AGAIN_S, self._again)

    def _again(self) -> None:
        self._timer = None
        self._tries += 1
        if self._tries > _TRIES:
            self.abort()
            return
        if self._acked == 0:
            self._answer_opening()
        else:
            self._next = self._acked
            self._output()
        self._watch()

    def _end(self) -> None:
        self.ended.set()
        self._room.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

"""The phone's side of a DTX connection: channels that a client opens by name, and method calls on them.

A client numbers its channels from 1, writes that number into what it sends and gets it back in answers; what the phone
sends by itself on a channel carries the negative number. Channel 0 is there from the start and opens the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from device_agents.virtual.iphone.dtx_wire import (
    HEADER_BYTES,
    Assembly,
    Int32,
    Kind,
    Message,
    WireError,
    arguments,
    fragments,
    parse_arguments,
    parse_header,
)
from device_agents.virtual.iphone.keyed import Coded, KeyedError, archive, ns_error, unarchive

_LOG = logging.getLogger(__name__)
_DOMAIN = "DTXMessage"
_GONE = (OSError, EOFError)

Method = Callable[..., Awaitable[Any]]
Opener = Callable[[str, "Channel"], "ChannelService | None"]


class Refused(Exception):
    """A call that is answered with an error, an NSError."""

    def __init__(self, error: Coded) -> None:
        super().__init__(str(error.fields.get("NSUserInfo")))
        self.error = error


def refusal(text: str) -> Coded:
    """The error that DTX itself answers with."""
    return ns_error(_DOMAIN, 1, NSLocalizedDescription=text)


class Channel:
    """One open channel, to send on by oneself. Sending to a client that is gone does nothing."""

    def __init__(self, connection: DtxConnection, code: int) -> None:
        self._connection = connection
        self.code = code

    @property
    def peer(self) -> Mapping[str, Any]:
        """What the client said that it can do."""
        return self._connection.peer

    async def call(self, selector: str, *values: Any) -> None:
        """Call a method of the client, without an answer."""
        await self._connection.push(Kind.CALL, -self.code, archive(selector), arguments(*values))

    async def send(self, value: Any) -> None:
        """Send an object."""
        await self._connection.push(Kind.OBJECT, -self.code, archive(value))

    async def cancel(self) -> None:
        """Close this channel from the phone's side."""
        await self._connection.cancel(self.code)


class ChannelService(ABC):
    """What answers on one channel; it lives as long as the channel."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._tasks: set[asyncio.Task[None]] = set()

    @abstractmethod
    def methods(self) -> Mapping[str, Method]:
        """By selector. They return what is answered (None: just that it was done), or raise Refused."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something beside the calls until the channel closes."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_log_failure)
        return task

    async def close(self) -> None:
        """The channel is closed: end what runs beside the calls."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _LOG.error("a DTX channel failed", exc_info=task.exception())


class _Lane:
    """The calls of one channel, answered one after the other."""

    def __init__(self, service: ChannelService, answer: Callable[[ChannelService, Message], Awaitable[None]]) -> None:
        self.service = service
        self._calls: asyncio.Queue[Message] = asyncio.Queue()
        self._answer = answer
        self._closed = False
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(_log_failure)

    def add(self, message: Message) -> None:
        self._calls.put_nowait(message)

    async def _run(self) -> None:
        # A call may close its own channel.
        while not self._closed:
            await self._answer(self.service, await self._calls.get())

    async def close(self) -> None:
        self._closed = True
        if self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.service.close()


class DtxConnection:
    """One client.

    Args:
        open_service: makes the service of an identifier for a channel, None when there is none of that name.
        capabilities: what the phone says that it can do, with versions.
        answers: asked before every answer; False keeps the answer back for ever.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        open_service: Opener,
        *,
        capabilities: Mapping[str, int],
        answers: Callable[[], bool] = lambda: True,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._open_service = open_service
        self._capabilities = dict(capabilities)
        self._answers = answers
        self._sending = asyncio.Lock()
        self._number = 0
        self._lanes: dict[int, _Lane] = {}
        self.peer: Mapping[str, Any] = {}

    async def serve(self) -> None:
        """Answer until the client is gone or speaks something else; never raises because of it."""
        try:
            selector = archive("_notifyOfPublishedCapabilities:")
            await self.push(Kind.CALL, 0, selector, arguments(self._capabilities))
            await self._read()
        except (*_GONE, WireError, KeyedError) as error:
            _LOG.info("dtx connection ended: %r", error)
        finally:
            lanes, self._lanes = list(self._lanes.values()), {}
            for lane in lanes:
                await lane.close()
            self._writer.close()
            with contextlib.suppress(*_GONE):
                await self._writer.wait_closed()

    async def _read(self) -> None:
        assembly = Assembly()
        while True:
            header = parse_header(await self._reader.readexactly(HEADER_BYTES))
            if header.size > HEADER_BYTES:
                await self._reader.readexactly(header.size - HEADER_BYTES)
            announces = header.index == 0 and header.count > 1
            data = b"" if announces else await self._reader.readexactly(header.data_bytes)
            message = assembly.add(header, data)
            if message is not None and message.round % 2 == 0:
                await self._take(message)

    async def _take(self, message: Message) -> None:
        if message.channel == 0:
            await self._control(message)
        elif message.channel in self._lanes:
            self._lanes[message.channel].add(message)
        elif message.expects_reply:
            await self._reply(message, Kind.ERROR, refusal(f"No channel registered for code {message.channel}"))

    async def _control(self, message: Message) -> None:
        selector = unarchive(message.payload) if message.kind == Kind.CALL else None
        values = parse_arguments(message.arguments)
        if selector == "_notifyOfPublishedCapabilities:" and len(values) == 1 and isinstance(values[0], dict):
            self.peer = values[0]
        elif selector == "_requestChannelWithCode:identifier:" and len(values) == 2:
            await self._open(message, int(values[0]), str(values[1]))
            return
        elif selector == "_channelCanceled:" and len(values) == 1:
            lane = self._lanes.pop(abs(int(values[0])), None)
            if lane is not None:
                await lane.close()
        elif message.expects_reply:
            await self._reply(message, Kind.ERROR, _unknown(selector))
            return
        if message.expects_reply:
            await self._reply(message, Kind.OK)

    async def _open(self, message: Message, code: int, identifier: str) -> None:
        if code <= 0 or code in self._lanes:
            await self._reply(message, Kind.ERROR, refusal(f"Channel code {code} is already in use"))
            return
        channel = Channel(self, code)
        service = self._open_service(identifier, channel)
        if service is not None:
            self._lanes[code] = _Lane(service, self._answer)
        await self._reply(message, Kind.OK)
        if service is None:
            # A phone accepts the channel first and takes it back when nothing offers the service.
            await channel.cancel()

    async def _answer(self, service: ChannelService, message: Message) -> None:
        try:
            value, kind = await self._call(service, message), Kind.OBJECT
        except Refused as error:
            value, kind = error.error, Kind.ERROR
        except WireError as error:
            value, kind = refusal(str(error)), Kind.ERROR
        if message.expects_reply and self._answers():
            await self._reply(message, Kind.OK if value is None else kind, value)

    async def _call(self, service: ChannelService, message: Message) -> Any:
        if message.kind == Kind.BARRIER:
            return None
        if message.kind != Kind.CALL:
            raise Refused(refusal(f"unsupported message type {message.kind}"))
        try:
            selector = unarchive(message.payload)
        except KeyedError as error:
            raise WireError(f"a selector that cannot be read: {error}") from error
        method = service.methods().get(selector) if isinstance(selector, str) else None
        if method is None:
            raise Refused(_unknown(selector))
        values = parse_arguments(message.arguments)
        try:
            inspect.signature(method).bind(*values)
        except TypeError as error:
            raise Refused(refusal(f"In invocation of method {selector!r}: {error}")) from error
        try:
            return await method(*values)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            # As the phone does with an exception of a method: the client may have sent anything.
            _LOG.info("%s was called with %r", selector, values, exc_info=error)
            raise Refused(refusal(f"In invocation of method {selector!r}: {error!r}")) from error

    async def _reply(self, message: Message, kind: Kind, value: Any = None) -> None:
        payload = b"" if kind == Kind.OK else archive(value)
        await self._write(Message(kind, message.number, message.round + 1, message.channel, payload=payload))

    async def push(self, kind: Kind, channel: int, payload: bytes, values: bytes = b"") -> None:
        """Send a message that answers nothing, on the channel of this number as it goes onto the wire."""
        self._number += 1
        await self._write(Message(kind, self._number, 0, channel, arguments=values, payload=payload))

    async def cancel(self, code: int) -> None:
        """Close a channel of the client from here."""
        await self.push(Kind.CALL, 0, archive("_channelCanceled:"), arguments(Int32(-code)))
        lane = self._lanes.pop(code, None)
        if lane is not None:
            await lane.close()

    async def _write(self, message: Message) -> None:
        async with self._sending:
            with contextlib.suppress(*_GONE):
                for part in fragments(message):
                    self._writer.write(part)
                await self._writer.drain()


def _unknown(selector: object) -> Coded:
    return refusal(f"Unable to invoke {selector!r} - it does not respond to the selector")

"""The process that speaks to one iPhone: calls and answers are JSON lines over its standard input, which is a socket.

One process per iPhone, since the library is asynchronous, allows one tunnel per process, and may hang in a transfer
that no cancellation ends: then the process is ended, and no other phone notices.

    in:  {"id": 1, "call": "stat", "limit_s": 20, "with": {…}}     {"cancel": 1}
    out: {"id": 1, "done": …}   {"id": 1, "failed": {"kind": …, "text": …}}   {"id": 1, "progress": [done, all]}
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from device_agents.ios.failures import Kind

Tell = Callable[[int, int], None]
"""Gets (bytes done, bytes in all) while something is transferred."""

_BLOCK = 1 << 16
TELL_EVERY_S = 0.1


class Service(Protocol):
    """What a worker offers: every public coroutine of it can be called by name; one that takes `tell` gets a Tell."""

    def kind_of(self, error: BaseException) -> Kind:
        """What a failure is, see `failures.Kind`."""


class Worker:
    """Serves the calls that come over `link` until the other side is gone."""

    def __init__(self, link: socket.socket, service: Service) -> None:
        self._link = link
        self._service = service
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._sending = threading.Lock()

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        reader = threading.Thread(target=self._read, args=(loop,), name="calls", daemon=True)
        reader.start()
        # The process ends from the reader, which notices also while a call keeps the loop busy.
        await asyncio.Event().wait()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        pending = b""
        try:
            while block := self._link.recv(_BLOCK):
                *lines, pending = (pending + block).split(b"\n")
                for line in lines:
                    loop.call_soon_threadsafe(self._take, json.loads(line))
        finally:
            # Nobody is left to answer to; what runs on the phone goes on there.
            os._exit(0)

    def _take(self, message: Mapping[str, Any]) -> None:
        if "cancel" in message:
            task = self._tasks.get(message["cancel"])
            if task is not None:
                task.cancel()
            return
        number = int(message["id"])
        self._tasks[number] = asyncio.create_task(self._answer(number, message))

    async def _answer(self, number: int, message: Mapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(float(message["limit_s"])):
                done = await self._call(number, str(message["call"]), message["with"])
        except TimeoutError:
            self._send({"id": number, "failed": {"kind": "limit", "text": ""}})
        except asyncio.CancelledError:
            self._send({"id": number, "failed": {"kind": "limit", "text": "it was cancelled"}})
        except Exception as error:  # noqa: BLE001
            # Whatever the library raised is an answer.
            kind = self._service.kind_of(error)
            self._send({"id": number, "failed": {"kind": kind, "text": _named(kind, error)}})
        else:
            self._send({"id": number, "done": done})
        finally:
            self._tasks.pop(number, None)

    def _call(self, number: int, name: str, arguments: Mapping[str, Any]) -> Awaitable[Any]:
        method = getattr(self._service, name, None)
        if name.startswith("_") or not inspect.iscoroutinefunction(method):
            raise ValueError(f"there is no call {name!r}")
        more: dict[str, Any] = {}
        if "tell" in inspect.signature(method).parameters:
            more["tell"] = _now_and_then(lambda done, total: self._send({"id": number, "progress": [done, total]}))
        found: Awaitable[Any] = method(**arguments, **more)
        return found

    def _send(self, message: Mapping[str, Any]) -> None:
        with self._sending:
            self._link.sendall(json.dumps(message).encode() + b"\n")


def _now_and_then(tell: Tell) -> Tell:
    """Tells at most so often: whoever waits looks a few times a second, and a transfer is not to be held up by it."""
    due = 0.0

    def told(done: int, total: int) -> None:
        nonlocal due
        now = time.monotonic()
        if now >= due or done >= total:
            due = now + TELL_EVERY_S
            tell(done, total)

    return told


def _named(kind: Kind, error: Exception) -> str:
    """The text of a failure; of a defect also where it came from."""
    if kind != "defect":
        return str(error)
    frames = []
    trace = error.__traceback__
    while trace is not None:
        frames.append(f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{type(error).__name__}: {error} (in {' > '.join(frames[-4:])})"


def run(make: Callable[[Mapping[str, Any]], Service], argv: list[str]) -> None:
    """Body of a worker process: `argv` is the service's settings as JSON."""
    link = socket.socket(fileno=os.dup(0))
    # What the library prints must not come between the answers, and nobody may read from the socket by accident.
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    service = make(json.loads(argv[0]))
    asyncio.run(Worker(link, service).serve())


def main() -> None:
    from device_agents.ios.service import PhoneService

    run(PhoneService.of_settings, sys.argv[1:])


if __name__ == "__main__":
    main()

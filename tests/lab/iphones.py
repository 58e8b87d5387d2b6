"""A virtual iPhone without its lab, with one small app that does as its first argument says."""

from __future__ import annotations

import asyncio
import plistlib
import socket
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from pymobiledevice3.dtx import DTXConnection
from pymobiledevice3.services.dvt.instruments.dvt_provider import DvtProvider

from device_agents.virtual.iphone import dvt
from device_agents.virtual.iphone.phone import Iphone
from device_agents.virtual.iphone.profiles import load
from device_agents.virtual.iphone.services import Incoming

BUNDLE = "org.farmbench.runner"
HELD_BYTES = 64 << 20
T = TypeVar("T")
_LIMIT_S = 60.0

# report FILE: tells how it was started; wait: until it is ended; hold: as that, with memory; spin: on one core;
# fall SIGNAL: dies of it.
_APP = """#!{python} -S
import json, os, signal, sys
print("ready", flush=True)
order = sys.argv[1] if len(sys.argv) > 1 else "wait"
if order == "report":
    told = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "token": os.environ.get("TOKEN")}}
    sys.stdout.write(json.dumps(told) + "\\n")
    sys.stderr.write("größer\\n")
    sys.exit(3)
if order == "fall":
    os.kill(os.getpid(), int(sys.argv[2]))
if order == "hold":
    held = bytearray(os.urandom(1 << 20) * ({held} >> 20))
    print("holding", flush=True)
while order == "spin":
    pass
signal.pause()
"""


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Run a test that awaits, with a limit."""
    asyncio.run(asyncio.wait_for(work(), _LIMIT_S))


def app(folder: Path) -> Path:
    """The unpacked app, in a new folder there."""
    made = folder / "FarmRunner.app"
    made.mkdir(parents=True)
    program = made / "FarmRunner"
    program.write_text(_APP.format(python=sys.executable, held=HELD_BYTES), encoding="utf-8")
    program.chmod(0o755)
    info = {"CFBundleIdentifier": BUNDLE, "CFBundleExecutable": "FarmRunner", "CFBundleVersion": "1"}
    (made / "Info.plist").write_bytes(plistlib.dumps(info))
    return made


@asynccontextmanager
async def phone_of(folder: Path, profile: str = "iphone-15-pro", *, udid: str = "") -> AsyncIterator[Iphone]:
    """A phone with the app; what runs on it ends with the block."""
    phone = Iphone(udid or "00008130-001A2B3C4D5E6F70", load(profile), folder)
    phone.register(app(phone.storage.bundles / str(uuid.uuid4()).upper()))
    try:
        yield phone
    finally:
        await phone.close()


@asynccontextmanager
async def instruments(phone: Iphone) -> AsyncIterator[DvtProvider]:
    """The client's provider over a plain connection to the phone's instruments server."""
    serving: set[asyncio.Task[Any]] = set()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)

    async def accept() -> None:
        loop = asyncio.get_running_loop()
        while True:
            connected, _ = await loop.sock_accept(listener)
            connected.setblocking(False)
            serving.add(asyncio.create_task(dvt.serve(phone, Incoming(connected))))

    serving.add(asyncio.create_task(accept()))
    try:
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        connection = DTXConnection(reader, writer)
        provider = DvtProvider(_Version(phone.profile.ios_version), dtx=connection)
        connection.sent_capabilities = provider.sent_capabilities
        try:
            await connection.connect()
            yield provider
        finally:
            await connection.aclose()
    finally:
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        listener.close()


@asynccontextmanager
async def elsewhere(manager: AbstractAsyncContextManager[T]) -> AsyncIterator[tuple[T, Callable[..., Awaitable[Any]]]]:
    """Enter a context in an event loop of its own, for a client that blocks its loop; also gives what awaits there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def there(work: Coroutine[Any, Any, Any]) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))

    async def enter() -> T:
        return await manager.__aenter__()

    async def leave() -> None:
        await manager.__aexit__(None, None, None)

    try:
        entered = await there(enter())
        try:
            yield entered, there
        finally:
            await there(leave())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(thread.join)
        loop.close()


class _Version:
    def __init__(self, version: str) -> None:
        self.product_version = version

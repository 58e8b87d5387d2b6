"""Files of one iPhone over AFC: an app's Documents, the media folder, and the reports of crashes."""

from __future__ import annotations

import asyncio
import os
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from pymobiledevice3 import exceptions as library
from pymobiledevice3.services.afc import AFC_LOCK_EX, AFC_LOCK_UN, AfcError, AfcOpcode, AfcService
from pymobiledevice3.services.house_arrest import HouseArrestService

from device_agents.ios.client.kinds import kind_of
from device_agents.ios.client.link import Link
from device_agents.ios.failures import Refused
from device_agents.ios.worker import Tell

MEDIA = "media"
"""Area of the phone that is there without any app: /var/mobile/Media."""

CRASHES = "crashes"
"""Area with the reports of crashes and kills. Every other area is the Documents folder of an app, by its bundle."""

_CRASH_SERVICE = "com.apple.crashreportcopymobile"
_DOCUMENTS = "/Documents"

WRITE_BYTES = 1 << 20
IN_FLIGHT = 8
"""Packets of a push that are under way at once, so that the link is never idle while the phone writes. The library
itself waits for an answer after every 4 MiB."""

_LOCK_EVERY_S = 0.05


class Areas:
    """The file services of one iPhone; an area whose connection broke is opened again by the next call."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._open: dict[str, Any] = {}
        self._opening = asyncio.Lock()

    # --- files --------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def area(self, area: str) -> AsyncIterator[Any]:
        """The file service of an area; a connection that failed in any way but by an answer is not used again."""
        afc = await self._opened(area)
        try:
            yield afc
        except library.AfcException:
            raise
        except BaseException:
            if self._open.get(area) is afc:
                del self._open[area]
            with suppress(Exception):
                await afc.aclose()
            raise

    async def _opened(self, area: str) -> Any:
        async with self._opening:
            known = self._open.get(area)
            if known is not None and known._afc_terminated.is_set():
                # The cable was away for a moment, or the muxer: nothing was lost with this connection.
                del self._open[area]
                with suppress(Exception):
                    await known.aclose()
            if area not in self._open:
                self._open[area] = await self._new(area)
            return self._open[area]

    async def _new(self, area: str) -> Any:
        async with self._link.lockdown() as lockdown:
            if area == MEDIA:
                opened = AfcService(lockdown)
            elif area == CRASHES:
                opened = AfcService(lockdown, service_name=_CRASH_SERVICE)
            else:
                opened = await HouseArrestService.create(lockdown, area, documents_only=True)
            await opened.connect()
        return opened

    async def forget_apps(self) -> None:
        """Drop the connections to apps' folders, one of which has just been replaced."""
        for area in [area for area in self._open if area not in (MEDIA, CRASHES)]:
            with suppress(Exception):
                await self._open.pop(area).aclose()

    @asynccontextmanager
    async def _file(self, area: str, path: str, mode: str) -> AsyncIterator[tuple[Any, int]]:
        """An open file: the service and its handle. After a broken connection there is nothing to close."""
        async with self.area(area) as afc:
            handle = await afc.fopen(self.place(area, path), mode)
            try:
                yield afc, handle
            except library.AfcException:
                with suppress(library.AfcException):
                    await afc.fclose(handle)
                raise
            await afc.fclose(handle)

    def place(self, area: str, path: str) -> str:
        """A path as the area's file service takes it."""
        inner = path.strip("/")
        return f"/{inner}" if area in (MEDIA, CRASHES) else f"{_DOCUMENTS}/{inner}".rstrip("/")

    async def stat(self, area: str, path: str) -> dict[str, Any] | None:
        """size, mtime (Unix seconds) and folder of a path, None where there is nothing."""
        async with self.area(area) as afc:
            try:
                found = await afc.stat(self.place(area, path))
            except library.AfcFileNotFoundError:
                return None
            return {
                "size": int(found["st_size"]),
                "mtime": found["st_mtime"].timestamp(),
                "folder": found.get("st_ifmt") == "S_IFDIR",
            }

    async def listing(self, area: str, path: str) -> dict[str, dict[str, Any]]:
        """Name → what `stat` says, of everything in a folder; empty where there is none."""
        async with self.area(area) as afc:
            try:
                names = await afc.listdir(self.place(area, path))
            except library.AfcException as error:
                # A folder that is not there is told in two ways.
                if error.status in (AfcError.OBJECT_NOT_FOUND, AfcError.READ_ERROR):
                    return {}
                raise
        found = {}
        for name in names:
            about = await self.stat(area, f"{path}/{name}")
            if about is not None:
                found[str(name)] = about
        return found

    async def make_folder(self, area: str, path: str) -> None:
        async with self.area(area) as afc:
            await afc.makedirs(self.place(area, path))

    async def rename(self, area: str, path: str, target: str) -> None:
        async with self.area(area) as afc:
            await afc.rename(self.place(area, path), self.place(area, target))

    async def remove(self, area: str, path: str) -> None:
        """Remove a file or a folder with all in it; fine when there is nothing."""
        about = await self.stat(area, path)
        if about is None:
            return
        if about["folder"]:
            for name in await self.listing(area, path):
                await self.remove(area, f"{path}/{name}")
        async with self.area(area) as afc:
            with suppress(library.AfcFileNotFoundError):
                await afc.rm_single(self.place(area, path))

    async def touch(self, area: str, path: str, at: float) -> None:
        """Set the time of the last change, Unix seconds."""
        async with self.area(area) as afc:
            name = self.place(area, path).encode() + b"\0"
            # The library names this operation and has no method for it.
            await afc._do_operation(AfcOpcode.SET_FILE_TIME, struct.pack("<Q", int(at * 1e9)) + name)

    async def free_bytes(self, area: str) -> int | None:
        async with self.area(area) as afc:
            said = (await afc.get_device_info()).get("FSFreeBytes")
            return int(said) if said is not None and str(said).isdigit() else None

    async def read(self, area: str, path: str, most: int) -> bytes:
        """The first `most` bytes of a file."""
        async with self._file(area, path, "r") as (afc, handle):
            return bytes(await afc.fread(handle, most))

    async def write(self, area: str, path: str, content: bytes) -> None:
        async with self._file(area, path, "w") as (afc, handle):
            await afc.fwrite(handle, content)

    async def pull(self, area: str, path: str, into: Path, *, most: int, offset: int = 0) -> int:
        """Copy a file to this host, from `offset` on and `most` bytes of it; returns how many."""
        about = await self.stat(area, path)
        left = 0 if about is None else min(most, max(0, int(about["size"]) - offset))
        done = 0
        async with self._file(area, path, "r") as (afc, handle):
            if offset:
                await afc.fseek(handle, offset)
            with into.open("wb") as sink:
                while done < left:
                    block = await afc.fread(handle, min(WRITE_BYTES, left - done))
                    if not block:
                        break
                    done += sink.write(block)
        return done

    async def push(self, area: str, path: str, source: Path, *, offset: int, length: int, tell: Tell) -> None:
        """Write a file of this host from `offset` for `length` bytes to the same place of a file of the phone."""
        # A connection of its own: one that is given up in the middle of a packet is of no use to anybody else.
        afc = await self._new(area)
        try:
            handle = await afc.fopen(self.place(area, path), "r+" if offset else "w")
            if offset:
                await afc.fseek(handle, offset)
            with source.open("rb", buffering=0) as file:
                file.seek(offset)
                done = await _stream(file.read, length, lambda data: afc.fwrite(handle, data), tell)
                if done != length or os.fstat(file.fileno()).st_size != offset + length:
                    raise Refused("changed", f"{source.name} changed its size while it was sent")
            await afc.fclose(handle)
        finally:
            with suppress(Exception):
                await afc.aclose()

    @asynccontextmanager
    async def locked(self, area: str, path: str) -> AsyncIterator[None]:
        """Hold the lock of a file, which the phone gives back when the connection is lost."""
        async with self._file(area, path, "a+") as (afc, handle):
            while True:
                try:
                    await afc.lock(handle, AFC_LOCK_EX)
                    break
                except library.AfcException as error:
                    if kind_of(error) != "busy":
                        raise
                    await asyncio.sleep(_LOCK_EVERY_S)
            yield
            await afc.lock(handle, AFC_LOCK_UN)


async def _stream(read: Callable[[int], bytes], length: int, write: Callable[[bytes], Any], tell: Tell) -> int:
    """Write what is read, several packets at a time, in order; returns the bytes that were taken.

    The library sends the packets of concurrent writes in the order in which they were begun.
    """
    flying: deque[tuple[asyncio.Task[None], int]] = deque()
    left, done = length, 0
    try:
        while left or flying:
            while left and len(flying) < IN_FLIGHT:
                data = read(min(WRITE_BYTES, left))
                if not data:
                    left = 0
                    break
                left -= len(data)
                flying.append((asyncio.create_task(write(data)), len(data)))
            if flying:
                task, size = flying.popleft()
                await task
                done += size
                tell(done, length)
    finally:
        for task, _ in flying:
            task.cancel()
        await asyncio.gather(*(task for task, _ in flying), return_exceptions=True)
    return done

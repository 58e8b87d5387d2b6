"""How fast farm pushes a model to an iPhone, against the client library's own push of the same file.

A file of 300 MB that does not compress, as quantized weights do not, goes into the Documents of the app on a virtual
iPhone, over a cable that the lab holds to 40 MB/s (USB 2, as most iPhones have) and over one that is not held. The
library's way is `pymobiledevice3`'s own `push`, which waits for the phone's answer after every 4 MiB. farm's push is
the call of its worker that every deploy makes; its deploy (`Files.ensure` of the phone's agent) also asks what is
there, has the app hash the file, and renames it. They alternate; each value is the median over the rounds of a ratio of
two neighbours.

The ceiling is told, too, on the cable that is not held: the library's own packets with more of them under way, a client
that sends without ever waiting for an answer, and the same bytes through a plain loopback socket.

Asked (the project's own limit): the push at least 0.95 of the speed of the library's, on each cable.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from common import Finding, alternate, finding, iphones, main, ratios, say, timed
from deploy import make_file
from pymobiledevice3.lockdown import create_using_usbmux
from pymobiledevice3.services.afc import AfcOpcode
from pymobiledevice3.services.house_arrest import HouseArrestService

from device_agents.agents import open_agent
from device_agents.ios.client.areas import IN_FLIGHT, WRITE_BYTES
from device_agents.ios.discovery import discover
from device_agents.ios.phone import Phone
from device_agents.virtual.iphone.lab import IphoneInfo
from harness.artifacts.hashing import sha256_of
from harness.cache import cache_dir
from harness.errors import ErrorClass, Permanent
from harness.model import MEGABYTE, Artifact, ArtifactFile, Lab
from harness.supply import virtual_ipa

LIMIT = 0.95
LIMIT_S = 600.0
USB_2 = 40.0
"""MB/s."""

PLAIN, OURS = "plain.gguf", "ours.gguf"
LIBRARY_BYTES = 4 << 20
"""What the library sends before it waits."""

_AFC_HEAD = struct.Struct("<8sQQQQ")
_AFC_MAGIC = b"CFA6LPAA"


class Rivals:
    """The ways to bring one file into the app's Documents on one phone.

    Args:
        records: folder in which the library may keep a pairing record.
    """

    def __init__(self, info: IphoneInfo, lab: Lab, model: Artifact, records: Path) -> None:
        self._udid = info.udid
        self._records = records
        self._model = model
        (self._file,) = model.files
        app = virtual_ipa.build(say=say)
        attached = next((each for each in discover(lab) if each.serial == info.udid), None)
        if attached is None:
            raise Permanent(f"{info.udid} is not attached", error_class=ErrorClass.DEVICE_LOST)
        self._agent = open_agent(attached, lab)
        digest = sha256_of(app.file, cache_dir())
        package = ArtifactFile(app.file.name, str(app.file), app.file.stat().st_size, digest)
        self._agent.files.ensure(Artifact("runner", digest, (package,)), keep=frozenset(), limit_s=LIMIT_S)
        self._phone = Phone(info.udid, lab)
        self._phone.bundle = app.bundle

    def library(self) -> float:
        """Seconds of the library's own push, from opening the app's Documents on, as farm's push counts."""
        return asyncio.run(
            self._by_library(
                lambda afc: afc.push(self._file.path, f"/Documents/{PLAIN}", progress_bar=False), opening=True
            )
        )

    def in_flight(self, size: int, count: int) -> float:
        """Seconds of the library's packets of `size` bytes, `count` of them under way."""
        return asyncio.run(self._by_library(lambda afc: self._many(afc, size, count)))

    def unhindered(self) -> float:
        """Seconds of a client that sends without ever waiting for an answer."""
        return asyncio.run(self._by_library(self._only_send))

    def push(self) -> float:
        """Seconds of farm's push."""
        taken = timed(
            lambda: self._phone.ask(
                "push",
                area=self._phone.bundle,
                path=OURS,
                source=self._file.path,
                offset=0,
                length=self._file.size,
                limit_s=LIMIT_S,
            )
        )
        self._phone.remove(OURS, limit_s=LIMIT_S)
        return taken

    def deploy(self) -> float:
        """Seconds of farm's deploy of a file that the phone does not have."""
        place = ""

        def ensure() -> None:
            nonlocal place
            done = self._agent.files.ensure(self._model, keep=frozenset(), limit_s=LIMIT_S)
            place = done.path
            if done.pushed_bytes != self._file.size:
                raise Permanent(f"{done.pushed_bytes} bytes were pushed", error_class=ErrorClass.PUSH_FAILED)

        taken = timed(ensure)
        self._phone.remove(place, limit_s=LIMIT_S)
        return taken

    def close(self) -> None:
        """End the workers."""
        self._agent.close()
        self._phone.close()

    async def _by_library(self, send: Callable[[Any], Awaitable[None]], *, opening: bool = False) -> float:
        """Seconds of `send`, and of opening the file service where that counts; the file is removed afterwards."""
        lockdown = await create_using_usbmux(serial=self._udid, pairing_records_cache_folder=self._records)
        try:
            begun = time.perf_counter()
            afc = await HouseArrestService.create(lockdown, self._phone.bundle, documents_only=True)
            try:
                begun = begun if opening else time.perf_counter()
                await send(afc)
                taken = time.perf_counter() - begun
                await afc.rm_single(f"/Documents/{PLAIN}")
                return taken
            finally:
                await afc.aclose()
        finally:
            await lockdown.close()

    async def _many(self, afc: Any, size: int, count: int) -> None:
        handle = await afc.fopen(f"/Documents/{PLAIN}", "w")
        flying: deque[asyncio.Task[None]] = deque()
        with Path(self._file.path).open("rb", buffering=0) as file:
            while data := file.read(size):
                if len(flying) == count:
                    await flying.popleft()
                flying.append(asyncio.create_task(afc.fwrite(handle, data)))
        await asyncio.gather(*flying)
        await afc.fclose(handle)

    async def _only_send(self, afc: Any) -> None:
        """Packets as fast as the socket takes them; their answers are read, and have to be there in the end."""
        handle = await afc.fopen(f"/Documents/{PLAIN}", "w")
        pending = afc._afc_pending
        packets = -(-self._file.size // WRITE_BYTES)
        answers = [asyncio.get_running_loop().create_future() for _ in range(packets)]
        with Path(self._file.path).open("rb", buffering=0) as file:
            for answer in answers:
                data = file.read(WRITE_BYTES)
                number, size = afc.packet_num, _AFC_HEAD.size + 8 + len(data)
                pending[number] = answer
                afc.packet_num += 1
                # The library joins head and data, which copies each packet once more.
                head = _AFC_HEAD.pack(_AFC_MAGIC, size, _AFC_HEAD.size + 8, number, int(AfcOpcode.WRITE))
                afc.service.writer.writelines((head, struct.pack("<Q", handle), data))
                await afc.service.writer.drain()
        statuses = [status for status, _ in await asyncio.gather(*answers)]
        if any(int(status) for status in statuses):
            raise Permanent("the phone refused a packet", error_class=ErrorClass.PUSH_FAILED)
        await afc.fclose(handle)


def loopback(file: Path) -> float:
    """Seconds of a file through a plain socket of this machine to somebody who throws it away."""

    def take(server: socket.socket) -> None:
        connected, _ = server.accept()
        room = bytearray(WRITE_BYTES)
        with connected:
            while connected.recv_into(room):
                pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        reader = threading.Thread(target=take, args=(server,))
        reader.start()
        begun = time.perf_counter()
        with socket.create_connection(server.getsockname()) as link, file.open("rb", buffering=0) as content:
            while data := content.read(WRITE_BYTES):
                link.sendall(data)
        reader.join()
        return time.perf_counter() - begun


def compare(rivals: Rivals, name: str, rounds: int, size: int) -> list[Finding]:
    """farm's speed as a share of the library's, over the cable as it is now."""
    say(f"cable: {name}")
    library = "the library's push"
    taken = alternate(rounds, {library: rivals.library, "farm's push": rivals.push, "farm's deploy": rivals.deploy})
    detail = ", ".join(f"{way} {_speed(size, seconds):.0f} MB/s" for way, seconds in taken.items())
    return [
        finding(
            f"{name}: speed of push / the library's",
            ratios(taken[library], taken["farm's push"]),
            limit=LIMIT,
            at_least=True,
            detail=detail,
        ),
        finding(f"{name}: speed of deploy / the library's push", ratios(taken[library], taken["farm's deploy"])),
    ]


def ceiling(rivals: Rivals, file: Path, rounds: int, size: int) -> list[Finding]:
    """What the way itself allows, and what waiting for each answer costs."""
    say("ceiling")
    waits = f"{LIBRARY_BYTES >> 20} MiB, then wait"
    ways: dict[str, Callable[[], float]] = {
        waits: lambda: rivals.in_flight(LIBRARY_BYTES, 1),
        f"{LIBRARY_BYTES >> 20} MiB, 4 under way": lambda: rivals.in_flight(LIBRARY_BYTES, 4),
        f"{WRITE_BYTES >> 20} MiB, {IN_FLIGHT} under way": lambda: rivals.in_flight(WRITE_BYTES, IN_FLIGHT),
        "never waiting": rivals.unhindered,
        "loopback socket": lambda: loopback(file),
    }
    taken = alternate(rounds, ways)
    found = [finding(f"ceiling: {way}", [size / MEGABYTE / each for each in taken[way]], "MB/s") for way in ways]
    return [
        *found,
        finding("ceiling: share that waiting costs", [1 - r for r in ratios(taken["never waiting"], taken[waits])], ""),
    ]


def _speed(size: int, seconds: list[float]) -> float:
    return size / MEGABYTE / statistics.median(seconds)


def program(chosen: argparse.Namespace) -> list[Finding]:
    """Push over each cable, then look for the ceiling."""
    size = int(chosen.mb * MEGABYTE)
    findings: list[Finding] = []
    with tempfile.TemporaryDirectory(prefix="farm-bench-") as folder, iphones(["iphone-15-pro"]) as (own, info):
        model = make_file(Path(folder) / "model.gguf", size)
        rivals = Rivals(info.phones[0], Lab(usbmux=info.usbmux), model, Path(folder) / "records")
        try:
            rivals.library()
            for rate in (USB_2, None):
                own.order("link_rate", info.phones[0].id, bytes_per_s=rate * MEGABYTE if rate else None)
                # Without a limit a push is so short that whatever else runs shows.
                rounds = chosen.rounds if rate else 2 * chosen.rounds + 1
                findings += compare(rivals, f"{rate:g} MB/s" if rate else "no limit", rounds, size)
            findings += ceiling(rivals, Path(model.files[0].path), chosen.rounds, size)
        finally:
            rivals.close()
    return findings


def options(parser: argparse.ArgumentParser) -> None:
    """Options of this program."""
    parser.add_argument("--mb", type=float, default=300.0, help="size of the file in MB (10^6 bytes)  [default: 300]")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each comparison  [default: 5]")


if __name__ == "__main__":
    main(program, sys.modules[__name__].__doc__ or "", options)

"""An adb server of the lab's own, and the few words of its protocol that the lab needs."""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import psutil

from device_agents.virtual.errors import LabError

FIRST_PORT = 7000
"""Above what any adb server scans for emulators by itself (5555 to 5585)."""

_LAST_PORT = 7999
_PR_SET_PDEATHSIG = 1
_START_TRIES = 5
_START_LIMIT_S = 10.0
_END_LIMIT_S = 2.0


def environment(port: int, home: Path) -> dict[str, str]:
    """What an adb client (or a server it starts) needs to be part of this lab and of nothing else.

    The host is spelled `localhost`: adb takes `127.0.0.1` for another machine and then refuses to start a server.
    """
    return {
        "ADB_SERVER_SOCKET": f"tcp:localhost:{port}",
        "ANDROID_ADB_SERVER_PORT": str(port),
        "ANDROID_USER_HOME": str(home),
        "ADB_MDNS": "0",
        "ADB_USB": "0",
        "ADB_LOCAL_TRANSPORT_MAX_PORT": "5554",
    }


def adb_binary() -> str:
    """The adb that adbutils uses: the one bundled with it, or ADBUTILS_ADB_PATH."""
    from adbutils import adb_path

    return str(adb_path())


def listen() -> socket.socket:
    """A listening loopback socket on a free port for a phone's cable.

    Raises:
        LabError: every port of the range is taken.
    """
    count = _LAST_PORT - FIRST_PORT + 1
    # Labs that start at the same time begin at different places.
    first = secrets.randbelow(count)
    for offset in range(count):
        port = FIRST_PORT + (first + offset) % count
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(("127.0.0.1", port))
            made.listen(32)
        except OSError:
            made.close()
            continue
        return made
    raise LabError(f"no free port between {FIRST_PORT} and {_LAST_PORT}", advice="take other labs down")


def start(port: int, home: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start the server on `port`; it dies with this process."""
    home.mkdir(parents=True, exist_ok=True)
    libc = ctypes.CDLL(None)

    def die_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("ADB", "ANDROID_"))}
    with log.open("ab") as output:
        return subprocess.Popen(
            [adb_binary(), "nodaemon", "server"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, nothing that could wait for a lock
            env={**inherited, "HOME": str(home), **environment(port, home)},
        )


async def start_anywhere(home: Path, log: Path) -> tuple[int, subprocess.Popen[bytes]]:
    """Start the server on a free port and wait until it listens there.

    Raises:
        LabError: it does not.
    """
    for _ in range(_START_TRIES):
        with listen() as probe:
            port: int = probe.getsockname()[1]
        server = start(port, home, log)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _START_LIMIT_S
        while server.poll() is None and loop.time() < deadline:
            if _listens(server.pid, port):
                return port, server
            await asyncio.sleep(0.02)
        # Somebody else took the port between the probe and the start.
        server.kill()
        server.wait()
    raise LabError(f"the adb server does not start; it says why in {log}", advice="check the adb binary")


def end(port: int) -> None:
    """End whatever adb server listens on `port`: one that a client started there after the lab's own had gone."""
    request = b"host:kill"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_END_LIMIT_S) as asked:
            asked.sendall(f"{len(request):04x}".encode() + request)
            while asked.recv(64):
                pass
    except OSError:
        # Nothing listens, which is what is wanted.
        return


def _listens(pid: int, port: int) -> bool:
    try:
        sockets = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return False
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in sockets)


async def _open(port: int, request: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{len(request):04x}{request}".encode())
        if await reader.readexactly(4) != b"OKAY":
            raise ConnectionError((await _text(reader)) or "the adb server refused")
    except BaseException:
        writer.close()
        raise
    return reader, writer


async def _text(reader: asyncio.StreamReader) -> str:
    size = int(await reader.readexactly(4), 16)
    return (await reader.readexactly(size)).decode(errors="replace")


async def ask(port: int, request: str) -> str:
    """One request to the server, e.g. "host:connect:127.0.0.1:7001"; its answer.

    Raises:
        OSError: the server is not there or refused.
    """
    try:
        reader, writer = await _open(port, request)
        with_text = not request.startswith("host:kill")
        try:
            return await _text(reader) if with_text else ""
        finally:
            writer.close()
    except (asyncio.IncompleteReadError, ValueError) as cut:
        raise ConnectionError("the adb server ended the connection") from cut


async def track(port: int) -> AsyncIterator[dict[str, str]]:
    """Serial → state of every phone the server lists, each time that changes; ends with the server.

    Raises:
        OSError: the server is not there.
    """
    reader, writer = await _open(port, "host:track-devices")
    try:
        while True:
            listed = await _text(reader)
            yield dict(line.split("\t", 1) for line in listed.splitlines() if "\t" in line)
    except (asyncio.IncompleteReadError, ValueError):
        return
    finally:
        writer.close()


async def shell_answers(port: int, serial: str) -> bool:
    """Whether a command on the phone gives its output."""
    try:
        reader, writer = await _open(port, f"host:transport:{serial}")
        try:
            request = "exec:echo up"
            writer.write(f"{len(request):04x}{request}".encode())
            return await reader.readexactly(4) == b"OKAY" and (await reader.read(16)).strip() == b"up"
        finally:
            writer.close()
    except (OSError, asyncio.IncompleteReadError):
        return False

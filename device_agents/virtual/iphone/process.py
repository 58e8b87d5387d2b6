"""The real local processes behind a virtual iPhone's apps."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

Stream = Literal["stdout", "stderr"]
LOADER = "ld-linux*.so.*"
"""File of an app that starts its program with the C library beside it."""

_KEPT_BYTES = 4_000_000
_TICKS = os.sysconf("SC_CLK_TCK")

# Ties the process to this one before it becomes the app: an app must not outlive its phone, whatever ends the phone.
_START = """
import ctypes, json, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    os._exit(127)
os.execve(sys.argv[3], sys.argv[3:], json.loads(sys.argv[2]))
"""


class Output:
    """What a process wrote, kept up to a limit so that whoever asks late still gets it."""

    def __init__(self) -> None:
        self._chunks: deque[tuple[Stream, bytes]] = deque()
        self._first = 0
        self._bytes = 0
        self._open = 2
        self._news = asyncio.Event()

    def put(self, stream: Stream, data: bytes) -> None:
        self._chunks.append((stream, data))
        self._bytes += len(data)
        while self._bytes > _KEPT_BYTES and len(self._chunks) > 1:
            self._bytes -= len(self._chunks.popleft()[1])
            self._first += 1
        self._wake()

    def close_one(self) -> None:
        """One of the two streams has ended."""
        self._open -= 1
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def read(self) -> AsyncIterator[tuple[Stream, bytes]]:
        """Everything kept and everything to come, until both streams have ended."""
        position = self._first
        while True:
            position = max(position, self._first)
            if position < self._first + len(self._chunks):
                yield self._chunks[position - self._first]
                position += 1
            elif self._open <= 0:
                return
            else:
                await self._news.wait()


class Process:
    """One run of an app.

    Args:
        pid: of the real local process, also the phone's; bundle: its app; name: of the executable; started: wall clock
            in seconds; exit_code, signal: one of them is known once it has ended; ending: it was killed, and
            may not be gone yet.
    """

    def __init__(self, running: asyncio.subprocess.Process, bundle: str, name: str) -> None:
        self.pid = running.pid
        self.bundle = bundle
        self.name = name
        self.started = time.time()
        self.exit_code: int | None = None
        self.signal: int | None = None
        self.frontmost = True
        self.ending = False
        self.output = Output()
        self.cpu_s = 0.0
        self._running = running
        self._ended = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def alive(self) -> bool:
        return not self._ended.is_set()

    async def wait(self) -> None:
        """Until it has ended and all that it wrote has been read."""
        await self._ended.wait()

    def watch(self, ended: Callable[[Process], None]) -> None:
        """Read its output and call `ended` once at its end."""
        assert self._running.stdout is not None and self._running.stderr is not None
        readers = [
            asyncio.create_task(self._read("stdout", self._running.stdout)),
            asyncio.create_task(self._read("stderr", self._running.stderr)),
        ]
        self._tasks = [*readers, asyncio.create_task(self._await_end(readers, ended))]

    async def _read(self, stream: Stream, pipe: asyncio.StreamReader) -> None:
        try:
            while data := await pipe.read(65536):
                self.output.put(stream, data)
        finally:
            self.output.close_one()

    async def _await_end(self, readers: Sequence[asyncio.Task[None]], ended: Callable[[Process], None]) -> None:
        code = await self._running.wait()
        # A child that it left behind may hold the pipes open; nothing of an app outlives it on an iPhone.
        self.send(signal.SIGKILL)
        await asyncio.wait(readers, timeout=2.0)
        self.exit_code, self.signal = (code, None) if code >= 0 else (None, -code)
        self._ended.set()
        ended(self)

    def send(self, signum: int) -> None:
        """Send a signal to it and all that it started."""
        self.ending = self.ending or signum == signal.SIGKILL
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signum)


async def start(
    executable: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    folder: Path,
    bundle: str,
) -> Process:
    """Start an app's executable in `folder`; it ends when this process ends. An app that brings a C library is started
    by the loader that it brings.

    Raises:
        OSError: it cannot be started.
    """
    if not os.access(executable, os.X_OK):
        raise PermissionError(f"{executable.name} is not an executable file")
    loader = next(iter(sorted(executable.parent.glob(LOADER))), None)
    words = (str(loader), "--library-path", str(executable.parent)) if loader is not None else ()
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        "-c",
        _START,
        str(os.getpid()),
        json.dumps(dict(environment)),
        *words,
        str(executable),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env={"LC_ALL": "C"},
        start_new_session=True,
    )
    return Process(running, bundle, executable.name)


def usage(pid: int) -> tuple[float, int]:
    """CPU seconds used so far, and bytes of memory that are the process's own and cannot be dropped: what iOS calls
    physical footprint. Pages of a mapped file do not count, as there.

    Raises:
        ProcessLookupError: there is no such process.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError as gone:
        raise ProcessLookupError(f"no process {pid}") from gone
    if len(fields) < 13 or fields[0] in (b"Z", b"X"):
        raise ProcessLookupError(f"process {pid} has ended")
    kb = 0
    for line in status.splitlines():
        if line.startswith((b"RssAnon:", b"RssShmem:", b"VmSwap:")):
            kb += int(line.split()[1])
    return (int(fields[11]) + int(fields[12])) / _TICKS, kb * 1024

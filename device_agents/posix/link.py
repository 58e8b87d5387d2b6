"""The way to a device's shell, and the shell protocol on top of it."""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Protocol

from device_agents.base import Progress, ShellResult
from harness.errors import ErrorClass, Permanent, Transient

STALL_S = 15.0
"""A transfer that moves no byte for this long is given up: USB links recover within a few seconds or not at all."""

COMMAND_BYTES_MAX = 60_000
"""adb's protocol names a command with four hexadecimal digits of length."""

_CHUNK = 1 << 20


class Running(Protocol):
    """A command under way on the device."""

    def wait(self, *, limit_s: float) -> ShellResult:
        """Its end; raises Transient when the link is lost or the limit is reached (then it is killed)."""

    def kill(self) -> None:
        """Stop waiting for it; fine when it has ended."""


class Link(Protocol):
    """Commands and bytes to one device. `name` stands in messages."""

    name: str

    def start(self, argv: Sequence[str], *, stdin: bytes | None = None) -> Running:
        """Start a command whose arguments arrive as they are."""

    def pour(
        self, argv: Sequence[str], source: Path, *, offset: int, length: int, limit_s: float, progress: Progress | None
    ) -> bytes:
        """Send `length` bytes of `source` from `offset` to the standard input of a command that ends by itself after
        that many bytes; returns what it printed. `progress` counts from 0 to `length`."""

    def lost_with_processes(self) -> ErrorClass:
        """The class of "every process of ours is gone though the device did not restart"."""


def check_command_size(command: str, device: str) -> None:
    """Raise Permanent when `command` is longer than a link can carry."""
    size = len(command.encode("utf-8", "surrogateescape"))
    if size > COMMAND_BYTES_MAX:
        raise Permanent(
            f"{device}: a command of {size} bytes is longer than adb can carry ({COMMAND_BYTES_MAX})",
            error_class=ErrorClass.INTERNAL,
            advice="pass the data on standard input or as a file",
            device=device,
        )


class LinkShell:
    """`device_agents.base.Shell` over a link."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def run(self, argv: Sequence[str], *, limit_s: float, stdin: bytes | None = None) -> ShellResult:
        return self._link.start(argv, stdin=stdin).wait(limit_s=limit_s)

    def script(self, text: str, *args: str, limit_s: float, stdin: bytes | None = None) -> ShellResult:
        return self.run(("sh", "-c", text, "farm", *args), limit_s=limit_s, stdin=stdin)


def text_of(name: str) -> str:
    """Text of a script of this package, e.g. "supervisor.sh"."""
    return resources.files(__package__).joinpath("scripts", name).read_text("utf-8")


def shell_path(*parts: str) -> str:
    """Join parts of a path on the device."""
    return "/".join(part.rstrip("/") if index == 0 else part for index, part in enumerate(parts))


def run_checked(link: Link, text: str, *args: str, limit_s: float, stdin: bytes | None = None, doing: str) -> bytes:
    """Standard output of a script that has to succeed.

    Raises:
        Transient: the link is lost, or the script failed (class INTERNAL names what it was `doing`).
    """
    result = LinkShell(link).script(text, *args, limit_s=limit_s, stdin=stdin)
    if result.exit_code != 0:
        said = result.stderr.decode("utf-8", "replace").strip()[-400:]
        raise Transient(
            f"{link.name}: {doing} failed with exit code {result.exit_code}: {said or 'no message'}",
            error_class=ErrorClass.INTERNAL,
            device=link.name,
        )
    return result.stdout


class Pump:
    """Sends a part of a file to a non-blocking descriptor, with a watchdog for bytes that no longer move.

    Args:
        sink: descriptor to write to. answer: descriptor on which the other side may speak or hang up.
    """

    def __init__(self, sink: int, answer: int, device: str) -> None:
        self._sink = sink
        self._answer = answer
        self._device = device
        self.said = bytearray()
        os.set_blocking(sink, False)
        os.set_blocking(answer, False)

    def send(self, source: Path, offset: int, length: int, *, deadline: float, progress: Progress | None) -> bool:
        """True when all bytes were taken; False when the other side hung up before."""
        sent = 0
        with source.open("rb") as file, selectors.DefaultSelector() as selector:
            file.seek(offset)
            if self._sink == self._answer:
                selector.register(self._sink, selectors.EVENT_READ | selectors.EVENT_WRITE)
            else:
                selector.register(self._sink, selectors.EVENT_WRITE)
                selector.register(self._answer, selectors.EVENT_READ)
            waiting = memoryview(b"")
            while sent < length:
                ready = selector.select(_patience(deadline, self._device, "the transfer"))
                if not ready:
                    raise stalled(self._device, f"no byte moved for {STALL_S:.0f} s after {sent} of {length}")
                spoke = any(key.fd == self._answer and mask & selectors.EVENT_READ for key, mask in ready)
                if spoke and not self._hear():
                    return False
                if not any(key.fd == self._sink and mask & selectors.EVENT_WRITE for key, mask in ready):
                    continue
                if not waiting:
                    waiting = memoryview(file.read(min(_CHUNK, length - sent)))
                    if not waiting:
                        raise Permanent(
                            f"{source.name} became shorter while it was sent",
                            error_class=ErrorClass.PUSH_FAILED,
                            advice="leave the file alone while it is deployed",
                            device=self._device,
                        )
                try:
                    taken = os.write(self._sink, waiting)
                except BlockingIOError:
                    continue
                except OSError:
                    return False
                waiting = waiting[taken:]
                sent += taken
                if progress is not None:
                    progress(sent, length)
        return True

    def drain(self, *, deadline: float) -> None:
        """Read until the other side hangs up."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._answer, selectors.EVENT_READ)
            while True:
                if not selector.select(_patience(deadline, self._device, "the end of the transfer")):
                    raise stalled(self._device, f"the device did not confirm the transfer within {STALL_S:.0f} s")
                if not self._hear():
                    return

    def _hear(self) -> bool:
        try:
            heard = os.read(self._answer, 65536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.said += heard
        return bool(heard)


def stalled(device: str, what: str) -> Transient:
    """The error of a link that is there and moves nothing."""
    return Transient(
        f"{device}: {what}",
        error_class=ErrorClass.TRANSPORT_STALLED,
        advice="check cable and hub; farm tries again",
        device=device,
    )


def _patience(deadline: float, device: str, what: str) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise Transient(
            f"{device}: {what} took longer than its limit",
            error_class=ErrorClass.TIMED_OUT,
            advice="raise the limit or check the speed of the link",
            device=device,
        )
    return min(left, STALL_S)


def end_process(process: subprocess.Popen[bytes], *, group: bool = False) -> None:
    """Kill a process that we started (its whole group when it leads one) and reap it."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)


def quoted(argv: Sequence[str]) -> str:
    """One command line in which every element of `argv` stands as data."""
    return shlex.join(argv)

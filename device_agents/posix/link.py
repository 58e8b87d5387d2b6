"""The way to a device's shell, and the shell protocol on top of it."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import IO, Protocol

from device_agents.base import Progress, ShellResult
from harness.errors import ErrorClass, Permanent, Transient

STALL_S = 30.0
"""A transfer that moves no byte for this long is given up: links recover within seconds or not at all, and what adb
holds in its buffers at the end passes within seconds even over Wi-Fi."""

COMMAND_BYTES_MAX = 60_000
"""adb's protocol names a command with four hexadecimal digits of length."""

_WATCH_S = 0.25


class Running(Protocol):
    """A command under way on the device."""

    def wait(self, *, limit_s: float, watch: Callable[[], None] | None = None) -> ShellResult:
        """Its end; raises Transient when the link is lost or the limit is reached (then it is killed).

        `watch` is called about four times a second; what it raises passes through.
        """

    def kill(self) -> None:
        """Stop waiting for it; fine when it has ended."""


class Link(Protocol):
    """Commands and bytes to one device. `name` stands in messages."""

    name: str

    def start(self, argv: Sequence[str], *, stdin: bytes | IO[bytes] | None = None) -> Running:
        """Start a command whose arguments arrive as they are; `stdin` may be an open file, taken from its position."""

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


def pour(
    link: Link,
    argv: Sequence[str],
    source: Path,
    *,
    offset: int,
    length: int,
    limit_s: float,
    progress: Progress | None,
) -> ShellResult:
    """Feed `source` from `offset` to its end to the standard input of a command on the device.

    Args:
        length: bytes from `offset` to the end. progress: counts from 0 to `length`.

    Raises:
        Transient: the link is lost or stalled, or the limit is reached. Permanent: the file changed its size.
    """
    with source.open("rb", buffering=0) as file:
        file.seek(offset)
        # The command shares our file description, so its position tells what was taken, and no byte passes through us.
        moved_at, moved = time.monotonic(), 0

        def watch() -> None:
            nonlocal moved_at, moved
            position = min(file.tell() - offset, length)
            if position != moved:
                moved_at, moved = time.monotonic(), position
                if progress is not None:
                    progress(moved, length)
            elif time.monotonic() - moved_at > STALL_S:
                raise stalled(link.name, f"no byte moved for {STALL_S:.0f} s after {moved} of {length}")

        running = link.start(argv, stdin=file)
        try:
            result = running.wait(limit_s=limit_s, watch=watch)
        finally:
            running.kill()
        if os.fstat(file.fileno()).st_size != offset + length:
            raise Permanent(
                f"{source.name} changed its size while it was sent",
                error_class=ErrorClass.PUSH_FAILED,
                advice="leave the file alone while it is deployed",
                device=link.name,
            )
        watch()
    return result


def communicate(
    process: subprocess.Popen[bytes], stdin: bytes | None, limit_s: float, watch: Callable[[], None] | None
) -> tuple[bytes, bytes]:
    """`Popen.communicate` with `watch` called all the while; what it raises ends the wait.

    Raises:
        subprocess.TimeoutExpired: after `limit_s`.
    """
    deadline = time.monotonic() + limit_s
    while True:
        left = max(deadline - time.monotonic(), 0.0)
        try:
            return process.communicate(stdin, timeout=left if watch is None else min(left, _WATCH_S))
        except subprocess.TimeoutExpired:
            if watch is None or time.monotonic() >= deadline:
                raise
            watch()


def stalled(device: str, what: str) -> Transient:
    """The error of a link that is there and moves nothing."""
    return Transient(
        f"{device}: {what}",
        error_class=ErrorClass.TRANSPORT_STALLED,
        advice="check cable and hub; farm tries again",
        device=device,
    )


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

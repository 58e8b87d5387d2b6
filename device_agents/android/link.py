"""Commands and bytes to one phone through adb."""

from __future__ import annotations

import re
import subprocess
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import IO

from device_agents.android.adb import AdbServer, explain
from device_agents.base import ShellResult
from device_agents.posix.link import Running, check_command_size, communicate, end_process, quoted, stalled
from harness.errors import ErrorClass, FarmError, Transient

_KILL_S = 5.0
"""Limit of the call that ends a command on the phone; a phone that answers does so within a second."""

# Ends every process that carries the mark $1 in its environment.
_KILL_MARKED = """exec 2> /dev/null
for found in $(grep -l -F "FARM_CALL=$1" /proc/[0-9]*/environ); do
found=${found#/proc/}; found=${found%/environ}; [ "$found" = "$$" ] || kill -KILL "$found"; done; exit 0"""


class AdbLink:
    """`device_agents.posix.link.Link` to the phone `serial`."""

    def __init__(self, server: AdbServer, serial: str) -> None:
        self.name = serial
        self._server = server
        server.remember(serial)

    def start(self, argv: Sequence[str], *, stdin: bytes | IO[bytes] | None = None) -> Running:
        return self._spawn(argv, stdin)

    def _spawn(self, argv: Sequence[str], stdin: bytes | IO[bytes] | None) -> _AdbRunning:
        self._server.ready()
        mark = uuid.uuid4().hex
        # adb's own failures also end with 255 or 1, so the command's code comes with a mark that only its end prints.
        command = f"FARM_CALL={mark} {quoted(argv)}; r=$?; echo >&2; echo {mark} $r >&2"
        check_command_size(command, self.name)
        options = ("-T",) if stdin is not None else ("-n", "-T")
        process = subprocess.Popen(
            self._server.arguments("-s", self.name, "shell", *options, command),
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE if isinstance(stdin, bytes) else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._server.environment(),
            start_new_session=True,
        )
        return _AdbRunning(self, process, stdin if isinstance(stdin, bytes) else None, mark)

    def lost_with_processes(self) -> ErrorClass:
        return ErrorClass.ADBD_RESTART

    def explained(self, said: str, doing: str) -> FarmError:
        """The error behind a call that ended without the command's own code."""
        return explain(self._server, self.name, said, doing)

    def end_marked(self, mark: str) -> bool:
        """End what a call left on the phone; False when the phone does not answer."""
        ending = self._spawn(("sh", "-c", _KILL_MARKED, "farm", mark), None)
        try:
            ending.result(_KILL_S, None)
        except (FarmError, subprocess.TimeoutExpired):
            ending.drop()
            return False
        return True


class _AdbRunning:
    def __init__(self, link: AdbLink, process: subprocess.Popen[bytes], stdin: bytes | None, mark: str) -> None:
        self._link = link
        self._process = process
        self._stdin = stdin
        self._mark = mark

    def wait(self, *, limit_s: float, watch: Callable[[], None] | None = None) -> ShellResult:
        try:
            return self.result(limit_s, watch)
        except subprocess.TimeoutExpired:
            self.drop()
            raise self._late(limit_s) from None

    def result(self, limit_s: float, watch: Callable[[], None] | None) -> ShellResult:
        """The end of the command; raises subprocess.TimeoutExpired, and leaves it running then."""
        stdout, stderr = communicate(self._process, self._stdin, limit_s, watch)
        ending = re.search(rb"\n" + self._mark.encode() + rb" (\d+)\n", stderr)
        if ending is None:
            raise self._link.explained(stderr.decode("utf-8", "replace"), "a command ran")
        return ShellResult(int(ending[1]), stdout, stderr[: ending.start()] + stderr[ending.end() :])

    def drop(self) -> None:
        """End our side of it only."""
        end_process(self._process)

    def kill(self) -> None:
        runs = self._process.poll() is None
        self.drop()
        if runs:
            # In the background: the caller is on its way out, and the phone may be gone.
            threading.Thread(target=self._link.end_marked, args=(self._mark,), daemon=True).start()

    def _late(self, limit_s: float) -> Transient:
        name = self._link.name
        if self._link.end_marked(self._mark):
            return Transient(
                f"{name}: a command took longer than its limit of {limit_s:g} s and was ended",
                error_class=ErrorClass.TIMED_OUT,
                device=name,
            )
        return stalled(name, f"the phone gave no answer within {limit_s:g} s and cannot be asked for more")

"""Commands and bytes to one phone through adb."""

from __future__ import annotations

import re
import subprocess
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import IO, Protocol

from device_agents.android.adb import AdbServer
from device_agents.android.explain import explain
from device_agents.android.shell_socket import FEATURE, Ending, ShellSocket, open_shell
from device_agents.base import ShellResult
from device_agents.posix.link import Running, check_command_size, communicate, end_process, quoted, stalled
from harness.errors import ErrorClass, FarmError, Transient

_KILL_S = 5.0
"""Limit of the call that ends a command on the phone; a phone that answers does so within a second."""

# Ends every process that carries the mark $1 in its environment.
_KILL_MARKED = """exec 2> /dev/null
for found in $(grep -l -F "FARM_CALL=$1" /proc/[0-9]*/environ); do
found=${found#/proc/}; found=${found%/environ}; [ "$found" = "$$" ] || kill -KILL "$found"; done; exit 0"""


class _Call(Protocol):
    """A command under way, by whatever carries it."""

    @property
    def runs(self) -> bool: ...

    def finish(self, limit_s: float, watch: Callable[[], None] | None) -> Ending:
        """Its end; raises TimeoutError after `limit_s`, and leaves it running then."""

    def drop(self) -> None:
        """End our side of it only."""


class AdbLink:
    """`device_agents.posix.link.Link` to the phone `serial`.

    A command goes over a connection to the adb server; one that is fed a file, or on a phone too old for exit codes,
    through the adb binary, which is the faster one at moving bytes.
    """

    def __init__(self, server: AdbServer, serial: str) -> None:
        self.name = serial
        self._server = server
        self._features: frozenset[str] = frozenset()
        server.remember(serial)

    def start(self, argv: Sequence[str], *, stdin: bytes | IO[bytes] | None = None) -> Running:
        return self._spawn(argv, stdin)

    def _spawn(self, argv: Sequence[str], stdin: bytes | IO[bytes] | None) -> _AdbRunning:
        mark = uuid.uuid4().hex
        command = quoted(argv)
        if (stdin is None or isinstance(stdin, bytes)) and self._tells_exit_codes():
            # exec: the phone's shell becomes the command, which saves a process.
            command = f"export FARM_CALL={mark}; exec {command}"
            check_command_size(command, self.name)
            return _AdbRunning(self, ShellSocket(open_shell(self._server, self.name, command), stdin or b""), mark)
        self._server.ready()
        return _AdbRunning(self, self._process(command, stdin, mark), mark)

    def _tells_exit_codes(self) -> bool:
        # Asked again as long as nothing is known: the phone may be away just now.
        self._features = self._features or self._server.features(self.name)
        return FEATURE in self._features

    def _process(self, command: str, stdin: bytes | IO[bytes] | None, mark: str) -> _Process:
        # adb's own failures also end with 255 or 1, so the command's code comes with a mark that only its end prints.
        command = f"FARM_CALL={mark} {command}; r=$?; echo >&2; echo {mark} $r >&2"
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
        return _Process(process, stdin if isinstance(stdin, bytes) else None, mark)

    def lost_with_processes(self) -> ErrorClass:
        return ErrorClass.ADBD_RESTART

    def explained(self, said: str, doing: str) -> FarmError:
        """The error behind a call that ended without the command's own code."""
        return explain(self._server, self.name, said, doing)

    def end_marked(self, mark: str) -> bool:
        """End what a call left on the phone; False when the phone does not answer."""
        try:
            ending = self._spawn(("sh", "-c", _KILL_MARKED, "farm", mark), None)
        except FarmError:
            return False
        try:
            ending.result(_KILL_S, None)
        except (FarmError, TimeoutError):
            ending.drop()
            return False
        return True


class _Process:
    """A command carried by the adb binary."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes | None, mark: str) -> None:
        self._process = process
        self._stdin = stdin
        self._mark = mark.encode()

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def finish(self, limit_s: float, watch: Callable[[], None] | None) -> Ending:
        try:
            stdout, stderr = communicate(self._process, self._stdin, limit_s, watch)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        ending = re.search(rb"\n" + self._mark + rb" (\d+)\n", stderr)
        if ending is None:
            return Ending(None, stdout, stderr)
        return Ending(int(ending[1]), stdout, stderr[: ending.start()] + stderr[ending.end() :])

    def drop(self) -> None:
        end_process(self._process)


class _AdbRunning:
    def __init__(self, link: AdbLink, call: _Call, mark: str) -> None:
        self._link = link
        self._call = call
        self._mark = mark

    def wait(self, *, limit_s: float, watch: Callable[[], None] | None = None) -> ShellResult:
        try:
            return self.result(limit_s, watch)
        except TimeoutError:
            self.drop()
            raise self._late(limit_s) from None

    def result(self, limit_s: float, watch: Callable[[], None] | None) -> ShellResult:
        """The end of the command; raises TimeoutError, and leaves it running then."""
        ending = self._call.finish(limit_s, watch)
        if ending.exit_code is None:
            raise self._link.explained(ending.stderr.decode("utf-8", "replace"), "a command ran")
        return ShellResult(ending.exit_code, ending.stdout, ending.stderr)

    def drop(self) -> None:
        """End our side of it only."""
        self._call.drop()

    def kill(self) -> None:
        runs = self._call.runs
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

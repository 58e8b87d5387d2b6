"""Commands on this machine, behind the same link as a phone's."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from device_agents.base import Progress, ShellResult
from device_agents.posix.link import Pump, Running, end_process
from harness.errors import ErrorClass, Transient


class _LocalRunning:
    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes | None, name: str) -> None:
        self._process = process
        self._stdin = stdin
        self._name = name

    def wait(self, *, limit_s: float) -> ShellResult:
        try:
            stdout, stderr = self._process.communicate(self._stdin, timeout=limit_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Transient(
                f"{self._name}: a command took longer than its limit of {limit_s:g} s and was ended",
                error_class=ErrorClass.TIMED_OUT,
                device=self._name,
            ) from None
        code = self._process.returncode
        return ShellResult(code if code >= 0 else 128 - code, stdout, stderr)

    def kill(self) -> None:
        end_process(self._process, group=True)


class LocalLink:
    """`device_agents.posix.link.Link` to this machine."""

    def __init__(self, name: str) -> None:
        self.name = name

    def start(self, argv: Sequence[str], *, stdin: bytes | None = None) -> Running:
        return _LocalRunning(self._spawn(argv, piped=stdin is not None), stdin, self.name)

    def pour(
        self, argv: Sequence[str], source: Path, *, offset: int, length: int, limit_s: float, progress: Progress | None
    ) -> bytes:
        deadline = time.monotonic() + limit_s
        process = self._spawn(argv, piped=True, merged=True)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pump = Pump(process.stdin.fileno(), process.stdout.fileno(), self.name)
            complete = pump.send(source, offset, length, deadline=deadline, progress=progress)
            pump.drain(deadline=deadline)
        finally:
            end_process(process, group=True)
        if not complete:
            said = pump.said.decode("utf-8", "replace").strip()[-300:]
            raise Transient(
                f"{self.name}: the transfer ended early: {said or 'no message'}",
                error_class=ErrorClass.PUSH_FAILED,
                device=self.name,
            )
        return bytes(pump.said)

    def lost_with_processes(self) -> ErrorClass:
        return ErrorClass.KILLED

    def _spawn(self, argv: Sequence[str], *, piped: bool, merged: bool = False) -> subprocess.Popen[bytes]:
        # A farm that is itself started by a farm job must not pass on the mark by which a job's processes are found.
        environment = {name: value for name, value in os.environ.items() if name != "FARM_JOB"}
        command = list(argv)
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if merged else subprocess.PIPE,
                start_new_session=True,
                env=environment,
                cwd="/",
            )
        except FileNotFoundError:
            return self._spawn(("sh", "-c", 'echo "$1: not found" >&2; exit 127', "sh", command[0]), piped=piped)
        except PermissionError:
            return self._spawn(("sh", "-c", 'echo "$1: not executable" >&2; exit 126', "sh", command[0]), piped=piped)

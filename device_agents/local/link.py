"""Commands on this machine, behind the same link as a phone's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from typing import IO

from device_agents.base import ShellResult
from device_agents.posix.link import Running, communicate, end_process
from harness.errors import ErrorClass, Transient


class _LocalRunning:
    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes | None, name: str) -> None:
        self._process = process
        self._stdin = stdin
        self._name = name

    def wait(self, *, limit_s: float, watch: Callable[[], None] | None = None) -> ShellResult:
        try:
            stdout, stderr = communicate(self._process, self._stdin, limit_s, watch)
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

    def start(self, argv: Sequence[str], *, stdin: bytes | IO[bytes] | None = None) -> Running:
        return _LocalRunning(self._spawn(argv, stdin), stdin if isinstance(stdin, bytes) else None, self.name)

    def lost_with_processes(self) -> ErrorClass:
        return ErrorClass.KILLED

    def _spawn(self, argv: Sequence[str], stdin: bytes | IO[bytes] | None) -> subprocess.Popen[bytes]:
        # A farm that is itself started by a farm job must not pass on the mark by which a job's processes are found.
        environment = {name: value for name, value in os.environ.items() if name != "FARM_JOB"}
        source = subprocess.DEVNULL if stdin is None else subprocess.PIPE if isinstance(stdin, bytes) else stdin
        try:
            return subprocess.Popen(
                list(argv),
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env=environment,
                cwd="/",
            )
        except FileNotFoundError:
            return self._spawn(("sh", "-c", 'echo "$1: not found" >&2; exit 127', "sh", argv[0]), stdin)
        except PermissionError:
            return self._spawn(("sh", "-c", 'echo "$1: not executable" >&2; exit 126', "sh", argv[0]), stdin)

"""The parent's side of a worker process: calls with a limit, and a typed error of that phone whatever happens to it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import device_agents
from device_agents.base import Progress
from device_agents.ios import nursery
from device_agents.ios.failures import typed
from harness.errors import ErrorClass, FarmError, Transient

COMMAND = (sys.executable, "-P", "-m", "device_agents.ios.worker")

_PACKAGES = str(Path(device_agents.__file__).parent.parent)
"""Where this very farm is imported from, so that its worker is no other one's."""

GRACE_S = 2.0
"""How long after its limit a call may take to be given up by the worker itself, before the worker is ended."""

ANSWER_BYTES_MAX = 16 * 1024 * 1024
"""Longest answer; what is large goes into files."""

_WATCH_S = 0.2
_BLOCK = 1 << 16
_LAST_WORDS = 4000
_SEND_S = 10.0


@dataclass(slots=True)
class _Call:
    """One call under way; `answer` is the worker's message, `lost` why there will be none."""

    ended: threading.Event = field(default_factory=threading.Event)
    answer: Mapping[str, Any] | None = None
    lost: str = ""
    progress: tuple[int, int] | None = None


class _Process:
    """One worker process, its open calls, and the threads that read from it."""

    def __init__(self, command: Sequence[str], settings: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self._link, theirs = socket.socketpair()
        self._link.settimeout(_SEND_S)
        with theirs:
            whole = {**os.environ, "PYTHONPATH": _python_path(), **environment}
            self._process = _started(command, settings, whole, theirs.fileno())
        self.pid = self._process.pid
        self._calls: dict[int, _Call] = {}
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._number = 0
        self._words: deque[bytes] = deque(maxlen=64)
        self.over = ""
        self._reader = threading.Thread(target=self._read, name=f"iphone {self.pid}", daemon=True)
        self._listener = threading.Thread(target=self._listen, name=f"iphone {self.pid} words", daemon=True)
        self._listener.start()
        self._reader.start()

    def begin(self, name: str, arguments: Mapping[str, Any], limit_s: float) -> tuple[int, _Call]:
        call = _Call()
        with self._lock:
            self._number += 1
            number = self._number
            self._calls[number] = call
        if not self._send({"id": number, "call": name, "limit_s": limit_s, "with": dict(arguments)}):
            self.end("it takes no more calls")
        if self.over:
            self._lose_all(self.over)
        return number, call

    def cancel(self, number: int) -> None:
        self._send({"cancel": number})

    def end(self, why: str) -> None:
        """Kill it; every open call is lost for that reason."""
        self.over = self.over or why
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        self._process.wait()
        self._lose_all(self.over)

    def close(self) -> None:
        self.end("it was closed")
        for thread in (self._reader, self._listener):
            if thread is not threading.current_thread():
                thread.join(timeout=_SEND_S)
        self._link.close()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def last_words(self) -> str:
        return b"".join(self._words)[-_LAST_WORDS:].decode("utf-8", "replace").strip()

    def _send(self, message: Mapping[str, Any]) -> bool:
        """False when the worker does not take it: it reads in a thread of its own, so it is gone or stopped."""
        data = json.dumps(message).encode() + b"\n"
        try:
            with self._sending:
                self._link.sendall(data)
        except OSError:
            return False
        return True

    def _read(self) -> None:
        pending = bytearray()
        why = ""
        try:
            while block := self._receive():
                pending += block
                if len(pending) > ANSWER_BYTES_MAX:
                    why = f"it sent more than {ANSWER_BYTES_MAX // 1_000_000} MB in one answer"
                    break
                if b"\n" in block:
                    *lines, rest = bytes(pending).split(b"\n")
                    pending = bytearray(rest)
                    for line in lines:
                        self._take(json.loads(line))
        except OSError:
            pass
        except (ValueError, TypeError, KeyError, AttributeError) as bad:
            why = f"it sent what is no answer: {bad}"
        if why:
            self.end(why)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=GRACE_S)
            self._listener.join(timeout=GRACE_S)
        code = self._process.poll()
        said = self.last_words().splitlines()
        last = f": {said[-1]}" if said else ""
        self.end(self.over or f"it ended with {'no code' if code is None else f'code {code}'}{last}")

    def _receive(self) -> bytes:
        """What came next; the limit of the link is that of sending."""
        while True:
            with contextlib.suppress(TimeoutError):
                return self._link.recv(_BLOCK)

    def _take(self, message: Mapping[str, Any]) -> None:
        number = message["id"]
        if "progress" in message:
            done, total = message["progress"]
            if (call := self._calls.get(number)) is not None:
                # Only the newest is kept: whoever waits asks for it a few times a second.
                call.progress = (int(done), int(total))
            return
        with self._lock:
            call = self._calls.pop(number, None)
        if call is not None:
            call.answer = message
            call.ended.set()

    def _lose_all(self, why: str) -> None:
        with self._lock:
            calls, self._calls = self._calls, {}
        for call in calls.values():
            call.lost = why
            call.ended.set()

    def _listen(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        with contextlib.suppress(OSError, ValueError):
            while block := os.read(stream.fileno(), 1024):
                self._words.append(block)


def _started(
    command: Sequence[str], settings: Mapping[str, Any], environment: Mapping[str, str], link: int
) -> subprocess.Popen[bytes] | nursery.Born:
    """A worker with `link` as its standard input: forked where that is possible, else started."""
    if tuple(command) == COMMAND and nursery.POSSIBLE:
        with contextlib.suppress(OSError):
            return nursery.born(settings, environment, link)
    return subprocess.Popen(
        (*command, json.dumps(dict(settings))),
        stdin=link,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=dict(environment),
        start_new_session=True,
    )


def _python_path() -> str:
    return os.pathsep.join(part for part in (_PACKAGES, os.environ.get("PYTHONPATH", "")) if part)


class _Seen:
    """Tells progress on when there is news."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._told: tuple[int, int] | None = None

    def look(self, call: _Call) -> None:
        now = call.progress
        if self._progress is not None and now is not None and now != self._told:
            self._told = now
            self._progress(*now)


class Supervised:
    """Calls to the worker of one phone; a worker that died or was ended is started anew by the next call.

    Args:
        device: name in messages.
        settings: for the worker, JSON-ready.
        environment: added to the worker's.
        command: starts a worker; its settings are added as the last argument.
    """

    def __init__(
        self,
        device: str,
        settings: Mapping[str, Any],
        *,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.device = device
        self._settings = dict(settings)
        self._environment = dict(environment or {})
        self._command = tuple(command)
        self._process: _Process | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Of the worker that runs now."""
        process = self._process
        return process.pid if process is not None and not process.over else None

    def call(
        self,
        name: str,
        *,
        limit_s: float,
        doing: str = "",
        progress: Progress | None = None,
        watch: Callable[[], None] | None = None,
        **arguments: Any,
    ) -> Any:
        """Do `name` in the worker and return its answer, JSON-ready data.

        Args:
            limit_s: seconds; a worker that does not keep to it is ended.
            doing: in messages; the name of the call by default.
            progress, watch: called several times a second meanwhile; what they raise ends the call and passes through.

        Raises:
            FarmError: what the phone or the way to it did (see `failures`); Transient of class CLIENT_LOST when the
                worker died.
        """
        doing = doing or name.replace("_", " ")
        process = self._running()
        number, call = process.begin(name, arguments, limit_s)
        deadline = time.monotonic() + limit_s + GRACE_S
        seen = _Seen(progress)
        try:
            while not call.ended.wait(_WATCH_S if progress or watch else max(deadline - time.monotonic(), 0.01)):
                if watch is not None:
                    watch()
                seen.look(call)
                if time.monotonic() >= deadline:
                    process.end("it did not keep to its limit and was ended")
                    raise self._stalled(doing, limit_s)
        except BaseException:
            process.cancel(number)
            raise
        if call.answer is None:
            raise self._lost(doing, call.lost)
        seen.look(call)
        failed = call.answer.get("failed")
        if failed is None:
            return call.answer.get("done")
        if failed["kind"] == "limit":
            raise self._stalled(doing, limit_s)
        raise typed(self.device, str(failed["kind"]), str(failed["text"]), doing)

    def restart(self) -> None:
        """End the worker; the next call starts another one."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.close()

    def close(self) -> None:
        self.restart()

    def _running(self) -> _Process:
        with self._lock:
            if self._process is not None and self._process.over:
                self._process.close()
                self._process = None
            if self._process is None:
                self._process = _Process(self._command, self._settings, self._environment)
            return self._process

    def _lost(self, doing: str, why: str) -> FarmError:
        return Transient(
            f"{self.device}: the process that speaks to the phone is gone ({doing}): {why}",
            error_class=ErrorClass.CLIENT_LOST,
            advice="farm starts another one and tries again",
            device=self.device,
        )

    def _stalled(self, doing: str, limit_s: float) -> FarmError:
        return typed(self.device, "limit", f"{limit_s:g} s were not enough", doing)

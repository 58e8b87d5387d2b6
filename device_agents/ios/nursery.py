"""Workers that begin at once: forked from a process that has the client library loaded.

Loading the library takes a second of a processor and most of a worker's memory; forks share what was loaded. There is
one such process for each controller, started with its first worker; it ends when the controller is gone. Linux only:
elsewhere a fork of a program with the system's frameworks is not safe, and each worker loads for itself.

    to it:   {"settings": {…}, "environment": {…}}, with the worker's link and standard error
    from it: {"born": PID}, with a descriptor of the process; {"ended": PID, "code": …}
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

POSSIBLE = sys.platform == "linux" and hasattr(os, "pidfd_open")
COMMAND = (sys.executable, "-P", "-m", "device_agents.ios.nursery")

NAME = "farm-iphone"
"""What `ps` shows of a worker."""

BIRTH_S = 60.0
"""Limit of a birth; the first one waits until the library is loaded."""

_MESSAGE_BYTES_MAX = 1 << 18
_CODE_S = 2.0


class Born:
    """A worker, with as much of `subprocess.Popen` as its supervisor uses."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self.stderr: IO[bytes] | None = None
        self._descriptor = descriptor
        self._closing = threading.Lock()
        self._told = threading.Event()
        self._code: int | None = None
        self._over = False

    def kill(self) -> None:
        with self._closing:
            if not self._over:
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def poll(self) -> int | None:
        """Its exit code or, negative, the signal it died of; None while it runs, or when nobody told."""
        return self._code

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it has not ended within `timeout` seconds.
        """
        with self._closing:
            looked = None if self._over else os.dup(self._descriptor)
        if looked is None:
            return self._code
        try:
            waiting = select.poll()
            waiting.register(looked, select.POLLIN)
            if not waiting.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired(NAME, timeout or 0.0)
        finally:
            os.close(looked)
        self._told.wait(_CODE_S)
        with self._closing:
            if not self._over:
                self._over = True
                os.close(self._descriptor)
        return self._code

    def ended(self, code: int | None) -> None:
        """It is gone, and was reaped."""
        self._code = code
        self._told.set()


class Nursery:
    """The process that forks workers, as its controller sees it.

    Raises:
        OSError: it does not start.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                COMMAND,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=dict(environment),
                start_new_session=True,
            )
        self.controller = os.getpid()
        self.lost = False
        self._children: dict[int, Born] = {}
        self._births: queue.SimpleQueue[Born | None] = queue.SimpleQueue()
        self._one_at_a_time = threading.Lock()
        threading.Thread(target=self._read, name="nursery", daemon=True).start()

    def born(self, settings: Mapping[str, Any], environment: Mapping[str, str], link: int, errors: int) -> Born:
        """A new worker.

        Args:
            link, errors: descriptors of its side of the link, and of its standard error.

        Raises:
            OSError: there is no new worker.
        """
        message = json.dumps({"settings": dict(settings), "environment": dict(environment)}).encode()
        with self._one_at_a_time:
            socket.send_fds(self._link, [message], [link, errors])
            try:
                found = self._births.get(timeout=BIRTH_S)
            except queue.Empty:
                self.close()
                raise OSError("the process that forks workers does not answer") from None
        if found is None:
            raise OSError("the process that forks workers has ended")
        return found

    def close(self) -> None:
        """End it; its workers live on."""
        self.lost = True
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, descriptors, _, _ = socket.recv_fds(self._link, _MESSAGE_BYTES_MAX, 1)
                if not data:
                    break
                message = json.loads(data)
                if "born" in message:
                    child = Born(int(message["born"]), descriptors[0])
                    self._children[child.pid] = child
                    self._births.put(child)
                elif (gone := self._children.pop(int(message["ended"]), None)) is not None:
                    gone.ended(int(message["code"]))
        self.lost = True
        self._births.put(None)
        for child in self._children.values():
            child.ended(None)
        self._link.close()


_lock = threading.Lock()
_open: list[Nursery] = []
"""The one of this controller, once there is one."""


def born(settings: Mapping[str, Any], environment: Mapping[str, str], link: int) -> Born:
    """A worker of this controller, with `stderr` open for reading.

    Args:
        settings: of the service. environment: the whole of it. link: descriptor of the worker's side of the link.

    Raises:
        OSError: no worker can be made this way.
    """
    with _lock:
        if not _open or _open[0].lost or _open[0].controller != os.getpid():
            _open[:] = [Nursery(environment)]
        nursery = _open[0]
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        child = nursery.born(settings, environment, link, writing)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    child.stderr = os.fdopen(reading, "rb", buffering=0)
    return child


@atexit.register
def _close() -> None:
    for nursery in _open:
        if not nursery.lost and nursery.controller == os.getpid():
            nursery.close()


# --- the process itself -----------------------------------------------------------------------------------------------


def main() -> None:
    """Fork a worker for every message; end when the controller is gone."""
    # Loaded before the first fork, so that every worker shares it.
    from device_agents.ios import service, worker

    importlib.import_module("device_agents.ios.client.later")

    link = socket.socket(fileno=os.dup(0))
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # What is frozen is not touched by the collector of a fork, which would take pages of its own for that.
    gc.collect()
    gc.freeze()
    waiting = select.poll()
    for number in (link.fileno(), woken):
        waiting.register(number, select.POLLIN)
    while True:
        ready = [number for number, _ in waiting.poll()]
        if woken in ready:
            os.read(woken, 4096)
            _tell_ended(link)
        if link.fileno() not in ready:
            continue
        data, descriptors, _, _ = socket.recv_fds(link, _MESSAGE_BYTES_MAX, 2)
        if not data:
            # Nobody is left to fork for; the workers notice by themselves.
            os._exit(0)
        message = json.loads(data)
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number in (woken, wake, link.detach()):
                os.close(number)
            _become(descriptors, message["environment"])
            worker.run(service.PhoneService.of_settings, [json.dumps(message["settings"])])
            os._exit(0)
        _tell_born(link, pid)
        for number in descriptors:
            os.close(number)


def _tell_born(link: socket.socket, pid: int) -> None:
    """With a descriptor of the process: it is not reaped yet, so that it can be no other one's."""
    descriptor = os.pidfd_open(pid)
    try:
        socket.send_fds(link, [json.dumps({"born": pid}).encode()], [descriptor])
    finally:
        os.close(descriptor)


def _become(descriptors: list[int], environment: Mapping[str, str]) -> None:
    """Take the place of a process that was started with this link, standard error and environment."""
    os.setsid()
    Path("/proc/self/comm").write_text(NAME, encoding="ascii")
    for number, place in zip(descriptors, (0, 2), strict=True):
        os.dup2(number, place)
        os.close(number)
    os.environ.clear()
    os.environ.update(environment)


def _tell_ended(link: socket.socket) -> None:
    """Reap the workers that have ended."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            message = {"ended": pid, "code": os.waitstatus_to_exitcode(status)}
            with contextlib.suppress(OSError):
                link.send(json.dumps(message).encode())


if __name__ == "__main__":
    main()

"""One `farm nightly` at a time for one lab folder: a lock that the system gives back whatever ends the process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import UsageError

NAME = "nightly.lock"


@contextmanager
def held(state_dir: Path) -> Iterator[None]:
    """Hold the lock in `state_dir`, which is made when missing.

    Raises:
        UsageError: another process holds it, or the folder cannot be used; the text says what to do.
    """
    path = state_dir / NAME
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            raise UsageError(
                f"another farm nightly works here (process {holder or 'unknown'}); wait for its end, or end it: "
                "the next one goes on where it was"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)

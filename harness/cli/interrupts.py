"""Ctrl-C and SIGTERM end a run in order: the first sets an event, a second one insists."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click


@contextmanager
def until_signalled() -> Iterator[threading.Event]:
    """Yields an event that SIGINT and SIGTERM set; the old handlers are put back."""
    cancel = threading.Event()

    def asked(number: int, frame: FrameType | None) -> None:
        del frame
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.set()
        click.echo(f"\n{signal.Signals(number).name}: ending what runs on the phones, one moment", err=True)

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield cancel
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

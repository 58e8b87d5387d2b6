"""One worker per device, devices in parallel, a lease each, Transient errors retried, a lost device brought back.

A device that drops out never stops the others: its present case fails, its further cases stay planned, and
`farm resume` goes on with them when it is back.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from harness.setup import Crew, Setup, Work
from harness.worker import Worker

__all__ = ["Setup", "Work", "execute"]


def execute(setup: Setup, work: Sequence[Work]) -> None:
    """Run all measurements; returns when every worker has ended. Errors of cases are in the store, not raised."""
    crew = Crew()
    for item in work:
        crew.enter(item.device.id)
    threads = [
        threading.Thread(target=Worker(setup, item, crew).run, name=f"device {item.device.id}", daemon=True)
        for item in work
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            # A join without a limit would keep Ctrl-C from the main thread.
            thread.join(timeout=0.5)

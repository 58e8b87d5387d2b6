"""A busy process of the system, as dex2oat is one after an update. Run in a child of a phone's init: standard library
only."""

from __future__ import annotations

import os
import time
from typing import NoReturn

NAME = b"dex2oat64"
_PERIOD_S = 0.02


def shares(cpus: float) -> tuple[float, ...]:
    """How many processes it takes to keep `cpus` CPUs busy, and the share of a CPU that each takes."""
    count = max(1, -(-round(cpus * 1000) // 1000))
    return tuple(cpus / count for _ in range(count))


def burn(share: float) -> NoReturn:
    """Use `share` of a CPU for ever: what was missed in one period is not made up for later than in the next."""
    while True:
        due = time.monotonic() + _PERIOD_S
        until = time.process_time() + share * _PERIOD_S
        while time.process_time() < until and time.monotonic() < due:
            pass
        time.sleep(max(0.0, due - time.monotonic()))


def become_hog(share: float) -> NoReturn:
    """Burn at a low priority, as the real one does."""
    os.nice(10)
    burn(share)

"""The phone's uptime between two readings of the host's clocks."""

from __future__ import annotations

import time

from device_agents.android.telemetry.text import lines, number
from device_agents.base import Shell
from harness.analysis.timebase import ClockReading
from harness.errors import ErrorClass, Transient

RESOLUTION_S = 0.01
"""Step of /proc/uptime (proc(5))."""

_READ = ("cat", "/proc/uptime")


CLOCK_READINGS = 3
"""At each end of a case: the shortest of three round trips is seldom a disturbed one."""


def bracketed_uptimes(shell: Shell, count: int = 5, *, limit_s: float, device: str = "") -> tuple[ClockReading, ...]:
    """Ask for the uptime several times; the shortest round trip of them bounds the error best.

    Args:
        shell: of the phone. count: how often. limit_s: seconds for all of them; at least one is always asked for.
        device: name in messages.

    Raises:
        Transient: the link is lost, or the phone gives no uptime (INTERNAL).
    """
    until = time.monotonic() + limit_s
    readings: list[ClockReading] = []
    while len(readings) < count:
        left = until - time.monotonic()
        if readings and left <= 0:
            break
        wall = time.time()
        before = time.monotonic()
        answer = shell.run(_READ, limit_s=max(left, 0.1))
        after = time.monotonic()
        uptime = _uptime(answer.stdout)
        if uptime is None:
            said = (answer.stderr or answer.stdout).decode("utf-8", "replace").strip()[-200:]
            raise Transient(
                f"{device or 'the device'} gives no uptime: {said or 'no message'}",
                error_class=ErrorClass.INTERNAL,
                device=device,
            )
        readings.append(ClockReading(before, uptime, after, wall, RESOLUTION_S))
    return tuple(readings)


def _uptime(data: bytes) -> float | None:
    """Seconds since boot, the first number of /proc/uptime."""
    first = next(iter(lines(data)), "").split()
    value = number(first[0]) if first else None
    return value if value is not None and value >= 0 else None

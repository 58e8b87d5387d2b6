"""The clocks of an iPhone, in ticks of 125/3 nanoseconds."""

from __future__ import annotations

import time
from typing import Any

NUMERATOR, DENOMINATOR = 125, 3
"""Nanoseconds per tick, as `mach_timebase_info` gives them on every iPhone since 2013."""


def ticks(nanoseconds: int) -> int:
    return nanoseconds * DENOMINATOR // NUMERATOR


def absolute() -> int:
    """`mach_absolute_time`: stands still while the machine sleeps."""
    return ticks(time.clock_gettime_ns(time.CLOCK_MONOTONIC))


def continuous() -> int:
    """`mach_continuous_time`: goes on while the machine sleeps."""
    return ticks(time.clock_gettime_ns(time.CLOCK_BOOTTIME))


def info() -> list[Any]:
    """What `machTimeInfo` answers: absolute time, numerator, denominator, continuous time, Unix time in s, time zone.

    The order was seen on an iPhone (documentation of appium-ios-remotexpc, `DeviceInfoService.machTimeInfo`).
    """
    return [absolute(), NUMERATOR, DENOMINATOR, continuous(), time.time(), "Etc/UTC"]

"""What a self-test is to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.plan import ResolvedDevice
from harness.selftest.virtual import Phones


@dataclass(frozen=True, slots=True)
class Task:
    """What a self-test does.

    Args:
        devices: on which it runs.
        groups: names of the checks, out of `harness.selftest.suite.GROUPS`.
        phones: handles of the virtual phones among the devices.
        minutes: length of the runs that heat or drain a phone.
    """

    devices: Sequence[ResolvedDevice]
    groups: Sequence[str]
    phones: Phones
    minutes: float

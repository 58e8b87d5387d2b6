"""The map from the phone's uptime to the host's clock, and its claimed error."""

from __future__ import annotations

import time
from collections.abc import Sequence

from device_agents.base import DeviceAgent
from harness import limits
from harness.analysis.timebase import TimeBase, fit
from harness.errors import FarmError
from harness.model import Unavailable
from harness.plan import ResolvedDevice
from harness.selftest.checks import Check, near, not_run
from harness.selftest.runs import Bench, is_iphone
from harness.selftest.task import Task
from harness.selftest.truth import Truth, TruthMissing

BOUND_MS = 50.0
"""Largest claimed error with which runner, samples and host can still be put beside each other."""

APART_S = 4.0
"""Between the readings at both ends."""

TICK_MS = 20.0
"""The simulation writes its host time a moment after it took the uptime of a line."""

NAMES = ("clock_bound", "clock_map")
_BOOT_ID = ("cat", "/proc/sys/kernel/random/boot_id")


def trial(bench: Bench, task: Task, devices: Sequence[ResolvedDevice]) -> list[Check]:
    """On each device: how well the map is claimed to be known, and on a virtual one whether it is."""
    return [check for device in devices for check in _device(bench, task, device)]


def _device(bench: Bench, task: Task, device: ResolvedDevice) -> list[Check]:
    agent = bench.open_agent(device)
    try:
        base = _map(bench, agent)
        boot_id = "" if is_iphone(device) else _boot_id(agent)
    except FarmError as error:
        return [not_run(name, device.id, error.message) for name in NAMES]
    finally:
        agent.close()
    if isinstance(base, Unavailable):
        return [not_run(name, device.id, base.reason) for name in NAMES]
    bound = near("clock_bound", device.id, 0.0, base.error_s * 1e3, BOUND_MS, "ms", "half of the shortest round trip")
    if not task.phones.has(device):
        return [bound]
    try:
        return [bound, against_truth(device.id, base, task.phones.of(device).truth(boot_id))]
    except TruthMissing as missing:
        return [bound, not_run("clock_map", device.id, str(missing))]


def _map(bench: Bench, agent: DeviceAgent) -> TimeBase | Unavailable:
    start = agent.clock(limit_s=limits.SHELL_S)
    bench.cancel.wait(APART_S)
    return fit(start, agent.clock(limit_s=limits.SHELL_S))


def _boot_id(agent: DeviceAgent) -> str:
    """As the truth file of an Android phone names its boots; that of an iPhone has one clock for all."""
    return agent.shell.run(_BOOT_ID, limit_s=limits.SHELL_S).stdout.decode("ascii", "replace").strip()


def against_truth(device_id: str, base: TimeBase, truth: Truth) -> Check:
    """The worst moment between both ends: host time by the map against the host time that the simulation wrote.

    Raises:
        TruthMissing: no line of the truth lies between the ends.
    """
    wall_s = time.time() - time.monotonic()
    low, high = base.reference_uptime_s, base.end_uptime_s
    pairs = [
        (float(line["host_s"]), base.to_host(float(line["uptime_s"])) + wall_s)
        for line in truth.lines
        if "host_s" in line and low <= float(line["uptime_s"]) <= high
    ]
    if not pairs:
        raise TruthMissing(f"the truth file has no line between {low:.1f} and {high:.1f} s")
    off_ms = max(((mapped - written) * 1e3 for written, mapped in pairs), key=abs)
    allowed = base.error_s * 1e3 + TICK_MS
    return near("clock_map", device_id, 0.0, off_ms, allowed, "ms", f"the worst of {len(pairs)} moments")

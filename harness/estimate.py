"""How long a plan will take, measuring and cooling apart.

From earlier measurements of the same series and earlier waits of the same phone where there are any, else from the
budget of the tier and from what others published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.analysis.repeats import AUTO_LEAST, AUTO_MOST
from harness.model import MEGABYTE, DeviceKind, Gates, PlannedCase, Tier, WorkloadKind

PUSH_BYTES_PER_S = 30 * MEGABYTE
"""What USB 2 gives a phone that hashes while it receives."""

OVERHEAD_S = 5.0
"""Checks, start, collection and clean-up of one measurement."""

DEFAULT_MS_PER_TOKEN = 100.0
PREFILL_PER_DECODE = 8.0
"""Prefill of a token costs about an eighth of its decode on phone CPUs (compute-bound against memory-bound)."""

COOLING_SHARE = 0.92
"""Share of the time that a phone cools where gates are strict: published labs that wait for 35 °C say 92 to 96 %. It
stands for a phone that has not waited yet; a virtual phone or a host has no such share."""

COOLING_PER_S = COOLING_SHARE / (1 - COOLING_SHARE)
"""Seconds of cooling after each second of measuring."""

MINUTES: Mapping[WorkloadKind, float] = {WorkloadKind.SUSTAINED: 10.0, WorkloadKind.BATTERY: 30.0}
"""Length of a workload that goes by time, where it names none."""

CoolingFrom = Literal["waits", "published", "none"]


@dataclass(frozen=True, slots=True)
class DeviceEstimate:
    """One device.

    Args:
        device_id: of the plan. cases: its measurements. from_history: those of a series that was measured before.
        push_s: of what it lacks.
        measured_s, cooling_s: of its measurements, seconds.
        cooling_from: earlier waits of this phone, the published share, or none: it is not known to wait.
    """

    device_id: str
    cases: int
    from_history: int
    push_s: float
    measured_s: float
    cooling_s: float
    cooling_from: CoolingFrom

    @property
    def total_s(self) -> float:
        return self.push_s + self.measured_s + self.cooling_s


@dataclass(frozen=True, slots=True)
class Estimate:
    """All devices of a plan, which work in parallel. Args: most: how many times as long it can take."""

    devices: tuple[DeviceEstimate, ...]
    most: float = 1.0

    @property
    def minutes(self) -> float:
        """Wall-clock of the slowest device."""
        return max((device.total_s for device in self.devices), default=0.0) / 60

    @property
    def measured_minutes(self) -> float:
        """Of all devices together."""
        return sum(device.measured_s for device in self.devices) / 60

    @property
    def cooling_minutes(self) -> float:
        """Of all devices together."""
        return sum(device.cooling_s for device in self.devices) / 60

    @property
    def from_history(self) -> int:
        return sum(device.from_history for device in self.devices)

    @property
    def cases(self) -> int:
        return sum(device.cases for device in self.devices)


def case_seconds(case: PlannedCase, tier: Tier | None, history: Mapping[str, float]) -> float:
    """Seconds of one measurement; `history` maps series_key → median seconds of earlier ones, waits left out."""
    known = history.get(case.series_key)
    if known is not None:
        return known
    workload = case.workload
    if workload.kind in MINUTES:
        length = 60 * (workload.minutes or MINUTES[workload.kind])
        # The idle baseline that is taken off the energy is as long as the run.
        return OVERHEAD_S + length * (2 if workload.kind is WorkloadKind.BATTERY else 1)
    budget = tier.targets.ms_per_token_max if tier and tier.targets.ms_per_token_max else DEFAULT_MS_PER_TOKEN
    tokens = workload.gen_tokens + workload.prompt_tokens / PREFILL_PER_DECODE
    # A tool warms up with about as much work again.
    return OVERHEAD_S + 2 * tokens * budget / 1000


def estimate(
    cases: tuple[PlannedCase, ...],
    tiers: Mapping[str, Tier],
    missing_bytes: Mapping[str, int],
    history: Mapping[str, float],
    *,
    waits: Mapping[str, float] | None = None,
    gates: Gates | None = None,
    auto: bool = False,
) -> Estimate:
    """Time of a plan, per device.

    Args:
        cases: those to be run. tiers: for their budgets.
        missing_bytes: device id → bytes to push.
        history: series_key → median seconds of earlier measurements, waits at the gate left out.
        waits: identity of a phone → mean seconds that its measurements waited at the gate.
        gates: of the inventory; the default ones where None.
        auto: whether the suite repeats until its figures are known: then up to 15 repetitions follow the planned 5.
    """
    grouped: dict[str, list[PlannedCase]] = {}
    for case in cases:
        grouped.setdefault(case.device_id, []).append(case)
    found = tuple(
        _device(device, group, tiers, missing_bytes.get(device, 0), history, waits or {}, gates or Gates())
        for device, group in grouped.items()
    )
    return Estimate(found, AUTO_MOST / AUTO_LEAST if auto else 1.0)


def _device(
    device: str,
    cases: list[PlannedCase],
    tiers: Mapping[str, Tier],
    missing: int,
    history: Mapping[str, float],
    waits: Mapping[str, float],
    gates: Gates,
) -> DeviceEstimate:
    seconds = [case_seconds(case, tiers.get(case.tier), history) for case in cases]
    wait = waits.get(cases[0].identity)
    cooling: float = 0.0
    cooling_from: CoolingFrom = "none"
    if gates.mode != "off" and wait is not None:
        cooling, cooling_from = wait * len(cases), "waits"
    elif gates.mode != "off" and cases[0].kind is DeviceKind.PHONE:
        # The first one finds a phone that has rested.
        cooling = sum(min(before * COOLING_PER_S, gates.max_wait_s) for before in seconds[:-1])
        cooling_from = "published"
    return DeviceEstimate(
        device_id=device,
        cases=len(cases),
        from_history=sum(case.series_key in history for case in cases),
        push_s=missing / PUSH_BYTES_PER_S,
        measured_s=sum(seconds),
        cooling_s=cooling,
        cooling_from=cooling_from,
    )

"""Trials that need a steady load, made again where the machine of the virtual phones was busy.

What it does beside shows in the phones' truth, as load that is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean, median

from harness.plan import ResolvedDevice
from harness.selftest.checks import Check, holds, was_run
from harness.selftest.runs import Seen
from harness.selftest.task import Task
from harness.selftest.truth import Truth, TruthMissing

TRIES = 3
BIN_S = 10.0

LEAST = 0.85
"""Share of its usual load that a phone must have had in every bin: a verdict on throttling is about 5 % of the rate."""

EVEN = 0.03
"""Share by which the load before and after the fall of a cap may differ."""


def until_steady(attempt: Callable[[], tuple[list[Check], str]]) -> list[Check]:
    """The checks of the first of TRIES attempts that hold, or that nothing has disturbed.

    Args:
        attempt: returns its checks, and what disturbed it, "" for nothing.
    """
    disturbances: list[str] = []
    while True:
        checks, disturbed = attempt()
        if holds(checks) or not disturbed or len(disturbances) + 1 == TRIES:
            break
        disturbances.append(disturbed)
    if not disturbances:
        return checks
    told = f"attempt {len(disturbances) + 1}; before: {'; '.join(disturbances)}"
    return [replace(check, note=f"{check.note}; {told}".removeprefix("; ")) for check in checks]


def disturbance(device: ResolvedDevice, task: Task, seen: Seen | None, checks: Sequence[Check]) -> str:
    """What disturbed a run of a virtual phone, "" for nothing."""
    missing = [check.note for check in checks if not was_run(check)]
    if missing or seen is None or seen.error_class:
        return missing[0] if missing else ""
    try:
        truth = task.phones.of(device).truth(str(seen.row.provenance.get("boot_id", "")))
        return unsteady(truth, *seen.window) or uneven(truth, *seen.window)
    except (TruthMissing, KeyError) as error:
        return str(error)


def unsteady(truth: Truth, start_s: float, end_s: float) -> str:
    """What the load of a phone between two moments of its uptime says of the machine, "" where it was steady.

    A phone that caps its clock runs for that share of the time: its load is seen relative to its cap.
    """
    bins: dict[int, list[float]] = {}
    for line in truth.lines:
        moment = float(line["uptime_s"])
        if start_s <= moment < start_s + (end_s - start_s) // BIN_S * BIN_S and "load" in line:
            bins.setdefault(int((moment - start_s) / BIN_S), []).append(float(line["load"]) / float(line["cap"]))
    loads = [fmean(values) for values in bins.values()]
    if len(loads) < 3:
        return "its truth does not tell its load"
    share = min(loads) / median(loads) if median(loads) > 0 else 0.0
    if share >= LEAST:
        return ""
    return f"the phone had {share:.0%} of its usual load for {BIN_S:.0f} s, since this machine had other work"


def uneven(truth: Truth, start_s: float, end_s: float) -> str:
    """What the load before the clock was capped, against that of the last third, says of the machine; "" where they
    agree. Those two are what a verdict on throttling compares, and the first may be shorter than a bin.

    Args: start_s, end_s: moments of the phone's uptime.
    """
    fell_s = truth.cap_fell_at(start_s, end_s)
    if fell_s is None:
        return ""

    def relative(first_s: float, last_s: float) -> list[float]:
        lines = (line for line in truth.lines if first_s <= float(line["uptime_s"]) < last_s and "load" in line)
        return [float(line["load"]) / float(line["cap"]) for line in lines]

    before, after = relative(start_s, fell_s), relative(end_s - (end_s - start_s) / 3, end_s)
    if not before or not after or fmean(after) <= 0:
        return "its truth does not tell its load"
    share = fmean(before) / fmean(after)
    if abs(share - 1) <= EVEN:
        return ""
    return f"the phone had {share:.0%} of its later load before its clock was capped, since this machine had other work"

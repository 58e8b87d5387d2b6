"""Waits until a phone may be measured: the loop around `harness.gates`, over callables so that it needs no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.gates import (
    OVERRIDES,
    Conditions,
    GateCheck,
    GateOutcome,
    GateReport,
    evaluate,
    failing,
    marks_of,
)
from harness.model.inventory import Gates, PhoneSettings

OnWait = Callable[[float, tuple[GateCheck, ...]], None]
"""Called before each pause with the seconds waited so far and the checks that do not pass."""


def wait_at_gate(
    gates: Gates,
    look: Callable[[], Conditions],
    *,
    clock: Callable[[], float],
    pause: Callable[[float], None],
    idle_cpu_c: float | None = None,
    wanted: PhoneSettings | None = None,
    parked: bool = False,
    may_park: bool = True,
    on_wait: OnWait | None = None,
) -> GateReport:
    """Look at a phone until its gates pass, time is up, or waiting is of no use.

    What only an operator can cure is not waited for. What `look`, `pause` or `on_wait` raises ends the wait and passes
    through: a lost phone, a cancelled run.

    Args:
        gates: limits and mode.
        look: asks the phone.
        clock: seconds, of any zero.
        pause: waits for so many seconds.
        idle_cpu_c, wanted, parked: see `harness.gates.evaluate`.
        may_park: False: there is nothing left to do meanwhile, so a low battery is waited for like heat.
    """
    began = clock()
    first: tuple[GateCheck, ...] = ()
    while True:
        seen = look()
        waited_s = clock() - began
        checks = evaluate(gates, seen.readings, idle_cpu_c=idle_cpu_c, wanted=wanted, parked=parked)
        looked_before, first = bool(first), first or checks
        left_s = gates.max_wait_s - waited_s
        outcome = _outcome(gates, checks, left_s=left_s, may_park=may_park)
        if outcome == "passed" and looked_before:
            outcome = "waited"
        if outcome is not None:
            report = GateReport(gates.mode, outcome, waited_s if looked_before else 0.0, first, checks)
            return replace(report, marks=marks_of(checks), texts=dict(seen.texts))
        if on_wait is not None:
            on_wait(waited_s, failing(checks))
        pause(min(gates.poll_s, left_s))


def _outcome(gates: Gates, checks: tuple[GateCheck, ...], *, left_s: float, may_park: bool) -> GateOutcome | None:
    """How the wait ends, or None while it goes on."""
    failed = failing(checks)
    if gates.mode == "off":
        return "off"
    if not failed:
        return "passed"
    if any(check.name in OVERRIDES for check in failed):
        return "refused"
    if may_park and any(check.cure == "park" for check in failed):
        return "parked"
    by_hand = [check for check in failed if check.cure == "operator"]
    if gates.mode == "strict":
        return "refused" if by_hand or left_s <= 0 else None
    return "recorded" if len(by_hand) == len(failed) or left_s <= 0 else None

"""One comparison of a truth with what was measured. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.model import Measured, Reading, Unavailable


@dataclass(frozen=True, slots=True)
class Check:
    """A truth, what farm measured, and whether the two agree.

    Args:
        check: name, the same on every device.
        device: id of the device.
        truth, measured: a number in `unit`, or a word; None where there is none.
        error: measured - truth, in `unit` of `allowed`; None for words.
        allowed: largest |error| that holds; None for words.
        unit: of truth and measured.
        ok: whether it holds; False also for a check that was not run.
        note: what else belongs to it; why it was not run.
    """

    check: str
    device: str
    truth: float | str | None
    measured: float | str | None
    error: float | None
    allowed: float | None
    unit: str
    ok: bool
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "check": self.check,
            "device": self.device,
            "truth": self.truth,
            "measured": self.measured,
            "error": self.error,
            "allowed": self.allowed,
            "unit": self.unit,
            "ok": self.ok,
            "note": self.note,
        }


NOT_RUN = "not run: "
"""How the note of a check begins that was not run."""


def not_run(check: str, device: str, why: str) -> Check:
    """A check that could not be made; it never counts as one that holds."""
    return Check(check, device, None, None, None, None, "", ok=False, note=NOT_RUN + why)


def was_run(check: Check) -> bool:
    return not check.note.startswith(NOT_RUN)


def near(
    check: str, device: str, truth: float, measured: Reading | float, allowed: float, unit: str, note: str = ""
) -> Check:
    """Whether a number is within `allowed` (in `unit`) of the truth; an absent one is not."""
    if isinstance(measured, Unavailable):
        return Check(check, device, truth, None, None, allowed, unit, ok=False, note=f"absent: {measured.reason}")
    value = measured.value if isinstance(measured, Measured) else measured
    error = value - truth
    ok = math.isfinite(error) and abs(error) <= allowed
    return Check(check, device, truth, value, error, allowed, unit, ok=ok, note=note)


def near_share(
    check: str, device: str, truth: float, measured: Reading | float, share: float, unit: str, note: str = ""
) -> Check:
    """As `near`, with `share` of the truth allowed."""
    return near(check, device, truth, measured, abs(truth) * share, unit, note)


def same(check: str, device: str, truth: str, measured: str, note: str = "") -> Check:
    """Whether a word is the expected one."""
    return Check(check, device, truth, measured, None, None, "", ok=truth == measured, note=note)


def at_least(check: str, device: str, limit: float, measured: float, unit: str, note: str = "") -> Check:
    """Whether a number is not below `limit`; the truth is the limit itself."""
    return Check(check, device, limit, measured, measured - limit, None, unit, ok=measured >= limit, note=note)


def absent(check: str, device: str, reading: Reading | None, note: str = "") -> Check:
    """Whether a figure is unavailable, as it must be, with a reason."""
    if isinstance(reading, Unavailable):
        return Check(check, device, "absent", "absent", None, None, "", ok=bool(reading.reason), note=reading.reason)
    shown = "no reading" if reading is None else f"{reading.value:g} {reading.unit}"
    return Check(check, device, "absent", shown, None, None, "", ok=False, note=note)


def holds(checks: Iterable[Check]) -> bool:
    """Whether there is a check and every one holds; one that was not run does not."""
    found = list(checks)
    return bool(found) and all(check.ok for check in found)


def summary(checks: Sequence[Check]) -> Mapping[str, Any]:
    """What is kept of a phone's self-test, JSON-ready."""
    ran = [check for check in checks if was_run(check)]
    return {
        "ok": holds(checks),
        "held": sum(check.ok for check in ran),
        "ran": len(ran),
        "not_run": len(checks) - len(ran),
        "checks": [check.to_json() for check in checks],
    }

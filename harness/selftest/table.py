"""Checks as rows of a table."""

from __future__ import annotations

from harness.selftest.checks import Check, was_run

COLUMNS = ("", "device", "check", "truth", "measured", "error", "allowed", "note")


def row(check: Check) -> tuple[str, ...]:
    """Cells in the order of COLUMNS; what there is none of is "–"."""
    sign = "✓" if check.ok else "✗" if was_run(check) else "–"
    return (
        sign,
        check.device,
        check.check,
        _shown(check.truth, check.unit),
        _shown(check.measured, check.unit),
        _shown(check.error, check.unit, sign=True),
        "–" if check.allowed is None else f"±{_number(check.allowed)} {check.unit}".rstrip(),
        check.note,
    )


def _shown(value: float | str | None, unit: str, *, sign: bool = False) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return f"{'+' if sign and value >= 0 else ''}{_number(value)} {unit}".rstrip()


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 100 else f"{value:.4g}"

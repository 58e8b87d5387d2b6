"""Numbers, times and names as a reader sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime

NARROW_SPACE = "\u202f"
MINUS = "\u2212"
DASH = "\u2013"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def significant(value: float) -> str:
    """`value` with three significant digits; digits before the decimal point are never dropped.

    A whole number stays one: 5 → "5", 1234.5 → "1234", 0.04567 → "0.0457".
    """
    if not math.isfinite(value):
        return "not a number"
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    decimals = max(0, 2 - magnitude)
    if decimals > 6:
        text = f"{value:.2e}"
    elif value == int(value) and abs(value) < 1e15:
        text = str(int(value))
    else:
        text = f"{value:.{decimals}f}"
    return _grouped(text).replace("-", MINUS)


def _grouped(text: str) -> str:
    """Thousands apart from 10 000 on, where they help to read."""
    whole, dot, fraction = text.partition(".")
    sign = "-" if whole.startswith("-") else ""
    digits = whole.removeprefix("-")
    if not digits.isdigit() or len(digits) < 5:
        return text
    parts: list[str] = []
    while digits:
        parts.insert(0, digits[-3:])
        digits = digits[:-3]
    return sign + NARROW_SPACE.join(parts) + dot + fraction


def alike(values: Sequence[float]) -> tuple[str, ...]:
    """Values of one quantity with equally many decimals, so that 32 beside 31.5 reads 32.0."""
    sizes = [abs(value) for value in values if value and math.isfinite(value)]
    whole = all(value == int(value) for value in values if math.isfinite(value))
    if whole or len(sizes) < len(values) or max(sizes) > 100 * min(sizes) or min(sizes) < 0.001:
        return tuple(significant(value) for value in values)
    decimals = max(0, 2 - math.floor(math.log10(min(sizes))))
    return tuple(_grouped(f"{value:.{decimals}f}").replace("-", MINUS) for value in values)


def span(low: float, high: float) -> str:
    """A range, "40.1 – 42.3"."""
    return f" {DASH} ".join(alike((low, high)))


def duration(seconds: float) -> str:
    """A length of time in the two units that matter: "0.42 s", "3 min 5 s", "2 h 10 min"."""
    if seconds < 60:
        return f"{significant(round(seconds, 3))} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def moment(unix_s: float) -> str:
    """A point in time, "2026-11-21 05:52:10 UTC"."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(unix_s: float) -> str:
    """The same for machines, RFC 3339."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plural(count: int, noun: str) -> str:
    """ "1 case", "2 cases"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def clock(unix_s: float) -> str:
    """The time of day, "05:52 UTC"."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%H:%M UTC")


def day(night: str) -> str:
    """An ISO date in words, "21 Nov"; what is none stays as it is."""
    try:
        found = date.fromisoformat(night)
    except ValueError:
        return night
    return f"{found.day} {_MONTHS[found.month - 1]}"


def listed(parts: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)

"""Small helpers of the parsers: bytes to lines, text to numbers, numbers to readings.

What a phone prints may be torn, translated or garbage, so nothing here raises, and the work is bounded by `MAX_BYTES`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from harness.model import Measured, Reading, Unavailable

MAX_BYTES = 1024 * 1024
"""Bytes of one output that are looked at; the longest that is asked for (all properties) is about 100 kB."""

KIB_IN_MB = 1024 / 1_000_000
"""/proc and dumpsys say kB and mean 1024 bytes; MB is 10^6 bytes."""

EINVAL = -22
"""What drivers put in place of a value they do not have (errno of "invalid argument")."""

IGNORED_MAX = 400
"""Entries of one output that are listed as seen and not used; what is beyond is only counted."""


@dataclass(frozen=True, slots=True)
class Words:
    """A fact that is a word and no number (a name, a cause), and what it was read from."""

    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """A line or entry of an output that was seen and not used, and why."""

    entry: str
    why: str


def listed(entries: Iterable[Ignored]) -> tuple[Ignored, ...]:
    """The first `IGNORED_MAX` entries, cut to a readable length, and a count of the others."""
    kept: list[Ignored] = []
    more = 0
    for found in entries:
        if len(kept) < IGNORED_MAX:
            kept.append(Ignored(found.entry.strip()[:200], found.why))
        else:
            more += 1
    return (*kept, Ignored(f"{more} more", "there are too many to list")) if more else tuple(kept)


# Digits are bounded (Python refuses to convert thousands of them) and ASCII (int() also takes other scripts' digits).
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,18})?(?:[eE][+-]?[0-9]{1,2})?")


def lines(data: bytes) -> list[str]:
    """The lines of an output; bytes that are no UTF-8 become U+FFFD."""
    return [line.rstrip("\r") for line in data[:MAX_BYTES].decode("utf-8", "replace").split("\n")]


def number(text: str | None) -> float | None:
    """The number that `text` is as a whole, else None (also for NaN)."""
    if text is None:
        return None
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def whole(text: str | None) -> int | None:
    """The whole number that `text` is, else None."""
    value = number(text)
    return int(value) if value is not None and value == int(value) else None


def pairs(data: bytes, separator: str) -> Iterator[tuple[str, str]]:
    """(key, value) of every line that holds `separator`, both stripped, in order."""
    for line in lines(data):
        key, found, value = line.partition(separator)
        if found and len(key) <= 128:
            yield key.strip(), value.strip()


def first_values(data: bytes, separator: str) -> Mapping[str, str]:
    """Key → value of its first line: what follows the state itself is history."""
    values: dict[str, str] = {}
    for key, value in pairs(data, separator):
        values.setdefault(key, value)
    return values


def within(
    value: float, unit: str, source: str, limits: tuple[float, float], resolution: float | None = None
) -> Reading:
    """`value` when it lies within `limits` (both included), else unavailable: it cannot be true."""
    low, high = limits
    if low <= value <= high:
        return Measured(value, unit, source, resolution)
    return Unavailable(f"{source} gives {value:g} {unit}, which cannot be true (only {low:g} to {high:g} can)")


def missing(source: str, key: str) -> Unavailable:
    """The phone's answer does not hold `key` as a number."""
    return Unavailable(f"{source} gives no {key}")

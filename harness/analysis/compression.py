"""What a smaller model gained: each model of a family against the original, on one phone, with one runner.

The original is the F16 model of the family; where none was measured there, the largest one takes its place. A ratio is
of two medians; it says nothing of their spread.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.model import Measured, Reading, Unavailable

ORIGINALS = ("F16", "FP16", "BF16")
"""Types of weights that are the original, in this order."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One case: what was measured of a model. `setting` is all that has to be the same for two models to be compared:
    phone, runner, workload."""

    key: str
    setting: tuple[str, ...]
    model: str
    family: str
    quant: str
    size_mb: Reading
    decode_tps: Reading
    peak_memory_mb: Reading


@dataclass(frozen=True, slots=True)
class Compressed:
    """An entry against its original, the key of which is `base` (its own for the original itself); `original`: that is
    the unquantised model, not just the largest. The ratios are entry / base, Unavailable where either is."""

    entry: Entry
    base: Entry
    original: bool
    size: Reading
    speed_up: Reading
    memory: Reading


def compressions(entries: Iterable[Entry]) -> tuple[Compressed, ...]:
    """Every entry against its original, families and settings in order of first sight, the largest model first."""
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.family, *entry.setting), []).append(entry)
    found: list[Compressed] = []
    for members in groups.values():
        base, original = _base(members)
        ordered = sorted(members, key=lambda entry: (-_number(entry.size_mb), entry.model))
        found += [_against(entry, base, original, alone=len(members) == 1) for entry in ordered]
    return tuple(found)


def _base(members: list[Entry]) -> tuple[Entry, bool]:
    for quant in ORIGINALS:
        for entry in members:
            if entry.quant.upper() == quant:
                return entry, True
    return max(members, key=lambda entry: _number(entry.size_mb)), False


def _against(entry: Entry, base: Entry, original: bool, *, alone: bool) -> Compressed:
    if alone and not original:
        nothing = Unavailable("no other model of its family was measured on this phone with this runner and workload")
        return Compressed(entry, base, False, nothing, nothing, nothing)
    return Compressed(
        entry,
        base,
        original,
        _ratio(entry.size_mb, base.size_mb),
        _ratio(entry.decode_tps, base.decode_tps),
        _ratio(entry.peak_memory_mb, base.peak_memory_mb),
    )


def _ratio(value: Reading, base: Reading) -> Reading:
    if isinstance(value, Unavailable):
        return value
    if isinstance(base, Unavailable):
        return Unavailable(f"of the original: {base.reason}")
    if base.value <= 0:
        return Unavailable("the original's value is 0, which gives no ratio")
    return Measured(value.value / base.value, "×", "ratio of two medians")


def _number(reading: Reading) -> float:
    return reading.value if isinstance(reading, Measured) else -1.0

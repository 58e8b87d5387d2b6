"""A series as a table of phones × nights, and the stretches of nights in which a phone's values can be compared.

Judged is the logarithm of candidate / reference of the same night, turned so that + is worse: what both builds share
(an update of the system, an old battery, a warm room) is not in it. An epoch of a phone ends when the version of the
measuring contract or the reference build changes. Without a reference the logarithm of the value itself is judged, and
an update of the system ends an epoch as well. A changed model file or build ends none: that is what is looked for.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.model import METRICS, NightValue

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NAMED_MARKS = 2
"""Phones that a mark of one night has to be on to be named beside the series: one phone's heat is no news."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One series. Rows are phones in the order of `phones`, columns are nights in theirs.

    Args:
        names: id of each phone in the inventory. level: what is judged, NaN where there is no value.
        epoch: number of the phone's epoch, from 0; -1 where there is no value.
        builds: the build that most phones ran, by night.
        events: (column, words).
    """

    nights: tuple[str, ...]
    phones: tuple[str, ...]
    names: tuple[str, ...]
    level: Floats
    epoch: Ints
    builds: tuple[str, ...]
    events: tuple[tuple[int, str], ...]

    def events_near(self, first: int, last: int) -> tuple[str, ...]:
        """Those of the columns from `first` to `last`, oldest first."""
        return tuple(f"{self.nights[at]}: {words}" for at, words in self.events if first <= at <= last)


def direction(metric: str) -> int:
    """+1 where more is worse, -1 where less is, 0 where neither is or the metric is not known."""
    spec = METRICS.get(metric)
    return {"lower": 1, "higher": -1}.get(spec.better, 0) if spec else 0


def worse_by(metric: str, before: float | None, after: float | None) -> float | None:
    """log(after / before), + is worse; None where a side has no positive value, or neither direction is better."""
    sign = direction(metric)
    if not sign or before is None or after is None or not _positive(before) or not _positive(after):
        return None
    return sign * math.log(after / before)


def judged(value: NightValue, sign: int) -> float | None:
    """The logarithm that is judged; None for a value that has none (not positive, or without its reference)."""
    if not _positive(value.value):
        return None
    if not value.reference_build:
        return sign * math.log(value.value)
    if value.reference is None or not _positive(value.reference):
        return None
    return sign * (math.log(value.value) - math.log(value.reference))


def panel(metric: str, values: Iterable[NightValue]) -> Panel:
    """The table of a series. Of several values of one phone and night the last one counts.

    Args:
        metric: one that has a better direction.
        values: in any order.
    """
    sign = direction(metric)
    found = {(one.identity, one.night): (one, own) for one in values if (own := judged(one, sign)) is not None}
    nights = tuple(sorted({night for _, night in found}))
    phones = tuple(sorted({identity for identity, _ in found}))
    level = np.full((len(phones), len(nights)), np.nan)
    epoch = np.full((len(phones), len(nights)), -1, dtype=np.int64)
    names: list[str] = []
    events: list[tuple[int, str]] = []
    for row, identity in enumerate(phones):
        line = [(at, *found[identity, night]) for at, night in enumerate(nights) if (identity, night) in found]
        for at, _, one in line:
            level[row, at] = one
        numbers, happened = _epochs([(at, value) for at, value, _ in line])
        for (at, _, _), number in zip(line, numbers, strict=True):
            epoch[row, at] = number
        names.append(line[-1][1].device_id)
        events += happened
    everything = [value for value, _ in found.values()]
    events += _new_phones(nights, everything) + _marks(nights, everything)
    return Panel(nights, phones, tuple(names), level, epoch, _builds(nights, everything), tuple(sorted(events)))


def epoch_key(value: NightValue) -> tuple[object, ...]:
    """What has to be the same for two values of one phone to be comparable."""
    return (value.contract, value.reference_build, "" if value.reference_build else value.os)


def _epochs(line: Sequence[tuple[int, NightValue]]) -> tuple[list[int], list[tuple[int, str]]]:
    """Number of the epoch of each value of one phone, and what happened to the phone."""
    numbers: list[int] = []
    events: list[tuple[int, str]] = []
    before: NightValue | None = None
    for at, value in line:
        if before is None:
            numbers.append(0)
        else:
            numbers.append(numbers[-1] + (epoch_key(before) != epoch_key(value)))
            events += [(at, f"{what} of {value.device_id} changed") for what in _changed(before, value)]
        before = value
    return numbers, events


def _changed(before: NightValue, after: NightValue) -> list[str]:
    pairs = {
        "operating system": (before.os, after.os),
        "model file": (before.model_sha256, after.model_sha256),
        "reference build": (before.reference_build, after.reference_build),
        "measuring contract": (before.contract, after.contract),
    }
    return [what for what, (old, new) in pairs.items() if old != new]


def _new_phones(nights: Sequence[str], values: Sequence[NightValue]) -> list[tuple[int, str]]:
    """Where another phone took the place of one."""
    events: list[tuple[int, str]] = []
    last: dict[str, str] = {}
    for value in sorted(values, key=lambda one: (one.night, one.identity)):
        if last.setdefault(value.device_id, value.identity) != value.identity:
            events.append((nights.index(value.night), f"{value.device_id} is another phone"))
            last[value.device_id] = value.identity
    return events


def _marks(nights: Sequence[str], values: Sequence[NightValue]) -> list[tuple[int, str]]:
    """Marks that several phones had in one night."""
    counts = Counter((value.night, mark) for value in values for mark in set(value.marks))
    return [
        (nights.index(night), f"{mark} on {count} phones")
        for (night, mark), count in counts.items()
        if count >= NAMED_MARKS
    ]


def _builds(nights: Sequence[str], values: Iterable[NightValue]) -> tuple[str, ...]:
    counts: dict[str, Counter[str]] = {night: Counter() for night in nights}
    for value in values:
        counts[value.night][value.build] += 1
    return tuple(max(sorted(found), key=lambda build: found[build]) for found in counts.values())


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0

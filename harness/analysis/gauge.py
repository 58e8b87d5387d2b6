"""What the numbers of a phone's fuel gauge mean: sign and unit of its current, unit and step of its charge counter.

Makers differ in all of them; `harness.analysis.gauge_calibration` finds them out once per phone. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from harness.analysis.gauge_series import inside, sample_interval
from harness.model import Trace

CURRENT_CHANNELS = ("battery.current", "battery.current_raw")
"""In order of preference where they are read equally often; the second holds the phone's own number, without a unit."""

_SLOWER = 2.0
"""How many times the shortest interval between samples a channel may have that comes earlier in the order."""

COUNTER_CHANNELS = ("battery.charge_counter", "battery.charge_counter_raw")


@dataclass(frozen=True, slots=True)
class GaugeCalibration:
    """What the numbers of one phone's gauge mean; what is None has its reason in the text beside it.

    Args:
        current_sign: sign of the current while charging.
        current_to_a: amperes in one of the current channel's numbers, without the sign.
        counter_to_c: coulombs in one of the counter channel's numbers.
        counter_step_c: how much the counter moves at a time, as sampled.
        current_channel, current_source, counter_channel, counter_source: what this holds for.
        sign_evidence, current_evidence, counter_evidence, step_evidence: what it was told from, or why it is not known.
    """

    current_sign: int | None = None
    current_to_a: float | None = None
    counter_to_c: float | None = None
    counter_step_c: float | None = None
    current_channel: str = ""
    current_source: str = ""
    counter_channel: str = ""
    counter_source: str = ""
    sign_evidence: str = "nothing was observed yet"
    current_evidence: str = "nothing was observed yet"
    counter_evidence: str = "nothing was observed yet"
    step_evidence: str = "nothing was observed yet"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> GaugeCalibration:
        """The calibration as stored.

        Raises:
            ValueError: it was not written by `to_json`.
        """
        names = {field.name for field in fields(cls)}
        if set(value) != names:
            raise ValueError(f"no gauge calibration: {', '.join(sorted(set(value) ^ names))} differ")
        found = cls(**value)
        if found.current_sign not in (None, 1, -1):
            raise ValueError(f"no gauge calibration: sign {found.current_sign!r}")
        return found

    def outflow(self, traces: Iterable[Trace]) -> tuple[Trace, float] | str:
        """The current's trace and the factor that makes it amperes out of the battery, or why there is none."""
        trace = pick(traces, CURRENT_CHANNELS)
        if trace is None:
            return f"the phone gives no current: {absence(traces, CURRENT_CHANNELS)}"
        if self.current_sign is None or self.current_to_a is None:
            why = self.sign_evidence if self.current_sign is None else self.current_evidence
            return f"the meaning of the phone's current is not known: {why}"
        if (trace.channel.name, trace.channel.source) != (self.current_channel, self.current_source):
            return (
                f"the current comes from {trace.channel.source}, but was calibrated from {self.current_source}: "
                "calibrate it anew"
            )
        return trace, -self.current_sign * self.current_to_a

    def charge(self, traces: Iterable[Trace]) -> tuple[Trace, float] | str:
        """The counter's trace and the factor that makes it coulombs, or why there is none."""
        trace = pick(traces, COUNTER_CHANNELS)
        if trace is None:
            return f"the phone gives no charge counter: {absence(traces, COUNTER_CHANNELS)}"
        if self.counter_to_c is None:
            return f"the unit of the phone's charge counter is not known: {self.counter_evidence}"
        if (trace.channel.name, trace.channel.source) != (self.counter_channel, self.counter_source):
            return (
                f"the charge counter comes from {trace.channel.source}, but was calibrated from "
                f"{self.counter_source}: calibrate it anew"
            )
        return trace, self.counter_to_c


def pick(traces: Iterable[Trace], names: Sequence[str]) -> Trace | None:
    """The one of these channels to go by: one that moves rather than one that stands still, then the first of those
    that are read at least half as often as the one read most often. A value that is asked for with a question that
    itself takes power is read at the same moment of that load each time, so a few of them are not a fair sample."""
    there = {trace.channel.name: trace for trace in traces if trace.values}
    known = [there[name] for name in names if name in there]
    known = [trace for trace in known if min(trace.values) != max(trace.values)] or known
    if not known:
        return None
    # One sample has no interval.
    intervals = [sample_interval(inside(trace, (None, None))) or math.inf for trace in known]
    often = _SLOWER * min(intervals)
    return next(trace for trace, interval in zip(known, intervals, strict=True) if interval <= often)


def absence(traces: Iterable[Trace], names: Sequence[str]) -> str:
    """Why none of these channels has samples."""
    absent = {trace.channel.name: trace.channel.absent for trace in traces if not trace.values}
    return next((absent[name] for name in names if absent.get(name)), "it was not sampled")


def merged(known: GaugeCalibration, newer: GaugeCalibration) -> GaugeCalibration:
    """What two calibrations of one phone say together: the newer where it knows, the older one elsewhere.

    The older is kept only for the same channel and source. Where both know and differ, nothing is known.
    """
    of_current = (known.current_channel, known.current_source) == (newer.current_channel, newer.current_source)
    of_counter = (known.counter_channel, known.counter_source) == (newer.counter_channel, newer.counter_source)
    values = newer.to_json()
    for name, evidence, same, differs in (
        ("current_sign", "sign_evidence", of_current, True),
        ("current_to_a", "current_evidence", of_current, True),
        ("counter_to_c", "counter_evidence", of_counter, True),
        ("counter_step_c", "step_evidence", of_counter, False),
    ):
        before, now = getattr(known, name), getattr(newer, name)
        if not same or before is None:
            continue
        if now is None:
            values[name], values[evidence] = before, getattr(known, evidence)
        elif differs and now != before:
            values[name] = None
            values[evidence] = f"two observations differ: {getattr(known, evidence)}; {getattr(newer, evidence)}"
    return GaugeCalibration.from_json(values)

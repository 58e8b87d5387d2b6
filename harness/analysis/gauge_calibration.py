"""Calibrates a fuel gauge from what was sampled on its phone.

Nothing is told from the size of a current: its unit follows from the charge that the counter or the level lost
meanwhile, its sign from what the battery did. Units differ by a factor of 1000, so that even a coarse comparison
decides. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from harness.analysis.gauge import COUNTER_CHANNELS, CURRENT_CHANNELS, GaugeCalibration, absence, pick
from harness.analysis.gauge_series import Series, inside, integral, typical_step, value_at
from harness.model import Measured, Reading, Trace

CHARGING, DISCHARGING = 2.0, 3.0
"""BatteryManager.BATTERY_STATUS_CHARGING and _DISCHARGING."""

MAH_C = 3.6
"""Coulombs in 1 mAh."""

_CURRENT_UNITS: Mapping[str, Mapping[float, str]] = {
    "A": {1.0: "its documented unit", 1e3: "1000 times its documented unit", 1e-3: "1/1000 of its documented unit"},
    "": {1e-6: "µA", 1e-3: "mA", 1.0: "A"},
}
_COUNTER_UNITS: Mapping[str, Mapping[float, str]] = {
    "mAh": {MAH_C: "µAh", 1e3 * MAH_C: "mAh"},
    "": {1e-3 * MAH_C: "µAh", MAH_C: "mAh"},
}
"""Unit of the channel → coulombs (amperes) in one of its numbers → what the phone's number then is."""

_ALIKE = (0.5, 2.0)
"""Range of a ratio that still tells one unit from another; a gauge's gain and an aged battery stay inside."""
_FULL_MAH = (200.0, 40_000.0)
"""Full charge of anything sold as a phone or tablet."""
_LEAST_MOVES = 3
_LEAST_LEVELS = 3.0
_LEAST_SAMPLES = 5


def calibrate(observations: Sequence[Sequence[Trace]], *, design_mah: Reading) -> GaugeCalibration:
    """Calibrate a gauge from what was sampled on one phone.

    Args:
        observations: traces of stretches of time (battery.current, .charge_counter, .status, .external, .level), best
            some minutes unplugged and some charging.
        design_mah: the battery's design capacity.
    """
    every = [trace for observed in observations for trace in observed]
    current, counter = pick(every, CURRENT_CHANNELS), pick(every, COUNTER_CHANNELS)
    found: dict[str, Any] = {}
    counter_to_c: float | None = None
    if counter is None:
        reason = f"the phone gives no charge counter: {absence(every, COUNTER_CHANNELS)}"
        found |= {"counter_evidence": reason, "step_evidence": reason}
    else:
        counter_to_c, evidence = _counter_unit(tuple(_same(observations, counter)), design_mah)
        step, step_evidence = _counter_step(_same(observations, counter), counter_to_c)
        found |= {"counter_channel": counter.channel.name, "counter_source": counter.channel.source}
        found |= {"counter_to_c": counter_to_c, "counter_evidence": evidence}
        found |= {"counter_step_c": step, "step_evidence": step_evidence}
    if current is None:
        reason = f"the phone gives no current: {absence(every, CURRENT_CHANNELS)}"
        return GaugeCalibration(**found, sign_evidence=reason, current_evidence=reason)
    stretches = tuple(_stretches(_same(observations, current), counter, counter_to_c, design_mah))
    sign, sign_evidence = _sign(stretches)
    factor, evidence = _current_unit(stretches, current.channel.unit)
    return GaugeCalibration(
        **found,
        current_channel=current.channel.name,
        current_source=current.channel.source,
        current_sign=sign,
        sign_evidence=sign_evidence,
        current_to_a=factor,
        current_evidence=evidence,
    )


# --- what was observed ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A stretch in which the battery did one thing.

    Args:
        current: as the phone gives it.
        state: CHARGING, DISCHARGING, or None where the phone says neither.
        charge: start, end, and the coulombs that entered the battery between them; None when too little moved.
        by: what the charge was told from.
    """

    current: Series
    state: float | None
    charge: tuple[float, float, float] | None
    by: str


def _same(observations: Sequence[Sequence[Trace]], like: Trace) -> Iterator[tuple[Trace, Sequence[Trace]]]:
    """The trace of the same channel and source in each observation, with that observation."""
    for observed in observations:
        for trace in observed:
            if trace.values and (trace.channel.name, trace.channel.source) == (like.channel.name, like.channel.source):
                yield trace, observed


def _named(observed: Sequence[Trace], name: str) -> Trace | None:
    return next((trace for trace in observed if trace.channel.name == name), None)


def _stretches(
    currents: Iterable[tuple[Trace, Sequence[Trace]]],
    counter: Trace | None,
    counter_to_c: float | None,
    design_mah: Reading,
) -> Iterator[_Stretch]:
    for trace, observed in currents:
        for start, end, state in _phases(observed, trace):
            current = inside(trace, (start, end))
            if len(current) < _LEAST_SAMPLES:
                continue
            charge, by = None, ""
            if counter is not None and counter_to_c is not None:
                same = next((each for each, _ in _same([observed], counter)), None)
                charge, by = _moved(inside(same, (start, end)), counter_to_c, _LEAST_MOVES), "the charge counter"
            if charge is None and isinstance(design_mah, Measured):
                level = inside(_named(observed, "battery.level"), (start, end))
                charge = _moved(level, design_mah.value * MAH_C / 100, _LEAST_LEVELS)
                by = "the level times the design capacity"
            yield _Stretch(current, state, charge, by)


def _phases(observed: Sequence[Trace], current: Trace) -> Iterator[tuple[float, float, float | None]]:
    """Spans of one state, told by battery.status and battery.external; both must agree."""
    external, status = _named(observed, "battery.external"), _named(observed, "battery.status")
    first, last = current.uptime_s[0], current.uptime_s[-1]
    if external is None or status is None or not external.values or not status.values:
        yield first, last, None
        return
    plugged = dict(zip(external.uptime_s, external.values, strict=True))
    known = [(at, _state(plugged.get(at), value)) for at, value in zip(status.uptime_s, status.values, strict=True)]
    begin = 0
    for index in range(1, len(known) + 1):
        if index == len(known) or known[index][1] != known[begin][1]:
            yield known[begin][0], known[index - 1][0], known[begin][1]
            begin = index


def _state(plugged: float | None, status: float) -> float | None:
    if plugged == 0 and status == DISCHARGING:
        return DISCHARGING
    return CHARGING if plugged and status == CHARGING else None


def _moved(series: Series, factor: float, least: float) -> tuple[float, float, float] | None:
    """(start, end, coulombs in) between the first and the last change, where at least `least` typical steps lie."""
    changes = [
        (series.times[index], series.values[index])
        for index in range(1, len(series))
        if series.values[index] != series.values[index - 1]
    ]
    step = typical_step(series)
    if step is None or len(changes) < 2:
        return None
    (start, first), (end, last) = changes[0], changes[-1]
    return (start, end, (last - first) * factor) if abs(last - first) >= (least - 0.01) * step else None


# --- conclusions ------------------------------------------------------------------------------------------------------


def _counter_unit(counters: Sequence[tuple[Trace, Sequence[Trace]]], design_mah: Reading) -> tuple[float | None, str]:
    """Coulombs in one number of the counter, from counter / level against the design capacity. Where that is hidden, a
    number without a unit must also move as it says: one that counts from another zero shows nothing of its unit."""
    ratios = []
    unit = ""
    for trace, observed in counters:
        unit = trace.channel.unit
        level = _named(observed, "battery.level")
        shares = [value / 100 for value in level.values if value >= 5] if level is not None else []
        if shares:
            ratios.append(median(trace.values) / median(shares))
    if not ratios:
        return None, "no level of 5 % or more was sampled beside the charge counter"
    full = median(ratios)
    for factor, name in _COUNTER_UNITS.get(unit, {}).items():
        full_mah = full * factor / MAH_C
        if isinstance(design_mah, Measured):
            if _ALIKE[0] <= full_mah / design_mah.value <= _ALIKE[1]:
                return factor, f"in {name} a full battery holds {full_mah:.0f} of {design_mah.value:.0f} mAh by design"
        elif _FULL_MAH[0] <= full_mah <= _FULL_MAH[1]:
            by_moves = _full_by_moves(counters) if not unit else None
            if by_moves is not None and not _ALIKE[0] <= by_moves / full <= _ALIKE[1]:
                return None, (
                    f"by what it shows a full battery holds {full:.4g}, by its moves {by_moves:.4g}: it counts from "
                    "another zero"
                )
            return (
                factor,
                f"in {name} a full battery holds {full_mah:.0f} mAh, in any other unit none of a phone's size",
            )
    design = f"; by design it holds {design_mah.value:.0f} mAh" if isinstance(design_mah, Measured) else ""
    return None, f"neither in µAh nor in mAh does {full:.4g} for a full battery fit a phone's battery{design}"


def _full_by_moves(counters: Iterable[tuple[Trace, Sequence[Trace]]]) -> float | None:
    """A full battery in the counter's numbers, from how far it moved while the level did; None: too little to tell."""
    found = []
    for trace, observed in counters:
        moved = _moved(inside(_named(observed, "battery.level"), (None, None)), 1.0, _LEAST_LEVELS)
        if moved is not None:
            start, end, levels = moved
            series = Series(trace.uptime_s, trace.values)
            found.append(100 * (value_at(series, end) - value_at(series, start)) / levels)
    return median(found) if found else None


def _counter_step(
    counters: Iterable[tuple[Trace, Sequence[Trace]]], counter_to_c: float | None
) -> tuple[float | None, str]:
    if counter_to_c is None:
        return None, "the unit of the charge counter is not known"
    steps = [step for trace, _ in counters if (step := typical_step(Series(trace.uptime_s, trace.values))) is not None]
    if not steps:
        return None, "the charge counter moved less than twice"
    return median(steps) * counter_to_c, "median move of the charge counter between samples"


def _sign(stretches: Sequence[_Stretch]) -> tuple[int | None, str]:
    """Sign of the current while charging, from every stretch that tells it; all must agree."""
    firm: dict[int, str] = {}
    weak: dict[int, str] = {}
    for stretch in stretches:
        typical = median(stretch.current.values)
        if typical == 0:
            continue
        sign = 1 if typical > 0 else -1
        if stretch.charge is not None:
            grows = stretch.charge[2] > 0
            if grows and stretch.state == DISCHARGING:
                return None, f"{stretch.by} rose while the phone said that it was unplugged"
            firm[sign if grows else -sign] = f"the sign of the current against the slope of {stretch.by}"
        elif stretch.state == DISCHARGING:
            firm.setdefault(-sign, "the sign of the current while unplugged and discharging")
        elif stretch.state == CHARGING:
            weak.setdefault(sign, "the sign of the current while the phone said that it charges")
    every = weak | firm
    if len(every) > 1:
        texts = "; ".join(sorted(set(every.values())))
        return None, f"contradictory: {texts} (the phone gives amounts only, or a weak port did not charge it)"
    if not firm:
        # A weak port feeds a busy phone only in part while the phone calls that charging.
        seen = "only its word that it charges was seen" if weak else "it was seen neither charging nor unplugged"
        return None, f"{seen}; observe it unplugged, or long enough for the charge counter to move"
    ((sign, evidence),) = firm.items()
    return sign, evidence


def _current_unit(stretches: Sequence[_Stretch], unit: str) -> tuple[float | None, str]:
    """Amperes in one number of the current, from the charge that moved meanwhile."""
    found: dict[float, str] = {}
    for stretch in stretches:
        if stretch.charge is None:
            continue
        start, end, coulombs = stretch.charge
        raw = abs(integral(stretch.current, start, end))
        if not raw:
            continue
        ratio = abs(coulombs) / raw
        fits = [each for each in _CURRENT_UNITS.get(unit, {}) if _ALIKE[0] <= ratio / each <= _ALIKE[1]]
        if not fits:
            return None, f"by {stretch.by}, one of its numbers is {ratio:.3g} A, which is near no unit"
        name = _CURRENT_UNITS[unit][fits[0]]
        found[fits[0]] = f"{name}: {abs(coulombs):.0f} C moved in {end - start:.0f} s by {stretch.by}"
    if len(found) > 1:
        return None, f"two stretches differ: {'; '.join(found.values())}"
    if not found:
        return None, (
            f"no stretch was long enough: the charge counter has to move {_LEAST_MOVES} times, or the level "
            f"{_LEAST_LEVELS:.0f} %"
        )
    ((factor, evidence),) = found.items()
    return factor, evidence

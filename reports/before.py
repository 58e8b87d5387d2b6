"""What a repetition's provenance says around its run: the gate before it, its marks, its heat, where it ran.

Stored by any version of the harness and so read with care: what is not as expected is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from reports.numbers import duration, significant

KEYS = frozenset({"gate", "heat", "marks"})
"""Keys of the provenance that are shown here and not in its list."""

_UNIT = re.compile(r"_(c|pct|mb|s)$")
"""At the end of a reading's name; its value has the unit."""

_VERDICTS: Mapping[str, str] = {
    "none": "not throttled",
    "throttled": "throttled",
    "slowdown_unexplained": "slowdown, unexplained",
    "unknown": "throttling unknown",
}
_STYLES: Mapping[str, str] = {"none": "pass", "throttled": "fail", "slowdown_unexplained": "inconclusive"}


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One gate: `state` is the stored word, `style` its colour ("pass", "fail", "inconclusive")."""

    name: str
    state: str
    style: str
    seen: str
    wanted: str
    advice: str


@dataclass(frozen=True, slots=True)
class BeforeView:
    """The gate of a repetition; `summary` is one sentence, also where nothing was looked at."""

    summary: str
    checks: tuple[CheckRow, ...]
    marks: tuple[str, ...]
    short: str


@dataclass(frozen=True, slots=True)
class HeatView:
    """The stored verdict on throttling, as far as it can be read.

    Args:
        start_uptime_s, duration_s: first token on the device's clock, and seconds to the last one.
        onset_s: seconds from the first token.
        curve: (device uptime, tok/s).
    """

    word: str
    style: str
    reason: str
    start_uptime_s: float
    duration_s: float
    onset_s: float | None
    curve: tuple[tuple[float, float], ...]


def before_view(provenance: Mapping[str, Any]) -> BeforeView:
    """The gate and the marks of a repetition."""
    marks = list(_texts(provenance.get("marks")))
    gate = provenance.get("gate")
    if not isinstance(gate, Mapping):
        return BeforeView("No gate was recorded before this repetition.", (), tuple(marks), "")
    marks += [mark for mark in _texts(gate.get("marks")) if mark not in marks]
    mode, outcome = _text(gate.get("mode")), _text(gate.get("outcome")).replace("_", " ")
    waited = _number(gate.get("waited_s"))
    parts = [f"mode {mode}" if mode else "", outcome, "" if waited is None else f"waited {duration(waited)}"]
    said = ", ".join(part for part in parts if part) or "nothing recorded"
    short = f"gate: {outcome or mode}" if outcome or mode else ""
    rows = gate.get("checks_last")
    checks = [_check(row) for row in rows if isinstance(row, Mapping)] if _is_list(rows) else []
    return BeforeView(f"Gate: {said}.", tuple(checks), tuple(marks), short)


def _check(row: Mapping[str, Any]) -> CheckRow:
    state = _text(row.get("state"))
    return CheckRow(
        name=_UNIT.sub("", _text(row.get("name"))).replace("_", " "),
        state=state.replace("_", " "),
        style=state if state in ("pass", "fail") else "not_measured",
        seen=_text(row.get("seen")),
        wanted=_text(row.get("wanted")),
        # What passed or is not known needs nobody to do anything.
        advice=_text(row.get("advice")) if state == "fail" else "",
    )


def heat_view(provenance: Mapping[str, Any]) -> HeatView | None:
    """The verdict on throttling; None where the workload has none."""
    heat = provenance.get("heat")
    if not isinstance(heat, Mapping):
        return None
    verdict = _text(heat.get("verdict"))
    onset, start, length = (_number(heat.get(name)) for name in ("onset_s", "start_uptime_s", "duration_s"))
    word = _VERDICTS.get(verdict, verdict or "throttling unknown")
    if verdict == "throttled":
        word = "throttled, moment unknown" if onset is None else f"throttled after {significant(onset)} s"
    pairs = heat.get("curve")
    curve: list[tuple[float, float]] = []
    for pair in pairs if _is_list(pairs) and start is not None else ():
        at, rate = (_number(pair[0]), _number(pair[1])) if _is_list(pair) and len(pair) == 2 else (None, None)
        if at is not None and rate is not None and start is not None:
            curve.append((start + at, rate))
    return HeatView(
        word=word,
        style=_STYLES.get(verdict, "not_measured"),
        reason=_text(heat.get("reason")),
        start_uptime_s=start or 0.0,
        duration_s=(length or 0.0) if start is not None else 0.0,
        onset_s=onset if start is not None else None,
        curve=tuple(curve),
    )


def placed(provenance: Mapping[str, Any]) -> str:
    """On which cores it ran, in words; "" where it is not recorded."""
    placement = provenance.get("placement")
    if not isinstance(placement, Mapping):
        return ""
    words = {"cpus_allowed": "cores", "cpuset": "cpuset", "cgroup": "cgroup"}
    return ", ".join(
        f"{words.get(name, name.replace('_', ' '))} {text}"
        for name, value in placement.items()
        if isinstance(name, str) and (text := _text(value))
    )


def _text(value: Any) -> str:
    if value is None or isinstance(value, Mapping) or _is_list(value):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return significant(value) if isinstance(value, float) and math.isfinite(value) else str(value)


def _number(value: Any) -> float | None:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None


def _texts(value: Any) -> list[str]:
    return [text for one in value if (text := _text(one))] if _is_list(value) else []


def _is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))

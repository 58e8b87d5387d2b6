"""A night in words: its one sentence, and what is said of a change. Pure; the report, the webhook and CI pages use it.

Everything here is plain text on one line. Whoever puts it into HTML, Markdown or XML escapes it there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, tzinfo

from harness.model import Change, ChangeState, HandNeeded, NightSummary, PairOutcome

MOST_NAMES = 3
"""Phones, and calls for a hand, that are named in a sentence; the others are counted."""
MOST_LETTERS = 120
"""Of a name or an advice in a sentence."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def headline(summary: NightSummary, zone: tzinfo | None = None) -> str:
    """The night in one sentence: "Night of 21 Nov, ended 05:52: 412 of 430 measured; 1 regression confirmed, 2 suspect;
    hands needed: pixel, authorize".

    Args: zone: whose clock tells the end; None: that of this host.
    """
    ended = datetime.fromtimestamp(summary.ended_at, UTC).astimezone(zone)
    parts = [measured(summary), _changes(summary)]
    if summary.hands:
        parts.append(f"hands needed: {_hands(summary.hands)}")
    return f"Night of {day(summary.night)}, ended {ended:%H:%M}: {'; '.join(parts)}"


def measured(summary: NightSummary) -> str:
    """How much of a night was measured: \"412 of 430 measured\"."""
    if not summary.phones:
        return "no phone took part"
    return f"{summary.measured} of {summary.due} measured" if summary.due else "nothing was due"


def _changes(summary: NightSummary) -> str:
    regressions = len(summary.regressions)
    counts = (
        (regressions, "regression confirmed" if regressions == 1 else "regressions confirmed"),
        (len(summary.of(ChangeState.SUSPECT)), "suspect"),
        (len(summary.of(ChangeState.IMPROVEMENT)), "improved"),
    )
    return ", ".join(f"{count} {word}" for count, word in counts if count) or "no change"


def _hands(hands: Sequence[HandNeeded]) -> str:
    told = [f"{names(hand.devices)}, {plain(hand.advice or hand.problem)}" for hand in hands[:MOST_NAMES]]
    return "; ".join([*told, *([f"and {len(hands) - MOST_NAMES} more"] if len(hands) > MOST_NAMES else [])])


def names(devices: Sequence[str]) -> str:
    """The first few of some devices, and how many more there are."""
    told = ", ".join(plain(device) for device in devices[:MOST_NAMES])
    return f"{told} and {len(devices) - MOST_NAMES} more" if len(devices) > MOST_NAMES else told


def day(night: str) -> str:
    """An ISO date as in a sentence: "21 Nov"."""
    found = date.fromisoformat(night)
    return f"{found.day} {_MONTHS[found.month - 1]}"


def plain(text: str, most: int = MOST_LETTERS) -> str:
    """Foreign text on one line: without control and invisible characters, cut to `most` letters."""
    line = " ".join("".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in text).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def moved(delta: float) -> str:
    """The logarithm of a change in words: 0.1 → "10.5 % worse"."""
    return f"{_percent(delta)} % {'worse' if delta > 0 else 'better'}"


def told(change: Change) -> str:
    """How far a series moved, with its interval: "10.5 % worse (8.3 to 12.7 %)"; "" where no step is known.

    Where pairs confirmed it, it is their figure: what the nights show may have more in it than the build.
    """
    if change.ab is not None and change.ab.outcome is PairOutcome.CONFIRMED:
        seen = (change.ab.delta, change.ab.low, change.ab.high)
    elif change.step is not None:
        seen = (change.step.delta, change.step.low, change.step.high)
    else:
        return ""
    delta, low, high = seen
    if delta is None or low is None or high is None:
        return ""
    if (low > 0) != (high > 0):
        return f"{moved(delta)} ({moved(low)} to {moved(high)})"
    near, far = sorted((low, high), key=abs)
    return f"{moved(delta)} ({_percent(near)} to {_percent(far)} %)"


def _percent(delta: float) -> str:
    # As far as a float goes: what is broken may be a thousand times slower.
    return f"{100 * math.expm1(min(abs(delta), 700.0)):.1f}"

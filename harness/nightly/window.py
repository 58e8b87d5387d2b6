"""When a night begins and by when it has to be over. Pure: the caller says what time it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta

from harness.errors import UsageError
from harness.model import PlannedCase

NOON = 12
"""Hour before which a start still belongs to the night that began the day before."""

MARGIN_SHARE = 0.25
"""Most of a window that is kept free at its end for a long measurement."""

_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


def night_of(now: datetime) -> str:
    """ISO date on which the night began that `now` (the lab's own time) belongs to."""
    return (now.date() - timedelta(days=now.hour < NOON)).isoformat()


def as_night(text: str) -> str:
    """`text` as the name of a night. Raises UsageError when it is no date."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise UsageError(f"{text!r} is no night: expected the date on which it began, as 2026-11-21") from None


def until(text: str, now: datetime) -> datetime:
    """The next time that a clock shows HH:MM.

    Args: now: with its time zone.
    Raises: UsageError: `text` is no time of day.
    """
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{text!r} is no time of day: expected HH:MM, as 06:00")
    end = now.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0)
    return end if end > now else end + timedelta(days=1)


def margin_s(cases: Iterable[PlannedCase], durations: Mapping[str, float], window_s: float) -> float:
    """How long before the end of the window the last measurement may begin, so that it ends inside.

    Args:
        cases: that may be begun. durations: series key → seconds, of those that were measured before.
        window_s: length of the window in seconds.
    """
    longest = max((durations.get(case.series_key, 0.0) for case in cases), default=0.0)
    return min(longest, MARGIN_SHARE * window_s)

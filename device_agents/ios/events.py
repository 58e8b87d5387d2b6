"""The event lines that the runner leaves in its Documents (docs/runner-contract.md), as far as an agent looks at them.

Pure; a file may be cut anywhere and hold anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What a runner told.

    Args:
        start: its first event, None when there is none.
        last: the event that ended it ("end" or "error"), None while there is none.
        devices: the events about the phone, in order. memory: those about its memory.
        checked: the answer to a check request.
        last_t: device uptime (ns) of the newest event.
    """

    start: Event | None
    last: Event | None
    devices: tuple[Event, ...]
    memory: tuple[Event, ...]
    checked: Event | None
    last_t: int | None

    @property
    def error(self) -> tuple[str, str]:
        """Class and message of its error; "" where it has none."""
        if self.last is None or self.last.get("event") != "error":
            return "", ""
        return str(self.last.get("class", "")), str(self.last.get("message", ""))


def told_by(data: bytes) -> Told:
    """The events of a file."""
    events = [event for line in data.split(b"\n") if (event := _event(line)) is not None]
    times = [event["t"] for event in events if isinstance(event.get("t"), int)]
    return Told(
        start=_first(events, "start"),
        last=next((event for event in reversed(events) if event["event"] in ("end", "error")), None),
        devices=tuple(event for event in events if event["event"] == "device"),
        memory=tuple(event for event in events if event["event"] == "memory"),
        checked=_first(events, "checked"),
        last_t=max(times, default=None),
    )


def seconds(event: Event | None) -> float | None:
    """Device uptime of an event, s."""
    at = event.get("t") if event is not None else None
    return at / 1e9 if isinstance(at, int) and not isinstance(at, bool) else None


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("event"), str) else None


def _first(events: list[dict[str, Any]], name: str) -> Event | None:
    return next((event for event in events if event["event"] == name), None)

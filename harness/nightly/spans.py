"""When phones were in quarantine. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.store import DeviceRecord

QUARANTINE = "quarantine"
"""Kind of the device records that begin and lift one."""


@dataclass(frozen=True, slots=True)
class Span:
    """Unix seconds. Args: since: the first. until: the first after it, inf while it goes on."""

    since: float
    until: float = math.inf

    def __contains__(self, at: float) -> bool:
        return self.since <= at < self.until


Spans = Mapping[str, tuple[Span, ...]]
"""Identity of a phone → its quarantines, oldest first."""


def quarantine_spans(records: Iterable[DeviceRecord]) -> Spans:
    """The quarantines that these records begin (`lifted` false) and end (`lifted` true).

    Args:
        records: of kind QUARANTINE, oldest first; one more beginning of an open quarantine changes nothing.
    """
    found: dict[str, tuple[Span, ...]] = {}
    for record in records:
        spans = found.get(record.identity, ())
        is_open = bool(spans) and spans[-1].until == math.inf
        if record.value.get("lifted") is True:
            if is_open:
                found[record.identity] = (*spans[:-1], Span(spans[-1].since, record.at))
        elif not is_open:
            found[record.identity] = (*spans, Span(record.at))
    return found


def is_apart(spans: Spans, identity: str, at: float) -> bool:
    """Whether the phone was in quarantine at that time (Unix seconds)."""
    return any(at in span for span in spans.get(identity, ()))


def last_lift(spans: Spans, identity: str) -> float:
    """When its newest quarantine that is over was lifted, Unix seconds; -inf without one."""
    return max((span.until for span in spans.get(identity, ()) if span.until < math.inf), default=-math.inf)

"""When phones were in quarantine. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.model import Quarantine

if TYPE_CHECKING:
    from harness.store import DeviceRecord

QUARANTINE = "quarantine"
"""Kind of the device records that begin and lift one."""


@dataclass(frozen=True, slots=True)
class Span:
    """One quarantine. Args: held: its beginning, with the words said of it last. until: Unix seconds, the first that is
    no longer in it; inf while it goes on."""

    held: Quarantine
    until: float = math.inf

    def __contains__(self, at: float) -> bool:
        return self.held.since <= at < self.until


Spans = Mapping[str, tuple[Span, ...]]
"""Identity of a phone → its quarantines, oldest first."""


def quarantine_spans(records: Iterable[DeviceRecord]) -> Spans:
    """The quarantines that device records of kind QUARANTINE begin (`lifted` false) and end (`lifted` true).

    Args:
        records: in any order, of any kinds. One more beginning of an open quarantine changes only its words.
    """
    found: dict[str, tuple[Span, ...]] = {}
    for record in sorted((each for each in records if each.kind == QUARANTINE), key=lambda each: each.at):
        spans = found.get(record.identity, ())
        is_open = bool(spans) and spans[-1].until == math.inf
        if record.value.get("lifted") is True:
            if is_open:
                found[record.identity] = (*spans[:-1], Span(spans[-1].held, record.at))
            continue
        words = {name: str(record.value.get(name, "")) for name in ("device_id", "reason", "author")}
        since = spans[-1].held.since if is_open else record.at
        begun = Span(Quarantine(record.identity, since=since, **words))
        found[record.identity] = (*(spans[:-1] if is_open else spans), begun)
    return found


def quarantined_at(spans: Spans, identity: str, at: float) -> Quarantine | None:
    """The quarantine that a phone was in at a time (Unix seconds); None: in none."""
    return next((span.held for span in spans.get(identity, ()) if at in span), None)


def quarantined_now(spans: Spans) -> dict[str, Quarantine]:
    """Identity → the quarantine that the phone is in."""
    return {identity: own[-1].held for identity, own in spans.items() if own[-1].until == math.inf}


def last_lift(spans: Spans, identity: str) -> float:
    """When its newest quarantine that is over was lifted, Unix seconds; -inf without one."""
    return max((span.until for span in spans.get(identity, ()) if span.until < math.inf), default=-math.inf)

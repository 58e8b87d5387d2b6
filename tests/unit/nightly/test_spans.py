"""When phones were in quarantine."""

from __future__ import annotations

import math

from harness.nightly.spans import Span, is_apart, last_lift, quarantine_spans
from harness.store import DeviceRecord


def record(at: float, *, lifted: bool, identity: str = "A") -> DeviceRecord:
    value = {"device_id": "pixel", "reason": "drifts", "author": "farm", "lifted": lifted}
    return DeviceRecord(identity, "quarantine", "", at, value)


def test_a_quarantine_lasts_until_it_is_lifted() -> None:
    spans = quarantine_spans([record(10, lifted=False), record(20, lifted=True), record(30, lifted=False)])
    assert spans == {"A": (Span(10, 20), Span(30, math.inf))}
    apart = {at: is_apart(spans, "A", at) for at in (9.0, 10.0, 19.9, 20.0, 29.0, 30.0, 1e12)}
    assert [at for at, is_so in apart.items() if is_so] == [10.0, 19.9, 30.0, 1e12]
    assert last_lift(spans, "A") == 20


def test_what_is_said_twice_changes_nothing() -> None:
    spans = quarantine_spans(
        [
            record(5, lifted=True),
            record(10, lifted=False),
            record(15, lifted=False),
            record(20, lifted=True),
            record(25, lifted=True),
        ]
    )
    assert spans == {"A": (Span(10, 20),)}


def test_phones_are_kept_apart() -> None:
    spans = quarantine_spans([record(10, lifted=False), record(11, lifted=True, identity="B")])
    assert spans == {"A": (Span(10),)}
    assert not is_apart(spans, "B", 12)
    assert last_lift(spans, "A") == last_lift(spans, "B") == -math.inf

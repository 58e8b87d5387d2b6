"""When phones were in quarantine."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.model import Quarantine
from harness.nightly.spans import (
    QUARANTINE,
    Spans,
    last_lift,
    quarantine_spans,
    quarantined_at,
    quarantined_now,
)
from harness.store import DeviceRecord


def record(at: float, *, lifted: bool, identity: str = "A", reason: str = "drifts") -> DeviceRecord:
    value = {"device_id": "pixel", "reason": reason, "author": "farm", "lifted": lifted}
    return DeviceRecord(identity, QUARANTINE, "", at, value)


def times(spans: Spans, identity: str = "A") -> Sequence[tuple[float, float]]:
    return [(span.held.since, span.until) for span in spans[identity]]


def test_a_quarantine_lasts_until_it_is_lifted() -> None:
    records = [record(10, lifted=False), record(20, lifted=True), record(30, lifted=False)]
    spans = quarantine_spans(records)
    assert times(spans) == [(10, 20), (30, math.inf)]
    apart = [at for at in (9.0, 10.0, 19.9, 20.0, 29.0, 30.0, 1e12) if quarantined_at(spans, "A", at)]
    assert apart == [10.0, 19.9, 30.0, 1e12]
    assert last_lift(spans, "A") == 20
    assert quarantined_now(spans) == {"A": Quarantine("A", "pixel", "drifts", 30.0)}
    assert quarantine_spans(reversed(records)) == spans, "the order of the records does not matter"


def test_what_is_said_twice_changes_only_the_words() -> None:
    spans = quarantine_spans(
        [
            record(5, lifted=True),
            record(10, lifted=False),
            record(15, lifted=False, reason="battery"),
            record(20, lifted=True),
            record(25, lifted=True),
        ]
    )
    assert times(spans) == [(10, 20)]
    assert quarantined_at(spans, "A", 12) == Quarantine("A", "pixel", "battery", 10.0)
    assert quarantined_now(spans) == {}


def test_phones_are_kept_apart() -> None:
    spans = quarantine_spans([record(10, lifted=False), record(11, lifted=True, identity="B")])
    assert list(spans) == ["A"] and times(spans) == [(10, math.inf)]
    assert quarantined_at(spans, "B", 12) is None
    assert last_lift(spans, "A") == last_lift(spans, "B") == -math.inf


def test_records_of_other_kinds_put_nothing_apart() -> None:
    assert quarantine_spans([DeviceRecord("A", "qualification", "", 10.0, {"ok": False})]) == {}

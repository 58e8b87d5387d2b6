"""Made-up nights for the tests of what they tell."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from harness.model import (
    BuildFound,
    Change,
    ChangeState,
    DeviceKind,
    HandNeeded,
    LevelStep,
    NightSummary,
    PairOutcome,
    PairResult,
    PhoneDrift,
    Quarantine,
    SeriesId,
    TargetVerdict,
    VerdictFlip,
)

ENDED = datetime(2026, 11, 22, 5, 52, 10, tzinfo=UTC).timestamp()
GOOD, BAD = "a" * 64, "b" * 64
HOSTILE = "m|n\n</code></td><script>alert(1)</script> `x` **b** [l](http://e.example) <!channel> @here & \x00\x1b[31m"
"""A name that would end a cell, open a link or a script, call people, or reach into a terminal."""


def series(model: str = "llama-1b", metric: str = "decode_tps", tier: str = "flagship") -> SeriesId:
    return SeriesId(tier, model, "llama.cpp", "chat", metric)


def change(state: ChangeState = ChangeState.REGRESSION, **more: Any) -> Change:
    """A change as the judge gives it: 10.5 % worse by the pairs, 12.7 % by the nights."""
    confirmed = state in (ChangeState.REGRESSION, ChangeState.IMPROVEMENT)
    side = -1 if state is ChangeState.IMPROVEMENT else 1
    pairs = PairResult(PairOutcome.CONFIRMED, side * 0.1, side * 0.08, side * 0.12, 0.001, 24, 2, "24 pairs")
    values: dict[str, Any] = {
        "series": series(),
        "state": state,
        "nights": 21,
        "phones": ("A", "B"),
        "step": LevelStep("2026-11-12", 11, side * 0.12, side * 0.05, side * 0.2, "2026-11-11", "2026-11-13"),
        "since": "2026-11-12",
        "good_build": GOOD,
        "bad_build": BAD,
        "pair_build": BAD,
        "ab": pairs if confirmed else None,
        "regressed": state is ChangeState.REGRESSION,
        "events": ("2026-11-12: operating system of pixel changed",),
        "reason": "worse by 12.7 % since 2026-11-12",
    }
    return Change(**{**values, **more})


def flip(**more: Any) -> VerdictFlip:
    values: dict[str, Any] = {
        "tier": "flagship",
        "device_id": "pixel",
        "kind": DeviceKind.VIRTUAL,
        "model": "llama-1b",
        "owner": "team",
        "runner": "llama.cpp",
        "workload": "chat",
        "target": "ms_per_token_max",
        "before": TargetVerdict.PASS,
        "after": TargetVerdict.NOT_MEASURED,
        "value": None,
        "unit": "ms",
        "limit": 50.0,
    }
    return VerdictFlip(**{**values, **more})


def summary(**more: Any) -> NightSummary:
    """The night of the issue's own sentence."""
    values: dict[str, Any] = {
        "night": "2026-11-21",
        "lab": "lab",
        "started_at": ENDED - 28_000,
        "ended_at": ENDED,
        "measured": 412,
        "failed": 3,
        "refused": 1,
        "left": 14,
        "changes": (
            change(),
            change(ChangeState.SUSPECT, series=series("qwen-2b")),
            change(ChangeState.SUSPECT, series=series("phi-3b")),
        ),
        "hands": (HandNeeded(("phone X",), "unauthorized", "authorize"),),
        "names": {GOOD: "b9000", BAD: "b9001"},
        "builds": {"llama.cpp": "b9001"},
        "phones": 8,
        "tiers": ("flagship",),
        "runs": ("20261121-220000-ab12",),
    }
    return NightSummary(**{**values, **more})


def full(name: str) -> NightSummary:
    """A night with something in every place, in which every name and text is `name`."""
    states = (ChangeState.REGRESSION, ChangeState.SUSPECT, ChangeState.IMPROVEMENT, ChangeState.ACKNOWLEDGED)
    key = SeriesId(name, name, name, name, "decode_tps")
    return summary(
        lab=name,
        changes=tuple(
            change(state, series=key, reason=name, events=(name,)) for state in (*states, ChangeState.CLEARED)
        ),
        flips=(
            flip(tier=name, device_id=name, model=name, owner=name, runner=name, workload=name),
            flip(after=TargetVerdict.FAIL, value=61.25, kind=DeviceKind.PHONE),
        ),
        hands=(HandNeeded((name, name), name, name), HandNeeded((name,), name, "")),
        quarantined=(Quarantine("A", name, name, ENDED, name),),
        drifts=(PhoneDrift("A", name, "decode_tps", 20, 0.08, 0.06, 0.1, True),),
        builds={name: name},
        names={GOOD: name, BAD: name},
        pairs_left=2,
        bisections=(BuildFound(key.key, name, name, name, (name,), 0.93, name),),
        notes=(name, name),
        runs=(name,),
        tiers=(name,),
    )

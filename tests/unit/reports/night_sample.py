"""A month of nights of the lab of `sample`: one confirmed regression, one suspect, one improved, one cleared, one
acknowledged, a hot night, an update, a phone that is kept apart, a lost hub."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from random import Random

from harness.analysis.nights.epochs import direction
from harness.model import (
    Ack,
    BuildFound,
    Change,
    ChangeState,
    DeviceKind,
    HandNeeded,
    LevelStep,
    NightRecord,
    NightSummary,
    NightValue,
    PairOutcome,
    PairResult,
    PhoneDrift,
    Quarantine,
    RunStatus,
    SeriesId,
    TargetVerdict,
    Unavailable,
    VerdictFlip,
)
from reports.inputs import FleetRow, NightInput, RunInput
from reports.series import series_nights
from tests.unit.reports.sample import DEVICES, HOSTILE, MODELS, RUN, RUNNER, START

NIGHTS = 30
LAST = date(2025, 11, 20)
ENDED = START + 7200
DAY = 86_400.0
GAP, HOT, UPDATE, STEP = 8, 14, 11, 20
"""Places of nights: without any value, hot, after an update of one phone, the first bad one."""
GOOD, BAD = "aa" * 32, "bb" * 32
NAMES = {GOOD: "llama.cpp-b7301", BAD: "llama.cpp-b7312"}
PHONES = ("pixel-8-pro", "s24-ultra-a", "bench-host")
UNTOLD = "the phone does not tell it"


def night_of(place: int) -> str:
    """ISO date of a night. Args: place: from 0, the oldest; NIGHTS - 1 is the newest."""
    return (LAST - timedelta(days=NIGHTS - 1 - place)).isoformat()


def series(metric: str = "decode_tps", model: str = MODELS[0].id, workload: str = "chat") -> SeriesId:
    return SeriesId("flagship", model, RUNNER.id, workload, metric)


def values(
    *,
    worse: float = 0.0,
    phones: Sequence[str] = PHONES,
    referenced: bool = True,
    missing: Sequence[tuple[str, int]] = (),
    seed: int = 1,
) -> list[NightValue]:
    """Nights of decode rates. Args: worse: logarithm of the step. missing: (phone, place) without a value."""
    random = Random(seed)
    found = []
    for number, phone in enumerate(phones):
        for place in range(NIGHTS):
            factor = math.exp(random.gauss(0, 0.008) - (worse if place >= STEP else 0.0))
            if place == GAP or (phone, place) in missing:
                continue
            rate = 40.0 / (number + 1)
            found.append(
                NightValue(
                    night=night_of(place),
                    identity=phone,
                    device_id=phone,
                    value=rate * factor,
                    reference=rate if referenced else None,
                    repeats=5,
                    build=BAD if place >= STEP else GOOD,
                    reference_build="cc" * 32 if referenced else "",
                    model_sha256="a1" * 32,
                    os="16" if number == 0 and place >= UPDATE else "15",
                    contract=1,
                    marks=("hot",) if place == HOT else (),
                )
            )
    return found


def step(delta: float = 0.052, half: float = 0.012) -> LevelStep:
    return LevelStep(night_of(STEP), STEP - 1, delta, delta - half, delta + half, night_of(STEP - 1), night_of(STEP))


def change(state: ChangeState, of: SeriesId, *, delta: float = 0.052, **more: object) -> Change:
    """A change at STEP that most of the fields are told of."""
    known: dict[str, object] = {
        "nights": NIGHTS - 1,
        "phones": PHONES,
        "step": step(delta),
        "since": night_of(STEP),
        "good_build": GOOD,
        "bad_build": BAD,
        "pair_build": BAD,
        "events": (f"{night_of(UPDATE)}: operating system of pixel-8-pro changed", f"{night_of(HOT)}: hot on 3 phones"),
        "reason": "worse by 5.3 % since " + night_of(STEP),
    }
    return Change(of, state, **{**known, **more})  # type: ignore[arg-type]


def pairs(outcome: PairOutcome, delta: float = 0.049) -> PairResult:
    return PairResult(outcome, delta, delta - 0.006, delta + 0.006, 0.00021, 36, 3, "")


def changes(word: str = "") -> tuple[Change, ...]:
    """One of each state, and series that are steady or short of nights. Args: word: put into every text of people."""
    model, other = (HOSTILE, MODELS[1].id) if word else (MODELS[0].id, MODELS[1].id)
    steady = [
        Change(series(metric, other, workload), ChangeState.STEADY, NIGHTS - 1, PHONES, reason="the level holds")
        for metric in ("ms_per_token", "prefill_tps", "load_ms")
        for workload in ("chat", "bench")
    ]
    short = [
        Change(series("peak_memory_mb", other, workload), ChangeState.INSUFFICIENT, nights, PHONES)
        for workload, nights in (("chat", 3), ("bench", 9))
    ]
    return (
        change(ChangeState.CLEARED, series("peak_memory_mb", model), delta=0.02, ab=pairs(PairOutcome.CLEARED, 0.001)),
        change(
            ChangeState.REGRESSION,
            series("decode_tps", model),
            ab=pairs(PairOutcome.CONFIRMED),
            regressed=True,
            events=(word or f"{night_of(HOT)}: hot on 3 phones",),
            reason=word or f"worse by 5.3 % since {night_of(STEP)}; the pairs agree: 36 pairs on 3 phones",
        ),
        change(ChangeState.SUSPECT, series("ttft_ms", model), delta=0.031, wants_pairs=True, events=()),
        change(ChangeState.IMPROVEMENT, series("load_ms", model), delta=-0.08, ab=pairs(PairOutcome.CONFIRMED, -0.08)),
        change(
            ChangeState.ACKNOWLEDGED,
            series("decode_tps", other),
            ab=pairs(PairOutcome.CONFIRMED),
            reason=f"known to {word or 'Ada'}: {word or 'the sampler is slower on purpose'}",
        ),
        *steady,
        *short,
    )


def flips(word: str = "") -> tuple[VerdictFlip, ...]:
    flip = VerdictFlip(
        tier="flagship",
        device_id="pixel-8-pro",
        kind=DeviceKind.PHONE,
        model=MODELS[0].id,
        owner=word or "speech",
        runner=RUNNER.id,
        workload="chat",
        target="ms_per_token_max",
        before=TargetVerdict.PASS,
        after=TargetVerdict.FAIL,
        value=51.2,
        unit="ms",
        limit=50.0,
    )
    return (
        flip,
        replace(
            flip,
            device_id="s24-ultra-a",
            kind=DeviceKind.VIRTUAL,
            owner="",
            before=TargetVerdict.FAIL,
            after=TargetVerdict.NOT_MEASURED,
            value=None,
        ),
    )


def summary(word: str = "") -> NightSummary:
    """Args: word: put into every text that comes from people, phones or files."""
    names = {GOOD: f"{word}-good", BAD: f"{word}-bad"} if word else NAMES
    return NightSummary(
        night=LAST.isoformat(),
        lab="example-lab",
        started_at=START - 7 * 3600,
        ended_at=ENDED,
        measured=412,
        failed=2,
        refused=2,
        left=14,
        changes=tuple(one for one in changes(word) if one.state not in (ChangeState.STEADY, ChangeState.INSUFFICIENT)),
        flips=flips(word),
        hands=(
            HandNeeded(("s24-ultra-a",), word or "not authorized", word or "authorize it"),
            HandNeeded(
                tuple(f"a14-{number}" for number in range(1, 9)),
                word or "hub 2-1 is lost",
                word or "look at its power supply and its cable",
            ),
        ),
        quarantined=(Quarantine("s24-ultra-a", "s24-ultra-a", word or "drifts", ENDED - 3 * DAY),),
        drifts=(PhoneDrift("s24-ultra-a", "s24-ultra-a", "decode_tps", 28, 0.071, 0.05, 0.09, True),),
        builds={RUNNER.id: names[BAD]},
        names=names,
        pairs_left=1,
        bisections=(
            BuildFound(
                series("decode_tps", HOSTILE if word else MODELS[0].id).key,
                RUNNER.id,
                names[BAD],
                names[GOOD],
                (word or "llama.cpp-b7308",),
                0.992,
                word or "12 pairs at each of 3 builds",
            ),
        ),
        notes=(word or "the window closed before the last 14 repetitions",),
        runs=(RUN,),
        phones=11,
        tiers=("flagship", "budget"),
    )


def earlier(count: int = NIGHTS - 1) -> tuple[NightRecord, ...]:
    """Nights before the newest, oldest first; one of them was interrupted."""
    found = []
    for back in range(count, 0, -1):
        night = (LAST - timedelta(days=back)).isoformat()
        begun = START - 7 * 3600 - back * DAY
        told = NightSummary(
            night=night,
            lab="example-lab",
            started_at=begun,
            ended_at=begun + 8 * 3600,
            measured=420 - back % 7,
            failed=back % 3,
            refused=0,
            left=0,
            runs=(f"night-{night}",),
        )
        cut = back == NIGHTS - 1 - GAP
        status = RunStatus.INTERRUPTED if cut else RunStatus.FINISHED
        found.append(
            NightRecord(night, "example-lab", begun, status, None, begun + 8 * 3600, summary=None if cut else told)
        )
    return tuple(found)


def fleet(word: str = "") -> tuple[FleetRow, ...]:
    random = Random(4)
    rows = []
    for name, model, _, kind, _ in DEVICES:
        values = tuple((night_of(place), random.gauss(40, 0.4)) for place in range(NIGHTS) if place != GAP)
        rows.append(
            FleetRow(
                identity=name,
                device_id=name,
                kind=kind,
                tier="budget" if name == "s24-ultra-b" else "flagship",
                model=word or model,
                state="ready",
                ready=True,
                battery_health=word or "good",
                cycles=312.0 if kind is DeviceKind.PHONE else Unavailable(word or UNTOLD),
                capacity_pct=91.4 if kind is DeviceKind.PHONE else Unavailable(word or UNTOLD),
                level_pct=78.0,
                free_mb=61_234.0,
                qualified_at=ENDED - 9 * DAY,
                reference_metric="decode_tps",
                reference=values,
                drift=PhoneDrift(name, name, "decode_tps", NIGHTS - 1, 0.004, -0.006, 0.013, False),
                failures=tuple((night, int(place % 9 == 4)) for place, (night, _) in enumerate(values)),
            )
        )
    apart = replace(
        rows[1],
        drift=PhoneDrift(rows[1].identity, rows[1].device_id, "decode_tps", 28, 0.071, 0.05, 0.09, True),
        state="unauthorized",
        ready=False,
        quarantine=Quarantine(rows[1].identity, rows[1].device_id, word or "drifts", ENDED - 3 * DAY, word or "farm"),
        hands=(HandNeeded((rows[1].device_id,), word or "not authorized", word or "authorize it"),),
    )
    lost = HandNeeded(("a14-1",), word or "hub 2-1 is lost", word or "look at its power supply and its cable")
    gone = Unavailable("it did not answer")
    absent = replace(
        rows[0],
        identity="a14-1",
        device_id="a14-1",
        model="",
        state="offline",
        ready=False,
        battery_health=gone,
        cycles=gone,
        capacity_pct=gone,
        level_pct=gone,
        free_mb=gone,
        qualified_at=Unavailable("it was never qualified"),
        reference=Unavailable("the reference build never ran on it"),
        failures=Unavailable("it took part in no night"),
        drift=None,
        hands=(lost,),
    )
    return (rows[0], apart, *rows[2:], absent)


def night_input(word: str = "") -> NightInput:
    """Everything of the month. Args: word: put into every text that comes from people, phones or files."""
    told = summary(word)
    newest = NightRecord(told.night, told.lab, told.started_at, RunStatus.FINISHED, None, told.ended_at, summary=told)
    known = changes(word)
    return NightInput(
        night=newest,
        before=earlier(),
        acks=(Ack(series("decode_tps", MODELS[1].id), night_of(25), word or "Ada", word or "on purpose", ENDED - DAY),),
        judged=known,
        series=tuple(
            series_nights(
                one.series, values(worse=-direction(one.series.metric) * one.step.delta, seed=place), one.step
            )
            for place, one in enumerate(known)
            if one.step is not None and one.state is not ChangeState.CLEARED
        ),
        fleet=fleet(word),
    )


def kept_apart(run: RunInput, device_id: str, reason: str) -> RunInput:
    """The run with one of its phones kept apart."""
    devices = [replace(one, quarantine=reason) if one.id == device_id else one for one in run.devices]
    return replace(run, devices=tuple(devices))

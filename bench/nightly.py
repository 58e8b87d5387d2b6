"""False alarms of judged nights in years without a change, and nights until a step of 3, 5 and 10 % is found.

Synthetic years through the code that judges real nights (harness.analysis.nights). The noise, all of it drawn anew for
each series from a fixed seed:

* phone: standard deviation c of the logarithm of a night's median, log-uniform from 1 to 5 %; candidate and reference
  build scatter independently, so their ratio scatters by c × √2 (the worst case: nothing of a night is common to both)
* throttled: 3 % of the nights of a phone; the candidate is 5 to 30 % slower, the reference by 0 to as much. 3 nights of
  a year are hot for the whole lab in the same way, 5 to 20 %
* updates of the system: 3 a year on each phone, both builds move by up to ±10 %; the phone wears by up to 5 % a year
* missing: 5 % of the nights of a phone; twice a year a phone is away for 2 to 10 nights; 1 % of the nights of the lab
* pairs: each run scatters by c; 5 % of the runs are 5 to 30 % slower
* builds: a new one every night

Beside it the same for two plain rules on absolute values: the median over the phones of tonight's distance from the
median of the last 14 nights, more than 5 %; and tonight's five repetitions against last night's with the interval of
`farm compare`, phones put together (repetitions scatter by c within their night).

Asked (the project's own limit), with 8 phones: a step of 3 % suspect within 7 nights in at least 95 of 100 series,
confirmed in 90, and at most one false confirmed alarm per year over the whole lab of 120 series (3 tiers × 8 models ×
5 metrics).
The rounds of other programs are series here (`--rounds`).
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
from common import Finding, main, say

from harness.analysis.compare import Decision, compare
from harness.analysis.nights.epochs import Panel, panel
from harness.analysis.nights.pairs import PAIRS, decide
from harness.analysis.nights.scan import Scan, Suspicion, scan
from harness.model import Ack, NightValue, PairOutcome, PairSet, SeriesId

LAB_SERIES = 120
YEAR = 365
WITHIN = 7
AFTER = 21
"""Nights that are looked at after a step."""
METRIC = "ms_per_token"
SERIES = SeriesId("flagship", "model", "candidate", "stream", METRIC)
REPEATS = 5
BEGIN = date(2026, 1, 1)


@dataclass(frozen=True, slots=True)
class Year:
    """One synthetic series. Args: scatter: c of each phone. step: index of the first bad night, the length without one.
    candidate, reference: log values, phones × nights. there: what was measured. system: update count."""

    scatter: np.ndarray
    step: int
    delta: float
    candidate: np.ndarray
    reference: np.ndarray
    there: np.ndarray
    system: np.ndarray

    def values(self) -> list[NightValue]:
        """As the store gives them."""
        phones, nights = self.candidate.shape
        return [
            NightValue(
                night_name(night),
                f"phone{phone}",
                f"phone{phone}",
                math.exp(self.candidate[phone, night]),
                math.exp(self.reference[phone, night]),
                REPEATS,
                build_name(night),
                "pinned",
                "model",
                f"os{self.system[phone, night]}",
                1,
            )
            for phone in range(phones)
            for night in range(nights)
            if self.there[phone, night]
        ]

    def level(self, build: str) -> float:
        """True level of a build."""
        return self.delta if int(build) >= self.step else 0.0


def night_name(night: int) -> str:
    return (BEGIN + timedelta(days=night)).isoformat()


def build_name(night: int) -> str:
    return f"{night:04d}"


def draw(source: np.random.Generator, phones: int, nights: int, step: int, delta: float) -> Year:
    """One series of the noise above."""
    shape = (phones, nights)
    scatter = np.exp(source.uniform(math.log(0.01), math.log(0.05), phones))
    share = nights / YEAR
    slower = np.where(source.random(shape) < 0.03, source.uniform(0.05, 0.30, shape), 0.0)
    hot = source.random(nights) < 3 / YEAR
    slower = np.maximum(slower, np.where(hot, source.uniform(0.05, 0.20, shape), 0.0))
    system = np.cumsum(source.random(shape) < 3 / YEAR, axis=1)
    moved = source.uniform(-0.10, 0.10, (phones, nights + 1))
    moved[:, 0] = 0.0
    common = np.take_along_axis(np.cumsum(moved, axis=1), system, axis=1)
    common += source.uniform(0, 0.05, (phones, 1)) * np.linspace(0, share, nights) + source.uniform(2, 4, (phones, 1))
    there = (source.random(shape) >= 0.05) & (source.random(nights) >= 0.01)
    for phone in range(phones):
        for _ in range(source.poisson(2 * share)):
            first = int(source.integers(nights))
            there[phone, first : first + int(source.integers(2, 11))] = False
    risen = np.where(np.arange(nights) >= step, delta, 0.0)
    candidate = common + risen + slower + scatter[:, None] * source.standard_normal(shape)
    reference = common + slower * source.random(shape) + scatter[:, None] * source.standard_normal(shape)
    return Year(scatter, step, delta, candidate, reference, there, system)


def draw_pairs(source: np.random.Generator, year: Year, one: Suspicion, night: str) -> list[PairSet]:
    """The pairs of a suspicion, all in its own night."""
    found = []
    for phone in one.phones:
        scatter = year.scatter[int(phone.removeprefix("phone"))]
        runs = scatter * source.standard_normal((2, PAIRS))
        runs += np.where(source.random(runs.shape) < 0.05, source.uniform(0.05, 0.30, runs.shape), 0.0)
        ratios = runs[1] - runs[0] + year.level(one.bad) - year.level(one.good)
        found.append(PairSet(phone, night, one.good, one.bad, tuple(ratios.tolist())))
    return found


def live(source: np.random.Generator, year: Year, table: Panel) -> Scan:
    """Run the series as a lab does: each suspicion gets its pairs, each confirmed change is acknowledged."""
    pairs: list[PairSet] = []
    acks: list[Ack] = []
    while True:
        found = scan(table, acks, pairs)
        for one in found.suspicions:
            night = table.nights[one.night]
            if one.decided is None and one.good != one.bad and not any(pair.night == night for pair in pairs):
                pairs += draw_pairs(source, year, one, night)
                break
            confirmed = one.result is not None and one.result.outcome is PairOutcome.CONFIRMED
            if confirmed and not any(ack.night == night for ack in acks):
                acks.append(Ack(SERIES, night, "bench", "seen"))
                break
        else:
            return found


@dataclass(frozen=True, slots=True)
class Found:
    """Args: nights: until suspect, first bad night = 1; inf when never. confirmed. dated: |error| of the date."""

    nights: float
    confirmed: bool
    dated: float


def injected(source: np.random.Generator, phones: int, delta: float, count: int) -> list[Found]:
    """Series with a step, worse and better in turn."""
    results = []
    for number in range(count):
        step = int(source.integers(20, 81))
        year = draw(source, phones, step + AFTER, step, delta if number % 2 else -delta)
        table = panel(METRIC, year.values())
        first = next((at for at, night in enumerate(table.nights) if night >= night_name(step)), len(table.nights))
        hits = [one for one in live(source, year, table).suspicions if one.night >= first and one.side * year.delta > 0]
        confirmed = [one for one in hits if one.result and one.result.outcome is PairOutcome.CONFIRMED]
        told = (confirmed or hits or [None])[0]
        results.append(
            Found(
                hits[0].night - first + 1 if hits else math.inf,
                bool(confirmed),
                abs(told.step.index - first) if told else math.inf,
            )
        )
    return results


def null_years(source: np.random.Generator, phones: int, count: int) -> tuple[list[int], list[int], list[Year]]:
    """Suspicions and confirmed ones of each year without a change."""
    suspects, confirmed, years = [], [], []
    for _ in range(count):
        year = draw(source, phones, YEAR, YEAR, 0.0)
        found = live(source, year, panel(METRIC, year.values()))
        suspects.append(len(found.suspicions))
        confirmed.append(
            sum(one.result is not None and one.result.outcome is PairOutcome.CONFIRMED for one in found.suspicions)
        )
        years.append(year)
    return suspects, confirmed, years


def false_confirmed(source: np.random.Generator, phones: int, count: int) -> float:
    """Share of suspicions without a change that pairs confirm."""
    hits = 0
    for _ in range(count):
        year = draw(source, phones, 1, 1, 0.0)
        names = tuple(f"phone{phone}" for phone in range(phones))
        one = replace(_BLANK, phones=names)
        hits += decide(draw_pairs(source, year, one, night_name(0)), 1, phones=names).outcome is PairOutcome.CONFIRMED
    return hits / count


_BLANK = Suspicion(0, 1, None, "0000", "0000", (), None, ())  # type: ignore[arg-type]


def threshold_alarms(year: Year) -> list[int]:
    """Nights on which the median over the phones lies 5 % off the median of the last 14; then 14 nights of learning."""
    level = np.where(year.there, year.candidate, np.nan)
    alarms: list[int] = []
    ready = 14
    for night in range(14, level.shape[1]):
        before = [row[~np.isnan(row)] for row in level[:, night - 14 : night]]
        distance = [
            level[phone, night] - np.median(row)
            for phone, row in enumerate(before)
            if row.size and not np.isnan(level[phone, night])
        ]
        if night >= ready and distance and abs(np.median(distance)) > math.log(1.05):
            alarms.append(night)
            ready = night + 14
    return alarms


def two_night_alarms(source: np.random.Generator, year: Year, first: int = 1) -> list[int]:
    """Nights whose repetitions `farm compare` calls better or worse than those of the night before."""
    scattered = year.candidate[:, :, None] + year.scatter[:, None, None] * source.standard_normal(
        (*year.candidate.shape, REPEATS)
    )
    alarms = []
    for night in range(max(first, 1), year.candidate.shape[1]):
        both = year.there[:, night] & year.there[:, night - 1]
        if not both.any():
            continue
        middle = np.median(scattered[both, night - 1], axis=1, keepdims=True)
        sides = [np.exp(scattered[both, at] - middle).ravel().tolist() for at in (night - 1, night)]
        if compare(sides[0], sides[1], "lower").decision in (Decision.BETTER, Decision.WORSE):
            alarms.append(night)
    return alarms


def peers(source: np.random.Generator, phones: int, years: Sequence[Year], count: int) -> list[Finding]:
    """The two plain rules on the same noise."""
    plain = [len(threshold_alarms(year)) for year in years]
    two = [len(two_night_alarms(source, year)) for year in years]
    found = [
        told(f"{phones} phones, 5 % threshold: false alarms per series and year", plain, ""),
        told(f"{phones} phones, two nights compared: false alarms per series and year", two, ""),
    ]
    for delta in (0.03, 0.05, 0.10):
        hits = {"5 % threshold": 0, "two nights compared": 0}
        for _ in range(count):
            step = int(source.integers(20, 81))
            year = draw(source, phones, step + WITHIN, step, delta)
            hits["5 % threshold"] += any(night >= step for night in threshold_alarms(year))
            # Only the first bad night differs from the one before: a later alarm is one of noise.
            hits["two nights compared"] += step in two_night_alarms(source, year, step)
        found += [
            told(f"{phones} phones, {rule}: {delta:.0%} alarmed within {WITHIN} nights", [hit / count], "")
            for rule, hit in hits.items()
        ]
    return found


def told(what: str, values: Sequence[float], unit: str, **asked: float | bool | str) -> Finding:
    """A finding whose value is the mean."""
    return Finding(what, statistics.fmean(values), unit, min(values), max(values), **asked)  # type: ignore[arg-type]


def program(chosen: argparse.Namespace) -> list[Finding]:
    """Years without a change, then steps, for 8, 4 and 1 phones."""
    findings: list[Finding] = []
    for phones in (8, 4, 1):
        goal = phones == 8
        source = np.random.default_rng(chosen.seed + phones)
        count = chosen.years if goal else max(1, chosen.years // 3)
        say(f"{phones} phones: {count} years without a change")
        suspects, confirmed, years = null_years(source, phones, count)
        wrong = false_confirmed(source, phones, chosen.rounds * 5)
        whole = statistics.fmean(suspects) * wrong * LAB_SERIES
        seen = f"seen {sum(confirmed)} in {count} series-years; pairs confirm {wrong:.2%} without a change"
        findings += [
            told(f"{phones} phones: false suspects per series and year", suspects, ""),
            told(
                f"{phones} phones: false confirmed alarms per year, {LAB_SERIES} series",
                [whole],
                "",
                limit=1.0 if goal else None,
                detail=seen,
            ),
        ]
        for delta in (0.03, 0.05, 0.10):
            # What is held to a limit is measured on more.
            rounds = chosen.rounds if goal and delta == 0.03 else max(1, chosen.rounds // 4)
            say(f"{phones} phones: {rounds} steps of {delta:.0%}")
            found = injected(source, phones, delta, rounds)
            findings += _power(phones, delta, found, goal and delta == 0.03)
        if goal:
            say("the two plain rules")
            findings += peers(source, phones, years[: max(1, count // 4)], max(1, chosen.rounds // 4))
    return findings


def _power(phones: int, delta: float, found: Sequence[Found], goal: bool) -> list[Finding]:
    nights = sorted(one.nights for one in found)
    middle, late = (nights[int(share * (len(nights) - 1))] for share in (0.5, 0.95))
    dated = statistics.fmean(one.dated <= 1 for one in found)
    return [
        told(
            f"{phones} phones: {delta:.0%} suspect within {WITHIN} nights",
            [statistics.fmean(one.nights <= WITHIN for one in found)],
            "",
            limit=0.95 if goal else None,
            at_least=True,
            detail=f"median {middle:g} nights, 95 of 100 by {late:g}; dated within ±1 night in {dated:.0%}",
        ),
        told(
            f"{phones} phones: {delta:.0%} confirmed within {AFTER} nights",
            [statistics.fmean(one.confirmed for one in found)],
            "",
            limit=0.90 if goal else None,
            at_least=True,
        ),
    ]


def options(parser: argparse.ArgumentParser) -> None:
    """Options of this program."""
    parser.add_argument("--years", type=int, default=120, help="series-years without a change  [default: 120]")
    parser.add_argument(
        "--rounds", type=int, default=400, help="series with a step of 3 %%; a quarter of it for others  [default: 400]"
    )
    parser.add_argument("--seed", type=int, default=1, help="of all noise  [default: 1]")


if __name__ == "__main__":
    main(program, sys.modules[__name__].__doc__ or "", options)

"""A series replayed night by night: what became suspect when, and how each suspicion ended.

Every night is scored against the baseline of the nights before it that belong to no excursion. Nothing of the future
is used, so tonight's replay says of each earlier night what was said then. What follows a suspicion:

* *confirmed*: the level is new from the step on, and so is the baseline; the change stays open until a person
  acknowledges it or BACK nights in a row lie nearer to the old level. An improvement ends by itself when the new
  baseline is known.
* *cleared*: the baseline goes on, with the nights of the excursion in it (its median hardly moves), and after TOLD
  nights the sum begins at 0. A true change that the pairs missed is therefore found again, and gets new pairs; a level
  that moved for another reason gets them once in a while until the baseline has followed it.
* *acknowledged*: the baseline begins anew at the step; without an open change, with the first night that is not older
  than the word.
* a level that comes back by itself before the pairs decide is no change.

What only one of several phones shows is a matter of that phone: it is named, and its own epoch begins anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from harness.analysis.nights.cusum import Cusum
from harness.analysis.nights.epochs import Floats, Ints, Panel
from harness.analysis.nights.pairs import PAIRS, decide
from harness.analysis.nights.pool import WINDOW, Baseline, NightScore, baseline, night_offset, night_score
from harness.analysis.nights.steps import height, locate, split
from harness.model import Ack, ChangeState, LevelStep, PairOutcome, PairResult, PairSet

BACK = 4
"""Nights in a row nearer to the old level after which a change is over."""
BEFORE = 7
"""Nights before the excursion in which the step may lie."""
TOLD = 7
"""Nights for which a cleared suspicion is still told, and the series is left in peace."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a step is dated on. Args: offset: of each column, None where it has none. begin: column with which the
    excursion begins."""

    offset: Mapping[int, float | None]
    begin: int

    @property
    def there(self) -> list[int]:
        """The columns with an offset."""
        return [column for column, offset in self.offset.items() if offset is not None]

    @property
    def first(self) -> int:
        """Place among those before which the step does not lie."""
        return sum(column < self.begin for column in self.there) - BEFORE

    @property
    def offsets(self) -> Floats:
        return np.array([offset for offset in self.offset.values() if offset is not None])


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Args: night: its column. side: +1 worse, -1 better. good, bad: the builds that are paired. phones: that were
    there. result: of the pairs so far. decided: column of the night that decided, None while open. rough: what the
    intervals of `step`, and with them `good`, are still to be worked out of (`_finished`); None once they are."""

    night: int
    side: int
    step: LevelStep
    good: str
    bad: str
    phones: tuple[str, ...]
    known: Baseline = field(repr=False)
    base: tuple[int, ...] = field(repr=False)
    result: PairResult | None = None
    decided: int | None = None
    rough: Line | None = field(default=None, repr=False)


@dataclass(slots=True)
class Scan:
    """Where a series stands.

    Args:
        suspicion: the one that waits for pairs. opened: the confirmed change that is open.
        suspicions: all, oldest first, as they were when they began or when pairs were run. events: (column, words).
        known: baseline of the newest night, worked out of the columns `learnt`. base: those of the next one.
        pending: columns of the running excursion. label, told: what is said while nothing is open. ack: the last one.
    """

    cusum: Cusum
    epoch: Ints
    known: Baseline | None = None
    learnt: tuple[int, ...] = ()
    base: list[int] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    suspicion: Suspicion | None = None
    opened: Suspicion | None = None
    label: ChangeState = ChangeState.STEADY
    told: Suspicion | None = None
    ack: Ack | None = None
    suspicions: list[Suspicion] = field(default_factory=list)
    events: list[tuple[int, str]] = field(default_factory=list)

    @property
    def state(self) -> ChangeState:
        """Of the newest night; SUSPECT while pairs are open."""
        if self.suspicion:
            return ChangeState.SUSPECT
        if self.opened:
            return ChangeState.REGRESSION if self.opened.side > 0 else ChangeState.IMPROVEMENT
        if self.label is ChangeState.STEADY and (self.known is None or not self.known.known.any()):
            return ChangeState.INSUFFICIENT
        return self.label

    @property
    def change(self) -> Suspicion | None:
        """What the state speaks of."""
        return self.suspicion or self.opened or self.told

    @property
    def regression(self) -> bool:
        """Whether a confirmed regression is open."""
        return self.opened is not None and self.opened.side > 0

    def anew(self, base: Iterable[int]) -> None:
        """A baseline of these columns, and nothing going on."""
        self.base, self.pending = sorted(base), []
        self.cusum = Cusum.zero(len(self.epoch))

    def say(self, label: ChangeState, told: Suspicion | None) -> None:
        """What is told while nothing is open."""
        self.label, self.told = label, told


def scan(table: Panel, acks: Sequence[Ack] = (), pairs: Sequence[PairSet] = (), *, wanted: int = PAIRS) -> Scan:
    """Replay a series.

    Args:
        acks, pairs: of this series, in any order. wanted: pairs per phone of a suspicion.
    """
    own = Scan(Cusum.zero(len(table.phones)), table.epoch.copy())
    waiting = sorted(acks, key=lambda ack: ack.night)
    sets = sorted(pairs, key=lambda one: one.night)
    for at, night in enumerate(table.nights):
        _learn(table, own, at)
        assert own.known is not None
        score = night_score(table.level[:, at], own.epoch[:, at], own.known)
        _fade(own, at, score)
        if own.suspicion:
            own.pending.append(at)
            if _back(table, own, own.suspicion, at):
                own.events.append((at, "the level came back by itself"))
                own.anew(own.base + own.pending)
                own.suspicion = None
            elif own.suspicion.result is None:
                _date_again(table, own, own.suspicion, at)
        else:
            _watch(table, own, at, score)
        if own.suspicion:
            _ask_pairs(table, own, sets, at, wanted)
        if own.opened and _back(table, own, own.opened, at):
            _over(own, at)
        while waiting and waiting[0].night <= night:
            _acknowledge(table, own, waiting.pop(0), at)
    if waiting and own.change:
        _acknowledge(table, own, waiting[-1], len(table.nights) - 1)
    if own.suspicion:
        own.suspicion = _finished(table, own.suspicion)
    if own.opened:
        own.opened = _sized(table, own, own.opened)
    return own


def _learn(table: Panel, own: Scan, at: int) -> None:
    """The baseline that the night in column `at` is scored against; worked out anew only when it is another one."""
    epoch, columns = _present(own.epoch, at), tuple(own.base)
    if own.known is None or columns != own.learnt or not np.array_equal(epoch, own.known.epoch):
        own.known = baseline(replace(table, epoch=own.epoch), np.asarray(columns, dtype=np.int64), epoch)
        own.learnt = columns


def _fade(own: Scan, at: int, score: NightScore | None) -> None:
    """What is over is told no longer."""
    if score is None:
        return
    if own.opened and own.opened.side < 0:
        own.opened = None
        own.say(ChangeState.STEADY, None)
    if own.label is ChangeState.ACKNOWLEDGED:
        own.say(ChangeState.STEADY, None)
    if own.label is ChangeState.CLEARED and own.told and at - (own.told.decided or 0) >= TOLD:
        own.say(ChangeState.STEADY, None)


def _watch(table: Panel, own: Scan, at: int, score: NightScore | None) -> None:
    """One more night while nothing is suspect."""
    if score is None:
        if own.known is not None and own.known.known.any() and own.pending:
            own.pending.append(at)
        else:
            own.anew([*own.base, *own.pending, at])
        return
    if own.label is ChangeState.CLEARED:
        own.base.append(at)
        return
    own.cusum = own.cusum.add(score, at)
    own.pending.append(at)
    side, lone = own.cusum.side, own.cusum.lone()
    if side:
        assert own.known is not None
        own.suspicion = _finished(table, _suspect(table, own, own.known, at, side))
        own.suspicions.append(own.suspicion)
        own.say(ChangeState.STEADY, None)
    elif lone:
        _set_aside(table, own, *lone, at)
    elif own.cusum.calm:
        own.base, own.pending = own.base + own.pending, []


def _set_aside(table: Panel, own: Scan, row: int, since: int, at: int) -> None:
    """A phone that alone differs begins anew; the others go on."""
    line = own.epoch[row]
    line[since:] = np.where(line[since:] >= 0, line[since:] + len(table.nights), line[since:])
    words = f"{table.names[row]} alone changed its level on {table.nights[since]}; its own epoch begins anew"
    own.events.append((at, words))
    own.anew(own.base + own.pending)


def _date_again(table: Panel, own: Scan, one: Suspicion, at: int) -> None:
    """While no pairs were run, each further night dates the step better, and tonight's build is the one to pair."""
    base, pending = own.base, own.pending
    again = _suspect(table, own, one.known, at, one.side, one.rough.offset if one.rough else None)
    if again.step.delta * one.side > 0:
        own.suspicion = replace(again, night=one.night)
    else:
        own.base, own.pending = base, pending


def _suspect(
    table: Panel, own: Scan, known: Baseline, at: int, side: int, earlier: Mapping[int, float | None] | None = None
) -> Suspicion:
    """Date the step roughly, and take the nights from it on out of the baseline. Args: earlier: offsets by column."""
    known_offsets = earlier or {}
    offset = {
        column: known_offsets[column] if column in known_offsets else _offset(table, own, known, column)
        for column in sorted(own.base[-WINDOW:] + own.pending)
    }
    line = Line(offset, own.pending[0])
    place, delta = locate(line.offsets, line.first)
    start = line.there[place]
    night = table.nights[start]
    phones = ~np.isnan(table.level[:, start : at + 1]).all(axis=1) & known.known
    own.base = [column for column in own.base + own.pending if column < start]
    own.pending = list(range(start, at + 1))
    return Suspicion(
        at,
        side,
        LevelStep(night, start, delta, delta, delta, night, night),
        "",
        table.builds[at],
        tuple(phone for phone, there_now in zip(table.phones, phones, strict=True) if there_now),
        known,
        tuple(own.base),
        rough=line,
    )


def _finished(table: Panel, one: Suspicion) -> Suspicion:
    """With the intervals of the step and the good build. They are drawn a hundred times, and a suspicion without pairs
    is dated every night: only what is told or paired gets them."""
    if one.rough is None:
        return one
    found, there = split(one.rough.offsets, one.rough.first), one.rough.there
    earliest, latest = there[found.earliest], there[found.latest]
    step = replace(
        one.step, low=found.low, high=found.high, earliest=table.nights[earliest], latest=table.nights[latest]
    )
    return replace(one, step=step, good=table.builds[max(earliest - 1, 0)], rough=None)


def _sized(table: Panel, own: Scan, change: Suspicion) -> Suspicion:
    """How large an open change is by all nights on its level: it was confirmed by the first few of them. Its date
    stays, for the pairs were run for that."""
    start = change.step.index
    confirmed = [one for one in own.suspicions if one.result and one.result.outcome is PairOutcome.CONFIRMED]
    later = [one.step.index for one in (*confirmed, *filter(None, [own.suspicion])) if one.step.index > start]
    columns = [*change.base[-WINDOW:], *range(start, min(later, default=len(table.nights)))]
    line = Line({column: _offset(table, own, change.known, column) for column in columns}, start)
    place = sum(column < start for column in line.there)
    if not 0 < place < len(line.there):
        return change
    delta, low, high = height(line.offsets, place)
    return replace(change, step=replace(change.step, delta=delta, low=low, high=high))


def _ask_pairs(table: Panel, own: Scan, sets: Sequence[PairSet], at: int, wanted: int) -> None:
    """What the pairs of the open suspicion say by now."""
    assert own.suspicion is not None
    first, last = table.nights[own.suspicion.night], table.nights[at]
    run = [each for each in sets if first <= each.night <= last]
    if not run:
        return
    one = own.suspicion = _finished(table, own.suspicion)
    chosen = [each for each in run if (each.good, each.bad) == (one.good, one.bad)]
    result = decide(chosen, one.side, phones=one.phones, nights=at - one.night + 1, wanted=wanted)
    if result.outcome is PairOutcome.UNDECIDED:
        if result.pairs:
            own.suspicion = own.suspicions[-1] = replace(one, result=result)
        return
    ended = replace(one, result=result, decided=at)
    own.suspicions[-1], own.suspicion = ended, None
    if result.outcome is PairOutcome.CONFIRMED:
        own.anew(own.pending)
        if own.regression and one.side < 0:
            own.events.append((at, f"better again since {one.step.night}, not as good as before the regression"))
        else:
            own.opened = ended
    else:
        own.say(ChangeState.CLEARED, ended)
        own.anew(own.base + own.pending)


def _back(table: Panel, own: Scan, change: Suspicion, at: int) -> bool:
    """Whether the newest BACK nights after a step are nearer to the old level than to the new one."""
    near = 0
    for column in range(at, max(change.step.index, change.night), -1):
        offset = _offset(table, own, change.known, column)
        if offset is None:
            continue
        if change.side * (offset - change.step.delta / 2) >= 0:
            return False
        near += 1
        if near == BACK:
            return True
    return False


def _over(own: Scan, at: int) -> None:
    """A confirmed change is no longer there: the old baseline goes on."""
    assert own.opened is not None
    own.events.append((at, "the level is back where it was before the change"))
    own.anew([*own.opened.base, *range(at - BACK + 1, at + 1)])
    own.opened = own.suspicion = None
    own.say(ChangeState.STEADY, None)


def _acknowledge(table: Panel, own: Scan, ack: Ack, at: int) -> None:
    """The baseline begins anew at the step that a person knows of."""
    change = _finished(table, own.change) if own.change else None
    own.anew(range(change.step.index if change else at, at + 1))
    own.opened = own.suspicion = None
    own.ack = ack
    own.say(ChangeState.ACKNOWLEDGED, change)


def _offset(table: Panel, own: Scan, known: Baseline, column: int) -> float | None:
    return night_offset(table.level[:, column], own.epoch[:, column], known)


def _present(epoch: Ints, at: int) -> Ints:
    """The epoch that each phone is in; -1 for one not seen yet."""
    seen = epoch[:, : at + 1]
    last = at - np.argmax(seen[:, ::-1] >= 0, axis=1)
    return np.asarray(seen[np.arange(len(seen)), last], dtype=np.int64)

"""From figures of nights to what is judged: one value per night, phone and series, and pairs of two builds. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from statistics import median
from sys import intern
from typing import TYPE_CHECKING, NamedTuple

from harness.analysis.nights.epochs import worse_by
from harness.analysis.repeats import RepeatPolicy
from harness.model import Baseline, NightValue, PairSet, SeriesId
from harness.nightly.pinned import baseline_id, compared_with, is_baseline
from harness.nightly.spans import Spans, quarantined_at

if TYPE_CHECKING:
    from harness.store import NightFigure


class _Cell(NamedTuple):
    """What is repeated on one phone."""

    identity: str
    tier: str
    model: str
    runner: str
    workload: str

    def series(self, metric: str) -> SeriesId:
        return SeriesId(self.tier, self.model, self.runner, self.workload, metric)


_Cells = Mapping[_Cell, Sequence["NightFigure"]]


def values_of(
    figures: Iterable[NightFigure], pinned: Iterable[Baseline] = (), quarantines: Spans | None = None
) -> dict[SeriesId, list[NightValue]]:
    """The value of each series, phone and night: the median of the repetitions that count, and that of the reference.

    Warm-ups do not count, nor what was measured while the phone was in quarantine. Where a night has several runs,
    their repetitions are put together; if the build, the model file or the measuring contract changed between them,
    those of the newest one count. A reference is of the same model file and contract.

    Args:
        figures: of runs of role MEASURE, as the store gives them: by night, then by start of the run.
        pinned: the history of pinned builds, oldest first: which reference a value lacks where none was measured yet.
        quarantines: of phones.
    Returns:
        Series → values by night. Builds that serve as reference are no series of their own.
    """
    history = tuple(pinned)
    known: dict[str, str] = {}
    found: dict[SeriesId, list[NightValue]] = {}
    for night, rows in groupby(figures, key=lambda row: row.night):
        cells = _cells(rows, quarantines or {})
        known |= {
            compared_with(cell.runner): own[-1].runner_sha256 for cell, own in cells.items() if is_baseline(cell.runner)
        }
        for cell, own in cells.items():
            if is_baseline(cell.runner):
                continue
            fallback = known.get(cell.runner) or _pinned_at(history, cell.runner, own[-1].run.started_at)
            reference = cells.get(cell._replace(runner=baseline_id(cell.runner)), ())
            for metric, value in _values(night, own, reference, fallback):
                found.setdefault(cell.series(metric), []).append(value)
    return found


def pairs_of(figures: Iterable[NightFigure], quarantines: Spans | None = None) -> dict[SeriesId, list[PairSet]]:
    """The pairs that were run for each series: repetition k of the good and of the bad build on one phone.

    A repetition that failed on one side, or did not measure the metric, gives no pair. Warm-ups and quarantines as in
    `values_of`.

    Args:
        figures: of runs of role PAIRS or BISECT, as the store gives them. The options of each run say
            {"nightly": {"runner": id, "good": sha256, "bad": sha256}}; a run that does not gives nothing.
    Returns:
        Series of that runner → a set for each run and phone, by night.
    """
    found: dict[SeriesId, list[PairSet]] = {}
    for _, rows in groupby(figures, key=lambda row: row.run.id):
        for series, pairs in _pairs_of_run(_cells(rows, quarantines or {})):
            found.setdefault(series, []).append(pairs)
    return found


def _cells(figures: Iterable[NightFigure], quarantines: Spans) -> dict[_Cell, list[NightFigure]]:
    """The repetitions that count, in the order of their runs."""
    cases: dict[tuple[str, _Cell], list[NightFigure]] = {}
    for row in figures:
        cell = _Cell(row.identity, row.tier, row.model_id, row.runner_id, row.workload_id)
        cases.setdefault((row.run.id, cell), []).append(row)
    warm_ups = {run: RepeatPolicy.of_run(rows[0].run).warm_up for (run, _), rows in cases.items()}
    found: dict[_Cell, list[NightFigure]] = {}
    for (run, cell), rows in cases.items():
        first = min(rows, key=lambda row: row.repeat) if warm_ups[run] else None
        counting = [
            row
            for row in rows
            if row is not first and quarantined_at(quarantines, row.identity, row.started_at) is None
        ]
        if counting:
            found.setdefault(cell, []).extend(counting)
    return found


def _values(
    night: str, rows: Sequence[NightFigure], reference: Sequence[NightFigure], fallback: str
) -> Iterator[tuple[str, NightValue]]:
    """Each metric of a cell, with its value.

    Args:
        reference: repetitions of the reference on the same phone. fallback: its build where there are none.
    """
    newest = rows[-1]
    own = [row for row in rows if _files(row) == _files(newest)]
    alike = [row for row in reference if _files(row)[1:] == _files(newest)[1:]]
    theirs = [row for row in alike if row.runner_sha256 == alike[-1].runner_sha256]
    reference_build = theirs[-1].runner_sha256 if theirs else fallback
    marks = {intern(_name(mark)) for row in (*own, *theirs) for mark in row.marks}
    for metric in dict.fromkeys(name for row in own for name in row.values):
        values = [row.values[metric] for row in own if metric in row.values]
        compared = [row.values[metric] for row in theirs if metric in row.values]
        # Years of nights share these texts: kept once, they take a tenth of the memory.
        yield (
            metric,
            NightValue(
                night=night,
                identity=intern(newest.identity),
                device_id=intern(newest.device_id),
                value=median(values),
                reference=median(compared) if compared else None,
                repeats=len(values),
                build=intern(newest.runner_sha256),
                reference_build=intern(reference_build),
                model_sha256=intern(newest.model_sha256),
                os=intern(newest.os),
                contract=newest.run.contract,
                marks=tuple(sorted(marks)),
            ),
        )


def _files(row: NightFigure) -> tuple[str, str, int]:
    """What has to be the same for repetitions to be of one kind: build, model file, measuring contract."""
    return row.runner_sha256, row.model_sha256, row.run.contract


def _name(mark: str) -> str:
    """The name of a mark, without its detail."""
    return mark.partition(":")[0].strip()


def _pinned_at(history: Sequence[Baseline], runner: str, at: float) -> str:
    """Build of a runner that was pinned at that time, "" when none was."""
    return next((one.sha256 for one in reversed(history) if one.runner == runner and one.at <= at), "")


def _pairs_of_run(cells: _Cells) -> Iterator[tuple[SeriesId, PairSet]]:
    """Of one run."""
    sides: dict[_Cell, dict[str, dict[int, NightFigure]]] = {}
    for cell, rows in cells.items():
        builds = sides.setdefault(cell._replace(runner=""), {})
        for row in rows:
            builds.setdefault(row.runner_sha256, {})[row.repeat] = row
    for cell, builds in sides.items():
        some = next(row for rows in builds.values() for row in rows.values())
        asked = some.run.options["nightly"]
        runner, good, bad = (str(asked.get(name) or "") for name in ("runner", "good", "bad"))
        if not runner or good == bad:
            continue
        for metric, ratios in _ratios(builds.get(good, {}), builds.get(bad, {})).items():
            pairs = PairSet(cell.identity, some.night, good, bad, ratios)
            yield cell._replace(runner=runner).series(metric), pairs


def _ratios(good: Mapping[int, NightFigure], bad: Mapping[int, NightFigure]) -> dict[str, tuple[float, ...]]:
    """Metric → log(bad / good) of each repetition that both have, + is worse."""
    both = [(good[number].values, bad[number].values) for number in sorted(good.keys() & bad.keys())]
    found: dict[str, tuple[float, ...]] = {}
    for metric in dict.fromkeys(name for values, _ in both for name in values):
        ratios = [worse_by(metric, before.get(metric), after.get(metric)) for before, after in both]
        if told := tuple(ratio for ratio in ratios if ratio is not None):
            found[metric] = told
    return found

"""Which to pick: per kind of workload the models, with their runners, that no other one beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.pareto import Candidate, Lead, Standing, standings
from harness.analysis.repeats import RepeatPolicy
from harness.model import METRICS, TARGET_METRICS, Measured, TargetVerdict
from reports.cases import Case, Notes, measured_cell, median_reading, metric_head, why_absent
from reports.numbers import listed, plural, significant
from reports.verdicts import WORDS
from reports.views import MetricCell, MetricHead, Tally, VerdictRow

_QUALITY = TARGET_METRICS["quality_retention_min"]
PICK_METRICS = ("ms_per_token", "peak_memory_mb", "model_mb", "energy_per_token_j", *((_QUALITY,) if _QUALITY else ()))

_WORDS: Mapping[str, str] = {
    "ms_per_token": "time per token",
    "peak_memory_mb": "peak memory",
    "model_mb": "size",
    "energy_per_token_j": "energy per token",
}
"""Names of metrics inside a sentence."""

Key = tuple[str, str]
"""Model and runner."""


@dataclass(frozen=True, slots=True)
class PickRow:
    """One pick; `why` is one sentence, `cells` follow the heads of the table."""

    model: str
    runner: str
    cases: str
    why: str
    verdicts: tuple[Tally, ...]
    cells: tuple[MetricCell, ...]


@dataclass(frozen=True, slots=True)
class PickTable:
    """Workloads of one kind on devices of one mark; `others` says of each that is not picked which ones beat it."""

    kind: str
    mark: str
    summary: str
    heads: tuple[MetricHead, ...]
    rows: tuple[PickRow, ...]
    others: tuple[str, ...]


def pick_tables(
    cases: Sequence[Case], verdicts: Sequence[VerdictRow], notes: Notes, policy: RepeatPolicy
) -> tuple[PickTable, ...]:
    """A table per kind of workload and of device: what was measured on no phone is never set against a phone, and
    what is kept apart is not picked from.

    Args: verdicts: of `cases`, in the same order.
    """
    groups: dict[tuple[str, str], list[tuple[Case, VerdictRow]]] = {}
    for case, verdict in zip(cases, verdicts, strict=True):
        if case.measured and not case.apart:
            groups.setdefault((case.planned.workload.kind.value, case.device.mark), []).append((case, verdict))
    return tuple(
        _table(kind, mark, members, notes, policy)
        for (kind, mark), members in sorted(groups.items(), key=lambda group: (group[0][0], group[0][1]))
    )


def _table(
    kind: str, mark: str, members: Sequence[tuple[Case, VerdictRow]], notes: Notes, policy: RepeatPolicy
) -> PickTable:
    by_key: dict[Key, list[tuple[Case, VerdictRow]]] = {}
    for case, verdict in members:
        by_key.setdefault((case.planned.model.id, case.planned.runner.id), []).append((case, verdict))
    names = {key: _name(key, by_key) for key in by_key}
    values = {key: _values([case for case, _ in ones], policy) for key, ones in by_key.items()}
    found = standings([Candidate(names[key], values[key]) for key in by_key], PICK_METRICS)
    standing = dict(zip(by_key, found, strict=True))
    picked = [key for key in by_key if standing[key].picked]
    picked.sort(key=lambda key: sum(verdict.overall.verdict == TargetVerdict.FAIL for _, verdict in by_key[key]))
    return PickTable(
        kind=kind,
        mark=mark,
        summary=f"{len(picked)} of {plural(len(by_key), 'candidate')}",
        heads=tuple(metric_head(METRICS[name]) for name in PICK_METRICS),
        rows=tuple(_row(key, by_key[key], values[key], _why(standing[key], len(by_key)), notes) for key in picked),
        others=tuple(
            f"Not {names[key]}: beaten by {listed(one.beaten_by)}." for key, one in standing.items() if not one.picked
        ),
    )


def _name(key: Key, keys: Mapping[Key, object]) -> str:
    """The model, with its runner where the model has several."""
    model, runner = key
    return model if sum(other == model for other, _ in keys) == 1 else f"{model} with {runner}"


def _values(cases: Sequence[Case], policy: RepeatPolicy) -> dict[str, dict[str, float]]:
    values: dict[str, dict[str, float]] = {}
    for case in cases:
        where = f"{case.planned.workload_id} on {case.planned.device_id}"
        for name in PICK_METRICS:
            reading = median_reading(case, name, policy)
            if isinstance(reading, Measured):
                values.setdefault(name, {})[where] = reading.value
    return values


def _row(
    key: Key,
    members: Sequence[tuple[Case, VerdictRow]],
    values: Mapping[str, Mapping[str, float]],
    why: str,
    notes: Notes,
) -> PickRow:
    words = [verdict.overall.verdict for _, verdict in members]
    missed = words.count(TargetVerdict.FAIL)
    if missed:
        why += f" It misses a target in {missed} of {plural(len(words), 'case')}."
    repetitions = [one for case, _ in members for one in case.measured]
    return PickRow(
        model=key[0],
        runner=key[1],
        cases=plural(len(members), "case"),
        why=why,
        verdicts=tuple(
            Tally(WORDS[verdict], words.count(verdict), verdict.value) for verdict in WORDS if verdict in words
        ),
        cells=tuple(
            measured_cell(list(values[name].values()))
            if name in values
            else MetricCell("", "", notes.number(reason := why_absent(repetitions, name)), reason)
            for name in PICK_METRICS
        ),
    )


def _why(one: Standing, candidates: int) -> str:
    """One sentence."""
    if candidates == 1:
        return "The only one measured."
    if not one.compared:
        return "It shares no phone, workload and figure with another, so nothing can be compared."
    if one.best:
        words = [f"{'highest' if METRICS[name].better == 'higher' else 'lowest'} {_word(name)}" for name in one.best]
        text = listed(words)
        return f"{text[:1].upper()}{text[1:]} of {one.compared + 1} that can be compared."
    if one.leads:
        return f"Lowest in nothing, but {listed([_lead(lead) for lead in one.leads])}."
    return "No other is better in one figure and worse in none."


def _lead(lead: Lead) -> str:
    ratio = 1 / lead.ratio if METRICS[lead.metric].better == "higher" else lead.ratio
    return f"{significant(ratio)} × the {_word(lead.metric)} of {lead.other}"


def _word(metric: str) -> str:
    return _WORDS.get(metric, METRICS[metric].title.lower())

"""This run beside the run before: what `farm compare` says of the two, laid out for the page of a tier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.compare import Comparison, Decision, by_chance, in_words
from harness.analysis.repeats import RepeatPolicy
from harness.analysis.run_pairs import ComparedCase, ComparedMetric, ComparedRuns, RunSide, compare_sides
from harness.model import METRICS, NOT_A_PHONE, PlannedCase, RunRecord
from reports.cases import Case, Notes, case_name, metric_head
from reports.inputs import Past
from reports.numbers import DASH, alike, moment, significant
from reports.views import CaseName, DeviceName, MetricHead, VerdictCell

HEADLINES = ("ms_per_token", "ttft_ms", "prefill_tps", "peak_memory_mb", "energy_per_token_j")
"""Compared in a column each; of all other metrics only differences are shown."""

_STYLES: Mapping[Decision, str] = {
    Decision.BETTER: "pass",
    Decision.WORSE: "fail",
    Decision.DIFFERENT: "inconclusive",
    Decision.INCONCLUSIVE: "inconclusive",
    Decision.NO_DIFFERENCE_SHOWN: "not_measured",
    Decision.NOT_COMPARABLE: "not_measured",
}
_SHOWN = (Decision.BETTER, Decision.WORSE, Decision.DIFFERENT)


@dataclass(frozen=True, slots=True)
class PreviousRow:
    """One case in both runs; `cells` follow the heads, `changed` names what else is not the same."""

    case: CaseName
    cells: tuple[VerdictCell, ...]
    changed: str


@dataclass(frozen=True, slots=True)
class OtherRow:
    case: CaseName
    head: MetricHead
    before: str
    now: str
    cell: VerdictCell


@dataclass(frozen=True, slots=True)
class OneSided:
    """A case of only one of the runs."""

    device: DeviceName
    text: str


@dataclass(frozen=True, slots=True)
class PreviousView:
    """`run` is "" where there is none, and `absent` says so."""

    run: str
    absent: str
    started: str = ""
    chance: str = ""
    heads: tuple[MetricHead, ...] = ()
    rows: tuple[PreviousRow, ...] = ()
    others: tuple[OtherRow, ...] = ()
    only_before: tuple[OneSided, ...] = ()
    only_now: tuple[OneSided, ...] = ()


def previous_view(
    record: RunRecord, cases: Sequence[Case], past: Past, notes: Notes, policy: RepeatPolicy
) -> PreviousView:
    """Compare the cases of a page with those of the run before."""
    if past.previous is None:
        return PreviousView("", f"No earlier run of suite {record.suite} that measured this tier is in the database.")
    now = tuple(one.row for case in cases for one in case.repetitions)
    found = compare_sides(
        RunSide(past.previous.id, RepeatPolicy.of_run(past.previous), past.rows), RunSide(record.id, policy, now)
    )
    names = {_match(case.planned): case_name(case) for case in cases}
    matched = [(names[_match(case.planned)], case) for case in found.cases]
    devices = {case.planned.device_id: case.device for case in cases}
    return PreviousView(
        run=past.previous.id,
        absent="",
        started=moment(past.previous.started_at),
        chance=_chance(found),
        heads=tuple(metric_head(METRICS[name]) for name in HEADLINES),
        rows=tuple(_row(name, case, notes) for name, case in matched),
        others=tuple(
            _other(name, metric, notes)
            for name, case in matched
            for metric in case.metrics
            if metric.name not in HEADLINES and metric.found.decision in _SHOWN
        ),
        only_before=tuple(_one_sided(planned, devices) for planned in found.only_first),
        only_now=tuple(_one_sided(planned, devices) for planned in found.only_second),
    )


def _match(planned: PlannedCase) -> tuple[str, str, str, str]:
    return planned.device_id, planned.model.id, planned.runner.id, planned.workload_id


def _chance(found: ComparedRuns) -> str:
    compared = [metric.found for case in found.cases for metric in case.metrics if metric.found.interval is not None]
    if not compared:
        return "The two measured no case in common."
    shown = sum(one.decision in _SHOWN for one in compared)
    return (
        f"{shown} of {len(compared)} comparisons show a difference; where nothing changed about "
        f"{by_chance(len(compared)):.2g} would."
    )


def _row(name: CaseName, case: ComparedCase, notes: Notes) -> PreviousRow:
    found = {metric.name: metric.found for metric in case.metrics}
    nothing = Comparison(Decision.NOT_COMPARABLE, None, None, "neither run has a measured value")
    cells = tuple(_cell(found.get(metric, nothing), metric, notes) for metric in HEADLINES)
    return PreviousRow(name, cells, ", ".join(case.changed))


def _other(name: CaseName, metric: ComparedMetric, notes: Notes) -> OtherRow:
    unit = METRICS[metric.name].unit
    # A difference is shown only where both were measured.
    before, now = alike([value for value in (metric.before, metric.after) if value is not None])
    return OtherRow(
        case=name,
        head=metric_head(METRICS[metric.name]),
        before=f"{before} {unit}".strip(),
        now=f"{now} {unit}".strip(),
        cell=_cell(metric.found, metric.name, notes),
    )


def _cell(found: Comparison, metric: str, notes: Notes) -> VerdictCell:
    interval = ""
    if found.interval is not None:
        interval = f"{significant(found.interval[0])}{DASH}{significant(found.interval[1])}"
    return VerdictCell(
        verdict=_STYLES[found.decision],
        word=in_words(found.decision, METRICS[metric].unit),
        value="" if found.ratio is None else f"{significant(found.ratio)} ×",
        interval=interval,
        note=notes.number(found.reason) if found.reason else 0,
        reason=found.reason,
    )


def _one_sided(planned: PlannedCase, devices: Mapping[str, DeviceName]) -> OneSided:
    known = devices.get(planned.device_id)
    device = known or DeviceName(planned.device_id, "", NOT_A_PHONE.get(planned.kind, ""))
    return OneSided(device, f"{planned.model.id}, {planned.workload_id}, {planned.runner.id}")

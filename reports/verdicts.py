"""The verdict table: each case against the targets of its tier."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.analysis.outliers import outliers
from harness.analysis.repeats import FIXED, Agreement, RepeatPolicy, counted, stability
from harness.analysis.verdict import VerdictInfo, judge
from harness.model import METRICS, TARGET_METRICS, CaseStatus, Targets, TargetVerdict
from reports.cases import Case, Notes, case_name
from reports.charts import Scale
from reports.numbers import DASH, plural, significant
from reports.plots import Gauge
from reports.views import Tally, TargetHead, VerdictCell, VerdictRow

GAUGE_WIDTH = 96.0

WORDS: Mapping[TargetVerdict, str] = {
    TargetVerdict.PASS: "pass",
    TargetVerdict.FAIL: "fail",
    TargetVerdict.INCONCLUSIVE: "inconclusive",
    TargetVerdict.NOT_MEASURED: "not measured",
}

_TITLES: Mapping[str, str] = {
    "ms_per_token_max": "Time per token",
    "peak_memory_mb_max": "Peak memory",
    "quality_retention_min": "Quality kept",
}


def limits_of(targets: Targets) -> Mapping[str, float]:
    """The targets a tier sets, by name, in the order of tables."""
    limits = {name: getattr(targets, name) for name in TARGET_METRICS}
    return {name: float(limit) for name, limit in limits.items() if limit is not None}


def unit_of(target: str) -> str:
    metric = TARGET_METRICS[target]
    return METRICS[metric].unit if metric else ""


def target_title(target: str) -> str:
    return _TITLES.get(target, target)


def limit_words(target: str, limit: float, unit: str) -> str:
    """ "≤ 50 ms"."""
    return f"{'≥' if target.endswith('_min') else '≤'} {significant(limit)} {unit}".strip()


def target_heads(targets: Targets) -> tuple[TargetHead, ...]:
    return tuple(
        TargetHead(name, target_title(name), limit_words(name, limit, unit_of(name)))
        for name, limit in limits_of(targets).items()
    )


def verdict_rows(
    cases: Iterable[Case], targets: Targets, notes: Notes, policy: RepeatPolicy = FIXED
) -> tuple[VerdictRow, ...]:
    """One row per case that ran or was to run; refused and skipped ones are listed elsewhere with their reasons."""
    return tuple(verdict_row(case, targets, notes, policy) for case in cases if case.ran)


def verdict_row(case: Case, targets: Targets, notes: Notes, policy: RepeatPolicy = FIXED) -> VerdictRow:
    judged = judge(targets, case.repetitions, policy)
    limits = limits_of(targets)
    cells = tuple(_cell(name, limit, judged[name], notes) for name, limit in limits.items())
    measured, planned = len(case.measured), len(case.repetitions)
    measured_of = f"{measured} of {planned}"
    return VerdictRow(case_name(case), overall(case, judged, notes, policy), cells, measured_of, case.apart)


def overall(case: Case, judged: Mapping[str, VerdictInfo], notes: Notes, policy: RepeatPolicy = FIXED) -> VerdictCell:
    """The verdict of a case: one missed target fails it, one open keeps it open, and a target that nothing measures
    yet is counted, not judged. What is to be known of its repetitions is noted."""
    verdicts = [one.verdict for one in judged.values()]
    told = [verdict for verdict in verdicts if verdict is not TargetVerdict.NOT_MEASURED]
    if not told:
        reason = _why_nothing(case, judged)
        return VerdictCell("not_measured", WORDS[TargetVerdict.NOT_MEASURED], note=notes.number(reason), reason=reason)
    worst = next(
        verdict for verdict in (TargetVerdict.FAIL, TargetVerdict.INCONCLUSIVE, TargetVerdict.PASS) if verdict in told
    )
    count = f"{len(told)} of {plural(len(verdicts), 'target')} judged"
    if stability(policy, case.repetitions).agreement is Agreement.UNSTABLE:
        count += ", unstable"
    marks = "; ".join(repetition_marks(case, policy))
    return VerdictCell(worst.value, WORDS[worst], count=count, note=notes.number(marks) if marks else 0, reason=marks)


def repetition_marks(case: Case, policy: RepeatPolicy = FIXED) -> tuple[str, ...]:
    """What a reader has to know of the repetitions of a case: which does not count, which lies far from the others and
    why, and whether they agree. Nothing is left out of the figures for lying far away."""
    valid = counted(case.repetitions, policy.warm_up)
    counting = {one.planned.repeat for one in valid}
    warm_up = [one.planned.repeat for one in case.repetitions if one.planned.repeat not in counting]
    marks = [f"repetition {repeat} is a warm-up and does not count" for repeat in warm_up]
    marks += [one.text for one in outliers(valid)]
    found = stability(policy, case.repetitions)
    if found.agreement is Agreement.UNSTABLE:
        marks.append(f"unstable: {found.reason}")
    return tuple(marks)


def _why_nothing(case: Case, judged: Mapping[str, VerdictInfo]) -> str:
    failed = next((one.error for one in case.repetitions if one.error is not None), None)
    if failed is not None:
        return f"{failed.error_class}: {failed.message}"
    if any(one.status in (CaseStatus.PLANNED, CaseStatus.RUNNING) for one in case.repetitions):
        return "not run yet: the run is unfinished"
    return next((one.reason for one in judged.values() if one.reason), "the tier sets no targets")


def _cell(target: str, limit: float, judged: VerdictInfo, notes: Notes) -> VerdictCell:
    word = WORDS[judged.verdict]
    note = notes.number(judged.reason) if judged.reason else 0
    if judged.value is None:
        return VerdictCell(judged.verdict.value, word, note=note, reason=judged.reason)
    unit = unit_of(target)
    interval = ""
    if judged.interval is not None:
        interval = f"{significant(judged.interval[0])}{DASH}{significant(judged.interval[1])}"
    return VerdictCell(
        verdict=judged.verdict.value,
        word=word,
        value=f"{significant(judged.value)} {unit}".strip(),
        interval=interval,
        count=f"n={judged.n}",
        gauge=gauge(limit, judged.value, judged.interval),
        note=note,
        reason=judged.reason,
    )


def gauge(limit: float, value: float, interval: tuple[float, float] | None) -> Gauge:
    """A strip from 0 to twice the limit: every row of a column has the same scale, so rows can be compared."""
    scale = Scale(0.0, 2 * limit, 2.0, GAUGE_WIDTH - 8)
    return Gauge(
        width=GAUGE_WIDTH,
        limit_x=round(scale(limit), 1),
        value_x=round(scale.clamp(value), 1),
        low_x=None if interval is None else round(scale.clamp(interval[0]), 1),
        high_x=None if interval is None else round(scale.clamp(interval[1]), 1),
        over=value > scale.high,
    )


def verdict_tally(rows: Sequence[VerdictRow]) -> tuple[Tally, ...]:
    """How many cases pass, fail, are open or not measured; those that are kept apart are in none of them."""
    counts = dict.fromkeys(WORDS, 0)
    for row in rows_that_count(rows):
        counts[TargetVerdict(row.overall.verdict)] += 1
    return tuple(Tally(WORDS[verdict], count, verdict.value) for verdict, count in counts.items())


def rows_that_count(rows: Sequence[VerdictRow]) -> list[VerdictRow]:
    return [row for row in rows if not row.apart]


def apart_note(rows: Sequence[VerdictRow]) -> str:
    """How many cases the tally leaves out, "" for none."""
    count = len(rows) - len(rows_that_count(rows))
    if not count:
        return ""
    return f"{plural(count, 'case')} of phones that are kept apart, or of reference builds, not counted."

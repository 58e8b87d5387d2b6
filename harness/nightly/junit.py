"""A night as JUnit XML, in the shape that Jenkins' junit-10.xsd (xunit plugin) describes and GitLab and others read.

A suite per tier. In it, for every case (phone × model × runner × workload) a test: did it measure? And for every judged
series (model × runner × workload × metric over the phones of the tier) one: is it worse? So a failed phone is an error,
however many metrics it leaves without a figure, and a regression a failure, however many phones show it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from xml.etree import ElementTree

from harness.analysis.nights_words import headline, told
from harness.model import CaseStatus, Change, ChangeState, ErrorInfo, Measured, NightSummary, SeriesId, Unavailable
from harness.nightly.pinned import is_baseline
from harness.store import MeasurementRow

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, not even escaped."""
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
_MOST = 4000
"""Characters of one message."""

_TOLD = frozenset({ChangeState.SUSPECT, ChangeState.IMPROVEMENT, ChangeState.ACKNOWLEDGED, ChangeState.CLEARED})
"""States that pass, and are told beside."""


@dataclass(frozen=True, slots=True)
class _Test:
    """Args: outcome: "" for a test that passed. kind: of the outcome, a word. message: of it. body: more lines of it.
    output: what else was seen, "" for nothing."""

    group: str
    name: str
    seconds: float = 0.0
    outcome: Literal["", "failure", "error", "skipped"] = ""
    kind: str = ""
    message: str = ""
    body: str = ""
    output: str = ""


def to_junit(summary: NightSummary, cases: Iterable[MeasurementRow], metrics: Sequence[str]) -> str:
    """The night as an XML document.

    Args:
        cases: every repetition that the suite of the night planned, in any order.
        metrics: names of those that are judged over the nights.
    """
    by_tier: dict[str, list[MeasurementRow]] = {tier: [] for tier in summary.tiers}
    for row in cases:
        by_tier.setdefault(row.planned.tier, []).append(row)
    for change in summary.changes:
        by_tier.setdefault(change.series.tier, [])
    suites = {tier: (*_cases(rows), *_series(summary, tier, rows, metrics)) for tier, rows in by_tier.items()}
    root = ElementTree.Element("testsuites", _totals([test for tests in suites.values() for test in tests]))
    root.set("name", _clean(headline(summary)))
    for tier, tests in suites.items():
        root.append(_suite(summary, tier, tests))
    ElementTree.indent(root)
    return f"{_HEAD}\n{ElementTree.tostring(root, encoding='unicode')}\n"


def _suite(summary: NightSummary, tier: str, tests: Sequence[_Test]) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", {"name": _clean(tier), **_totals(tests)})
    suite.set("skipped", str(sum(test.outcome == "skipped" for test in tests)))
    suite.set("timestamp", datetime.fromtimestamp(summary.started_at, UTC).strftime("%Y-%m-%dT%H:%M:%S"))
    for test in tests:
        names = {"classname": _clean(test.group), "name": _clean(test.name), "time": f"{test.seconds:.3f}"}
        element = ElementTree.SubElement(suite, "testcase", names)
        if test.outcome:
            said = {"type": _clean(test.kind), "message": _clean(test.message)}
            ElementTree.SubElement(element, test.outcome, said).text = _clean(test.body) or None
        if test.output:
            ElementTree.SubElement(element, "system-out").text = _clean(test.output)
    return suite


def _totals(tests: Sequence[_Test]) -> dict[str, str]:
    return {
        "tests": str(len(tests)),
        "failures": str(sum(test.outcome == "failure" for test in tests)),
        "errors": str(sum(test.outcome == "error" for test in tests)),
        "time": f"{sum(test.seconds for test in tests):.3f}",
    }


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text[:_MOST])


# --- cases ------------------------------------------------------------------------------------------------------------


def _cases(rows: Iterable[MeasurementRow]) -> Iterator[_Test]:
    by_case: dict[str, list[MeasurementRow]] = {}
    for row in rows:
        by_case.setdefault(row.planned.case, []).append(row)
    for found in by_case.values():
        yield _case(sorted(found, key=lambda row: row.planned.repeat))


def _case(rows: Sequence[MeasurementRow]) -> _Test:
    """An error where any repetition failed; skipped where none was measured and none failed."""
    planned = rows[0].planned
    group = f"{planned.tier}.{planned.device_id}"
    name = f"{planned.model.id} / {planned.runner.id} / {planned.workload_id}"
    seconds = sum(row.duration_s or 0.0 for row in rows)
    failed = [row for row in rows if row.status is CaseStatus.FAILED]
    if failed:
        body = "\n".join(f"repetition {row.planned.repeat}: {_reason(row)}" for row in failed)
        return _Test(group, name, seconds, "error", _kind(failed[0].error), _reason(failed[0]), body)
    if not any(row.status is CaseStatus.MEASURED for row in rows):
        return _Test(group, name, seconds, "skipped", rows[0].status.value, _reason(rows[0]))
    return _Test(group, name, seconds)


def _kind(error: ErrorInfo | None) -> str:
    return error.error_class if error else "failed"


def _reason(row: MeasurementRow) -> str:
    """Why a repetition gave nothing."""
    error = row.error
    if error is None:
        unfinished = row.status in (CaseStatus.PLANNED, CaseStatus.RUNNING)
        return "it did not fit into the night" if unfinished else f"{row.status.value}, without a reason in the store"
    advice = f"; what to do: {error.advice}" if error.advice else ""
    return f"{row.status.value} in step {error.step.value}: {error.message}{advice}"


# --- series -----------------------------------------------------------------------------------------------------------


def _series(
    summary: NightSummary, tier: str, rows: Iterable[MeasurementRow], metrics: Sequence[str]
) -> Iterator[_Test]:
    """Every series of the tier that tonight's cases belong to, or of which something is said."""
    members: dict[tuple[str, str, str], list[MeasurementRow]] = {}
    for row in rows:
        planned = row.planned
        if not is_baseline(planned.runner.id):
            members.setdefault((planned.model.id, planned.runner.id, planned.workload_id), []).append(row)
    changes = {change.series: change for change in summary.changes if change.series.tier == tier}
    found = {SeriesId(tier, *names, metric): ones for names, ones in members.items() for metric in metrics}
    for series in dict.fromkeys((*found, *changes)):
        yield _judged(series, changes.get(series), found.get(series, ()), summary.names)


def _judged(
    series: SeriesId, change: Change | None, rows: Sequence[MeasurementRow], builds: Mapping[str, str]
) -> _Test:
    """A failure for a confirmed regression; skipped where no phone gave a figure tonight."""
    group = f"{series.tier}.series"
    name = f"{series.model} / {series.runner} / {series.workload} / {series.metric}"
    said = _said(change, builds) if change else ""
    if change is not None and change.regressed:
        return _Test(group, name, 0.0, "failure", "regression", said.partition("\n")[0], said)
    output = said if change is not None and change.state in _TOLD else ""
    if not any(isinstance(row.metrics.get(series.metric), Measured) for row in rows):
        return _Test(group, name, 0.0, "skipped", "not measured", _why_absent(series.metric, rows), output=output)
    return _Test(group, name, output=output)


def _said(change: Change, builds: Mapping[str, str]) -> str:
    moved = told(change)
    lines = [f"{change.state.value}: {change.series.metric} {moved}".rstrip()]
    if change.since:
        bad = builds.get(change.bad_build) or change.bad_build[:12]
        lines.append(f"first night {change.since}, build {bad or 'unknown'}, {change.nights} nights")
    return "\n".join((*lines, change.reason, *change.events))


def _why_absent(metric: str, rows: Sequence[MeasurementRow]) -> str:
    """The first reason that is given, a missing figure's before a missing measurement's."""
    for row in rows:
        reading = row.metrics.get(metric)
        if isinstance(reading, Unavailable):
            return f"not measured: {reading.reason}"
    return f"not measured: {_reason(rows[0])}" if rows else "not measured tonight: no case of it was planned"

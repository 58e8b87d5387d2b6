"""JUnit XML of a night, read by a real parser and held to the structure of Jenkins' junit-10.xsd."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from xml.etree import ElementTree

from harness.model import CaseStatus, ChangeState, ErrorInfo, Measured, NightSummary, Reading, Step, Unavailable
from harness.nightly.junit import to_junit
from harness.store import MeasurementRow
from tests.unit.nightly.summaries import HOSTILE, change, full, series, summary
from tests.unit.store.samples import planned_case

MODEL, RUNNER, WORKLOAD = "smollm2-135m-q4_k_m", "llama.cpp-x86_64", "chat"
METRICS = ("decode_tps", "ttft_ms")

STRUCTURE: Mapping[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {"time", "skipped", "timestamp", "hostname", "id", "package", "group", "file", "log", "url"},
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
    ),
    "testcase": (
        {"name"},
        {"time", "classname", "group"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    **{name: (set(), {"type", "message"}, set()) for name in ("failure", "error", "skipped")},
    "system-out": (set(), set(), set()),
}
"""Element → attributes that it must have, that it may have, and children: jenkinsci/xunit-plugin, junit-10.xsd."""


def row(
    status: CaseStatus = CaseStatus.MEASURED,
    *,
    case: str = "c1",
    repeat: int = 1,
    device: str = "pixel",
    runner: str = RUNNER,
    error: ErrorInfo | None = None,
    metrics: Mapping[str, Reading] | None = None,
) -> MeasurementRow:
    planned = planned_case(case=case, repeat=repeat, device=device, status=status, reason=error)
    planned = replace(planned, runner=replace(planned.runner, id=runner))
    figures = {"decode_tps": Measured(40.0, "tok/s", "x"), "ttft_ms": Unavailable("no stream")}
    found = metrics if metrics is not None else figures if status is CaseStatus.MEASURED else {}
    return MeasurementRow(planned, 1, 1000.0, 2.5, found, {})


def parsed(night: NightSummary, *rows: MeasurementRow) -> ElementTree.Element:
    """The document as a parser sees it, after its structure and its sums were checked."""
    root = ElementTree.fromstring(to_junit(night, rows, METRICS).encode())
    for element in root.iter():
        must, may, children = STRUCTURE[element.tag]
        assert must <= set(element.keys()) <= must | may, element.tag
        assert {child.tag for child in element} <= children, element.tag
    for suite in (root, *root.iter("testsuite")):
        assert int(suite.get("tests", "")) == len(list(suite.iter("testcase")))
        for attribute, tag in (("failures", "failure"), ("errors", "error")):
            assert int(suite.get(attribute, "")) == len(list(suite.iter(tag)))
        assert re.fullmatch(r"[0-9]+\.[0-9]{3}", suite.get("time", ""))
    for suite in root.iter("testsuite"):
        assert int(suite.get("skipped", "")) == len(list(suite.iter("skipped")))
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp", ""))
    return root


def outcomes(root: ElementTree.Element) -> dict[str, str]:
    """Class and name of each test → the tag of its outcome, "" for one that passed."""
    return {
        f"{test.get('classname')}: {test.get('name')}": next((c.tag for c in test if c.tag != "system-out"), "")
        for test in root.iter("testcase")
    }


def of(night: NightSummary, *rows: MeasurementRow) -> dict[str, str]:
    return outcomes(parsed(night, *rows))


CASE = f"flagship.pixel: {MODEL} / {RUNNER} / {WORKLOAD}"
DECODE = f"flagship.series: {MODEL} / {RUNNER} / {WORKLOAD} / decode_tps"
TTFT = f"flagship.series: {MODEL} / {RUNNER} / {WORKLOAD} / ttft_ms"
QUIET = summary(changes=(), hands=())
MINE = replace(series(MODEL), runner=RUNNER)


def test_what_measured_passes_and_what_gave_no_figure_is_skipped_with_the_reason() -> None:
    root = parsed(QUIET, row(), row(repeat=2))
    assert outcomes(root) == {CASE: "", DECODE: "", TTFT: "skipped"}
    (skipped,) = root.iter("skipped")
    assert skipped.get("message") == "not measured: no stream"
    assert next(root.iter("testcase")).get("time") == "5.000", "both repetitions"


def test_a_failed_repetition_is_one_error_of_its_case() -> None:
    error = ErrorInfo("killed", Step.RUN, "the runner was killed", "free some memory")
    root = parsed(QUIET, row(), row(CaseStatus.FAILED, repeat=2, error=error))
    assert outcomes(root)[CASE] == "error"
    (found,) = root.iter("error")
    assert found.get("type") == "killed"
    assert found.text == ("repetition 2: failed in step run: the runner was killed; what to do: free some memory")


def test_refused_and_left_are_skipped() -> None:
    refused = row(CaseStatus.REFUSED, error=ErrorInfo("memory_short", Step.CHECK, "too large"))
    left = row(CaseStatus.PLANNED, case="c2", device="galaxy")
    root = parsed(QUIET, refused, left)
    said = {test.get("classname"): test[0].get("message") for test in root.iter("testcase")}
    assert said["flagship.pixel"] == "refused in step check: too large"
    assert said["flagship.galaxy"] == "it did not fit into the night"
    assert outcomes(root)[DECODE] == "skipped"


def test_a_series_that_one_phone_measured_is_measured() -> None:
    other = row(CaseStatus.FAILED, case="c2", device="galaxy", error=ErrorInfo("killed", Step.RUN, "x"))
    assert of(QUIET, other, row())[DECODE] == ""


def test_a_confirmed_regression_is_a_failure_of_its_series() -> None:
    night = summary(changes=(change(series=MINE),))
    root = parsed(night, row())
    assert outcomes(root) == {CASE: "", DECODE: "failure", TTFT: "skipped"}
    (failure,) = root.iter("failure")
    assert failure.get("message") == "regression: decode_tps 10.5 % worse (8.3 to 12.7 %)"
    assert failure.text is not None and "first night 2026-11-12, build b9001" in failure.text
    assert outcomes(parsed(night, row(CaseStatus.PLANNED)))[DECODE] == "failure", "open, though not measured tonight"


def test_a_suspicion_passes_and_is_told() -> None:
    root = parsed(summary(changes=(change(ChangeState.SUSPECT, series=MINE),)), row())
    assert outcomes(root)[DECODE] == ""
    (told,) = root.iter("system-out")
    assert told.text is not None and told.text.startswith("suspect: decode_tps 12.7 % worse")


def test_a_change_of_a_series_that_was_not_planned_is_there_all_the_same() -> None:
    found = of(summary(tiers=(), changes=(change(series=replace(MINE, tier="budget")),)))
    assert list(found.values()) == ["failure"]


def test_the_reference_build_is_measured_and_not_judged() -> None:
    found = of(QUIET, row(), row(case="c2", runner=f"{RUNNER}@baseline"))
    assert len(found) == 4 and f"flagship.pixel: {MODEL} / {RUNNER}@baseline / {WORKLOAD}" in found


def test_a_night_without_anything_is_a_document() -> None:
    assert of(summary(changes=(), tiers=())) == {}


def test_what_xml_cannot_hold_is_replaced() -> None:
    error = ErrorInfo("killed", Step.RUN, f"{HOSTILE}\ud800\ufffe ]]> 中")
    bad = row(CaseStatus.FAILED, device=HOSTILE, error=error)
    root = parsed(full(HOSTILE), bad)
    (found,) = root.iter("error")
    assert found.text is not None and found.text.endswith("\ufffd\ufffd ]]> 中")
    assert any("\ufffd[31m" in (test.get("classname") or "") for test in root.iter("testcase"))


def test_a_long_log_is_cut() -> None:
    error = ErrorInfo("killed", Step.RUN, "x" * 100_000)
    assert len(to_junit(QUIET, [row(CaseStatus.FAILED, error=error)], METRICS)) < 20_000

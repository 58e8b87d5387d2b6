"""Gate, marks, heat and placement of a repetition as a report shows them, whatever a store holds."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reports
from reports.before import before_view, heat_view, placed
from tests.unit.reports.sample import START, sustained


def test_gate_and_marks() -> None:
    (one,) = sustained()[0].repetitions
    view = before_view(one.provenance)
    assert view.summary == "Gate: mode record, recorded, waited 1 min 34 s."
    assert view.short == "gate: recorded"
    assert [(row.name, row.state, row.style) for row in view.checks] == [
        ("skin temperature", "pass", "pass"),
        ("other load", "fail", "fail"),
        ("governor", "unknown", "not_measured"),
    ]
    assert view.checks[1].seen == "31 %" and view.checks[1].advice == "stop it"
    assert view.marks == ("other_load: 31 % (wanted: at most 10 %)", "cores unplugged"), "each mark once"


def test_what_is_not_recorded_is_said() -> None:
    view = before_view({})
    assert view.summary == "No gate was recorded before this repetition."
    assert (view.checks, view.marks, view.short) == ((), (), "")
    assert heat_view({}) is None
    assert placed({}) == ""


def test_heat_is_in_words_and_on_the_clock_of_the_device() -> None:
    (one,) = sustained()[0].repetitions
    heat = heat_view(one.provenance)
    assert heat is not None
    assert (heat.word, heat.style) == ("throttled after 212 s", "fail")
    assert heat.curve[0][0] == 5002.5
    for verdict, word, style in (
        ("none", "not throttled", "pass"),
        ("slowdown_unexplained", "slowdown, unexplained", "inconclusive"),
        ("unknown", "throttling unknown", "not_measured"),
        ("throttled", "throttled, moment unknown", "fail"),
    ):
        other = heat_view({"heat": {"verdict": verdict, "onset_s": None, "reason": "r"}})
        assert other is not None
        assert (other.word, other.style, other.reason) == (word, style, "r")


def test_placement_in_words() -> None:
    stored = {"placement": {"cpus_allowed": "4-8", "cpuset": "/foreground", "cgroup": "", "odd": None}}
    assert placed(stored) == "cores 4-8, cpuset /foreground"


@pytest.mark.parametrize("hostile", [False, True])
def test_the_page_shows_it_once_and_escaped(hostile: bool) -> None:
    run, samples = sustained(hostile=hostile)
    pages = reports.render(run, samples, generated_at=START, history=[run.record])
    page = next(text for name, text in pages.items() if name.startswith("flagship"))
    assert "Before the case" in page
    assert "throttled after 212 s" in page
    assert "Ran on <bdi>cores 4-8, cpuset /foreground</bdi>" in page
    assert "<dt>heat." not in page and "<dt>gate." not in page, "not a second time in the provenance"
    assert "<script>alert" not in page
    assert ("&lt;script&gt;alert" in page) is hostile


def test_a_page_of_an_older_store_is_drawn_without_it() -> None:
    run, samples = sustained(known=False)
    pages = reports.render(run, samples, generated_at=START, history=[run.record])
    page = next(text for name, text in pages.items() if name.startswith("flagship"))
    assert "No gate was recorded before this repetition." in page
    assert "throttled" not in re.sub(r"(?s)<style.*?</style>", "", page).replace("throttle_onset", "")


_words = st.sampled_from(["", "pass", "throttled", "<b>&'\"", "\0", "a\nb", "１", "\u202e", "\U0001f525"])
_names = st.sampled_from(["name", "state", "seen", "wanted", "advice", "cpuset", "", "<b>"])
_odd: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | _words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "gate": _odd | st.fixed_dictionaries({"checks_last": _odd, "marks": _odd, "waited_s": _odd, "mode": _odd}),
            "heat": _odd
            | st.fixed_dictionaries({"verdict": _odd, "onset_s": _odd, "start_uptime_s": _odd, "curve": _odd}),
            "marks": _odd,
            "placement": _odd,
        },
    )
)
@settings(deadline=None)
def test_any_stored_value_can_be_shown(provenance: dict[str, Any]) -> None:
    assert before_view(provenance).summary
    heat_view(provenance)
    assert isinstance(placed(provenance), str)

"""Asked cores against the cores that the threads got."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agents.android.telemetry import Placement
from harness.analysis.placement import cpu_list, judge_placement, parse_cpu_list, where_it_ran

BIG = (4, 5, 6, 7)


@pytest.mark.parametrize(
    ("asked", "allowed", "online", "verdict"),
    [
        (BIG, "4-7", "0-7", "ok"),
        (BIG, "4-7", "", "ok"),
        (None, "0-7", "", "ok"),
        (None, "0-3 4-7", "", "ok"),
        (BIG, "0-7", "0-7", "mismatch"),
        (BIG, "4-7 0-7", "0-7", "mismatch"),
        (BIG, "4-6", "0-7", "mismatch"),
        (BIG, "4-6", "0-6", "unplugged"),
        (BIG, "4-6", "", "mismatch"),
        (BIG, "0-6", "0-6", "mismatch"),
        (BIG, "4-7 4-6", "0-6", "unplugged"),
        (BIG, "", "0-7", "unknown"),
        (None, "", "", "unknown"),
        (BIG, "4-7 f0", "0-7", "unknown"),
    ],
)
def test_verdicts(asked: tuple[int, ...] | None, allowed: str, online: str, verdict: str) -> None:
    found = judge_placement(asked, {"cpus_allowed": allowed, "cpus_online": online})
    assert found.verdict == verdict
    assert found.reason
    assert bool(found.mark) is (verdict in ("unplugged", "unknown"))


def test_the_reason_names_both() -> None:
    found = judge_placement(BIG, {"cpus_allowed": "4-7 0-3,7"})
    assert found.reason == "asked 4-7, threads got 0-3,7 and 4-7"
    assert found.allowed == (0, 1, 2, 3, 4, 5, 6, 7)
    missing = judge_placement(BIG, {"cpus_allowed": "4-5", "cpus_online": "0-5"})
    assert missing.reason == "asked 4-7, the system has switched off 6-7"


@pytest.mark.parametrize("text", ["", "4-", "7-4", "a", "1,,2", "ff", "1 2", "99999"])
def test_what_is_no_list(text: str) -> None:
    assert parse_cpu_list(text) is None


@given(st.frozensets(st.integers(0, 200), min_size=1))
def test_lists_are_read_as_they_are_written(cores: frozenset[int]) -> None:
    assert parse_cpu_list(cpu_list(cores)) == cores


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text(allowed: str, online: str) -> None:
    found = judge_placement(BIG, {"cpus_allowed": allowed, "cpus_online": online})
    assert found.verdict in ("ok", "unplugged", "mismatch", "unknown") and found.reason
    assert (found.allowed is None) == (found.verdict == "unknown")


def look(at: float, cpus: str, cpuset: str = "/") -> Placement:
    return Placement(at, tuple(cpus.split(";")), cpuset)


STEADY = {"cpus_allowed": "4-7", "cpus_online": "0-7", "cpuset": "/"}
FREE = {"cpus_allowed": "0-7", "cpus_online": "0-7", "cpuset": "/"}


@pytest.mark.parametrize(
    ("asked", "seen", "looks", "verdict"),
    [
        (BIG, STEADY, [look(1, "4-7"), look(6, "4-7")], "ok"),
        (BIG, STEADY, [], "ok"),
        (BIG, STEADY, [look(1, "4-7"), look(6, "4-6")], "changed"),
        (BIG, STEADY, [look(1, "0-7"), look(6, "4-7")], "changed"),
        (BIG, STEADY, [look(1, "4-7;4")], "changed"),
        (BIG, STEADY, [look(1, "4-7", "/background")], "changed"),
        (BIG, STEADY, [look(1, "4-7", "")], "ok"),
        (BIG, STEADY | {"cpuset": ""}, [look(1, "4-7", "/background")], "ok"),
        (BIG, STEADY | {"cpus_allowed": "4-6", "cpus_online": "0-6"}, [look(1, "4-6")], "unplugged"),
        (BIG, STEADY | {"cpus_allowed": "4-6", "cpus_online": "0-6"}, [look(1, "4-7")], "changed"),
        (BIG, FREE, [look(1, "4-7")], "mismatch"),
        (BIG, {}, [look(1, "4-7"), look(6, "0-3")], "unknown"),
        (None, FREE, [look(1, "0-7;3"), look(6, "0-3;4-7"), look(11, "0-7")], "ok"),
        (None, FREE, [look(1, "0-3", "/background")], "changed"),
    ],
)
def test_what_changes_while_it_runs_is_found(
    asked: tuple[int, ...] | None, seen: dict[str, str], looks: list[Placement], verdict: str
) -> None:
    found = judge_placement(asked, seen, looks)
    assert found.verdict == verdict
    assert found.looks == len(looks)
    assert found.mark.startswith("placement_changed: ") is (verdict == "changed")


def test_every_change_is_told_with_its_moment() -> None:
    looks = [look(101, "4-7"), look(106, "0-3", "/background"), look(111, "0-3", "/background"), look(116, "4-7")]
    found = judge_placement(BIG, STEADY, looks)
    assert found.reason == (
        "every thread has 4-7 at the start, but at uptime 106 s the threads had 0-3 in /background "
        "(the first of 2 changes)"
    )
    assert found.to_json()["changes"] == [
        {"uptime_s": 106, "cpus": ["0-3"], "cpuset": "/background"},
        {"uptime_s": 116, "cpus": ["4-7"], "cpuset": "/"},
    ]


def test_what_belongs_to_a_result() -> None:
    seen = {"cpus_allowed": "4-7", "cpuset": "/foreground", "cgroup": ""}
    verdict = judge_placement(BIG, seen)
    assert where_it_ran(verdict, seen, {"policy4.governor": "walt", "wakefulness": "Awake"}, {}) == {
        "verdict": "ok",
        "reason": "every thread has 4-7",
        "asked": [4, 5, 6, 7],
        "allowed": [4, 5, 6, 7],
        "looks": 0,
        "changes": [],
        "threads_allowed": "4-7",
        "cpuset": "/foreground",
        "cgroup": None,
        "governors": {"policy4": "walt"},
        "cpu_variant": None,
    }
    bare = where_it_ran(verdict, seen, {}, {"cpu_variant": "libggml-cpu-android_armv8.6_1.so"})
    assert bare["governors"] is None
    assert bare["cpu_variant"] == "libggml-cpu-android_armv8.6_1.so"

"""The runtime whose truth is known, under the sanitizers: it does what its script says, and tells what it did."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from android_runner.runner_events import read

TOKENS = 12


class Calibrated:
    """The sanitized program with a model of known size."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program = program
        self.folder = folder
        self.model = folder / "model.bin"
        self.model.write_bytes(os.urandom(300_000))

    def run(
        self, script: Mapping[str, Any] | str, *, code: int = 0, page_cache: str = "keep", output: str = "-"
    ) -> bytes:
        request = {
            "contract": "1.0",
            "model": {"path": str(self.model), "page_cache": page_cache},
            "workload": {"kind": "stream", "prompt": [1, 2, 3], "gen_tokens": TOKENS},
            "output": output,
        }
        path = self.folder / "request.json"
        path.write_text(json.dumps(request))
        text = script if isinstance(script, str) else json.dumps(script)
        env = {**os.environ, "FARM_SCRIPT": text, "ASAN_OPTIONS": "detect_leaks=1:exitcode=99"}
        done = subprocess.run([self.program, path], check=False, capture_output=True, timeout=60, env=env)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout


@pytest.fixture
def runner(sanitized: Path, tmp_path: Path) -> Calibrated:
    return Calibrated(sanitized / "calibration-runner", tmp_path)


def events_of(out: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def truth_of(out: bytes) -> dict[str, Any]:
    *events, last = events_of(out)
    assert [last["event"], events[-1]["event"]] == ["truth", "end"]
    return last


def test_it_is_ready_and_done_with_tokens_when_it_was_asked_to(runner: Calibrated) -> None:
    out = runner.run({"load_ms": 30, "first_ms": 15, "intervals_ms": [2, 5.5]})
    truth = truth_of(out)
    ends = truth["taken_ns"]
    assert len(ends) == TOKENS and truth["load_ns"] >= 30e6
    # It may be late on a busy machine, but never early: each time is one on its own, so that lateness does not add up.
    gaps = [2e6, 5.5e6] * TOKENS
    due = list(itertools.accumulate([truth["first_begun_ns"] + 15e6, *gaps[: TOKENS - 1]]))
    assert all(0 <= end - at <= truth["late_max_ns"] for end, at in zip(ends, due, strict=True))
    record = read(out)
    assert not record.wrong and record.generated == TOKENS
    own = record.own_times[0][1]
    assert own["prefill_ns"] == ends[0] - truth["first_begun_ns"]
    assert own["prefill_ns"] + own["decode_ns"] + truth["between_ns"] == ends[-1] - truth["first_begun_ns"]


def test_work_takes_cpu_time_in_place_of_waiting(runner: Calibrated) -> None:
    def worked() -> float:
        return os.times().children_user + os.times().children_system

    before = worked()
    truth = truth_of(runner.run({"cpu_ms": 20}))
    gaps = [later - earlier for earlier, later in itertools.pairwise(truth["taken_ns"])]
    # What it worked is time that passed, and more of it on a busy machine.
    assert len(gaps) == TOKENS - 1 and min(gaps) >= 20e6
    assert worked() - before >= 0.9 * 0.02 * len(gaps)


def test_the_truth_is_no_part_of_what_the_events_say(runner: Calibrated) -> None:
    out = runner.run({"intervals_ms": [1]})
    whole, without = read(out), read(out[: out.rindex(b'{"event":"truth"')])
    without.last = whole.last
    assert whole == without


def test_it_takes_memory_and_gives_it_back(runner: Calibrated) -> None:
    out = runner.run({"intervals_ms": [10], "anon_bytes": 40_000_000, "anon_at_ms": 10, "anon_hold_ms": 5})
    told = [event for event in events_of(out) if event["event"] == "memory"][-1]
    assert told["vm_hwm_bytes"] - told["vm_rss_bytes"] >= 38_000_000


def test_it_keeps_memory_that_has_no_hold(runner: Calibrated) -> None:
    out = runner.run({"intervals_ms": [10], "anon_bytes": 40_000_000, "anon_at_ms": 10})
    first, last = (event for event in events_of(out) if event["event"] == "memory")
    assert last["rss_anon_bytes"] - first["rss_anon_bytes"] >= 38_000_000


def test_it_reads_its_model_when_it_is_asked_to(runner: Calibrated) -> None:
    assert truth_of(runner.run({"map_model": True}, page_cache="evict"))["file_bytes"] == 300_000
    assert truth_of(runner.run({}))["file_bytes"] == 0


def test_the_truth_goes_where_the_events_go(runner: Calibrated, tmp_path: Path) -> None:
    target = tmp_path / "events"
    assert runner.run({"intervals_ms": [1]}, output=str(target)) == b""
    assert truth_of(target.read_bytes())["taken_ns"]


@pytest.mark.parametrize(
    ("how", "code", "last"),
    [("exit", 3, "token"), ("kill", -9, "token"), ("abort", -6, "token")],
)
def test_it_dies_in_the_call_it_was_asked_to(runner: Calibrated, how: str, code: int, last: str) -> None:
    out = runner.run({"intervals_ms": [1], "die": how, "die_at": 4}, code=code)
    events = events_of(out)
    assert events[-1]["event"] == last
    assert [event["index"] for event in events if event["event"] == "token"] == [0, 1, 2, 3]


def test_garbage_stands_after_whole_events(runner: Calibrated) -> None:
    record = read(runner.run({"intervals_ms": [1], "die": "garbage", "die_at": 4}))
    assert record.generated == 4 and record.end is None and record.foreign


@pytest.mark.parametrize(
    ("script", "word"),
    [
        ("{", "FARM_SCRIPT"),
        ("[]", "object"),
        ({"intervals_ms": []}, "intervals_ms"),
        ({"load_ms": -1}, "load_ms"),
        ({"cpu_ms": "much"}, "cpu_ms"),
        ({"load_ms": 1e12}, "load_ms"),
        ({"anon_bytes": 1.5}, "anon_bytes"),
        ({"map_model": 1}, "map_model"),
        ({"die": "sleep", "die_at": 1}, "die"),
        ({"die": "kill"}, "die_at"),
        ({"hold_ms": 1}, "hold_ms"),
    ],
)
def test_a_script_it_does_not_understand_is_an_error(
    runner: Calibrated, script: Mapping[str, Any] | str, word: str
) -> None:
    last = events_of(runner.run(script, code=1))[-1]
    assert (last["event"], last["class"]) == ("error", "bad_request")
    assert word in last["message"]

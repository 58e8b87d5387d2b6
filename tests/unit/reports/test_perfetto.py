"""Traces of repetitions: in Chrome's format, as Perfetto takes it, and nothing in them that was not measured."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness.model import Channel, DeviceKind, Measured, Step, StepRecord, Trace
from harness.store import Store
from reports import perfetto
from tests.unit.store import samples

HOSTILE = '</script>\x1b[31m"\0\u202e=cmd'
NAME = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 0}


def of_kind(phase: str, required: list[str], properties: Mapping[str, Any]) -> dict[str, Any]:
    common = {"ph": {"const": phase}, "pid": COUNT, "tid": COUNT, "name": NAME, "args": {"type": "object"}}
    return {
        "type": "object",
        "required": ["ph", "pid", "tid", "name", *required],
        "properties": {**common, **properties},
        "additionalProperties": False,
    }


SCHEMA = {
    "type": "object",
    "required": ["traceEvents", "displayTimeUnit", "otherData"],
    "properties": {
        "displayTimeUnit": {"enum": ["ms", "ns"]},
        "otherData": {"type": "object"},
        "traceEvents": {
            "type": "array",
            "items": {
                "oneOf": [
                    of_kind("X", ["ts", "dur"], {"ts": COUNT, "dur": COUNT}),
                    of_kind("i", ["ts", "s"], {"ts": COUNT, "s": {"enum": ["g", "p", "t"]}}),
                    of_kind(
                        "C",
                        ["ts", "args"],
                        {
                            "ts": COUNT,
                            "args": {
                                "type": "object",
                                "minProperties": 1,
                                "maxProperties": 1,
                                "additionalProperties": {"type": "number"},
                            },
                        },
                    ),
                    of_kind(
                        "M",
                        ["args"],
                        {
                            "name": {"enum": ["process_name", "thread_name"]},
                            "args": {"type": "object", "required": ["name"], "properties": {"name": NAME}},
                        },
                    ),
                ]
            },
        },
    },
}
"""Google's Trace Event Format, as far as it is used, and times that Perfetto shows as they are: whole and from 0."""

STAMPS = {"started": 9.5, "ready": 9.9, "requested": 10.0, "answered": 10.07, "ended": 76.0}
CLOCK = {"wall_offset_s": samples.START + 1, "error_s": 0.004}


def trace(name: str, unit: str, values: tuple[float, ...], times: tuple[float, ...] = (10.0, 10.5, 75.25)) -> Trace:
    return Trace(Channel(name, unit, "somewhere"), times[: len(values)], values)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store.open(f"sqlite:///{tmp_path / 'farm.db'}") as opened:
        yield opened


def fill(store: Store, *traces: Trace, device: str = "pixel", **provenance: Any) -> str:
    """One repetition with two attempts; returns its key."""
    case = replace(samples.planned_case(device=device), kind=DeviceKind.VIRTUAL)
    store.begin_run(samples.run_record(), [case])
    at = samples.START + 10
    why = samples.error_info("cut\x07off")
    for attempt, step, begin, length, error in (
        (1, Step.SELECT, 0.0, 0.5, None),
        (1, Step.RUN, 0.5, 0.2, why),
        # The wall clock and the clock of lengths disagree by a little: as stored, these two overlap.
        (2, Step.SELECT, 0.8, 0.2001, None),
        (2, Step.RUN, 1.0, 66.0, None),
    ):
        store.add_step(case.key, StepRecord(step, attempt, at + begin, length, 60.0, {"text": "x", "deep": {}}, error))
    store.add_event(case.run, device, at + 0.75, "recovery", {"text": "reconnect: back"})
    store.add_event(case.run, "another phone", at + 0.75, "recovery", {"text": "of another"})
    given = samples.result(attempt=2, started_at=at + 0.8)
    metrics = {**given.metrics, "ttft_ms": Measured(20.0, "ms", "stream")}
    traces_ = traces or given.traces
    store.finish_case(case.key, replace(given, metrics=metrics, traces=traces_, provenance=provenance))
    return case.key


def read(store: Store, key: str) -> Any:
    """The trace, valid and sound in what Perfetto asks beyond the format."""
    file = io.BytesIO()
    count = perfetto.write(perfetto.load(store, key), file)

    def no_constant(name: str) -> float:
        raise AssertionError(f"{name} in the trace")

    found = json.loads(file.getvalue().decode("ascii"), parse_constant=no_constant)
    jsonschema.validate(found, SCHEMA)
    events = found["traceEvents"]
    assert len(events) == count
    owners = defaultdict(set)
    slices = defaultdict(list)
    for event in events:
        owners[event["tid"]].add(event["pid"])
        if event["ph"] == "X":
            slices[event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    assert all(len(pids) == 1 for pids in owners.values()), "a tid names one thread in the whole trace"
    for spans in slices.values():
        assert all(end <= begin for (_, end), (begin, _) in pairwise(spans)), "slices do not overlap"
    return found


def named(found: Any, kind: str) -> list[str]:
    return [event["name"] for event in found["traceEvents"] if event["ph"] == kind]


def test_steps_phases_and_tokens_are_slices_on_one_axis(store: Store) -> None:
    found = read(store, fill(store, stamps=STAMPS, clock=CLOCK))
    by_name = {event["name"]: event for event in found["traceEvents"] if event["ph"] in "Xi"}
    assert named(found, "X") == [
        *("select", "run", "select", "run", "process", "load", "prefill", "decode", "token 2", "token 3", "token 4")
    ]
    assert named(found, "i") == ["recovery", "channels that are absent", "first token"]
    assert found["otherData"]["clock"] == "the device's clock was read, to ±4.0 ms"
    assert found["otherData"]["begins_at_unix_s"] == samples.START + 10
    # Uptime 10.0 s is one second after the start: START + 1 + 10 on the host's clock.
    assert by_name["prefill"]["ts"] == 1_000_000
    assert (by_name["decode"]["ts"], by_name["decode"]["dur"]) == (1_020_000, 50_000)
    assert by_name["first token"]["ts"] == 1_020_000
    assert (by_name["token 2"]["ts"], by_name["token 2"]["dur"]) == (1_020_000, 10_123)
    failed = [event["args"] for event in found["traceEvents"] if "error" in event["args"]]
    assert failed == [{"limit_s": 60.0, "text": "x", "error": "killed", "message": "cut\x07off"}]


def test_channels_are_counters_and_absent_ones_say_why(store: Store) -> None:
    traces = (
        trace("battery.current", "A", (-0.5, -1.5, 0.25)),
        trace("battery.voltage", "V", (4.0, 3.5), (10.0, 60.0)),
        trace("thermal.status", "", (0.0, float("nan"), 2.0)),
        Trace(Channel("gpu.freq", "MHz", "kgsl", absent="Permission denied"), (), ()),
    )
    found = read(store, fill(store, *traces, stamps=STAMPS, clock=CLOCK))
    series = defaultdict(list)
    for event in found["traceEvents"]:
        if event["ph"] == "C":
            ((unit, value),) = event["args"].items()
            series[f"{event['name']} {unit}"].append((event["ts"], value))
    assert series == {
        "battery.current A": [(1_000_000, -0.5), (1_500_000, -1.5), (66_250_000, 0.25)],
        "battery.voltage V": [(1_000_000, 4.0), (51_000_000, 3.5)],
        "thermal.status value": [(1_000_000, 0.0), (66_250_000, 2.0)],
        "battery.power (current × voltage) W": [(1_000_000, 2.0), (1_500_000, 6.0), (66_250_000, 0.875)],
    }
    assert found["otherData"]["absent"] == {"gpu.freq": "Permission denied"}
    (told,) = [event["args"] for event in found["traceEvents"] if event["name"] == "channels that are absent"]
    assert told == {"gpu.freq": "Permission denied"}


def test_a_run_of_minutes_has_its_curve_and_no_invented_tokens(store: Store) -> None:
    heat = {
        "verdict": "throttled",
        "onset_s": 20.0,
        "reason": "the cap fell",
        "start_uptime_s": 10.02,
        "duration_s": 60.0,
        "curve": [[2.5, 50.0], [7.5, 40.0]],
    }
    found = read(store, fill(store, stamps=STAMPS, clock=CLOCK, heat=heat))
    rates = [event for event in found["traceEvents"] if event["name"] == "decode rate"]
    assert [(event["ts"], event["args"]) for event in rates] == [
        (3_520_000, {"tok/s": 50.0}),
        (8_520_000, {"tok/s": 40.0}),
    ]
    assert named(found, "X")[4:] == ["process", "load", "warm-up", "burst", "last third"]
    assert "throttled after 20 s" in named(found, "i")
    assert found["otherData"]["tokens"] == "3 inter-token times; when each began is not known, so they are not drawn"


def test_without_a_reading_of_the_clock_it_says_how_the_two_were_put_together(store: Store) -> None:
    found = read(store, fill(store, stamps=STAMPS, clock={"unavailable": "not read"}))
    assert found["otherData"]["clock"].startswith("the device's clock was not read")
    by_name = {event["name"]: event for event in found["traceEvents"] if event["ph"] == "X"}
    assert by_name["process"]["ts"] == by_name["run"]["ts"] == 1_000_000


def test_what_cannot_be_placed_is_left_out(store: Store) -> None:
    case = samples.planned_case()
    store.begin_run(samples.run_record(), [case])
    store.finish_case(case.key, samples.result())
    found = read(store, case.key)
    assert named(found, "C") == named(found, "X") == []
    assert "is left out" in found["otherData"]["clock"]


def test_hostile_names_stay_text(store: Store) -> None:
    key = fill(store, trace(HOSTILE, HOSTILE, (1.0,)), device=HOSTILE, stamps=STAMPS, clock=CLOCK)
    found = read(store, key)
    shown = HOSTILE.replace("\0", "\ufffd")
    (counter,) = [event for event in found["traceEvents"] if event["ph"] == "C"]
    assert (counter["name"], counter["args"]) == (shown, {HOSTILE: 1.0}) or counter["args"] == {shown: 1.0}
    assert f"{shown} (virtual phone)" in [
        event["args"]["name"] for event in found["traceEvents"] if event["name"] == "process_name"
    ]


def test_odd_provenance_makes_no_trace_fail(store: Store) -> None:
    found = read(store, fill(store, stamps="none", clock=7, heat=[], gate="x"))
    assert "process" not in named(found, "X")

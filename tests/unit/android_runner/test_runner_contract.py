"""What farm asks and what the runner wrote are what the schemas of the contract say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from android_runner.farm_runner import FarmRunner, request_of
from android_runner.runner_errors import ERRORS
from android_runner.runner_events import CONTRACT
from harness.model import Workload, WorkloadKind

from . import samples

CONTRACT_FOLDER = Path(__file__).parents[3] / "android_runner" / "contract"
DOCUMENT = Path(__file__).parents[3] / "docs" / "runner-contract.md"


def validator(name: str) -> Draft202012Validator:
    schema = json.loads((CONTRACT_FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


REQUEST, EVENT = validator("request"), validator("event")
GOOD: Mapping[str, Any] = request_of(samples.request(samples.stream()), "llama.cpp")


@pytest.mark.parametrize("runtime", ["llama.cpp", "executorch"])
@pytest.mark.parametrize("text", [None, "a text"])
@pytest.mark.parametrize(
    "workload",
    [
        *(samples.stream(kind=kind) for kind in WorkloadKind),
        samples.stream(load_mode="read", page_cache="evict", kv_type="q8_0", batch=8, context=64, flash_attn=False),
        samples.throughput(gpu_layers=3, backend="vulkan", prompt_tokens=1, gen_tokens=1),
    ],
)
def test_every_request_of_ours_is_valid(runtime: str, text: str | None, workload: Workload) -> None:
    command = FarmRunner(runtime, frozenset()).command(samples.request(workload, text), samples.runner_build())
    REQUEST.validate(json.loads(command.files["request.json"]))


@pytest.mark.parametrize("name", samples.RUNNER_EVENTS)
def test_every_recorded_event_is_valid(name: str) -> None:
    events = [json.loads(line) for line in samples.read(samples.RUNNER_EVENTS[name]).splitlines()]
    assert events[0]["contract"] in ("1.0", CONTRACT) and events[-1]["event"] == "end"
    for event in events:
        EVENT.validate(event)


@pytest.mark.parametrize("name", ["capabilities", *(f"error-{name}" for name in ("request", "missing", "context"))])
def test_so_are_errors_and_capabilities(name: str) -> None:
    lines = samples.read(f"farm-runner-{name}.jsonl").splitlines()
    assert lines
    for line in lines:
        EVENT.validate(json.loads(line))


@pytest.mark.parametrize(
    "wrong",
    [
        {"contract": "2.0"},
        {"contract": 1},
        {"model": {}},
        {"model": {"path": "m", "load_mode": "dio"}},
        {"threads": 0},
        {"flash_attn": True},
        {"workload": {"kind": "stream", "prompt": [1]}},
        {"workload": {"kind": "stream", "prompt": [], "gen_tokens": 1}},
        {"workload": {"kind": "stream", "prompt": [-1], "gen_tokens": 1}},
        {"workload": {"kind": "stream", "gen_tokens": 1}},
        {"workload": {"kind": "stream", "prompt": [1], "text": "a", "gen_tokens": 1}},
        {"workload": {"kind": "battery", "prompt": [1], "gen_tokens": 1}},
        {"workload": {"kind": "battery", "prompt": [1], "gen_tokens": 1, "seconds": 0}},
        {"workload": {"kind": "throughput", "prompt": [1], "forced": [1]}},
        {"workload": {"kind": "sustained", "turns": [[1], [2]], "gen_tokens": 1, "seconds": 1}},
        {"workload": {"kind": "chat", "prompt": [1], "gen_tokens": 1}},
    ],
)
def test_a_wrong_request_is_not(wrong: Mapping[str, Any]) -> None:
    assert REQUEST.is_valid(GOOD)
    assert not REQUEST.is_valid({**GOOD, **wrong})


@pytest.mark.parametrize(
    ("good", "wrong"),
    [
        ({"event": "token", "t": 5, "index": 0, "id": 7}, {"index": -1}),
        ({"event": "token", "t": 5, "index": 0, "id": 7}, {"t": 5.5}),
        ({"event": "turn", "t": 5, "index": 0, "what": "request"}, {"what": "chat"}),
        ({"event": "error", "t": 5, "class": "timed_out", "message": ""}, {"class": "oops"}),
        ({"event": "memory", "t": 5, "vm_hwm_bytes": 1}, {"vm_hwm_bytes": "1"}),
        ({"event": "of a later version", "t": 5, "added": None}, {"t": None}),
    ],
)
def test_a_wrong_event_is_not(good: Mapping[str, Any], wrong: Mapping[str, Any]) -> None:
    assert EVENT.is_valid(good)
    assert not EVENT.is_valid({**good, **wrong})


def test_fields_of_a_later_version_are_allowed() -> None:
    assert REQUEST.is_valid({**GOOD, "contract": "1.7", "added": 1, "model": {**GOOD["model"], "added": 1}})


def test_the_document_names_every_error_and_event() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    schema = json.loads((CONTRACT_FOLDER / "event.schema.json").read_text(encoding="utf-8"))
    rules = {rule["if"]["properties"]["event"]["const"]: rule["then"]["properties"] for rule in schema["allOf"]}
    assert rules["error"]["class"]["enum"] == list(ERRORS)
    for error_class, (farm_s, _) in ERRORS.items():
        (row,) = (line for line in document.splitlines() if line.startswith(f"| `{error_class}` |"))
        assert f"`{farm_s.value}`" in row
    for event, fields in rules.items():
        for name in (event, *fields):
            assert f"`{name}`" in document, (event, name)

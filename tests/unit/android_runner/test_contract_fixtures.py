"""The shared cases of the runner contract against its schemas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from android_runner.runner_errors import ERRORS
from tests.contract_fixtures import name_of, rows

CONTRACT = Path(__file__).parents[3] / "android_runner" / "contract"


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((CONTRACT / f"{name}.schema.json").read_text(encoding="utf-8")))


REQUEST, EVENT = validator("request"), validator("event")


@pytest.mark.parametrize("row", [row for row in rows("requests") if "request" in row], ids=name_of)
def test_the_schema_takes_and_refuses_the_same_requests(row: Mapping[str, Any]) -> None:
    assert REQUEST.is_valid(row["request"]) == row.get("schema", "error" not in row)


@pytest.mark.parametrize("row", rows("events"), ids=name_of)
def test_the_schema_takes_and_refuses_the_same_events(row: Mapping[str, Any]) -> None:
    assert EVENT.is_valid(row["event"]) != row.get("refused", False)


@pytest.mark.parametrize("row", rows("runs"), ids=name_of)
def test_what_is_run_is_a_request_of_the_contract(row: Mapping[str, Any]) -> None:
    REQUEST.validate(row["request"])


def test_every_event_and_kind_is_among_the_runs() -> None:
    schema = json.loads((CONTRACT / "event.schema.json").read_text(encoding="utf-8"))
    known = {rule["if"]["properties"]["event"]["const"] for rule in schema["allOf"]}
    seen = {event for row in rows("runs") for event in row["events"]}
    assert known - seen == {"capabilities"}
    assert {row["event"]["event"] for row in rows("events") if "event" in row["event"]} >= known
    kinds = {row["request"]["workload"]["kind"] for row in rows("runs") if "workload" in row["request"]}
    assert kinds == {"load", "stream", "throughput", "sustained", "battery"}


def test_every_error_is_one_of_the_contract() -> None:
    named = {row["error"] for name in ("requests", "runs") for row in rows(name) if "error" in row}
    assert named <= set(ERRORS)

"""farm-runner with the scripted runtime against the shared cases of the contract, as the runner app in Swift is."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.contract_fixtures import name_of, rows

SCRIPT = {"vocabulary": 97, "context": 64}


@pytest.fixture(scope="session")
def speaks(sanitized: Path) -> tuple[int, ...]:
    """Version of the contract that the program tells."""
    out = subprocess.run(
        [sanitized / "farm-runner", "--capabilities"], capture_output=True, check=True, timeout=60
    ).stdout
    return version(json.loads(out)["contract"])


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def run(program: Path, folder: Path, row: Mapping[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and events of a request in a folder of its own."""
    script = row.get("script", SCRIPT)
    text = script if isinstance(script, str) else json.dumps(script)
    (folder / "model.json").write_text(text + " " * row.get("spaces", 0))
    request = row.get("raw") if "raw" in row else json.dumps(row["request"])
    (folder / "request.json").write_text(str(request))
    env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1:exitcode=99", "UBSAN_OPTIONS": "exitcode=98"}
    env.pop("FARM_DEVICE_STATE", None)
    if "device" in row:
        device = row["device"]
        (folder / "device.json").write_text(device if isinstance(device, str) else json.dumps(device))
        env["FARM_DEVICE_STATE"] = "device.json"
    done = subprocess.run([program, "request.json"], check=False, capture_output=True, timeout=60, env=env, cwd=folder)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def skip_later(row: Mapping[str, Any], speaks: tuple[int, ...]) -> None:
    if version(row.get("since", "1.0")) > speaks:
        pytest.skip(f"of contract {row['since']}, the program speaks {'.'.join(map(str, speaks))}")


@pytest.mark.parametrize("row", rows("requests"), ids=name_of)
def test_every_request_is_taken_or_refused(
    sanitized: Path, speaks: tuple[int, ...], tmp_path: Path, row: Mapping[str, Any]
) -> None:
    skip_later(row, speaks)
    code, events = run(sanitized / "farm-runner", tmp_path, row)
    last = events[-1]
    if "error" in row:
        assert (code, last["event"], last["class"]) == (1, "error", row["error"])
        assert row["says"] in last["message"]
    elif "check" in row["request"]:
        # Taken, but the file is another.
        assert (code, events[0]["kind"], last["class"]) == (1, "check", "model_invalid")
    else:
        assert (code, last["event"]) == (0, "end")


@pytest.mark.parametrize("row", rows("runs"), ids=name_of)
def test_every_run_tells_what_it_must(
    sanitized: Path, speaks: tuple[int, ...], tmp_path: Path, row: Mapping[str, Any]
) -> None:
    skip_later(row, speaks)
    code, events = run(sanitized / "farm-runner", tmp_path, row)
    assert [event["event"] for event in events] == row["events"]
    assert [event["id"] for event in events if event["event"] == "token"] == row["ids"]
    times = [event["t"] for event in events]
    assert times == sorted(times)
    assert code == ("error" in row)
    if "error" in row:
        assert events[-1]["class"] == row["error"] and row["says"] in events[-1]["message"]

"""farm-runner with a runtime whose truth is known, measured like every other build of it.

The figures come from the events of the contract, by the code that reads any runner's. What the runtime recorded of
itself ("truth") stands in a line of its own and is passed on beside them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from android_runner.base import Figures, RunOutput, RunRequest
from android_runner.farm_runner import FarmRunner
from android_runner.runner_events import count, read

RUNTIME = "calibration"
SCRIPT = "FARM_SCRIPT"
"""Environment variable with what the runtime is to do, as JSON."""


class NativeCalibration(FarmRunner):
    """Adapter of farm-runner with that runtime; it maps any file."""

    def __init__(self) -> None:
        super().__init__(RUNTIME, frozenset({"gguf", "pte"}))

    def parse(self, request: RunRequest, output: RunOutput) -> Figures:
        """As for any runtime; beside that `reported` holds the truth, and the uptime of the first and last event."""
        figures = super().parse(request, output)
        record = read(output.stdout)
        told: dict[str, object] = {"truth": _truth(output.stdout)}
        for name, event in (("start_uptime_s", record.start), ("end_uptime_s", record.end)):
            at = count(event, "t")
            if at is not None:
                told[name] = at / 1e9
        return replace(figures, reported={**figures.reported, **told})


def _truth(stdout: bytes) -> Mapping[str, Any]:
    """The runtime's own record; empty where it told none."""
    for line in reversed(stdout.split(b"\n")):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and event.get("event") == "truth":
            return {name: value for name, value in event.items() if name not in ("event", "t")}
    return {}

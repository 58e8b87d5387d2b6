"""The contract of a runner adapter: pure functions from a workload to a command line, and from output to figures.

An adapter never touches a device or a file. `parse` takes bytes, never raises on torn or foreign output, and never
invents a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.errors import ErrorClass
from harness.model import HttpRequest, ModelFile, Reading, RunnerBuild, Workload, WorkloadKind

DEFAULT_MINUTES: Mapping[WorkloadKind, float] = {WorkloadKind.SUSTAINED: 10.0, WorkloadKind.BATTERY: 30.0}
"""Length of the workloads that last for a time. A phone settles in about ten minutes; a charge counter that moves
in steps of 11 mAh needs half an hour for 2 %."""


def length_s(workload: Workload) -> float:
    """Seconds for which a workload repeats its request; 0 for one that ends with its work."""
    minutes = DEFAULT_MINUTES.get(workload.kind)
    return 0.0 if minutes is None else 60 * (minutes if workload.minutes is None else workload.minutes)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What to run, with everything resolved.

    Args:
        workload: `threads` may still be "auto": `threads` below is the number to use.
        model: what the model's header says.
        model_path, runner_dir: on the device.
        threads: count.
        port: free port on the device's loopback, for servers.
        prompt_text: content of the workload's prompt_file, or None for token ids.
        limit_s: how long the whole command may take.
    """

    workload: Workload
    model: ModelFile
    model_path: str
    runner_dir: str
    threads: int
    port: int
    prompt_text: str | None
    limit_s: float


@dataclass(frozen=True, slots=True)
class Command:
    """argv[0] is absolute on the device.

    `files` (name → content) are laid into a folder of their own on the device, in which the command then starts: argv
    names them as they are.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    http: HttpRequest | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunOutput:
    """The raw end of a command; `stream` is the answer of a driven server; `stamps` are device uptimes in seconds
    ("started", "ready", "requested", "answered", "ended")."""

    exit_code: int | None
    signal: int | None
    ended_by: str
    stdout: bytes
    stderr: bytes
    stream: bytes | None
    stamps: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an output is no measurement."""

    error_class: ErrorClass
    message: str
    advice: str = ""
    transient: bool = False


@dataclass(frozen=True, slots=True)
class Figures:
    """What an adapter read.

    Args:
        metrics: those of load_ms, load_cold_ms, ttft_ms, prefill_tps, decode_tps, itl_ms_p50/p90/p99 (ms_per_token is
            derived by the harness) that this tool can give; the others Unavailable with the reason.
        itl_ms: every inter-token latency in order.
        reported: what the runner says of itself (build, CPU variant, threads, load mode …), JSON-ready.
        problem: set when the output is not a measurement.
        token_times: (device uptime in seconds, tokens since the one before), ascending; 0 tokens where a request begins
            to generate. Empty where the tokens have no place on the device's clock.
        stamps: "ready", "requested", "answered" as in `RunOutput`, where the tool itself tells them.
    """

    metrics: Mapping[str, Reading]
    itl_ms: tuple[float, ...] = ()
    reported: Mapping[str, Any] = field(default_factory=dict)
    problem: Problem | None = None
    token_times: tuple[tuple[float, int], ...] = ()
    stamps: Mapping[str, float] = field(default_factory=dict)


class RunnerAdapter(Protocol):
    """One tool of one runtime for some workload kinds."""

    runtime: str
    program: str
    kinds: frozenset[WorkloadKind]
    formats: frozenset[str]

    def refusal(self, workload: Workload, model: ModelFile, build: RunnerBuild) -> Problem | None:
        """Why this build cannot do this workload (an option it does not know, a program it lacks), or None."""

    def command(self, request: RunRequest, build: RunnerBuild) -> Command: ...

    def parse(self, request: RunRequest, output: RunOutput) -> Figures: ...

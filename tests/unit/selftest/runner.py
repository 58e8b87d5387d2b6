"""The calibration runner started on this host, and its output as an adapter gets it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from android_runner.base import RunOutput, RunRequest
from harness.artifacts.binaries import host_abi
from harness.model import RunnerBuild, Workload, WorkloadKind
from harness.supply import calibration


def build() -> RunnerBuild:
    """Built once into the cache; skips where no compiler is here."""
    if calibration.compiler_for(host_abi()) is None:
        pytest.skip(f"no C compiler for {host_abi()} on this machine")
    return calibration.build(host_abi())


def workload(
    tokens: int, *args: str, kind: WorkloadKind = WorkloadKind.STREAM, minutes: float | None = None
) -> Workload:
    return Workload(kind, prompt_tokens=1, gen_tokens=tokens, threads=1, minutes=minutes, args=args)


def request_of(work: Workload) -> RunRequest:
    found = calibration.model()
    return RunRequest(work, found, found.artifact.files[0].path, "/", 1, 1, None, 60.0)


def run_here(argv: tuple[str, ...], *, limit_s: float = 30.0) -> RunOutput:
    """Run a command of the adapter on this host."""
    program = build().artifact.files[0].path
    done = subprocess.run([program, *argv[1:]], check=False, capture_output=True, timeout=limit_s)
    signal = -done.returncode if done.returncode < 0 else None
    return RunOutput(
        exit_code=None if signal else done.returncode,
        signal=signal,
        ended_by="exit",
        stdout=done.stdout,
        stderr=done.stderr,
        stream=None,
        stamps={},
    )


def files_of(found: RunnerBuild) -> list[Path]:
    return [Path(each.path) for each in found.artifact.files]

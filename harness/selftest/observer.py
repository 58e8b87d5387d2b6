"""What the sampler costs the runner: work per second with it and without it, in turn."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from android_runner.calibration import PROGRAM
from device_agents.base import DeviceAgent, JobSpec, Sampling
from harness import limits
from harness.errors import ErrorClass, FarmError, Transient
from harness.plan import ResolvedDevice
from harness.selftest.checks import Check, at_least, not_run
from harness.selftest.runs import Bench
from harness.selftest.task import Task

LEAST = 0.99
ROUNDS = 6
SECONDS = 4.0
WORK_MS = 5.0
FAST = Sampling(memory_s=0.1, files_s=0.1, memory_calm_s=0.1)
"""Ten times a second, files too: more than a measurement asks for."""


def trial(bench: Bench, task: Task, devices: Sequence[ResolvedDevice]) -> list[Check]:
    """One device after the other, so that they do not take each other's CPU time."""
    del task
    return [_device(bench, device) for device in devices]


def _device(bench: Bench, device: ResolvedDevice) -> Check:
    agent = bench.open_agent(device)
    try:
        holder = bench.keeper.acquire(device, agent)
        if holder is not None:
            return not_run("observer", device.id, f"in use by {holder.owner}")
        try:
            return _judge(device.id, _rounds(bench, device, agent))
        finally:
            bench.keeper.release(device, agent)
    except FarmError as error:
        return not_run("observer", device.id, error.message)
    finally:
        agent.close()


def _judge(device_id: str, pairs: Sequence[tuple[float, float]]) -> Check:
    """`pairs`: tokens per second with and without the sampler, each pair taken one right after the other."""
    if not pairs:
        return not_run("observer", device_id, "no round came to its end")
    ratios = [with_it / without for with_it, without in pairs]
    spread = f"{min(ratios):.3f} to {max(ratios):.3f} in {len(ratios)} rounds"
    return at_least("observer", device_id, LEAST, statistics.median(ratios), "", f"with sampler / without; {spread}")


def _rounds(bench: Bench, device: ResolvedDevice, agent: DeviceAgent) -> list[tuple[float, float]]:
    build = bench.build_for(device.facts.abis[0])
    folder = agent.files.ensure(
        build.artifact, keep=frozenset(), limit_s=limits.deploy_limit_s(build.artifact), progress=None
    ).path
    argv = (f"{folder}/{PROGRAM}", "--work-ms", f"{WORK_MS:g}", "--seconds", f"{SECONDS:g}")
    found: list[tuple[float, float]] = []
    for number in range(ROUNDS):
        if bench.cancel.is_set():
            break
        rates: dict[bool, float] = {}
        # The order changes from round to round, so that a phone that warms up favours neither.
        for sampled in (True, False) if number % 2 else (False, True):
            spec = JobSpec(
                key=f"observer.{number}.{int(sampled)}",
                argv=argv,
                env={},
                cwd=folder,
                limit_s=SECONDS + limits.SHELL_S,
                sampling=FAST if sampled else None,
                owner=bench.keeper.owner,
            )
            rates[sampled] = _rate(bench, agent, spec)
        found.append((rates[True], rates[False]))
    return found


def _rate(bench: Bench, agent: DeviceAgent, spec: JobSpec) -> float:
    """Tokens per second of one job.

    Raises:
        Transient: it gave no rate.
    """
    handle = agent.jobs.start(spec, limit_s=limits.SHELL_S)
    try:
        while True:
            state = agent.jobs.poll(handle, limit_s=limits.SHELL_S, wait_s=SECONDS)
            if state.phase == "done":
                break
            if state.phase == "lost" or bench.cancel.is_set():
                raise _no_rate(state.detail or "it was ended")
        output = agent.jobs.collect(handle, bench.work_dir / spec.key, limit_s=limits.COLLECT_S)
        return rate_of(output.files["stdout"].read_bytes())
    finally:
        agent.jobs.end(handle, limit_s=limits.SHELL_S)


def rate_of(stdout: bytes) -> float:
    """Tokens per second between the first and the last token.

    Raises:
        Transient: there are fewer than two.
    """
    times = [event["boottime_ns"] for event in _events(stdout) if event.get("event") == "token"]
    if len(times) < 2 or times[-1] <= times[0]:
        raise _no_rate(f"{len(times)} tokens")
    return float((len(times) - 1) / (times[-1] - times[0]) * 1e9)


def _events(stdout: bytes) -> list[Mapping[str, Any]]:
    found = []
    for line in stdout.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def _no_rate(why: str) -> Transient:
    return Transient(f"{PROGRAM} gave no rate: {why}", error_class=ErrorClass.OUTPUT_GARBAGE)

"""What the sampler costs the runner: work per second with it and without it.

One runner does the same small piece of work again and again while its sampler is held and let go every half second,
so that both halves of a pair see the same heat and the same moment of a busy machine. Two runs of the same program
differ by more than what is looked for.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from android_runner.calibration import PROGRAM
from device_agents.base import DeviceAgent, JobSpec, Sampling
from harness import limits
from harness.errors import ErrorClass, FarmError, Transient
from harness.model import Artifact
from harness.plan import ResolvedDevice
from harness.selftest.checks import Check, at_least, not_run
from harness.selftest.runs import Bench
from harness.selftest.task import Task

LEAST = 0.99
PAIRS = 24
SLICE_S = 0.5
WORK_MS = 5.0
AROUND_S = 4.0
"""The runner begins before the first slice and ends after the last."""

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
            runner = bench.build_for(device.facts.abis[0]).artifact
            found = slices(agent, runner, bench.work_dir, owner=bench.keeper.owner, cancel=bench.cancel)
            return _judge(device.id, found.pairs)
        finally:
            bench.keeper.release(device, agent)
    except FarmError as error:
        return not_run("observer", device.id, error.message)
    finally:
        agent.close()


def _judge(device_id: str, pairs: Sequence[tuple[float, float]]) -> Check:
    if not pairs:
        return not_run("observer", device_id, "no slice of the run holds any work")
    ratios = sorted(with_it / without for with_it, without in pairs)
    quarter = len(ratios) // 4
    spread = f"half of {len(ratios)} pairs from {ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f}"
    return at_least("observer", device_id, LEAST, statistics.median(ratios), "", f"with sampler / without; {spread}")


# FOLDER COUNT SECONDS: holds the sampler of the job and lets it go in turn; prints the uptime of every change,
# beginning with a sampler that works.
_TOGGLE = """exec 2> /dev/null
for process in $(grep -l -F "$1" /proc/[0-9]*/cmdline); do
process=${process#/proc/}; process=${process%/cmdline}
case $(tr '\\0' ' ' < "/proc/$process/cmdline") in 'sh '/*sampler.sh*) samplers="$samplers $process" ;; esac
done
[ -n "$samplers" ] || exit 3
say() { read -r up _ < /proc/uptime; echo "$up"; }
trap 'kill -CONT $samplers' EXIT
count=0
while [ "$count" -lt "$2" ]; do
kill -CONT $samplers; say; sleep "$3"
kill -STOP $samplers; say; sleep "$3"
count=$((count + 1))
done
say"""


@dataclass(frozen=True, slots=True)
class Slices:
    """`pairs`: tokens per second with and without the sampler, each pair taken one right after the other; `samples`:
    what the sampler wrote meanwhile."""

    pairs: Sequence[tuple[float, float]]
    samples: bytes


def slices(
    agent: DeviceAgent, runner: Artifact, work_dir: Path, *, pairs: int = PAIRS, owner: str = "", cancel: Event
) -> Slices:
    """Run the calibration runner on a device and hold its sampler every other half second.

    Args:
        runner: the calibration runner for the device's ABI. work_dir: for what is collected. owner: of the job.
        cancel: set to end it early.

    Raises:
        Transient: the runner or the sampler did not do its part; what the agent raises.
    """
    folder = agent.files.ensure(runner, keep=frozenset(), limit_s=limits.deploy_limit_s(runner), progress=None).path
    seconds = 2 * pairs * SLICE_S + AROUND_S
    spec = JobSpec(
        key="observer",
        argv=(f"{folder}/{PROGRAM}", "--work-ms", f"{WORK_MS:g}", "--seconds", f"{seconds:g}"),
        env={},
        cwd=folder,
        limit_s=seconds + limits.SHELL_S,
        sampling=FAST,
        owner=owner,
    )
    handle = agent.jobs.start(spec, limit_s=limits.SHELL_S)
    try:
        words = (handle.folder, str(pairs), f"{SLICE_S:g}")
        told = agent.shell.script(_TOGGLE, *words, limit_s=seconds + limits.SHELL_S)
        if told.exit_code != 0:
            raise _no_rate("its sampler was not found")
        while (state := agent.jobs.poll(handle, limit_s=limits.SHELL_S, wait_s=5.0)).phase == "running":
            if cancel.is_set():
                raise _no_rate("it was ended")
        if state.phase == "lost":
            raise _no_rate(state.detail)
        output = agent.jobs.collect(handle, work_dir / spec.key, limit_s=limits.COLLECT_S)
        changes = [float(line) for line in told.stdout.decode("ascii", "replace").split()]
        return Slices(pairs_of(output.files["stdout"].read_bytes(), changes), output.files["samples"].read_bytes())
    finally:
        agent.jobs.end(handle, limit_s=limits.SHELL_S)


def pairs_of(stdout: bytes, changes: Sequence[float]) -> list[tuple[float, float]]:
    """Tokens per second in slices that begin at `changes` (device uptime in seconds): with the sampler, without it, and
    so on; the last change ends the last slice. A pair of which a slice holds fewer than two tokens is left out.

    The rate of a slice is that between its first and its last token, so that no token is cut.
    """
    times = [float(event["boottime_ns"]) / 1e9 for event in _events(stdout) if event.get("event") == "token"]

    def rate(start: float, end: float) -> float:
        inside = [at for at in times if start <= at < end]
        return (len(inside) - 1) / (inside[-1] - inside[0]) if len(inside) > 1 else 0.0

    rates = [rate(start, end) for start, end in itertools.pairwise(changes)]
    found = list(zip(rates[::2], rates[1::2], strict=False))
    return [(with_it, without) for with_it, without in found if with_it and without]


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

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
PAIRS = 24
SLICE_S = 0.5
WORK_MS = 5.0
SECONDS = 2 * PAIRS * SLICE_S + 4.0
"""Of the runner: it begins before the first slice and ends after the last."""

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
            return _judge(device.id, _slices(bench, device, agent))
        finally:
            bench.keeper.release(device, agent)
    except FarmError as error:
        return not_run("observer", device.id, error.message)
    finally:
        agent.close()


def _judge(device_id: str, pairs: Sequence[tuple[float, float]]) -> Check:
    """`pairs`: tokens per second with and without the sampler, each pair taken one right after the other."""
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


def _slices(bench: Bench, device: ResolvedDevice, agent: DeviceAgent) -> list[tuple[float, float]]:
    """Tokens per second with and without the sampler, pair by pair.

    Raises:
        Transient: the runner or the sampler did not do its part.
    """
    build = bench.build_for(device.facts.abis[0])
    folder = agent.files.ensure(
        build.artifact, keep=frozenset(), limit_s=limits.deploy_limit_s(build.artifact), progress=None
    ).path
    spec = JobSpec(
        key="observer",
        argv=(f"{folder}/{PROGRAM}", "--work-ms", f"{WORK_MS:g}", "--seconds", f"{SECONDS:g}"),
        env={},
        cwd=folder,
        limit_s=SECONDS + limits.SHELL_S,
        sampling=FAST,
        owner=bench.keeper.owner,
    )
    handle = agent.jobs.start(spec, limit_s=limits.SHELL_S)
    try:
        words = (handle.folder, str(PAIRS), f"{SLICE_S:g}")
        told = agent.shell.script(_TOGGLE, *words, limit_s=SECONDS + limits.SHELL_S)
        if told.exit_code != 0:
            raise _no_rate("its sampler was not found")
        while (state := agent.jobs.poll(handle, limit_s=limits.SHELL_S, wait_s=5.0)).phase == "running":
            if bench.cancel.is_set():
                raise _no_rate("it was ended")
        if state.phase == "lost":
            raise _no_rate(state.detail)
        output = agent.jobs.collect(handle, bench.work_dir / spec.key, limit_s=limits.COLLECT_S)
        changes = [float(line) for line in told.stdout.decode("ascii", "replace").split()]
        return pairs_of(output.files["stdout"].read_bytes(), changes)
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

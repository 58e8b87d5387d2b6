"""Which checks there are, and the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.errors import FarmError
from harness.model import Workload
from harness.plan import ResolvedDevice
from harness.selftest import clock, judges, native, observer, trials
from harness.selftest.checks import Check, not_run
from harness.selftest.judges import Judge
from harness.selftest.runs import Bench, is_virtual
from harness.selftest.task import Task

Say = Callable[[str], None]


Trial = Callable[[Bench, Task, Sequence[ResolvedDevice]], list[Check]]


@dataclass(frozen=True, slots=True)
class Group:
    """Checks that belong together.

    Args:
        title: what they show.
        judge: takes the stored runs of `workloads`; None for a group with a `trial` of its own.
        workloads: of all groups without a trial, run in one go.
        trial: runs what it needs by itself.
        needs_truth: only a phone whose truth is known, and whose charger and heat can be set, can do it.
    """

    title: str
    judge: Judge | None = None
    workloads: Mapping[str, Workload] = field(default_factory=dict)
    trial: Trial | None = None
    needs_truth: bool = False


def _groups() -> Mapping[str, Group]:
    timing, memory = {"timing": judges.TIMING}, {"memory": judges.MEMORY}
    return {
        "clock": Group("the phone's axis of time", judges.judge_clock, timing),
        "clock_map": Group("from the phone's time to the host's", trial=clock.trial),
        "sampler": Group("rate of the sampler", judges.judge_sampler, timing),
        "timing": Group("load and inter-token times", judges.judge_timing, timing),
        "memory": Group("peak memory", judges.judge_memory, memory),
        "deaths": Group("classes of failures", judges.judge_deaths, judges.death_workloads()),
        "native": Group("farm-runner by its contract", trial=native.trial),
        "observer": Group("what sampling costs the runner", trial=observer.trial),
        "charging": Group("no energy while charging", trial=trials.charging, needs_truth=True),
        "energy": Group("energy of a discharge", trial=trials.energy, needs_truth=True),
        "gate": Group("a hot phone at the strict gate", trial=trials.gate, needs_truth=True),
        "other_load": Group("someone else's load is marked", trial=trials.other_load, needs_truth=True),
        "low_memory": Group("the floor of memory", trial=trials.low_memory, needs_truth=True),
        "throttle": Group("when throttling began", trial=trials.throttle, needs_truth=True),
    }


GROUPS: Mapping[str, Group] = _groups()
"""Name → checks, in the order in which they run: what heats a phone comes last."""


def default_groups(devices: Sequence[ResolvedDevice]) -> tuple[str, ...]:
    """Everything that is possible on at least one of the devices."""
    any_virtual = any(is_virtual(device) for device in devices)
    return tuple(name for name, group in GROUPS.items() if any_virtual or not group.needs_truth)


def run(bench: Bench, task: Task, say: Say) -> list[Check]:
    """All checks of all devices, in the order of GROUPS."""
    found: dict[str, list[Check]] = {}
    shared = {name: GROUPS[name] for name in GROUPS if name in task.groups and GROUPS[name].trial is None}
    workloads = {key: workload for group in shared.values() for key, workload in group.workloads.items()}
    if workloads:
        say(f"{', '.join(shared)}: {len(workloads)} runs on {len(task.devices)} phones")
        seen = bench.run(task.devices, workloads)
        for name, group in shared.items():
            if group.judge is not None:
                found[name] = [check for device in task.devices for check in group.judge(device.id, seen[device.id])]
    for name, group in GROUPS.items():
        if name in task.groups and group.trial is not None:
            say(f"{name}: {group.title}")
            found[name] = _trial(bench, task, name, group.trial, group.needs_truth)
    return [check for name in GROUPS for check in found.get(name, [])]


def _trial(bench: Bench, task: Task, name: str, trial: Trial, needs_truth: bool) -> list[Check]:
    """One trial; a defect of it or of the lab leaves its checks not run and the others untouched."""
    able = [device for device in task.devices if not needs_truth or task.phones.has(device)]
    unable = [device for device in task.devices if device not in able]
    why = "its truth is not known: it is not a phone of a running virtual lab of this user"
    checks = [not_run(name, device.id, why) for device in unable]
    if bench.cancel.is_set():
        return checks + [not_run(name, device.id, "the self-test was ended") for device in able]
    try:
        return checks + (trial(bench, task, able) if able else [])
    except FarmError as error:
        return checks + [not_run(name, device.id, error.message) for device in able]

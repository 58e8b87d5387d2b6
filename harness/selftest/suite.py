"""Which checks there are, and the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.errors import FarmError
from harness.model import Workload
from harness.plan import ResolvedDevice
from harness.selftest import clock, iphones, judges, native, observer, trials
from harness.selftest.checks import Check, not_run
from harness.selftest.judges import Judge
from harness.selftest.runs import Bench, is_iphone, is_virtual
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
        trial: runs what it needs by itself; on Android phones, as are `judge` and `workloads`.
        iphone: as `trial`, on iPhones; None: what it is about does not exist there.
        any_iphone: the trial of iPhones takes real ones too; else virtual ones only, whose app with a known truth this
            machine builds.
        needs_truth: only a phone whose truth is known, and whose charger and heat can be set, can do it.
    """

    title: str
    judge: Judge | None = None
    workloads: Mapping[str, Workload] = field(default_factory=dict)
    trial: Trial | None = None
    iphone: Trial | None = None
    any_iphone: bool = False
    needs_truth: bool = False

    def why_not(self, device: ResolvedDevice) -> str:
        """Why it does not apply to a device, or ""."""
        if not is_iphone(device):
            return "" if self.judge is not None or self.trial is not None else "it is about iPhones"
        if self.iphone is None:
            return "an iPhone shows nothing that it could be made of"
        if not self.any_iphone and not is_virtual(device):
            return "the app with a known truth is built for virtual iPhones only"
        return ""


def _groups() -> Mapping[str, Group]:
    timing, memory = {"timing": judges.TIMING}, {"memory": judges.MEMORY}
    return {
        "clock": Group("the phone's axis of time", judges.judge_clock, timing),
        "clock_map": Group(
            "from the phone's time to the host's", trial=clock.trial, iphone=clock.trial, any_iphone=True
        ),
        "sampler": Group("rate of the sampler", judges.judge_sampler, timing),
        "timing": Group("load and inter-token times", judges.judge_timing, timing),
        "memory": Group("peak memory", judges.judge_memory, memory),
        "deaths": Group("classes of failures", judges.judge_deaths, judges.death_workloads()),
        "native": Group("farm-runner by its contract", trial=native.trial, iphone=iphones.native_runner),
        "ios_deaths": Group("what iOS ends an app for", iphone=iphones.deaths, needs_truth=True),
        "observer": Group("what sampling costs the runner", trial=observer.trial),
        "charging": Group("no energy while charging", trial=trials.charging, iphone=iphones.charging, needs_truth=True),
        "energy": Group("energy of a discharge", trial=trials.energy, iphone=iphones.energy, needs_truth=True),
        "gate": Group("a hot phone at the strict gate", trial=trials.gate, iphone=iphones.gate, needs_truth=True),
        "other_load": Group("someone else's load is marked", trial=trials.other_load, needs_truth=True),
        "low_memory": Group("the floor of memory", trial=trials.low_memory, needs_truth=True),
        "throttle": Group("when throttling began", trial=trials.throttle, iphone=iphones.throttle, needs_truth=True),
    }


GROUPS: Mapping[str, Group] = _groups()
"""Name → checks, in the order in which they run: what heats a phone comes last."""


def default_groups(devices: Sequence[ResolvedDevice]) -> tuple[str, ...]:
    """Everything that is possible on at least one of the devices."""

    def possible(group: Group, device: ResolvedDevice) -> bool:
        return not group.why_not(device) and (is_virtual(device) or not group.needs_truth)

    return tuple(name for name, group in GROUPS.items() if any(possible(group, device) for device in devices))


def run(bench: Bench, task: Task, say: Say) -> list[Check]:
    """All checks of all devices, in the order of GROUPS."""
    found: dict[str, list[Check]] = {}
    shared = {name: GROUPS[name] for name in GROUPS if name in task.groups and GROUPS[name].trial is None}
    workloads = {key: workload for group in shared.values() for key, workload in group.workloads.items()}
    androids = [device for device in task.devices if not is_iphone(device)]
    apple = [device for device in task.devices if is_iphone(device)]
    if workloads and androids:
        say(f"{', '.join(shared)}: {len(workloads)} runs on {len(androids)} phones")
        seen = bench.run(androids, workloads)
        for name, group in shared.items():
            if group.judge is not None:
                found[name] = [check for device in androids for check in group.judge(device.id, seen[device.id])]
    for name, group in GROUPS.items():
        if name not in task.groups:
            continue
        for trial, devices in ((group.trial, androids), (group.iphone, apple)):
            able = [device for device in devices if not group.why_not(device)]
            if trial is not None and able:
                say(f"{name}: {group.title}{' (iPhones)' if devices is apple else ''}")
                found.setdefault(name, []).extend(_trial(bench, task, able, name, trial, group.needs_truth))
        # Asked for, and of no device here: that is said; of some devices: the others are left out.
        if name not in found:
            found[name] = [not_run(name, device.id, group.why_not(device)) for device in task.devices]
    return [check for name in GROUPS for check in found.get(name, [])]


def _trial(
    bench: Bench, task: Task, devices: Sequence[ResolvedDevice], name: str, trial: Trial, needs_truth: bool
) -> list[Check]:
    """One trial; a defect of it or of the lab leaves its checks not run and the others untouched."""
    able = [device for device in devices if not needs_truth or task.phones.has(device)]
    unable = [device for device in devices if device not in able]
    why = "its truth is not known: it is not a phone of a running virtual lab of this user"
    checks = [not_run(name, device.id, why) for device in unable]
    if bench.cancel.is_set():
        return checks + [not_run(name, device.id, "the self-test was ended") for device in able]
    try:
        return checks + (trial(bench, task, able) if able else [])
    except FarmError as error:
        return checks + [not_run(name, device.id, error.message) for device in able]

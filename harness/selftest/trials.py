"""Trials on virtual phones: their charger, heat and load are set, and what farm then measures is held against the truth
that the simulation wrote down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from android_runner.calibration import PROGRAM
from device_agents.base import Sampling
from device_agents.virtual import profiles
from harness.analysis.throttle_onset import HELD_S
from harness.errors import ErrorClass
from harness.model import Gates, Unavailable, Workload, WorkloadKind
from harness.plan import ResolvedDevice
from harness.selftest.checks import Check, absent, near, near_share, not_run, same
from harness.selftest.runs import Bench, Seen
from harness.selftest.steady import disturbance, until_steady
from harness.selftest.task import Task
from harness.selftest.truth import Truth, TruthMissing
from harness.selftest.virtual import Handle

FINE_SHARE, COARSE_SHARE = 0.01, 0.02
COARSE_PERIOD_S = 2.0
COARSE_CURRENT_UA = 10_000
"""A gauge that updates less often, or shows the current in larger steps, is coarse."""

ENERGY_MINUTES = 30.0
"""Length of a real energy run; a shorter one on a gauge that is as many times faster and finer sees as much."""

CHARGE_MINUTES = 1.5
FASTEST_FILES_S, FASTEST_SERVICES_S = 0.1, 0.5
"""Sampling periods below which the sampler itself becomes a load."""

ONSET_S = 2.0
LOAD_POINTS = 3.0
"""Percentage points that the load by others may be off."""

HOT_C, COOL_C = 70.0, 25.0
OTHER_LOAD = 0.2
"""Share of all cores; four phones of one machine at once have to find it."""

AVAILABLE_MB, EVERYTHING_MB = 300.0, 1e6
"""What a phone has left for the trial of its memory; more than any phone has, so that it has all of it again."""

HEAT_SCALE = 6.0
START_C = 27.0
"""Under full load some 15 s away from the trip temperature, at that scale."""

THROTTLE_MINUTES = 1.5

AS_FOUND: Mapping[str, Any] = {"charger": "usb", "charging": True, "battery_scale": 1.0, "heat_scale": 1.0}

_STREAM = Workload(WorkloadKind.STREAM, prompt_tokens=1, gen_tokens=120, threads=1, args=("--interval-ms", "50"))


def charging(
    bench: Bench, task: Task, devices: Sequence[ResolvedDevice], *, work: Workload = _STREAM, native: bool = False
) -> list[Check]:
    """While external power is attached, every energy figure is absent with its reason. `work`, `native`: what runs."""
    found: list[Check] = []
    with task.phones.changed(devices, {"charger": "ac", "charging": True}, AS_FOUND):
        seen = bench.run(devices, {"charging": work}, native=native)
    for device in devices:
        run = seen[device.id].get("charging")
        for name in ("energy_j", "energy_counter_j", "energy_per_token_j"):
            check = f"charging_{name}"
            if run is None or run.error_class:
                found.append(not_run(check, device.id, run.message if run else "the run was not planned"))
            else:
                found.append(absent(check, device.id, run.row.metrics.get(name)))
    return found


# --- energy -----------------------------------------------------------------------------------------------------------


def energy(bench: Bench, task: Task, devices: Sequence[ResolvedDevice]) -> list[Check]:
    """Charge for a while, so that the gauge's sign and unit show; then discharge under a steady load.

    Time is scaled for gauge and sampler alike, so that a short run sees as many values and steps as a real one.
    """
    steady = ("--burn", "25", "--interval-ms", "500")
    scale = max(1.0, ENERGY_MINUTES / task.minutes)
    usual = Sampling()
    sampling = Sampling(
        files_s=max(FASTEST_FILES_S, usual.files_s / scale),
        services_s=max(FASTEST_SERVICES_S, usual.services_s / scale),
    )
    charge = Workload(WorkloadKind.SUSTAINED, 1, 1, threads=1, minutes=CHARGE_MINUTES, args=steady)
    drain = Workload(WorkloadKind.BATTERY, 1, 1, threads=1, minutes=task.minutes, args=steady)
    plugged = {"charger": "ac", "charging": True, "battery_level": 60.0, "battery_scale": scale}
    with task.phones.changed(devices, plugged, AS_FOUND):
        bench.run(devices, {"charge": charge}, sampling=sampling)
        with task.phones.changed(devices, {"charger": "none"}, {"charger": "ac"}):
            drained = bench.run(devices, {"drain": drain}, sampling=sampling)
    names = ("energy_j", "energy_counter_j")
    return [
        check for device in devices for check in with_truth(names, device, task, drained[device.id], "drain", _energy)
    ]


def _energy(device: ResolvedDevice, handle: Handle, runs: Mapping[str, Seen], truth: Truth) -> list[Check]:
    """Both methods as the measurement stored them; one that the maker's gauge cannot give must be absent."""
    drain = runs["drain"]
    spent = truth.growth("battery_out_j", *drain.window)
    battery = profiles.load(handle.phone.profile).battery
    coarse = battery.period_s > COARSE_PERIOD_S or battery.current_step_ua > COARSE_CURRENT_UA
    found: list[Check] = []
    for name, share, fitted in (
        ("energy_j", COARSE_SHARE if coarse else FINE_SHARE, battery.current == "readable"),
        ("energy_counter_j", COARSE_SHARE, battery.counter_unit != "none"),
    ):
        reading = drain.metric(name)
        if not fitted and isinstance(reading, Unavailable):
            found.append(absent(name, device.id, reading))
        else:
            found.append(near_share(name, device.id, spent, reading, share, "J"))
    return found


# --- gates and load ---------------------------------------------------------------------------------------------------


def gate(
    bench: Bench, task: Task, devices: Sequence[ResolvedDevice], *, work: Workload = _STREAM, native: bool = False
) -> list[Check]:
    """A cool phone passes the strict gate; the same phone is refused when it is hot. `work`, `native`: what runs."""
    strict = Gates(mode="strict", max_wait_s=3.0, poll_s=1.0)
    patient = Gates(mode="strict", max_wait_s=30.0, poll_s=1.0)
    # First the cool one: it installs the app by which an iPhone tells its heat.
    with task.phones.changed(devices, {"temperature_c": COOL_C}, {}):
        cool = bench.run(devices, {"cool": work}, gates=patient, native=native)
    with task.phones.changed(devices, {"temperature_c": HOT_C}, {"temperature_c": COOL_C}):
        hot = bench.run(devices, {"hot": work}, gates=strict, native=native)
    found: list[Check] = []
    for device in devices:
        for name, runs, expected in (
            ("hot", hot, ErrorClass.GATE_REFUSED.value),
            ("cool", cool, "measured"),
        ):
            run = runs[device.id].get(name)
            if run is None or (run.row.attempt == 0 and not run.error_class):
                found.append(not_run(f"gate_{name}", device.id, "the run was never started"))
            else:
                found.append(same(f"gate_{name}", device.id, expected, run.error_class or "measured", run.message))
    return found


def other_load(bench: Bench, task: Task, devices: Sequence[ResolvedDevice]) -> list[Check]:
    """CPU time that someone else takes during a run is in its result, as a figure and as a mark."""
    with task.phones.changed(devices, {"other_load": OTHER_LOAD}, {"other_load": 0.0}):
        seen = bench.run(devices, {"other_load": _STREAM})

    def judge(device: ResolvedDevice, handle: Handle, runs: Mapping[str, Seen], truth: Truth) -> list[Check]:
        run = runs["other_load"]
        start, end = run.window
        cores = profiles.load(handle.phone.profile).cores
        own_s = float(str(run.truth["cpu_ns"])) / 1e9
        wanted = 100.0 * (truth.growth("busy_s", start, end) - own_s) / (cores * (end - start))
        marks = [str(mark) for mark in run.row.provenance.get("marks") or ()]
        marked = next((mark for mark in marks if mark.startswith("other_load")), "")
        return [
            near("other_load_pct", device.id, wanted, run.metric("other_load_pct"), LOAD_POINTS, "%"),
            same("other_load_mark", device.id, "marked", "marked" if marked else "not marked", marked),
        ]

    names = ("other_load_pct", "other_load_mark")
    return [
        check for device in devices for check in with_truth(names, device, task, seen[device.id], "other_load", judge)
    ]


# --- memory -----------------------------------------------------------------------------------------------------------


def low_memory(bench: Bench, task: Task, devices: Sequence[ResolvedDevice]) -> list[Check]:
    """A runner that takes nearly all that a phone has left is ended there before the phone hangs, and that is named."""
    grows = ("--die", "oom@300", "--oom-max-mb", f"{AVAILABLE_MB:g}")
    with task.phones.changed(devices, {"memory_available_mb": AVAILABLE_MB}, {"memory_available_mb": EVERYTHING_MB}):
        seen = bench.run(devices, {"low_memory": replace(_STREAM, args=(*_STREAM.args, *grows))})
    found: list[Check] = []
    for device in devices:
        run = seen[device.id].get("low_memory")
        if run is None or (run.row.attempt == 0 and not run.error_class):
            found.append(not_run("low_memory", device.id, "the run was never started"))
        else:
            expected = ErrorClass.MEMORY_FLOOR.value
            found.append(same("low_memory", device.id, expected, run.error_class or "measured", run.message))
    return found


# --- throttling -------------------------------------------------------------------------------------------------------


def throttle(bench: Bench, task: Task, devices: Sequence[ResolvedDevice]) -> list[Check]:
    """A steady load until the phone caps its clock; one phone after the other, since it takes all cores.

    Only virtual phones have this truth, and they cap by the share of time in which they run. So a token is CPU time,
    not work: what this machine loses in speed to others would look like heat.
    """
    minutes = max(THROTTLE_MINUTES, task.minutes / 2)
    work = Workload(WorkloadKind.SUSTAINED, 1, 1, threads=8, minutes=minutes, args=("--cpu-ms", "10"))
    begin, after = {"heat_scale": HEAT_SCALE, "temperature_c": START_C}, {**AS_FOUND, "temperature_c": COOL_C}

    def attempt(device: ResolvedDevice) -> tuple[list[Check], str]:
        with task.phones.changed([device], begin, after):
            runs = bench.run([device], {"throttle": work})[device.id]
        checks = with_truth(THROTTLE, device, task, runs, "throttle", judge_throttle)
        return checks, disturbance(device, task, runs.get("throttle"), checks)

    return [check for device in devices for check in until_steady(partial(attempt, device))]


def judge_throttle(device: ResolvedDevice, handle: Handle, runs: Mapping[str, Seen], truth: Truth) -> list[Check]:
    """When the speed fell, against the first fall of the phone's cap that lasted."""
    del handle
    run = runs["throttle"]
    started, ended = run.window
    fell = truth.cap_fell_at(started, ended, held_s=HELD_S)
    if fell is None:
        raise TruthMissing("it never got hot enough to throttle: this machine is too busy for a steady load")
    heat = run.row.provenance.get("heat") or {}
    origin = float(heat.get("start_uptime_s", started))
    verdict = str(heat.get("verdict", "no verdict stored"))
    return [
        near("throttle_onset_s", device.id, fell - origin, run.metric("throttle_onset_s"), ONSET_S, "s"),
        same("throttle_verdict", device.id, "throttled", verdict, str(heat.get("reason", ""))),
    ]


THROTTLE = ("throttle_onset_s", "throttle_verdict")
Judging = Callable[[ResolvedDevice, Handle, Mapping[str, Seen], Truth], list[Check]]


def with_truth(
    names: Sequence[str], device: ResolvedDevice, task: Task, runs: Mapping[str, Seen], run: str, judge: Judging
) -> list[Check]:
    """Judge a measured run by the truth of its boot; what stands in the way is told by every check."""
    seen = runs.get(run)
    if seen is None or seen.error_class or not seen.truth:
        why = seen.message if seen else ""
        return [not_run(name, device.id, why or f"{PROGRAM} did not come to its end") for name in names]
    handle = task.phones.of(device)
    try:
        return judge(device, handle, runs, handle.truth(str(seen.row.provenance.get("boot_id", ""))))
    except (TruthMissing, KeyError) as missing:
        return [not_run(name, device.id, str(missing)) for name in names]

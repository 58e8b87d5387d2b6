"""Trials on virtual iPhones. The runner is the app with the runtime that follows a script; what iOS and the cable do to
it, the lab is told to do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from android_runner.native_calibration import SCRIPT
from device_agents.ios.watch import BATTERY_S
from device_agents.virtual.errors import LabError
from device_agents.virtual.iphone import profiles
from harness.errors import ErrorClass
from harness.model import Workload, WorkloadKind
from harness.plan import ResolvedDevice
from harness.selftest import native, trials
from harness.selftest.checks import Check, near, not_run, same
from harness.selftest.native import scripted
from harness.selftest.runs import Bench, Seen
from harness.selftest.steady import disturbance, until_steady
from harness.selftest.task import Task
from harness.selftest.truth import Truth, TruthMissing
from harness.selftest.virtual import Handle

HOLD_MS = 3500
"""sysmontap looks once a second."""

MEMORY = scripted(
    30,
    page_cache="evict",
    load_ms=native.LOAD_MS,
    intervals_ms=(50,),
    map_model=True,
    anon_bytes=native.ANON_BYTES,
    anon_at_ms=600,
    anon_hold_ms=HOLD_MS,
)
"""As on other phones, for longer."""

DEATHS: Mapping[str, native.Death] = {
    **native.DEATHS,
    # iOS writes a report whenever it ends an app itself: without one somebody did.
    "native_death_kill": native.Death("kill", ErrorClass.USER_KILLED, tells_progress=False),
}

STREAM = scripted(120, intervals_ms=(50,))
LONG = scripted(500, intervals_ms=(50,))
"""Half a minute: whatever ends it ends it early."""

COUNTER_STEP_J = 3.6 * 4.2
"""Of 1 mAh of a cell at most: the counter is known to one step at both ends together."""

STATE_S = 2.0
"""Between a change of the thermal state and the app's word of it."""

WARM_ROOM_C = 36.0
"""One busy core of many heats little: the room makes its skin warm enough for the thermal state to rise."""

SUN_S = 40.0
SUN: Mapping[str, float] = {"temperature_c": 82.0, "ambient_c": 70.0}
"""After so many seconds of the run the phone lies in the sun: it caps its clock at once, whatever its load is, and goes
on to. iOS shows no cap: only the rate of the tokens can tell when that was."""


def native_runner(bench: Bench, task: Task, devices: Sequence[ResolvedDevice]) -> list[Check]:
    """farm-runner as an app: times, rates, memory told by the app and by sysmontap, and its own deaths."""
    del task
    seen = bench.run(devices, native.workloads(MEMORY), native=True)
    return [check for device in devices for check in native.judge(device.id, seen[device.id], native.APP_PARTS, DEATHS)]


def charging(bench: Bench, task: Task, devices: Sequence[ResolvedDevice]) -> list[Check]:
    """Over the cable it charges: no energy."""
    return trials.charging(bench, task, devices, work=STREAM, native=True)


def gate(bench: Bench, task: Task, devices: Sequence[ResolvedDevice]) -> list[Check]:
    """The thermal state that the app tells is the gate of an iPhone."""
    return trials.gate(bench, task, devices, work=STREAM, native=True)


# --- deaths -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens to a running app. Args: order: of the lab; expected: class of the run."""

    order: str
    expected: ErrorClass


FATES: Mapping[str, Fate] = {
    "death_jetsam": Fate("jetsam", ErrorClass.OUT_OF_MEMORY),
    "death_watchdog": Fate("watchdog", ErrorClass.WATCHDOG),
    "death_swiped": Fate("user_kill", ErrorClass.USER_KILLED),
    "death_background": Fate("to_background", ErrorClass.NOT_FRONTMOST),
}
_LOOK_S = 0.25
_SETTLED_S = 2.0
"""An app that runs for so long is at work: the runs by which it is asked are shorter."""


def deaths(bench: Bench, task: Task, devices: Sequence[ResolvedDevice]) -> list[Check]:
    """An app that iOS or a user ends in the middle of its run: each end has the class that names it."""
    found: list[Check] = []
    for name, fate in FATES.items():
        with _meanwhile(task, devices, partial(Handle.order, name=fate.order)):
            seen = bench.run(devices, {name: LONG}, native=True)
        for device in devices:
            run = seen[device.id].get(name)
            if run is None or (run.row.attempt == 0 and not run.error_class):
                found.append(not_run(name, device.id, "the run was never started"))
            else:
                found.append(same(name, device.id, fate.expected.value, run.error_class or "measured", run.message))
    return found


@contextmanager
def _meanwhile(
    task: Task, devices: Sequence[ResolvedDevice], act: Callable[[Handle], object], after_s: float = _SETTLED_S
) -> Iterator[None]:
    """In the time of the block `act` is done to each phone, when an app has run on it for `after_s` seconds."""
    over = threading.Event()
    threads = [
        threading.Thread(target=_strike, args=(task.phones.of(device), act, after_s, over)) for device in devices
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _strike(handle: Handle, act: Callable[[Handle], object], after_s: float, over: threading.Event) -> None:
    running: Sequence[Any] = ()
    since = time.monotonic()
    while not over.wait(_LOOK_S):
        try:
            now = _running(handle)
            if now != running:
                # Another app than a moment ago, or none: the runs by which an app is asked are short.
                running, since = now, time.monotonic()
            elif running and time.monotonic() - since >= after_s:
                act(handle)
                return
        except LabError:
            # It ended just then.
            running = ()


def _running(handle: Handle) -> Sequence[Any]:
    status = handle.lab.iphones.order("status")
    return next((entry["processes"] for entry in status if entry["udid"] == handle.identity), ())


# --- energy and heat --------------------------------------------------------------------------------------------------


def _busy(kind: WorkloadKind, minutes: float) -> Workload:
    """One core at work."""
    script = json.dumps({"load_ms": 20, "cpu_ms": 10})
    return Workload(
        kind, prompt_tokens=native.PROMPT_TOKENS, gen_tokens=200, threads=1, minutes=minutes, env={SCRIPT: script}
    )


def energy(bench: Bench, task: Task, devices: Sequence[ResolvedDevice]) -> list[Check]:
    """Off the cable the phone is reached over Wi-Fi, and its gauge tells what a run took."""
    usual = profiles.load(task.phones.of(devices[0]).phone.profile).battery.period_s
    # Not more often than the battery is looked at.
    scale = max(1.0, min(trials.ENERGY_MINUTES / task.minutes, usual / BATTERY_S))
    begin = {"battery_level": 60.0, "battery_scale": scale}
    with _over_wifi(task, devices), task.phones.changed(devices, begin, {"battery_scale": 1.0}):
        drained = bench.run(devices, {"drain": _busy(WorkloadKind.BATTERY, task.minutes)}, native=True)
    names = ("energy_j", "energy_counter_j")
    return [
        check
        for device in devices
        for check in trials.with_truth(names, device, task, drained[device.id], "drain", _energy)
    ]


@contextmanager
def _over_wifi(task: Task, devices: Sequence[ResolvedDevice]) -> Iterator[None]:
    handles = [task.phones.of(device) for device in devices]
    try:
        for handle in handles:
            handle.order("plug", connection="Network")
        yield
    finally:
        for handle in handles:
            handle.order("plug")


def _energy(device: ResolvedDevice, handle: Handle, runs: Mapping[str, Seen], truth: Truth) -> list[Check]:
    del handle
    drain = runs["drain"]
    spent = truth.growth("battery_out_j", *drain.window)
    allowed = trials.COARSE_SHARE * spent
    step = f"{trials.COARSE_SHARE:.0%} and a step of 1 mAh"
    return [
        near("energy_j", device.id, spent, drain.metric("energy_j"), allowed, "J"),
        near(
            "energy_counter_j", device.id, spent, drain.metric("energy_counter_j"), allowed + COUNTER_STEP_J, "J", step
        ),
    ]


def throttle(bench: Bench, task: Task, devices: Sequence[ResolvedDevice]) -> list[Check]:
    """A steady amount of work in a warm room, then in the sun, one phone after the other."""
    minutes = max(trials.THROTTLE_MINUTES, task.minutes / 2)
    work = _busy(WorkloadKind.SUSTAINED, minutes)
    begin = {"heat_scale": trials.HEAT_SCALE, "temperature_c": trials.START_C, "ambient_c": WARM_ROOM_C}

    def attempt(device: ResolvedDevice) -> tuple[list[Check], str]:
        room = profiles.load(task.phones.of(device).phone.profile).physics.ambient_c
        after = {**trials.AS_FOUND, "temperature_c": trials.COOL_C, "ambient_c": room}
        sun = _meanwhile(task, [device], lambda handle: handle.set(**SUN), SUN_S)
        with task.phones.changed([device], begin, after), sun:
            runs = bench.run([device], {"throttle": work}, native=True)[device.id]
        checks = [
            *trials.with_truth(("thermal_state_s",), device, task, runs, "throttle", judge_state),
            *trials.with_truth(trials.THROTTLE, device, task, runs, "throttle", trials.judge_throttle),
        ]
        return checks, disturbance(device, task, runs.get("throttle"), checks)

    return [check for device in devices for check in until_steady(partial(attempt, device))]


def judge_state(device: ResolvedDevice, handle: Handle, runs: Mapping[str, Seen], truth: Truth) -> list[Check]:
    """When the stored thermal status first rose, against the truth."""
    del handle
    run = runs["throttle"]
    started, ended = run.window
    rose = next(
        (
            float(line["uptime_s"])
            for line in truth.lines
            if started < float(line["uptime_s"]) <= ended and line.get("thermal_state", "nominal") != "nominal"
        ),
        None,
    )
    if rose is None:
        raise TruthMissing("it never left the thermal state nominal: this machine is too busy for a steady load")
    trace = run.traces.get("thermal.status")
    points = zip(trace.uptime_s, trace.values, strict=True) if trace is not None else ()
    told = next((moment for moment, value in points if value > 0), None)
    if told is None:
        return [same("thermal_state_s", device.id, f"at {rose - started:.1f} s", "never told")]
    return [near("thermal_state_s", device.id, rose - started, told - started, STATE_S, "s", "from the begin")]

"""What energy needs besides the run itself: the meaning of the phone's gauge, and what the phone uses while idle.

The same sampler looks at the idle phone for as long as the workload lasts, in the same state; what it used then is
taken off (docs/measurement.md, "Energy"). A baseline serves the further measurements of the same boot.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from android_runner.base import length_s
from device_agents.base import JobOutput, JobSpec
from device_agents.charging import ChargingControl
from harness import limits
from harness.analysis.appraisal import LONG
from harness.analysis.energy import BASELINE_SHARE, Baseline, idle_baseline
from harness.analysis.gauge import GaugeCalibration, merged
from harness.analysis.gauge_calibration import calibrate
from harness.attempt import Attempt
from harness.darkness import END_S, POWER_S, PROBE_S, RunWhile, dark_s, give_back, in_the_dark
from harness.errors import FarmError
from harness.model import PowerState, Reading, Step, Trace, Unavailable, WorkloadKind

BASELINE_AGE_S = 12 * 3600.0
"""An idle phone uses the same for a night; by day apps and networks change."""


@contextmanager
def off_power(state: Attempt, run: RunWhile) -> Iterator[None]:
    """Take a phone off its power for a battery workload where that can be done, and give it back whatever happens.

    Where the link goes with the power, each job is taken off it on its own (`state.dark`). Where it cannot be done, the
    run is measured all the same, without energy, and marked.
    """
    control = state.context.charging
    if state.case.workload.kind is not WorkloadKind.BATTERY or state.power_state is PowerState.UNPLUGGED:
        yield
        return
    if control is None:
        state.marks.append(f"on_power: {_NO_WAY}")
        yield
        return
    try:
        cut = control.off(limit_s=POWER_S)
    except FarmError as error:
        state.marks.append(f"on_power: {error.message}; {error.advice}")
        yield
        return
    if cut.by == "record":
        give_back(state, control)
        _find_out(state, control, run)
        yield
        return
    try:
        state.power_state = PowerState.UNPLUGGED
        state.provenance |= {"power_state": state.power_state.value, "power_state_reason": cut.text}
        # What keeps a plugged phone awake does not keep an unplugged one awake.
        state.context.agent.settings.apply(state.context.phone_settings, wifi=True, limit_s=limits.COLLECT_S)
        yield
    finally:
        give_back(state, control)


_NO_WAY = (
    "the link comes over the cable that feeds the phone; for energy use Wi-Fi, or on Android name the hub port that "
    "switches its power (`usb` of the device)"
)


def _find_out(state: Attempt, control: ChargingControl, run: RunWhile) -> None:
    """Whether a phone that is out of reach without its power really lost it, by a job that takes no time."""
    context = state.context
    with state.during(Step.BASELINE, 4 * POWER_S) as detail:
        changes = context.agent.settings.apply(
            context.phone_settings, wifi=False, limit_s=limits.COLLECT_S, loses_power=True
        )
        state.marks += [f"setting_{each.outcome}: {each.name}; {each.advice}" for each in changes if each.failed]
        state.dark = control
        key = f"{state.case.key}.{state.attempt}.power"
        probe = JobSpec(key, ("true",), {}, "/", limits.SHELL_S, sampling=None, owner=context.owner)
        seen = in_the_dark(state, probe, PROBE_S, run)
        detail["link_goes_with_power"] = True
        detail["unplugged_uptime_s"] = seen.stamps.get("unplugged") if seen is not None else None


def run_measured(state: Attempt, spec: JobSpec, run: RunWhile) -> JobOutput:
    """Run the job that is measured, off the phone's power where that takes its link away."""
    seconds = dark_s(length_s(state.case.workload), state.case.workload, state.context.model.artifact)
    output = in_the_dark(state, spec, seconds, run)
    if output is None:
        return run(spec, None)
    if "unplugged" in output.stamps:
        state.power_state = PowerState.UNPLUGGED
        told = f"by its own record it had no external power from uptime {output.stamps['unplugged']:.0f} s on"
        state.provenance |= {"power_state": state.power_state.value, "power_state_reason": told}
    return output


def prepare(state: Attempt, run: RunWhile) -> None:
    """Recall the gauge's calibration, and take the idle baseline of a battery workload."""
    kind, memory = state.case.workload.kind, state.context.memory
    if kind not in LONG:
        return
    if memory is not None:
        state.calibration = _recalled(memory.recall("gauge"))
    if kind is not WorkloadKind.BATTERY:
        return
    if state.dark is None and state.power_state is not PowerState.UNPLUGGED:
        state.baseline = Unavailable(f"energy is measured only while unplugged; the phone is {state.power_state.value}")
        return
    seconds = length_s(state.case.workload)
    found = _recent_baseline(state, seconds)
    if found is not None:
        state.baseline = found
        return
    with state.during(Step.BASELINE, seconds + limits.COLLECT_S) as detail:
        key = f"{state.case.key}.{state.attempt}.idle"
        limit_s = seconds + 60.0
        spec = JobSpec(key, ("sleep", f"{seconds:.0f}"), {}, "/", limit_s, owner=state.context.owner)
        tethered = state.dark is not None
        output = in_the_dark(state, spec, seconds + END_S, run) if tethered else run(spec, None)
        state.baseline = Unavailable("the phone kept its power") if output is None else _idled(state, output)
        told = state.baseline.to_json() if isinstance(state.baseline, Baseline) else {"why": state.baseline.reason}
        detail.update(told)
    if memory is not None and isinstance(state.baseline, Baseline):
        about = {"booted_at": state.booted_at, "taken_at": time.time(), "screen": state.screen}
        memory.remember("baseline", "", {**state.baseline.to_json(), **about})


def _idled(state: Attempt, output: JobOutput) -> Baseline | Unavailable:
    """The baseline in what an idle job left; its samples stay with the attempt, for the gauge."""
    samples = output.files.get("samples")
    traces = state.context.parse_samples(samples.read_bytes() if samples else b"")
    window = (output.stamps.get("started"), output.stamps.get("ended"))
    learn_gauge(state, traces)
    state.idle_traces, state.idle_window = traces, window
    return idle_baseline(traces, window, state.calibration)


def learn_gauge(state: Attempt, traces: tuple[Trace, ...]) -> None:
    """Calibrate the gauge with what was just sampled, and keep what is new."""
    design = _design_mah(state)
    observed = [seen for seen in (state.idle_traces, traces) if seen]
    newer = calibrate(observed, design_mah=design)
    known = state.calibration
    state.calibration = newer if known is None else merged(known, newer)
    if isinstance(state.baseline, Unavailable) and state.idle_traces:
        # A coarse counter moves so seldom that the run was needed to understand it.
        state.baseline = idle_baseline(state.idle_traces, state.idle_window, state.calibration)
    if state.context.memory is not None and state.calibration != known:
        state.context.memory.remember("gauge", "", state.calibration.to_json())


def _recalled(value: object) -> GaugeCalibration | None:
    if not isinstance(value, dict):
        return None
    try:
        return GaugeCalibration.from_json(value)
    except (ValueError, TypeError):
        # Written by another version: it is found out anew.
        return None


def _recent_baseline(state: Attempt, seconds: float) -> Baseline | None:
    """A baseline of this boot and this screen that is long enough and not old."""
    memory = state.context.memory
    value = memory.recall("baseline") if memory is not None else None
    if value is None or state.booted_at is None:
        return None
    same = abs(float(value.get("booted_at") or 0.0) - state.booted_at) < limits.BOOT_TOLERANCE_S
    fresh = time.time() - float(value.get("taken_at", 0.0)) < BASELINE_AGE_S
    if not (same and fresh and value.get("screen") == state.screen):
        return None
    found = Baseline.from_json(value)
    return found if found.duration_s >= BASELINE_SHARE * seconds else None


def _design_mah(state: Attempt) -> Reading:
    """Design capacity of the battery."""
    try:
        return state.context.agent.telemetry.design_capacity(limit_s=limits.SHELL_S)
    except FarmError as error:
        return Unavailable(f"the design capacity was not read: {error.message}")

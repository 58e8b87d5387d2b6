"""Jobs on a phone that is off its power and out of reach, because the cable that feeds it also carries adb.

The job is started first and waits on the phone until that reports no external power; then the port is switched off.
Nobody asks the phone until the port is on again, which is long enough after the job's planned end; whether the power
was really away is told by the phone's own record.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from math import ceil

from device_agents.base import JobOutput, JobSpec
from device_agents.charging import ChargingControl
from harness.attempt import Attempt, Cancelled
from harness.errors import ErrorClass, FarmError
from harness.events import Activity
from harness.model import MEGABYTE, Artifact, Workload

POWER_S = 90.0
"""Limit for taking a phone off its power, and for giving it back."""

WITHIN_S = 45.0
"""How long a job waits on the phone for the loss of its power: hub and phone take some seconds each."""

LOAD_BYTES_PER_S = 50 * MEGABYTE
PREFILL_TPS = 10.0
DECODE_TPS = 2.0
"""What is slower than that outlasts the darkness: the phone then reports its power while the runner still works, and
there is no energy."""

START_S = 10.0
"""Start of the process, before it loads."""

END_S = 15.0
"""The last look of the sampler, and the end of the runner."""

PROBE_S = 2.0
"""How long the power stays off, once the link has gone with it, to see whether the phone notices."""

_LOOK_S = 10.0
_BACK_TRIES = 2

RunWhile = Callable[[JobSpec, Callable[[], None] | None], JobOutput]
"""Runs a job to its end and fetches what it left; calls what it is given once the job was started."""


def dark_s(length_s: float, workload: Workload, model: Artifact) -> float:
    """How long the power stays away for a run of `length_s` seconds: with load, one request more, and the end."""
    load_s = START_S + model.size / LOAD_BYTES_PER_S
    request_s = workload.prompt_tokens / PREFILL_TPS + workload.gen_tokens / DECODE_TPS
    return length_s + load_s + request_s + END_S


def in_the_dark(state: Attempt, spec: JobSpec, seconds: float, run: RunWhile) -> JobOutput | None:
    """Run a job while the port of the phone is off.

    Args:
        seconds: how long the power stays away after the link has gone.
        run: see RunWhile.

    Returns: what the job left; None when the phone kept its power: then the attempt is marked and goes on with it.

    Raises: what `run` raises; Cancelled. The port is on again in any case, or the attempt is marked.
    """
    control = state.dark
    if control is None:
        return None
    try:
        output = run(replace(spec, unplugged_within_s=WITHIN_S), lambda: _stay(state, control, seconds))
    except FarmError as error:
        if error.error_class is not ErrorClass.SETTING_DENIED:
            raise
        why = f"{error.message}; {error.advice}" if error.advice else error.message
    else:
        if output.ended_by != "stayed_powered":
            return output
        why = (
            f"adb went away with the port, yet the phone did not report within {WITHIN_S:.0f} s that its power went: "
            "the hub cuts the data lines only, or something else feeds the phone; use adb over Wi-Fi for energy"
        )
    state.dark = None
    state.marks.append(f"on_power: {why}")
    return None


def give_back(state: Attempt, control: ChargingControl) -> None:
    """Switch the power on; an attempt whose phone does not notice is marked and goes on."""
    problem = ""
    for _ in range(_BACK_TRIES):
        try:
            control.on(limit_s=POWER_S)
            return
        except FarmError as error:
            problem = error.message
    state.marks.append(f"power_not_back: {problem}")


def _stay(state: Attempt, control: ChargingControl, seconds: float) -> None:
    context = state.context
    # Nobody may think that this phone is free because its lease could not be renewed meanwhile.
    context.hold_lease(seconds + 2 * POWER_S)
    try:
        control.off(limit_s=POWER_S, away_s=seconds + POWER_S)
        try:
            _wait(state, seconds)
        finally:
            give_back(state, control)
    finally:
        context.hold_lease(0.0)


def _wait(state: Attempt, seconds: float) -> None:
    context = state.context
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        note = f"off its power, back in about {max(1, ceil(left / 60))} min"
        context.reporter.activity(Activity(state.case.device_id, state.case, state.step, note=note))
        if context.cancel.wait(min(left, _LOOK_S)):
            raise Cancelled

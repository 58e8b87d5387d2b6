"""Waiting for a job on a device that may be away for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from device_agents.base import JobHandle, JobState
from harness import limits
from harness.attempt import Attempt, Cancelled
from harness.errors import ErrorClass, Permanent, Transient
from harness.events import Activity
from harness.model import Step

WATCH_S = 20.0
"""How long the device itself watches a job before it answers: asking costs CPU time there, watching does not."""

RETRY_S = 0.25
"""Between two questions to a device that did not answer."""

LINK_PATIENCE_S = 30.0
"""How long a device may be silent in the run step before the recovery ladder is asked; the job itself goes on."""

RECOVERIES = 2
"""Times the ladder is climbed for one question to a device."""

T = TypeVar("T")


def wait_for_end(state: Attempt, handle: JobHandle, limit_s: float) -> float:
    """Wait for the end of a job; returns the seconds during which the device could not be asked."""
    context, device_id = state.context, state.case.device_id
    outages_s = 0.0
    deadline = time.monotonic() + limit_s + limits.SHELL_S

    def stop_when_cancelled() -> None:
        if context.cancel.is_set():
            raise Cancelled

    def ask() -> JobState:
        return context.agent.jobs.poll(handle, limit_s=limits.SHELL_S, wait_s=WATCH_S, watch=stop_when_cancelled)

    while True:
        asked = time.monotonic()
        job = through_outages(state, ask)
        outage_s = max(0.0, time.monotonic() - asked - limits.SHELL_S)
        outages_s += outage_s
        deadline += outage_s
        if job.phase == "done":
            return outages_s
        if job.phase == "lost":
            raise Transient(
                f"the runner is gone without a result: {job.detail}",
                error_class=job.error_class or ErrorClass.ADBD_RESTART,
                advice="if it comes back, exclude the phone from shell clean-ups (vendor battery or security settings)",
            )
        if time.monotonic() > deadline:
            raise Permanent(
                f"the runner did not end within {limit_s:.0f} s, nor did its guard on the device",
                error_class=ErrorClass.TIMED_OUT,
                advice="reboot the phone",
            )
        context.reporter.activity(
            Activity(device_id, state.case, Step.RUN, temperature_c=job.live.get("temperature_c"))
        )
        stop_when_cancelled()


def through_outages(state: Attempt, ask: Callable[[], T]) -> T:
    """Ask a device that may be away for a while: the job runs on without the cable."""
    context = state.context
    give_up = time.monotonic() + LINK_PATIENCE_S
    recoveries = RECOVERIES
    while True:
        try:
            return ask()
        except Transient as lost:
            context.reporter.activity(Activity(state.case.device_id, state.case, state.step, note=lost.message))
            if time.monotonic() > give_up:
                # A device that answers a shell and still not this question is not helped by a third ladder.
                if not recoveries:
                    raise
                if not context.recover(lost):
                    if lost.error_class is ErrorClass.DEVICE_OFFLINE:
                        raise _stays_away(lost) from lost
                    raise
                recoveries -= 1
                give_up = time.monotonic() + LINK_PATIENCE_S
            elif context.cancel.wait(RETRY_S):
                raise Cancelled from lost


def _stays_away(lost: Transient) -> Transient:
    """A device that stays away is lost, though its link was called offline on the way out."""
    return Transient(
        f"{lost.message}; it stays away",
        error_class=ErrorClass.DEVICE_LOST,
        advice=lost.advice,
        device=lost.device,
        step=lost.step,
    )

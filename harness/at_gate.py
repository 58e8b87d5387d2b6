"""The gate step of a measurement: wait until the phone is fit to be measured, or say why it was not."""

from __future__ import annotations

import time

from harness import limits
from harness.attempt import Attempt, Cancelled, Parked
from harness.events import Activity
from harness.gate_keeper import wait_at_gate
from harness.gates import Conditions, GateCheck, refusal
from harness.model import Measured, Reading, Step


def pass_gates(state: Attempt) -> None:
    """Wait at the gates; what was seen, how long it took and how it ended goes into the result.

    Raises:
        Permanent: the gates refuse the measurement. Parked: the battery has to charge first. Cancelled.
    """
    context, gates = state.context, state.context.gates
    memory = context.memory

    looks: list[Reading | None] = []

    def look() -> Conditions:
        # Where nothing is gated, whatever load there was a moment ago is told.
        quiet_pct = 100.0 if gates.mode == "off" else gates.other_load_max_pct
        seen = context.agent.conditions.read(limit_s=limits.SHELL_S, quiet_pct=quiet_pct)
        looks.append(seen.readings.get("cpu_temperature_c"))
        uptime = seen.readings.get("uptime_s")
        if isinstance(uptime, Measured):
            state.booted_at = time.time() - uptime.value
        state.condition_texts = seen.texts
        state.screen = seen.texts.get("wakefulness", "")
        return seen

    def pause(seconds: float) -> None:
        if context.cancel.wait(seconds):
            raise Cancelled

    def tell(waited_s: float, failed: tuple[GateCheck, ...]) -> None:
        why = "; ".join(check.text for check in failed)
        note = f"waits since {waited_s:.0f} s: {why}"
        context.reporter.activity(Activity(state.case.device_id, state.case, Step.GATE, note=note))

    with state.during(Step.GATE, gates.max_wait_s + limits.SHELL_S) as detail:
        report = wait_at_gate(
            gates,
            look,
            clock=time.monotonic,
            pause=pause,
            idle_cpu_c=memory.idle_cpu_c() if memory else None,
            wanted=context.phone_settings,
            parked=context.parked,
            may_park=context.may_park,
            on_wait=tell,
        )
        detail.update(report.to_json())
        state.provenance["gate"] = report.to_json()
        state.marks += (*context.setting_marks, *report.marks)
        if report.outcome == "parked":
            raise Parked(report)
        if not report.may_run:
            raise refusal(report, state.case.device_id)
    if memory is not None and context.rested and looks and isinstance(looks[0], Measured):
        memory.saw_idle(looks[0].value)

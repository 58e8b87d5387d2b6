"""The worker of one device: its measurements one after the other, in a thread of its own."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any, TypeVar

from device_agents.base import DeviceAgent
from device_agents.charging import charging_control
from harness import limits
from harness.analysis.repeats import more_repeats
from harness.attempt import Cancelled, Outcome, Parked, SessionContext, base_provenance, unmeasured
from harness.errors import ErrorClass, FarmError, Permanent, Transient
from harness.events import Activity
from harness.gates import GateReport
from harness.model import (
    CaseResult,
    CaseStatus,
    DeviceKind,
    ErrorInfo,
    Measured,
    ModelFile,
    PlannedCase,
    RunnerBuild,
    Step,
    StepRecord,
)
from harness.phone_setup import settings_kept
from harness.session import measure
from harness.setup import Crew, Setup, Work

ATTEMPTS = 3
"""Tries of one measurement before a Transient error counts."""

RETURN_PATIENCE_S = 60.0
"""How long a phone may stay away after the last rung of the ladder; a reboot takes about a minute."""

LOOK_S = 1.0

PARKED_LOOK_S = 20.0
"""Between two looks at a phone that charges; a percent takes a minute on a fast charger."""

CHARGE_PATIENCE_S = 1200.0
"""A phone that gains no percent in this time does not charge: even 2.5 W give 5000 mAh a percent in five minutes."""

_SHOWN_FACTS = ("manufacturer", "model", "product", "device", "soc", "os_version", "abis", "ram_bytes", "cores")


_Result = TypeVar("_Result")


class DeviceGone(Exception):
    """The ladder is exhausted: the worker of this device ends."""


class Worker:
    def __init__(self, setup: Setup, work: Work, crew: Crew) -> None:
        self._setup = setup
        self._work = work
        self._crew = crew
        self._device_id = work.device.id
        self._case: PlannedCase | None = None
        self._attempt = 1
        self._parking = True
        self._parked = False
        self._setting_marks: tuple[str, ...] = ()
        self._memory = setup.memory(work.device.facts.identity) if setup.memory else None
        self._rested = self._memory is not None and self._memory.rested()

    def run(self) -> None:
        """Body of the thread."""
        try:
            agent = self._setup.open_agent(self._work.device)
            try:
                self._with_lease(agent)
            finally:
                agent.close()
        except (DeviceGone, Cancelled):
            pass
        except FarmError as error:
            self._event("worker_ended", error.message)
            self._setup.reporter.note(self._device_id, error.message)
        except Exception:  # noqa: BLE001
            # The thread ends here: a defect of ours must neither vanish nor stop the other phones.
            self._internal(traceback.format_exc())
        finally:
            self._crew.leave(self._device_id)
            self._setup.reporter.activity(Activity(self._device_id, note="done"))

    def _with_lease(self, agent: DeviceAgent) -> None:
        holder = self._through_outages(agent, lambda: self._setup.leases.acquire(self._work.device, agent))
        if holder is not None:
            error = Permanent(
                f"{self._device_id} is in use by {holder.owner}",
                error_class=ErrorClass.DEVICE_LEASED,
                advice="wait until that run has ended, or ask its owner for `farm release`",
                device=self._device_id,
                step=Step.SELECT,
            )
            for case in self._work.cases:
                self._finish(case, _refused(self._provenance(), case, error))
            return
        try:
            left = self._through_outages(agent, lambda: agent.jobs.reap(limit_s=limits.SHELL_S))
            if left:
                self._event("reaped", f"ended what an earlier run had left: {', '.join(left)}")
            with settings_kept(
                agent,
                self._setup.phone_settings,
                wifi=agent.attached.over_network and self._work.device.facts.kind is DeviceKind.PHONE,
                memory=self._memory,
                event=self._event,
            ) as self._setting_marks:
                self._measure_all(agent)
        finally:
            self._setup.leases.release(self._work.device, agent)

    def _through_outages(self, agent: DeviceAgent, act: Callable[[], _Result]) -> _Result:
        """Do what comes before the first measurement; a phone that is lost meanwhile is brought back.

        Raises:
            DeviceGone: it stays away. Whatever `act` raises with a phone that is there, or once too often.
        """
        for _ in range(ATTEMPTS - 1):
            try:
                return act()
            except Transient as lost:
                if not self._bring_back(agent, lost):
                    raise DeviceGone from lost
        return act()

    def _measure_all(self, agent: DeviceAgent) -> None:
        queue = deque(self._work.cases)
        while queue:
            if self._setup.cancel.is_set():
                raise Cancelled
            if self._setup.deadline is not None and time.monotonic() > self._setup.deadline:
                self._event("time_is_up", "the time budget is spent; the rest stays planned")
                return
            case = queue.popleft()
            try:
                self._measure(agent, case)
            except Parked as parked:
                self._charge(agent, parked.report)
                queue.appendleft(case)
                continue
            self._parked = self._rested = False
            more = self._more(case, queue)
            if self._setup.deadline is None:
                # Before the next model: a phone short of space would have to fetch this one again.
                queue.extendleft(reversed(more))
            else:
                queue.extend(more)
            self._case = None
            if self._memory is not None:
                self._memory.saw_work()

    def _measure(self, agent: DeviceAgent, case: PlannedCase) -> None:
        self._case = case
        context = self._context(agent, case)
        for attempt in range(1, ATTEMPTS + 1):
            self._attempt = attempt
            self._setup.store.start_case(case.key, attempt, time.time())
            outcome = measure(context, case, attempt)
            if not outcome.transient or attempt == ATTEMPTS:
                self._finish(case, outcome.result)
                if outcome.transient and not self._bring_back(agent):
                    raise DeviceGone
                return
            self._retry(agent, case, outcome)

    def _more(self, case: PlannedCase, queue: Iterable[PlannedCase]) -> tuple[PlannedCase, ...]:
        """Further repetitions of a case whose last planned one has ended, where the suite asks for as many as it takes
        until they agree."""
        if any(other.case == case.case for other in queue):
            return ()
        rows = tuple(self._setup.store.measurements(self._setup.run, case=case.case))
        last = max((row.planned.repeat for row in rows), default=case.repeat)
        count = more_repeats(self._setup.repeats, rows)
        added = tuple(replace(case, repeat=last + number) for number in range(1, count + 1))
        if added:
            self._setup.store.add_cases(self._setup.run, added)
            self._event("more_repeats", f"{case.case}: {count} more, the figures do not agree well enough yet")
        return added

    def _charge(self, agent: DeviceAgent, report: GateReport) -> None:
        """Let a phone charge whose battery is too low, while the others work."""
        gates = self._setup.gates
        why = "; ".join(check.text for check in report.checks_last if check.state == "fail")
        self._event("parked", why)
        self._setup.reporter.note(self._device_id, f"charges before it goes on: {why}")
        best, risen_at = 0.0, time.monotonic()
        while True:
            seen = agent.conditions.read(limit_s=limits.SHELL_S)
            level = seen.readings.get("battery_level_pct")
            if not isinstance(level, Measured) or level.value >= gates.battery_level_resume_pct:
                self._parked = True
                self._event(
                    "unparked", f"battery {level.value:g} %" if isinstance(level, Measured) else "level unknown"
                )
                return
            if level.value > best:
                best, risen_at = level.value, time.monotonic()
            if time.monotonic() - risen_at > CHARGE_PATIENCE_S:
                self._parking = False
                self._event("unparked", f"the battery stays at {level.value:g} %: it does not charge")
                return
            if self._setup.deadline is not None and time.monotonic() > self._setup.deadline:
                return
            note = f"charging: {level.value:g} %, goes on at {gates.battery_level_resume_pct:g} %"
            self._setup.reporter.activity(Activity(self._device_id, self._case, note=note))
            if self._setup.cancel.wait(PARKED_LOOK_S):
                raise Cancelled

    def _retry(self, agent: DeviceAgent, case: PlannedCase, outcome: Outcome) -> None:
        error = outcome.result.error
        reason = error.message if error else "unknown"
        self._event("retry", f"{case.key} attempt {outcome.result.attempt}: {reason}")
        self._setup.reporter.activity(Activity(self._device_id, case, note=f"again, because {reason}"))
        if not self._bring_back(agent):
            self._finish(case, stayed_away(outcome.result))
            raise DeviceGone
        agent.jobs.reap(limit_s=limits.SHELL_S)

    def _context(self, agent: DeviceAgent, case: PlannedCase) -> SessionContext:
        setup = self._setup
        model, build = setup.assets.models[case.model.id], setup.assets.runners[case.runner.id]
        if not isinstance(model, ModelFile) or not isinstance(build, RunnerBuild):
            raise Permanent(f"{case.key} was planned without its files", error_class=ErrorClass.INTERNAL)
        return SessionContext(
            agent=agent,
            adapter=setup.adapter_for(case, build),
            model=model,
            build=build,
            parse_samples=setup.parse_samples,
            prompt_text=setup.prompt_text(case),
            keep=frozenset({model.artifact.sha256, build.artifact.sha256}),
            provenance=self._provenance(),
            owner=setup.leases.owner,
            work_dir=setup.work_dir,
            on_step=lambda step: setup.store.add_step(case.key, step),
            reporter=setup.reporter,
            recover=lambda error: self._bring_back(agent, error),
            cancel=setup.cancel,
            facts=self._work.device.facts,
            # A phone that does not charge is not waited for at every case anew.
            gates=setup.gates if self._parking else replace(setup.gates, max_wait_s=0.0),
            phone_settings=setup.phone_settings,
            memory=self._memory,
            charging=charging_control(agent, usb=self._work.device.entry.usb),
            setting_marks=self._setting_marks,
            parked=self._parked,
            rested=self._rested,
            may_park=self._parking,
            force=setup.force,
            hold_lease=lambda seconds: setup.leases.hold(self._work.device, seconds),
        )

    def _bring_back(self, agent: DeviceAgent, error: FarmError | None = None) -> bool:
        """Climb the ladder until the device answers a shell; False when it stays away."""
        if agent.alive(limit_s=limits.SHELL_S):
            return True
        self._event("away", error.message if error else "the device does not answer")
        for rung in agent.recovery.rungs():
            if self._setup.cancel.is_set():
                raise Cancelled
            self._setup.reporter.activity(Activity(self._device_id, self._case, note=f"bringing it back: {rung}"))
            back = agent.recovery.climb(rung, limit_s=limits.RECOVERY_S, alone=self._crew.alone(self._device_id))
            self._event("recovery", f"{rung}: {'back' if back else 'no answer'}")
            if back:
                return True
        give_up = time.monotonic() + RETURN_PATIENCE_S
        while time.monotonic() < give_up:
            self._setup.reporter.activity(Activity(self._device_id, self._case, note="waiting for it to come back"))
            if agent.alive(limit_s=limits.SHELL_S):
                self._event("recovery", "came back by itself")
                return True
            if self._setup.cancel.wait(LOOK_S):
                raise Cancelled
        self._event("gone", "the recovery ladder is exhausted; its further cases stay planned")
        self._setup.reporter.note(self._device_id, "gone; `farm resume` goes on with it when it is back")
        return False

    def _finish(self, case: PlannedCase, result: CaseResult) -> None:
        started_at, begun = time.time(), time.monotonic()
        self._setup.store.finish_case(case.key, result)
        self._setup.store.add_step(
            case.key, StepRecord(Step.STORE, result.attempt, started_at, time.monotonic() - begun, None, {})
        )
        self._setup.reporter.finished(case, result.error, headline(result))

    def _internal(self, trace: str) -> None:
        self._event("internal_error", trace)
        self._setup.reporter.note(self._device_id, f"a defect of farm ended its work: {trace.splitlines()[-1]}")
        case = self._case
        if case is None:
            return
        error = Permanent(
            f"a defect of farm: {trace.splitlines()[-1]}",
            error_class=ErrorClass.INTERNAL,
            advice="report it with the events of this run (`farm show RUN`)",
            step=Step.RUN,
        )
        result = _refused(self._provenance(), case, error)
        self._finish(case, replace(result, status=CaseStatus.FAILED, attempt=self._attempt, log_tail=trace))

    def _provenance(self) -> Mapping[str, Any]:
        facts = asdict(self._work.device.facts)
        return {**self._setup.provenance, "device": {name: facts[name] for name in _SHOWN_FACTS}}

    def _event(self, kind: str, detail: str) -> None:
        self._setup.store.add_event(self._setup.run, self._device_id, time.time(), kind, {"text": detail})


def _refused(provenance: Mapping[str, Any], case: PlannedCase, error: FarmError) -> CaseResult:
    return CaseResult(
        status=CaseStatus.REFUSED,
        attempt=1,
        started_at=time.time(),
        duration_s=0.0,
        metrics=unmeasured(error.message),
        traces=(),
        itl_ms=(),
        provenance=base_provenance(provenance, case, 1),
        error=error.info(Step.SELECT),
    )


def headline(result: CaseResult) -> str:
    """The main figure of a measurement in words, or the class of its error."""
    if result.error is not None:
        return describe_error(result.error)
    for name in ("decode_tps", "prefill_tps", "load_ms"):
        reading = result.metrics.get(name)
        if isinstance(reading, Measured):
            return f"{name} {reading.value:.4g} {reading.unit}"
    return "measured"


def describe_error(error: ErrorInfo) -> str:
    return f"{error.error_class} in {error.step.value}"


def stayed_away(result: CaseResult) -> CaseResult:
    """What is stored of a device that does not come back: it is lost, though its link was offline on the way out."""
    error = result.error
    if error is None or error.error_class != ErrorClass.DEVICE_OFFLINE.value:
        return result
    lost = replace(error, error_class=ErrorClass.DEVICE_LOST.value, message=f"{error.message}; it stays away")
    return replace(result, error=lost)

"""One worker per device, devices in parallel, a lease each, Transient errors retried, a lost device brought back.

A device that drops out never stops the others: its present case fails, its further cases stay planned, and
`farm resume` goes on with them when it is back.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from android_runner.base import RunnerAdapter
from device_agents.base import DeviceAgent
from harness import limits
from harness.attempt import Cancelled, Outcome, ParseSamples, SessionContext, base_provenance, unmeasured
from harness.errors import ErrorClass, FarmError, Permanent
from harness.events import Activity, Reporter
from harness.lease_keeper import LeaseKeeper
from harness.model import (
    CaseResult,
    CaseStatus,
    ErrorInfo,
    Measured,
    ModelFile,
    PlannedCase,
    RunnerBuild,
    Step,
    StepRecord,
)
from harness.plan import Assets, ResolvedDevice
from harness.session import measure

ATTEMPTS = 3
"""Tries of one measurement before a Transient error counts."""

RETURN_PATIENCE_S = 60.0
"""How long a phone may stay away after the last rung of the ladder; a reboot takes about a minute."""

LOOK_S = 1.0

_SHOWN_FACTS = ("manufacturer", "model", "product", "device", "soc", "os_version", "abis", "ram_bytes", "cores")


class ResultSink(Protocol):
    """Where workers put what happens; every call is a transaction of its own."""

    def start_case(self, key: str, attempt: int, at: float) -> None: ...

    def add_step(self, key: str, step: StepRecord) -> None: ...

    def finish_case(self, key: str, result: CaseResult) -> None: ...

    def add_event(self, run: str, device: str, at: float, kind: str, detail: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class Work:
    """The measurements of one device, in order."""

    device: ResolvedDevice
    cases: tuple[PlannedCase, ...]


@dataclass(frozen=True, slots=True)
class Setup:
    """What all workers of a run share.

    Args:
        run: its id. store: where results go.
        assets: checked models and runners.
        open_agent, adapter_for, parse_samples, prompt_text: how to reach devices, tools, samples and prompt files.
        leases: keeps the leases of this process alive.
        provenance: facts of the run that every result carries.
        work_dir: folder for fetched output.
        cancel: set when the run is to end.
        deadline: monotonic second after which no further measurement is begun, or None.
    """

    run: str
    store: ResultSink
    assets: Assets
    open_agent: Callable[[ResolvedDevice], DeviceAgent]
    adapter_for: Callable[[PlannedCase], RunnerAdapter]
    parse_samples: ParseSamples
    prompt_text: Callable[[PlannedCase], str | None]
    leases: LeaseKeeper
    provenance: Mapping[str, Any]
    work_dir: Path
    reporter: Reporter
    cancel: threading.Event
    deadline: float | None = None


class _DeviceGone(Exception):
    """The ladder is exhausted: the worker of this device ends."""


@dataclass(slots=True)
class _Crew:
    """Who is at work, so that the adb server is restarted only when nobody else suffers."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    busy: set[str] = field(default_factory=set)

    def alone(self, device_id: str) -> bool:
        with self.lock:
            return not (self.busy - {device_id})

    def enter(self, device_id: str) -> None:
        with self.lock:
            self.busy.add(device_id)

    def leave(self, device_id: str) -> None:
        with self.lock:
            self.busy.discard(device_id)


def execute(setup: Setup, work: Sequence[Work]) -> None:
    """Run all measurements; returns when every worker has ended. Errors of cases are in the store, not raised."""
    crew = _Crew()
    for item in work:
        crew.enter(item.device.id)
    threads = [
        threading.Thread(target=_Worker(setup, item, crew).run, name=f"device {item.device.id}", daemon=True)
        for item in work
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            # A join without a limit would keep Ctrl-C from the main thread.
            thread.join(timeout=0.5)


class _Worker:
    def __init__(self, setup: Setup, work: Work, crew: _Crew) -> None:
        self._setup = setup
        self._work = work
        self._crew = crew
        self._device_id = work.device.id
        self._case: PlannedCase | None = None
        self._attempt = 1

    def run(self) -> None:
        """Body of the thread."""
        try:
            agent = self._setup.open_agent(self._work.device)
            try:
                self._with_lease(agent)
            finally:
                agent.close()
        except (_DeviceGone, Cancelled):
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
        holder = self._setup.leases.acquire(self._work.device, agent)
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
            left = agent.jobs.reap(limit_s=limits.SHELL_S)
            if left:
                self._event("reaped", f"ended what an earlier run had left: {', '.join(left)}")
            self._measure_all(agent)
        finally:
            self._setup.leases.release(self._work.device, agent)

    def _measure_all(self, agent: DeviceAgent) -> None:
        setup = self._setup
        for case in self._work.cases:
            if setup.cancel.is_set():
                raise Cancelled
            if setup.deadline is not None and time.monotonic() > setup.deadline:
                self._event("time_is_up", "the time budget is spent; the rest stays planned")
                return
            self._case = case
            context = self._context(agent, case)
            for attempt in range(1, ATTEMPTS + 1):
                self._attempt = attempt
                setup.store.start_case(case.key, attempt, time.time())
                outcome = measure(context, case, attempt)
                if not outcome.transient or attempt == ATTEMPTS:
                    self._finish(case, outcome.result)
                    if outcome.transient and not self._bring_back(agent):
                        raise _DeviceGone
                    break
                self._retry(agent, case, outcome)
            self._case = None

    def _retry(self, agent: DeviceAgent, case: PlannedCase, outcome: Outcome) -> None:
        error = outcome.result.error
        reason = error.message if error else "unknown"
        self._event("retry", f"{case.key} attempt {outcome.result.attempt}: {reason}")
        self._setup.reporter.activity(Activity(self._device_id, case, note=f"again, because {reason}"))
        if not self._bring_back(agent):
            self._finish(case, outcome.result)
            raise _DeviceGone
        agent.jobs.reap(limit_s=limits.SHELL_S)

    def _context(self, agent: DeviceAgent, case: PlannedCase) -> SessionContext:
        setup = self._setup
        model, build = setup.assets.models[case.model.id], setup.assets.runners[case.runner.id]
        if not isinstance(model, ModelFile) or not isinstance(build, RunnerBuild):
            raise Permanent(f"{case.key} was planned without its files", error_class=ErrorClass.INTERNAL)
        return SessionContext(
            agent=agent,
            adapter=setup.adapter_for(case),
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

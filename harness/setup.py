"""What the workers of a run share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from android_runner.base import RunnerAdapter
from device_agents.base import DeviceAgent
from harness.analysis.repeats import RepeatPolicy
from harness.attempt import ParseSamples
from harness.events import Reporter
from harness.lease_keeper import LeaseKeeper
from harness.model import CaseResult, Gates, PhoneSettings, PlannedCase, RunnerBuild, StepRecord
from harness.phone_memory import PhoneMemory
from harness.plan import Assets, ResolvedDevice
from harness.store import MeasurementRow


class ResultSink(Protocol):
    """Where workers put what happens; every call is a transaction of its own."""

    def add_cases(self, run: str, planned: Sequence[PlannedCase]) -> None: ...

    def measurements(self, run: str | None = None, *, case: str | None = None) -> Iterator[MeasurementRow]: ...

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
        gates: what has to hold before a measurement.
        phone_settings: what is set on the phones for the time of the run.
        repeats: whether repetitions are added until they agree.
        memory: what is known of a phone, by identity.
        force: run also what will probably not fit into memory.
    """

    run: str
    store: ResultSink
    assets: Assets
    open_agent: Callable[[ResolvedDevice], DeviceAgent]
    adapter_for: Callable[[PlannedCase, RunnerBuild], RunnerAdapter]
    parse_samples: ParseSamples
    prompt_text: Callable[[PlannedCase], str | None]
    leases: LeaseKeeper
    provenance: Mapping[str, Any]
    work_dir: Path
    reporter: Reporter
    cancel: threading.Event
    deadline: float | None = None
    gates: Gates = field(default_factory=Gates)
    phone_settings: PhoneSettings = field(default_factory=PhoneSettings)
    repeats: RepeatPolicy = field(default_factory=RepeatPolicy)
    memory: Callable[[str], PhoneMemory] | None = None
    force: bool = False


@dataclass(slots=True)
class Crew:
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

"""One night of a lab. Each step does what the store does not have yet, so that a night that was killed goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis.repeats import RepeatPolicy
from harness.cli import compose, night_end, resuming
from harness.cli.execution import Execution, close_run
from harness.cli.main import Context
from harness.cli.night_pairs import PairWork
from harness.cli.night_setup import Tonight, with_new_files, with_pinned
from harness.cli.pairs import close_left
from harness.cli.run import Prepared, plan_of, record_of
from harness.errors import NoDeviceError
from harness.leases import identity_of_this_process, is_alive
from harness.model import Attached, CaseStatus, NightRecord, NightRole, NightSummary, RunRecord, RunStatus
from harness.nightly.judging import Judged, judge_lab
from harness.nightly.order import for_a_night
from harness.nightly.window import margin_s
from harness.plan import ResolvedDevice, Selection, resolve_devices, select_devices, usable
from harness.value_order import past_of

if TYPE_CHECKING:
    from harness.inventory import LoadedInventory
    from harness.store import Store


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked of a night.

    Args:
        night: ISO date. until: Unix seconds by which it has to be over, None: no limit.
        tiers: limited to these; empty: all. suite: name. gates: mode, None: the inventory's.
        pairs_s: seconds spent on pairs. report_dir: folder of the report.
    """

    night: str
    until: float | None
    tiers: tuple[str, ...]
    suite: str
    gates: str | None
    pairs_s: float
    report_dir: Path


@dataclass(slots=True)
class NightWork:
    """A night at work.

    Args:
        loaded: the inventory as it is on disk.
        cancel: set when an operator ends the night, or its time is up. asked: set for the first of these only.
        notes: what has to be said in the end.
    """

    context: Context
    store: Store
    loaded: LoadedInventory
    wish: Wish
    asked: threading.Event
    cancel: threading.Event = field(default_factory=threading.Event)
    notes: list[str] = field(default_factory=list)

    @property
    def lab(self) -> str:
        return self.loaded.inventory.lab.name

    def go(self) -> NightSummary | None:
        """Work through the night; None when an operator ended it."""
        self._begin()
        with self._time_limit():
            attached = compose.discover_to_use(self.loaded.inventory)
            devices = self._devices(attached)
            tonight = self._files(devices)
            pairs = PairWork(
                self.context, self.store, tonight, devices, self.wish.night, self.wish.pairs_s, self.cancel
            )
            if devices:
                # What earlier nights owe is worth more than one more figure of everything.
                pairs.decide(self.judged(), self._deadline())
                self._measure(tonight, devices)
                pairs.decide(self.judged(), self._deadline())
                pairs.search(self.judged(), self._deadline())
            if self.asked.is_set():
                self.store.nights.end(self.lab, self.wish.night, RunStatus.INTERRUPTED, time.time(), None)
                return None
        self.notes += [*tonight.notes, *pairs.notes]
        return night_end.finish(self, tonight, devices, pairs)

    def _begin(self) -> None:
        """Record the night; what a killed one left open is closed, but for this very night, which goes on."""
        me = identity_of_this_process()
        for record in self.store.nights.all(self.lab):
            if record.night != self.wish.night and record.status is RunStatus.RUNNING and not _is_driven(record):
                self.store.nights.end(self.lab, record.night, RunStatus.INTERRUPTED, time.time(), None)
        close_left(self.store)
        for run in self.runs(NightRole.MEASURE):
            if _night_of(run) != self.wish.night and run.status is not RunStatus.FINISHED and not _is_driven(run):
                # What did not fit into that night is measured in this one, with the files of today.
                close_run(self.store, run.id, resumable=False)
        self.store.nights.begin(
            NightRecord(
                self.wish.night,
                self.lab,
                time.time(),
                RunStatus.RUNNING,
                self.wish.until,
                host=me.host,
                pid=me.pid,
                pid_started=me.pid_started,
            )
        )

    def runs(self, role: NightRole, night: str | None = None) -> tuple[RunRecord, ...]:
        """Runs of this lab's nights, oldest first."""
        return tuple(
            run
            for run in self.store.runs()
            if run.lab == self.lab and NightRole.of(run.options) is role and (night is None or _night_of(run) == night)
        )

    # --- what it works with -------------------------------------------------------------------------------------------

    def _devices(self, attached: Sequence[Attached]) -> tuple[ResolvedDevice, ...]:
        inventory = self.loaded.inventory
        selection = Selection(self.wish.suite, tiers=self.wish.tiers)
        chosen = select_devices(inventory, selection, resolve_devices(inventory, attached))
        return tuple(device for device in chosen if usable(device.attached))

    def _files(self, devices: Sequence[ResolvedDevice]) -> Tonight:
        now = time.time()
        tonight = with_new_files(self.loaded, now)
        return with_pinned(self.store, tonight, devices, self.context.state_dir, now) if devices else tonight

    # --- the suite ----------------------------------------------------------------------------------------------------

    def _measure(self, tonight: Tonight, devices: tuple[ResolvedDevice, ...]) -> None:
        """Measure the suite, or what a killed night left of it."""
        begun = self.runs(NightRole.MEASURE, self.wish.night)
        if begun:
            for record in begun:
                if record.status is not RunStatus.FINISHED and not self.cancel.is_set():
                    self._go_on(record)
            return
        if self.cancel.is_set():
            return
        selection = Selection(self.wish.suite, tiers=self.wish.tiers)
        prepared = plan_of(tonight.loaded, selection, devices)
        suite = tonight.loaded.inventory.suites[self.wish.suite]
        options = {
            "repeats": RepeatPolicy.of(suite).to_json(),
            "gates": self.wish.gates,
            "force": False,
            "published": [asdict(figure) for figure in tonight.loaded.inventory.published],
            "nightly": {"night": self.wish.night, "role": NightRole.MEASURE.value},
        }
        record = replace(record_of(prepared), options=options)
        self.store.begin_run(record, prepared.plan.cases)
        self._carry_out(self._execution(prepared, record))

    def _go_on(self, record: RunRecord) -> None:
        try:
            execution = resuming.prepare(self.context, self.store, record)
        except NoDeviceError as error:
            self.notes.append(f"run {record.id} could not go on: {error}")
            close_run(self.store, record.id, resumable=False)
        else:
            self._carry_out(execution)

    def _execution(self, prepared: Prepared, record: RunRecord) -> Execution:
        cases = prepared.plan.of(CaseStatus.PLANNED)
        return Execution(self.context, self.store, prepared.loaded, record, prepared.devices, prepared.assets, cases)

    def _carry_out(self, execution: Execution) -> None:
        """Measure in the order of a night. A night whose time is up leaves nothing to resume: the next one begins with
        what this one did not reach."""
        past = past_of(self.store.measurements())
        ordered = replace(execution, cases=for_a_night(execution.cases, past))
        deadline = self._deadline()
        if deadline is not None:
            deadline -= margin_s(ordered.cases, self.store.median_durations(), deadline - time.monotonic())
        ordered.measure(self.cancel, deadline=deadline, in_order=True)
        close_run(self.store, execution.record.id, resumable=self.asked.is_set())

    # --- time ---------------------------------------------------------------------------------------------------------

    def _deadline(self) -> float | None:
        """Monotonic second by which the night has to be over."""
        return None if self.wish.until is None else time.monotonic() + self.wish.until - time.time()

    def _time_limit(self) -> _TimeLimit:
        left = None if self.wish.until is None else self.wish.until - time.time()
        return _TimeLimit(self.asked, self.cancel, left)

    def judged(self) -> Judged:
        """What the nights say as of this one."""
        nightly = self.loaded.inventory.nightly
        return judge_lab(
            self.store,
            self.lab,
            nightly.metrics,
            upto=self.wish.night,
            wanted=nightly.pairs,
            drift_limit=nightly.drift_limit,
        )


class _TimeLimit:
    """Sets `cancel` when `asked` is set or the time is up: what runs then is ended in order."""

    def __init__(self, asked: threading.Event, cancel: threading.Event, left_s: float | None) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._wait, args=(asked, cancel, left_s), daemon=True)

    def _wait(self, asked: threading.Event, cancel: threading.Event, left_s: float | None) -> None:
        deadline = None if left_s is None else time.monotonic() + left_s
        while not self._over.wait(0.2):
            if asked.is_set() or (deadline is not None and time.monotonic() > deadline):
                cancel.set()
                return

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()


def _is_driven(record: NightRecord | RunRecord) -> bool:
    """Whether a living process is at it: another host of the same lab, or `farm resume`."""
    running = record.status is RunStatus.RUNNING
    return running and is_alive(record.host, record.pid, record.pid_started)


def _night_of(run: RunRecord) -> str:
    return str(run.options["nightly"].get("night"))

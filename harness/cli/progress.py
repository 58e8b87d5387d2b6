"""The live view of a run, on standard error: one line per phone on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from harness.events import Activity
from harness.model import MEGABYTE, NOT_A_PHONE, DeviceKind, ErrorInfo, PlannedCase

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table


class LiveReporter:
    """A Reporter that draws; use it as a context manager.

    Args:
        console: on standard error.
        cases: every planned measurement, for counts and the estimate of the time left.
        kinds: device id → kind, so that virtual phones are marked.
        verbosity: -1 shows only failures, 0 one line per measurement, 1 every change of step and tenth of a push.
    """

    def __init__(
        self, console: Console, cases: Sequence[PlannedCase], kinds: Mapping[str, DeviceKind], verbosity: int
    ) -> None:
        self._console = console
        self._kinds = kinds
        self._verbosity = verbosity
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._total = {device: sum(case.device_id == device for case in cases) for device in kinds}
        self._done = dict.fromkeys(kinds, 0)
        self._now: dict[str, Activity] = {device: Activity(device, note="starting") for device in kinds}
        self._temperature: dict[str, float] = {}
        self._live: Live | None = None

    def __enter__(self) -> LiveReporter:
        if self._console.is_terminal and self._verbosity >= 0:
            from rich.live import Live

            self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def activity(self, activity: Activity) -> None:
        with self._lock:
            before = self._now.get(activity.device_id)
            self._now[activity.device_id] = activity
            if activity.temperature_c is not None:
                self._temperature[activity.device_id] = activity.temperature_c
        changed = before is None or _stage(before) != _stage(activity)
        if changed and self._verbosity > 0 and self._live is None:
            self._console.print(f"{activity.device_id}: {_words(activity)}", markup=False, highlight=False)

    def finished(self, case: PlannedCase, error: ErrorInfo | None, headline: str) -> None:
        with self._lock:
            self._done[case.device_id] = self._done.get(case.device_id, 0) + 1
        if self._verbosity < 0 and error is None:
            return
        mark = _mark(case.kind)
        line = (
            f"{case.device_id}{mark}  {case.model.id}  {case.runner.id}  {case.workload_id} #{case.repeat}  {headline}"
        )
        if error is not None:
            line += f": {error.message}" + (f"\n    what to do: {error.advice}" if error.advice else "")
        self._console.print(line, markup=False, highlight=False, style="red" if error else None)

    def note(self, device_id: str, text: str) -> None:
        self._console.print(f"{device_id}: {text}", markup=False, highlight=False, style="yellow")

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 1), show_edge=False)
        for title in ("phone", "done", "step", "", "°C", "left"):
            table.add_column(title, no_wrap=True, justify="right" if title in ("done", "°C", "left") else "left")
        with self._lock:
            for device, activity in self._now.items():
                temperature = self._temperature.get(device)
                cells = (
                    device + _mark(self._kinds[device]),
                    f"{self._done[device]}/{self._total[device]}",
                    activity.step.value if activity.step else "",
                    _words(activity),
                    "" if temperature is None else f"{temperature:.1f}",
                    self._left(device),
                )
                table.add_row(*(Text(cell) for cell in cells))
        return table

    def _left(self, device: str) -> str:
        done, total = self._done[device], self._total[device]
        if not done or done == total:
            return ""
        seconds = (time.monotonic() - self._started) / done * (total - done)
        return f"{int(seconds // 60)}:{int(seconds % 60):02d}"


def _mark(kind: DeviceKind) -> str:
    return f" ({NOT_A_PHONE[kind]})" if kind in NOT_A_PHONE else ""


def _stage(activity: Activity) -> tuple[object, ...]:
    """What makes a line of its own where lines stay: a step, a note, a tenth of a push."""
    return activity.step, activity.note, 10 * activity.done // activity.total if activity.total else None


def _words(activity: Activity) -> str:
    parts: list[str] = []
    if activity.case is not None:
        parts.append(f"{activity.case.model.id} {activity.case.workload_id} #{activity.case.repeat}")
    if activity.total:
        share = 100 * activity.done / activity.total
        parts.append(f"{activity.done / MEGABYTE:.0f}/{activity.total / MEGABYTE:.0f} MB {share:.0f} %")
    if activity.step is not None and not activity.total:
        parts.append(activity.step.value)
    if activity.note:
        parts.append(activity.note)
    return "  ".join(parts)

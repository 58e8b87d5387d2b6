"""One job while it runs: its end, its output and what the phone shows beside it, kept in a folder of this host.

Runs in the worker. The app's own events in its Documents are the truth; what is kept here is the second series:

    samples    JSON lines, stamped with this host's monotonic clock ("at"); looks at both clocks stand between them
    log        what the app prints
    end.json   how it ended, as soon as that is known
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from device_agents.ios.client.instruments import Instruments

SAMPLES, LOG, END = "samples", "log", "end.json"

HEAD = {"farm_samples": "ios", "version": 1}
"""First line of the samples."""

USAGE_S = 1.0
BATTERY_S = 5.0
"""Between two looks at the battery, whose values change every 20 s: an unchanged `UpdateTime` is no new sample."""

CLOCK_S = 20.0

ALIVE_S = 5.0
"""Between two questions whether the process is still there: its end might not be told."""

KILLED_S = 5.0
"""How long the phone may take to tell the end of a process that was killed at its limit."""

_SIGKILL = 9
LOG_BYTES_MAX = 4 * 1024 * 1024

_BATTERY_KEYS = (
    "UpdateTime",
    "InstantAmperage",
    "Voltage",
    "Temperature",
    "CurrentCapacity",
    "MaxCapacity",
    "AppleRawCurrentCapacity",
    "AppleRawMaxCapacity",
    "DesignCapacity",
    "CycleCount",
    "IsCharging",
    "FullyCharged",
    "ExternalConnected",
)


class Watch:
    """Follows the process `pid`; 0: nothing runs on the phone, which is only looked at until `end` is called.

    Args:
        folder: of this host, for what is kept.
        battery: asks for the battery.
        sampled: whether the phone is looked at beside the job.
    """

    def __init__(
        self, pid: int, folder: Path, battery: Callable[[], Awaitable[Mapping[str, Any]]], *, sampled: bool
    ) -> None:
        self.pid = pid
        self.live: dict[str, float] = {}
        self.ended = asyncio.Event()
        self.lost = asyncio.Event()
        self._folder = folder
        self._battery = battery
        self._sampled = sampled
        self._updated: object = None
        self._tasks: list[asyncio.Task[None]] = []
        self._log_left = LOG_BYTES_MAX
        self._limited = False
        folder.mkdir(parents=True, exist_ok=True)
        if sampled and not (folder / SAMPLES).exists():
            self.note({**HEAD, "pid": pid})

    def follow(self, instruments: Instruments | None, *, limit_s: float) -> None:
        """Begin, or go on after a lost connection; the process is ended `limit_s` seconds from now."""
        self._stop()
        self.lost.clear()
        begin = asyncio.create_task
        if self._sampled:
            self._tasks.append(begin(self._look_at_battery()))
        if instruments is None:
            return
        self._tasks += [
            begin(self._await_end(instruments)),
            begin(self._look_whether_alive(instruments)),
            begin(self._guard(instruments, limit_s)),
        ]
        if self._sampled:
            self._tasks += [begin(self._keep_looking_at_clock(instruments)), begin(self._look_at_process(instruments))]

    def take_output(self, text: str) -> None:
        """What the app prints, up to a limit."""
        data = text.encode("utf-8", "replace")[: self._log_left]
        self._log_left -= len(data)
        if data:
            with (self._folder / LOG).open("ab") as log:
                log.write(data if data.endswith(b"\n") else data + b"\n")

    def end(self, exit_code: int | None, signal: int | None, by: str) -> None:
        """Write down how it ended."""
        if not self.ended.is_set():
            write_end(self._folder, exit_code, signal, "limit" if self._limited else by)
            self.ended.set()
        self._stop()

    def stop(self) -> None:
        """Stop looking."""
        self._stop()

    def note(self, line: Mapping[str, Any]) -> None:
        """Append a line to the samples: one write, so that a reader never sees half of one but at the very end."""
        with (self._folder / SAMPLES).open("ab", buffering=0) as samples:
            samples.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def _stop(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            if task is not asyncio.current_task():
                task.cancel()

    async def _await_end(self, instruments: Instruments) -> None:
        try:
            exit_code, signal = await instruments.ending(self.pid)
        except Exception:  # noqa: BLE001 - whatever it was, the connection is of no use any more
            self.lost.set()
            return
        if self._sampled:
            with suppress(Exception):
                await asyncio.wait_for(self.look_at_clock(instruments), 2.0)
        self.end(exit_code, signal, "exit")

    async def _look_whether_alive(self, instruments: Instruments) -> None:
        """A process that is gone, looked for twice, and whose end was not told is lost from sight."""
        missed = 0
        with suppress(Exception):
            while missed < 2:
                await asyncio.sleep(ALIVE_S)
                missed = 0 if await instruments.is_running(self.pid) else missed + 1
            self.lost.set()

    async def _guard(self, instruments: Instruments, limit_s: float) -> None:
        await asyncio.sleep(limit_s)
        with suppress(Exception):
            # The end that this brings about is ours.
            self._limited = True
            await instruments.kill(self.pid)
            # It may still be going: its end is written down when the phone tells it, which cancels this task.
            await asyncio.sleep(KILLED_S)
            self.end(None, _SIGKILL, "limit")

    async def _look_at_process(self, instruments: Instruments) -> None:
        with suppress(Exception):
            async for seen in instruments.usage(self.pid, USAGE_S):
                self.note({"k": "process", "at": time.monotonic(), **seen})
                if "footprint" in seen:
                    self.live["memory_mb"] = seen["footprint"] / 1e6

    async def _keep_looking_at_clock(self, instruments: Instruments) -> None:
        with suppress(Exception):
            while True:
                await self.look_at_clock(instruments)
                await asyncio.sleep(CLOCK_S)

    async def look_at_clock(self, instruments: Instruments) -> None:
        """Note the phone's uptime between two readings of this host's clock."""
        before = time.monotonic()
        uptime_s = await instruments.uptime_s()
        self.note({"k": "clock", "before": before, "uptime": uptime_s, "after": time.monotonic()})

    async def _look_at_battery(self) -> None:
        while True:
            # A phone that is unplugged for a moment is asked again.
            with suppress(Exception):
                self._take_battery(await self._battery())
            await asyncio.sleep(BATTERY_S)

    def _take_battery(self, seen: Mapping[str, Any]) -> None:
        update = seen.get("UpdateTime")
        if update is None or update == self._updated:
            return
        self._updated = update
        kept = {name: seen[name] for name in _BATTERY_KEYS if isinstance(seen.get(name), int | float)}
        self.note({"k": "battery", "at": time.monotonic(), "now": time.time(), "of": kept})
        temperature = kept.get("Temperature")
        if isinstance(temperature, int | float):
            self.live["temperature_c"] = temperature / 100
        level = kept.get("CurrentCapacity")
        if isinstance(level, int | float):
            self.live["battery_level_pct"] = float(level)


def write_end(folder: Path, exit_code: int | None, signal: int | None, by: str) -> None:
    """Write down how a job ended, whole or not at all."""
    part = folder / f"{END}.part"
    part.write_text(json.dumps({"exit_code": exit_code, "signal": signal, "by": by}), encoding="utf-8")
    part.replace(folder / END)


def read_end(folder: Path) -> dict[str, Any] | None:
    """How a job ended, None while that is not known."""
    try:
        found = json.loads((folder / END).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None

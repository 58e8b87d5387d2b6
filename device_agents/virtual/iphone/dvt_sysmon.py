"""`sysmontap`: what every process and the whole phone use, sampled and sent at a steady pace.

Shapes as seen from real phones by pymobiledevice3, tidevice and idb: an array with one record of the system (type 41)
and one of the processes (type 5), whose values stand in the order of the attributes that the client named.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device_agents.virtual.iphone import machtime
from device_agents.virtual.iphone.dtx import Channel, ChannelService, Method
from device_agents.virtual.iphone.keyed import Coded
from device_agents.virtual.iphone.phone import Iphone
from device_agents.virtual.iphone.process import Process

IDENTIFIER = "com.apple.instruments.server.services.sysmontap"
CAPABILITIES = {
    IDENTIFIER: 3,
    f"{IDENTIFIER}.deferred": 1,
    f"{IDENTIFIER}.immediate": 1,
    f"{IDENTIFIER}.processes": 1,
    f"{IDENTIFIER}.system": 1,
    f"{IDENTIFIER}.windowed": 1,
}
PROCESS_ATTRIBUTES = (
    "pid",
    "name",
    "comm",
    "execName",
    "ppid",
    "uid",
    "pgid",
    "nice",
    "appSleep",
    "threadCount",
    "cpuUsage",
    "cpuTotalUser",
    "cpuTotalSystem",
    "physFootprint",
    "memResidentSize",
    "memVirtualSize",
    "memAnon",
    "ctxSwitch",
    "faults",
    "diskBytesRead",
    "diskBytesWritten",
    "procAge",
)
"""Those that this machine can measure for a process of its own; a real phone has about fifty."""

SYSTEM_ATTRIBUTES = ("physMemSize", "vmFreeCount", "vmUsedCount")
PAGE_BYTES = 16384
LAUNCHD = "/sbin/launchd"
MOBILE = 501
"""The user that runs apps."""

_SYSTEM_TYPE, _PROCESS_TYPE = 41, 5
_HOST_PAGE_BYTES = 4096
_TICK_NS = 10_000_000
_SHORTEST_S = 0.02
_COMM_CHARS = 15
_HEADER = {"k": 0, "tv": 65536}
_HEARTBEAT = 8


def executable(phone: Iphone, process: Process) -> str:
    """Where a phone would say that the process's program is."""
    app = phone.apps.get(process.bundle)
    folder = f"{app.folder.parent.name}/{app.folder.name}" if app is not None else process.bundle
    return f"/private/var/containers/Bundle/Application/{folder}/{process.name}"


@dataclass(frozen=True, slots=True)
class Config:
    """What a client asked for. `period_s`: between two messages."""

    period_s: float = 1.0
    processes: tuple[str, ...] = ()
    system: tuple[str, ...] = ()

    @classmethod
    def read(cls, asked: Any) -> Config:
        """From the dictionary of `setConfig:`; what makes no sense counts as not said."""
        asked = asked if isinstance(asked, dict) else {}
        shown_ms, sampled_ns = asked.get("ur"), asked.get("sampleInterval")
        periods = [shown_ms / 1e3 if _is_number(shown_ms) else 0.0, sampled_ns / 1e9 if _is_number(sampled_ns) else 0.0]
        return cls(
            period_s=max(_SHORTEST_S, *periods),
            processes=tuple(str(name) for name in asked.get("procAttrs") or ()),
            system=tuple(str(name) for name in asked.get("sysAttrs") or ()),
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(slots=True)
class Meter:
    """Turns what the phone's processes have used into records; the load of a process is known from its second one."""

    phone: Iphone
    config: Config
    _before: dict[int, tuple[float, float]] | None = None
    _since: int = field(default_factory=machtime.absolute)

    def records(self) -> list[dict[str, Any]]:
        began, self._since = self._since, machtime.absolute()
        times = {"StartMachAbsTime": began, "EndMachAbsTime": self._since}
        first = self._before is None
        found = self._measure()
        records: list[dict[str, Any]] = []
        if self.config.system:
            load_pct = None if first else sum(values["cpuUsage"] or 0.0 for values in found)
            records.append({**self._system(load_pct), "Type": _SYSTEM_TYPE, **times})
        if self.config.processes:
            launchd = {"pid": 1, "name": "launchd", "comm": "launchd", "execName": LAUNCHD, "ppid": 0, "uid": 0}
            rows = {row["pid"]: [row.get(name) for name in self.config.processes] for row in (launchd, *found)}
            records.append({"Processes": rows, "Type": _PROCESS_TYPE, **times})
        return records

    def _system(self, load_pct: float | None) -> dict[str, Any]:
        usage = self.phone.system_usage()
        values = {
            "physMemSize": usage["ram_bytes"],
            "vmFreeCount": (usage["ram_bytes"] - usage["used_bytes"]) // PAGE_BYTES,
            "vmUsedCount": usage["used_bytes"] // PAGE_BYTES,
        }
        record = {
            "CPUCount": usage["cores"],
            "EnabledCPUs": usage["cores"],
            "System": [values.get(name) for name in self.config.system],
        }
        if load_pct is not None:
            # iOS gives the sum over all cores, and -1 for the parts that it does not tell.
            rest = {"CPU_NiceLoad": 0.0, "CPU_UserLoad": -1.0, "CPU_SystemLoad": -1.0}
            record["SystemCPUUsage"] = {"CPU_TotalLoad": load_pct, **rest}
        return record

    def _measure(self) -> list[dict[str, Any]]:
        before, self._before = self._before or {}, {}
        found = []
        for process in self.phone.running():
            try:
                cpu_s, footprint = self.phone.usage(process.pid)
                counted = counters(process.pid)
            except ProcessLookupError:
                continue
            now = time.monotonic()
            self._before[process.pid] = (now, cpu_s)
            load_pct = None
            if process.pid in before and now > before[process.pid][0]:
                then, cpu_then_s = before[process.pid]
                load_pct = 100.0 * max(0.0, cpu_s - cpu_then_s) / (now - then)
            values = {"cpuUsage": load_pct, "physFootprint": footprint, **counted}
            found.append({**self._described(process), **values})
        return found

    def _described(self, process: Process) -> dict[str, Any]:
        return {
            "pid": process.pid,
            "name": process.name,
            "comm": process.name[:_COMM_CHARS],
            "execName": executable(self.phone, process),
            "ppid": 1,
            "uid": MOBILE,
            "pgid": process.pid,
            "appSleep": False,
            "procAge": int((time.time() - process.started) * 1e9),
        }


def counters(pid: int) -> dict[str, int]:
    """What the kernel of this machine counts for a process, by the names that sysmontap uses; times in nanoseconds.

    Raises:
        ProcessLookupError: there is no such process.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError as gone:
        raise ProcessLookupError(f"no process {pid}") from gone
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    found = {
        "faults": int(stat[7]) + int(stat[9]),
        "cpuTotalUser": int(stat[11]) * _TICK_NS,
        "cpuTotalSystem": int(stat[12]) * _TICK_NS,
        "nice": int(stat[16]),
        "threadCount": int(stat[17]),
        "memVirtualSize": int(stat[20]),
        "memResidentSize": int(stat[21]) * _HOST_PAGE_BYTES,
    }
    if "RssAnon" in lines:
        found["memAnon"] = int(lines["RssAnon"].split()[0]) * 1024
    switches = [lines.get("voluntary_ctxt_switches"), lines.get("nonvoluntary_ctxt_switches")]
    if None not in switches:
        found["ctxSwitch"] = sum(int(count) for count in switches if count is not None)
    return {**found, **_disk(pid)}


def _disk(pid: int) -> dict[str, int]:
    try:
        text = Path(f"/proc/{pid}/io").read_text(encoding="utf-8")
    except OSError:
        return {}
    lines = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    names = {"diskBytesRead": "read_bytes", "diskBytesWritten": "write_bytes"}
    return {name: int(lines[key]) for name, key in names.items() if key in lines}


class Sysmontap(ChannelService):
    """One client's channel."""

    def __init__(self, phone: Iphone, channel: Channel) -> None:
        super().__init__(channel)
        self._phone = phone
        self._config = Config()
        self._sampling: asyncio.Task[None] | None = None

    def methods(self) -> Mapping[str, Method]:
        return {"setConfig:": self._set_config, "start": self._start, "stop": self._stop}

    async def _set_config(self, asked: Any) -> None:
        self._config = Config.read(asked)

    async def _start(self) -> None:
        await self._stop()
        self._sampling = self.spawn(self._sample())

    async def _stop(self) -> None:
        sampling, self._sampling = self._sampling, None
        if sampling is not None:
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)

    async def _sample(self) -> None:
        await self.channel.send(_tap_message("DTSysmonTapMessage", _HEADER))
        if "sysmontap_empty" in self._phone.faults:
            await self.channel.cancel()
            return
        await self.channel.send(_tap_message("DTTapHeartbeatMessage", {"k": _HEARTBEAT, "heart": machtime.absolute()}))
        meter = Meter(self._phone, self._config)
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if records := meter.records():
                await self.channel.send(records)
            # A late message makes no other one late.
            due = max(due + self._config.period_s, loop.time())
            await asyncio.sleep(due - loop.time())


def _tap_message(name: str, content: Mapping[str, Any]) -> Coded:
    return Coded((name, "DTTapMessage", "NSObject"), {"DTTapMessagePlist": content})

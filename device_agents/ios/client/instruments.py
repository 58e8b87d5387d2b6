"""The developer services of one iPhone: launching and ending apps, what they use, and the phone's clock."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pymobiledevice3 import exceptions as library
from pymobiledevice3.dtx import DTXContext, DTXQueue, dtx_on_invoke
from pymobiledevice3.services.dvt.instruments.device_info import DeviceInfo
from pymobiledevice3.services.dvt.instruments.dvt_provider import DvtProvider
from pymobiledevice3.services.dvt.instruments.process_control import ProcessControl, ProcessControlService
from pymobiledevice3.services.dvt.instruments.sysmontap import Sysmontap
from pymobiledevice3.tunneld.api import get_tunneld_device_by_udid

from device_agents.ios.failures import Refused

Ending = tuple[int | None, int | None]
"""Exit code and signal of a process, as far as the phone tells."""

_TUNNEL_S, _TUNNEL_LOOK_S = 6.0, 0.5
"""How long a tunneld may take to make a tunnel to a phone that has just been plugged in, and how often it is asked."""

_EARLY_MAX = 200
"""Lines of output that are kept of a process before anybody asked for them."""

_WANTED = ("pid", "name", "cpuUsage", "physFootprint")


class _Service(ProcessControlService):
    """The library only logs the end of a process; here it can be waited for."""

    def __init__(self, ctx: DTXContext) -> None:
        super().__init__(ctx)
        self.endings: Any = DTXQueue()

    def on_closed(self, reason: str = "") -> None:
        self.shutdown_queue(self.endings)
        super().on_closed(reason)

    @dtx_on_invoke("processWithPID:terminatedWithExitCode:orCrashingSignal:")
    async def _on_process_terminated(self, pid: Any, exit_code: Any, crashing_signal: Any) -> None:
        await self.endings.put((int(pid), _whole(exit_code), _whole(crashing_signal)))


class _Control(ProcessControl):
    pass


# What the library infers from the base class would be the service of that one.
_Control._inferred_service_class = _Service


class Instruments:
    """One connection to the developer services, kept for as long as it lasts: each costs the phone descriptors."""

    def __init__(self, udid: str, tunneld: str) -> None:
        self._udid = udid
        self._tunneld = tunneld
        self._own_tunnel: Any = None
        self._rsd: Any = None
        self._provider: Any = None
        self._control: Any = None
        self._info: Any = None
        self._endings: dict[int, asyncio.Future[Ending]] = {}
        self._sinks: dict[int, Callable[[str], None]] = {}
        self._early: deque[tuple[int, str]] = deque(maxlen=_EARLY_MAX)
        self._tasks: list[asyncio.Task[None]] = []
        self._opening = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        return self._provider is not None

    async def open(self, lockdown: Any, *, tunnel: bool) -> None:
        """Connect, over `lockdown` or through a tunnel."""
        async with self._opening:
            if self.is_open:
                return
            provider = DvtProvider(await self.tunnel() if tunnel else lockdown)
            try:
                await provider.connect()
                control: Any = _Control(provider)
                info: Any = DeviceInfo(provider)
                await control.connect()
                await info.connect()
            except BaseException:
                with suppress(Exception):
                    await provider.close()
                await self._forget_tunnel()
                raise
            self._provider, self._control, self._info = provider, control, info
            self._tasks = [
                asyncio.create_task(self._take_endings(control.service)),
                asyncio.create_task(self._take_output(control)),
                asyncio.create_task(self._await_loss(provider)),
            ]

    async def tunnel(self) -> Any:
        """The phone's remote services, through the tunneld that is named or a tunnel of this process."""
        if self._rsd is not None:
            return self._rsd
        if self._tunneld:
            host, _, port = self._tunneld.rpartition(":")
            # A proxy of this host has nothing to do with it.
            os.environ["NO_PROXY"] = ",".join(filter(None, (os.environ.get("NO_PROXY", ""), host)))
            until = time.monotonic() + _TUNNEL_S
            while self._rsd is None:
                with suppress(IndexError):
                    # The library finds none in its own list of those that answered.
                    self._rsd = await get_tunneld_device_by_udid(self._udid, (host, int(port)))
                if self._rsd is None and time.monotonic() > until:
                    raise Refused("tunnel", f"the tunneld at {self._tunneld} has none for this phone that answers")
                await asyncio.sleep(0 if self._rsd is not None else _TUNNEL_LOOK_S)
            return self._rsd
        from pymobiledevice3.remote.userspace_tunnel import UserspaceRsdTunnel

        own = UserspaceRsdTunnel(serial=self._udid, autopair=False, remotepairing_fallback=False)
        try:
            self._rsd = await own.aopen()
        except library.InvalidServiceError as refused:
            raise Refused("tunnel", str(refused)) from refused
        self._own_tunnel = own
        return self._rsd

    async def close(self) -> None:
        """Give the connection up; whoever waits for the end of a process learns that."""
        provider, self._provider, self._control, self._info = self._provider, None, None, None
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            if task is not asyncio.current_task():
                task.cancel()
        endings, self._endings = self._endings, {}
        for ending in endings.values():
            if not ending.done():
                ending.set_exception(library.ConnectionTerminatedError())
                # Nobody may be waiting.
                ending.exception()
        if provider is not None:
            with suppress(Exception):
                await provider.close()
        await self._forget_tunnel()

    async def _forget_tunnel(self) -> None:
        own, rsd, self._own_tunnel, self._rsd = self._own_tunnel, self._rsd, None, None
        for each in (own, None if own is not None else rsd):
            if each is not None:
                with suppress(Exception):
                    await (each.aclose() if each is own else each.close())

    # --- apps ---------------------------------------------------------------------------------------------------------

    async def launch(self, bundle: str, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
        """Start an app, ending one of it that runs; returns its pid."""
        self._early.clear()
        launched = await self._controlled().launch(
            bundle, arguments=list(arguments), environment=dict(environment), kill_existing=True
        )
        return int(launched)

    async def observe(self, pid: int, sink: Callable[[str], None]) -> None:
        """Be told of a process's end; `sink` gets what it prints, also what it has printed since its launch."""
        self._sinks[pid] = sink
        for early, text in self._early:
            if early == pid:
                sink(text)
        self._early.clear()
        self._ending(pid)
        await self._controlled().service.startObservingPid_(pid)

    async def ending(self, pid: int) -> Ending:
        """Wait for the end of an observed process; raises cut when the connection is lost before."""
        return await asyncio.shield(self._ending(pid))

    async def is_running(self, pid: int) -> bool:
        return bool(await self._informed().is_running_pid(pid))

    async def pid_of(self, bundle: str) -> int:
        """Of the app's process that runs, 0 when none does."""
        return int(await self._controlled().process_identifier_for_bundle_identifier(bundle) or 0)

    async def kill(self, pid: int) -> None:
        await self._controlled().kill(pid)

    # --- what the phone shows -----------------------------------------------------------------------------------------

    async def uptime_s(self) -> float:
        """Seconds since the boot; with the time asleep, as the app's own stamps, where this iOS tells it."""
        told = list(await self._informed().mach_time_info())
        ticks = told[3] if len(told) > 3 and isinstance(told[3], int) else told[0]
        return int(ticks) * int(told[1]) / int(told[2]) / 1e9

    async def usage(self, pid: int, interval_s: float) -> AsyncIterator[dict[str, float]]:
        """What a process uses: footprint (bytes) and cpu (% of one core), as often as the phone tells."""
        available = await self._informed().sysmon_process_attributes()
        attributes = [name for name in _WANTED if name in available]
        async with Sysmontap(self._provided(), attributes, [], interval_ms=round(interval_s * 1000)) as tap:
            async for rows in tap.iter_processes():
                for row in rows:
                    if int(row.get("pid") or 0) == pid:
                        seen = {"footprint": row.get("physFootprint"), "cpu": row.get("cpuUsage")}
                        yield {name: float(value) for name, value in seen.items() if isinstance(value, int | float)}

    async def load_pct(self, interval_s: float) -> float | None:
        """CPU time of everything on the phone over one interval, % of all cores."""
        # Without an attribute of the system there is no record of it.
        system = list(await self._informed().sysmon_system_attributes())[:1]
        async with Sysmontap(self._provided(), ["pid"], system, interval_ms=round(interval_s * 1000)) as tap:
            looks = 0
            async for row in tap:
                # What is no record of samples comes as the keys of a message.
                usage = row.get("SystemCPUUsage") if isinstance(row, dict) else None
                if not isinstance(usage, dict):
                    continue
                looks += 1
                total, cores = usage.get("CPU_TotalLoad"), row.get("EnabledCPUs") or row.get("CPUCount")
                # The first one reaches back to before we asked.
                if looks > 1:
                    if isinstance(total, int | float) and isinstance(cores, int) and cores > 0:
                        return float(total) / cores
                    return None
        return None

    # --- inside -------------------------------------------------------------------------------------------------------

    def _provided(self) -> Any:
        if self._provider is None:
            raise library.ConnectionTerminatedError()
        return self._provider

    def _controlled(self) -> Any:
        self._provided()
        return self._control

    def _informed(self) -> Any:
        self._provided()
        return self._info

    def _ending(self, pid: int) -> asyncio.Future[Ending]:
        self._provided()
        return self._endings.setdefault(pid, asyncio.get_running_loop().create_future())

    async def _take_endings(self, service: Any) -> None:
        with suppress(Exception):
            while True:
                pid, exit_code, signal = await service.endings.get()
                future = self._ending(pid)
                if not future.done():
                    future.set_result((exit_code, signal))
                self._sinks.pop(pid, None)

    async def _take_output(self, control: Any) -> None:
        with suppress(Exception):
            async for event in control:
                sink = self._sinks.get(int(event.pid))
                if sink is None:
                    self._early.append((int(event.pid), str(event.message)))
                else:
                    sink(str(event.message))

    async def _await_loss(self, provider: Any) -> None:
        await provider.dtx.wait_disconnected()
        if self._provider is provider:
            await self.close()


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, int) else None

"""All iPhones of a lab in one process: their muxer, their services, their bodies, and the orders of whoever tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from device_agents.virtual import record
from device_agents.virtual.duty import PERIOD_S, DutyCycle
from device_agents.virtual.errors import LabError
from device_agents.virtual.iphone import afc_services, control, diagnostics, dvt, images, installation, profiles, syslog
from device_agents.virtual.iphone.lockdown import PORT, Lockdown
from device_agents.virtual.iphone.mux import Muxer
from device_agents.virtual.iphone.phone import Iphone
from device_agents.virtual.iphone.ports import Ports
from device_agents.virtual.iphone.services import Registry, Service
from device_agents.virtual.iphone.tunnels import Tunnels

TICK_S = 0.2
_OWNER_LOOK_S = 0.5
_SOCKET_PATH_LIMIT = 100
REBOOT_S = 0.5
"""How long a phone is away when it restarts; a real one needs half a minute."""


class Server:
    """One lab's iPhones. `config`: `phones` (each `udid`, `profile`, `id`, and perhaps `faults`, `apps`, `name`) and
    `owner` (process with which the lab ends: its pid and start time; null: none; the parent when it is not said)."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder = folder
        self.phones: dict[str, Iphone] = {}
        self.lockdowns: dict[str, Lockdown] = {}
        self.registry = Registry()
        self.muxer = Muxer(folder / "pair-records")
        self.stopped = asyncio.Event()
        self._config = config
        self.tunnels = Tunnels()
        self._doors: list[tuple[Iphone, Service]] = []
        self._duty = DutyCycle(os.killpg)
        self._tasks: list[asyncio.Task[None]] = []
        self._orders: asyncio.Server | None = None
        self._control = folder / "control"
        self._restarting: set[asyncio.Task[None]] = set()
        self.registry.add(
            *afc_services.SERVICES,
            *installation.SERVICES,
            *diagnostics.SERVICES,
            *images.SERVICES,
            *syslog.SERVICES,
            *dvt.services(),
        )

    async def start(self) -> None:
        """Bring everything up and write ready.json.

        Raises:
            LabError, OSError: it cannot be.
        """
        for wanted in self._config["phones"]:
            await self._add(wanted)
        await self.muxer.start()
        await self.tunnels.start(self._doors, self.registry)
        if len(str(self._control)) > _SOCKET_PATH_LIMIT:
            self._control = Path(tempfile.mkdtemp(prefix="farm-iphones-")) / "control"
        self._control.unlink(missing_ok=True)
        self._orders = await asyncio.start_unix_server(self._take_orders, path=str(self._control))
        self._tasks = [asyncio.create_task(self._simulate()), asyncio.create_task(self._hold_back())]
        owner = self._config["owner"] if "owner" in self._config else record.identity(os.getppid())
        if owner is not None:
            self._tasks.append(asyncio.create_task(self._end_with(owner)))
        for task in self._tasks:
            task.add_done_callback(self._ended)
        self._write_ready()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A lab whose phones stand still must not look as if it were up."""
        wrong = None if task.cancelled() else task.exception()
        if wrong is not None:
            traceback.print_exception(wrong)
            self.stopped.set()

    def _write_ready(self) -> None:
        content = {
            "usbmux": f"127.0.0.1:{self.muxer.port}",
            "tunneld": self.tunnels.address,
            "control": str(self._control),
            "pid": os.getpid(),
            "process": record.identity(os.getpid()),
            "phones": [self.describe(phone) for phone in self.phones.values()],
        }
        temporary = self.folder / "ready.new"
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
        temporary.replace(self.folder / "ready.json")

    async def _add(self, wanted: dict[str, Any]) -> None:
        udid = str(wanted["udid"])
        if udid in self.phones:
            raise LabError(f"two iPhones with the UDID {udid!r}")
        folder = self.folder / "phones" / str(wanted["id"])
        folder.mkdir(parents=True, exist_ok=True)
        profile = profiles.load(str(wanted["profile"]))
        phone = Iphone(udid, replace(profile, name=str(wanted.get("name") or profile.name)), folder)
        phone.restart_asked = lambda: self.restart_soon(phone)
        ports = Ports()
        lockdown = await asyncio.to_thread(Lockdown, phone, self.registry, ports)
        door = Service("com.apple.mobile.lockdown", lockdown.serve, tls="none", before_unlock=True)
        ports.listen(PORT, door)
        self._doors.append((phone, door))
        self.phones[udid], self.lockdowns[udid] = phone, lockdown
        self.muxer.add(phone, ports)
        for package in wanted.get("apps", ()):
            await control.install(phone, str(package))
        for fault in wanted.get("faults", ()):
            await control.obey(self, {"order": str(fault), "udid": udid})

    async def stop(self) -> None:
        """End every app, connection and task."""
        for task in [*self._tasks, *self._restarting]:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._restarting, return_exceptions=True)
        if self._orders is not None:
            self._orders.close()
        await self.tunnels.stop()
        await self.muxer.stop()
        await asyncio.gather(*(phone.close() for phone in self.phones.values()))
        self._control.unlink(missing_ok=True)
        if self._control.parent != self.folder:
            self._control.parent.rmdir()
        (self.folder / "ready.json").unlink(missing_ok=True)

    # --- what goes on -------------------------------------------------------------------------------------------------

    async def _simulate(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            shares: dict[int, float] = {}
            for phone in self.phones.values():
                shares |= phone.tick()
            self._duty.set(shares, time.monotonic())
            due = max(due + TICK_S, loop.time())
            await asyncio.sleep(due - loop.time())

    async def _hold_back(self) -> None:
        """Apps on a hot phone run for the share of the time that the cap leaves."""
        while True:
            wait = self._duty.step(time.monotonic())
            await asyncio.sleep(min(wait, PERIOD_S if wait != float("inf") else TICK_S))

    async def _end_with(self, owner: list[int]) -> None:
        while record.is_alive(owner):
            await asyncio.sleep(_OWNER_LOOK_S)
        self.stopped.set()

    def restart_soon(self, phone: Iphone) -> None:
        """Restart a phone, as it was asked to over its own services."""
        task = asyncio.create_task(self.restart(phone))
        self._restarting.add(task)
        task.add_done_callback(self._restarting.discard)

    async def restart(self, phone: Iphone, *, locked: bool = False) -> None:
        """The phone goes away and comes back: nothing runs, the developer image is not mounted, and with a passcode
        it waits for its first unlock."""
        plugged = phone.plugged
        self.muxer.detach(phone)
        await phone.end_apps()
        phone.boot(locked=locked)
        await asyncio.sleep(REBOOT_S)
        if plugged:
            self.muxer.attach(phone)

    # --- orders -------------------------------------------------------------------------------------------------------

    async def _take_orders(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                try:
                    answer: dict[str, Any] = {"ok": True, "result": await control.obey(self, json.loads(line))}
                except LabError as wrong:
                    answer = {"ok": False, "message": wrong.message, "device": wrong.device, "advice": wrong.advice}
                except (ValueError, KeyError, TypeError, OSError) as wrong:
                    answer = {"ok": False, "message": f"cannot be done: {wrong!r}", "device": "", "advice": ""}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass
        finally:
            writer.close()

    def describe(self, phone: Iphone) -> dict[str, Any]:
        """What is to be known of a phone from outside."""
        state = phone.body.state
        return {
            "udid": phone.udid,
            "id": phone.folder.name,
            "profile": phone.profile.id,
            "title": phone.profile.title,
            "ios": phone.profile.ios_version,
            "folder": str(phone.folder),
            "plugged": phone.plugged,
            "connection": phone.connection,
            "faults": sorted(phone.faults),
            "apps": {bundle: str(phone.documents(bundle)) for bundle in phone.apps},
            "processes": [{"pid": known.pid, "bundle": known.bundle} for known in phone.running()],
            "battery_level": state.level_pct,
            "skin_c": state.skin_c,
            "cpu_c": state.cpu_c,
            "cap": state.cap,
            "load": state.load,
            "thermal_state": phone.thermal_state(),
            "charger": phone.body.wanted.charger,
        }


async def run(folder: Path, config: dict[str, Any]) -> int:
    """Serve a lab until it is told to end, or whoever started it is gone."""
    server = Server(folder, config)
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(signum, server.stopped.set)
    code = 0
    try:
        await server.start()
        await server.stopped.wait()
    except (LabError, OSError) as wrong:
        reason = f"{wrong.device}: {wrong}" if isinstance(wrong, LabError) and wrong.device else str(wrong)
        with contextlib.suppress(OSError):
            (folder / "failed.json").write_text(json.dumps({"reason": reason}), encoding="utf-8")
        code = 1
    finally:
        await server.stop()
    return code

"""The process behind a lab: `python -m device_agents.virtual.supervisor FOLDER`, started by `Lab.up`.

It owns the phones, their cables, the simulation and the adb server, and takes orders on a socket. Everything it started
ends with it, also when it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from device_agents.virtual import adbserver, fakes, profiles, record
from device_agents.virtual.errors import LabError
from device_agents.virtual.phone import PhoneSpec, VirtualPhone
from device_agents.virtual.record import Record
from device_agents.virtual.relay import Relay
from device_agents.virtual.simulator import TICK_S

READY_LIMIT_S = 60.0
_CONNECT_EVERY_S = 1.0
_SERVER_RETRY_S = 0.25
_SHELL_RETRY_S = 0.05
FAKE = ("unauthorized", "offline")
"""Behaviours of phones that nobody can use: no namespace is started for them."""


class Supervisor:
    """One lab."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self._folder = folder
        self._config = config
        self._state = Path(config["state"])
        self._record = Record(folder)
        self._phones: dict[str, VirtualPhone] = {}
        self._fakes: dict[str, tuple[PhoneSpec, asyncio.Server, int]] = {}
        self._listed: dict[str, str] = {}
        self._stop = asyncio.Event()
        self._cables_changed = asyncio.Event()
        self._phase = "starting"
        self._adb_port = 0
        self._adb: subprocess.Popen[bytes] | None = None
        self._connecting: dict[int, asyncio.Task[None]] = {}

    def _note(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - the lab's log file
        self._save()

    def _save(self, phase: str = "", reason: str = "") -> None:
        self._phase = phase or self._phase
        self._record.write(
            {
                "phase": self._phase,
                "reason": reason,
                "name": self._config["name"],
                "state": str(self._state),
                "supervisor": record.identity(os.getpid()),
                "adb_port": self._adb_port,
                "processes": [
                    known
                    for pid in [*(phone.pid for phone in self._phones.values()), self._adb.pid if self._adb else 0]
                    if pid and (known := record.identity(pid))
                ],
                "phones": [
                    *map(_describe, self._phones.values()),
                    *(_describe_fake(*fake) for fake in self._fakes.values()),
                ],
            }
        )

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(signum, self._stop.set)
        self._save("starting")
        server: asyncio.Server | None = None
        background: list[asyncio.Task[None]] = []
        code = 0
        try:
            await asyncio.wait_for(self._bring_up(background), READY_LIMIT_S)
            server = await asyncio.start_unix_server(self._take_orders, path=str(self._state / "control"))
            self._save("ready")
            await self._stop.wait()
        except (LabError, OSError, TimeoutError) as wrong:
            device = f"{wrong.device}: " if isinstance(wrong, LabError) and wrong.device else ""
            reason = f"{device}{wrong}" if str(wrong) else f"not ready within {READY_LIMIT_S:.0f} s"
            self._save("failed", reason)
            code = 1
        finally:
            if server is not None:
                server.close()
            await self._take_down(background)
        if code == 0:
            record.remove(self._folder, self._state)
        else:
            shutil.rmtree(self._state, ignore_errors=True)
        return code

    async def _bring_up(self, background: list[asyncio.Task[None]]) -> None:
        self._state.mkdir(mode=0o700, parents=True, exist_ok=True)
        listeners = {
            spec["id"]: [adbserver.listen() for _ in range(2 if spec["twin"] else 1)] for spec in self._config["phones"]
        }
        for wanted in self._config["phones"]:
            spec = PhoneSpec(
                wanted["id"],
                wanted["serial"],
                profiles.load(wanted["profile"]),
                frozenset(wanted["behaviours"]),
                wanted["twin"],
            )
            fake = next((name for name in FAKE if name in spec.behaviours), None)
            sockets = listeners[spec.id]
            if fake:
                self._fakes[spec.id] = (spec, await fakes.serve(sockets[0], fake), sockets[0].getsockname()[1])
                continue
            folder = self._folder / "phones" / spec.id
            folder.mkdir(parents=True, exist_ok=True)
            self._phones[spec.id] = VirtualPhone(
                spec,
                sockets,
                root=Path(self._config["root"]),
                state=self._state / spec.id,
                folder=folder,
                note=self._note,
            )
        await asyncio.gather(*(phone.start() for phone in self._phones.values()))
        background.append(asyncio.create_task(self._simulate()))
        self._adb_port, self._adb = await adbserver.start_anywhere(self._folder / "adb", self._folder / "adb.log")
        self._save()
        background.append(asyncio.create_task(self._mind_cables()))
        if self._config["owner"]:
            background.append(asyncio.create_task(self._end_with(self._config["owner"])))
        await asyncio.gather(*(self._shell_of(phone) for phone in self._phones.values()))

    async def _shell_of(self, phone: VirtualPhone) -> None:
        serial = f"127.0.0.1:{phone.relays[0].port}"
        while not await adbserver.shell_answers(self._adb_port, serial):
            if not phone.running and phone.failure:
                raise LabError(phone.failure, device=phone.spec.id)
            if self._adb is None or self._adb.poll() is not None:
                raise LabError(f"the adb server ended; it says why in {self._folder / 'adb.log'}")
            await asyncio.sleep(_SHELL_RETRY_S)

    async def _take_down(self, background: list[asyncio.Task[None]]) -> None:
        for task in [*background, *self._connecting.values()]:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        if self._adb is not None:
            self._adb.kill()
            self._adb.wait()
        for _, server, _ in self._fakes.values():
            server.close()
        await asyncio.gather(*(phone.close() for phone in self._phones.values()), return_exceptions=True)
        record.end_adb_servers(self._folder / "adb")

    async def _simulate(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            for phone in self._phones.values():
                phone.tick()
            due = max(due + TICK_S, loop.time())
            await asyncio.sleep(due - loop.time())

    async def _end_with(self, owner: list[int]) -> None:
        """Go down when the process that asked for the lab is gone."""
        while record.is_alive(owner):
            await asyncio.sleep(0.5)
        self._stop.set()

    # --- cables: a plugged phone is listed by whatever adb server runs on the lab's port, as one on USB is ---

    def _ports(self) -> dict[int, bool]:
        """Port → plugged, of every cable."""
        real = {relay.port: relay.plugged for phone in self._phones.values() for relay in phone.relays}
        return {**real, **{port: True for _, _, port in self._fakes.values()}}

    async def _mind_cables(self) -> None:
        connector = asyncio.create_task(self._keep_connected())
        try:
            while True:
                with contextlib.suppress(OSError):
                    async for listed in adbserver.track(self._adb_port):
                        self._listed = listed
                        self._cables_changed.set()
                self._listed = {}
                await asyncio.sleep(_SERVER_RETRY_S)
        finally:
            connector.cancel()

    async def _keep_connected(self) -> None:
        while True:
            for port, plugged in self._ports().items():
                if plugged and f"127.0.0.1:{port}" not in self._listed and port not in self._connecting:
                    self._connecting[port] = asyncio.create_task(self._plug_in(port))
            self._cables_changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._cables_changed.wait(), _CONNECT_EVERY_S)

    async def _plug_in(self, port: int) -> None:
        try:
            with contextlib.suppress(OSError):
                await adbserver.ask(self._adb_port, f"host:connect:127.0.0.1:{port}")
            await asyncio.sleep(_SHELL_RETRY_S)
        finally:
            self._connecting.pop(port, None)
            self._cables_changed.set()

    # --- orders -------------------------------------------------------------------------------------------------------

    async def _take_orders(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                try:
                    answer = {"ok": True, "result": await self._obey(json.loads(line))}
                except LabError as wrong:
                    answer = {"ok": False, "message": wrong.message, "device": wrong.device}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _obey(self, order: dict[str, Any]) -> Any:
        verb = order["op"]
        if verb == "status":
            return {
                "adb_server": self._adb is not None and self._adb.poll() is None,
                "listed": self._listed,
                "phones": self._status(),
            }
        if verb == "down":
            self._stop.set()
            return None
        if verb == "restart_adb":
            return await self._restart_adb()
        phone = self._phones.get(order["phone"])
        if phone is None:
            raise LabError(f"no running phone {order['phone']!r} in this lab", device=str(order["phone"]))
        relays = phone.relays if order.get("cable") is None else [phone.relays[order["cable"]]]
        match verb:
            case "unplug":
                await self._unplug(relays)
            case "kill_adbd":
                phone.order(op=verb)
            case "reboot":
                phone.reboot(order["reason"])
            case "update_os":
                phone.update_os(order["build"])
            case "suspend":
                phone.suspend(order["seconds"])
            case "low_memory_kill":
                phone.low_memory_kill(order["pid"])
            case "set":
                phone.set(**order["values"])
            case _:
                _turn(relays, order)
        self._cables_changed.set()
        return None

    async def _unplug(self, relays: Sequence[Relay]) -> None:
        for relay in relays:
            relay.unplug()
            with contextlib.suppress(OSError):
                await adbserver.ask(self._adb_port, f"host:disconnect:127.0.0.1:{relay.port}")

    async def _restart_adb(self) -> None:
        if self._adb is not None:
            self._adb.kill()
            await asyncio.to_thread(self._adb.wait)
        record.end_adb_servers(self._folder / "adb")
        self._adb = adbserver.start(self._adb_port, self._folder / "adb", self._folder / "adb.log")
        self._save()

    def _status(self) -> list[dict[str, Any]]:
        rows = []
        for phone in self._phones.values():
            truth = phone.simulator.state
            rows.append(
                {
                    **_describe(phone),
                    "battery_level": truth.level_pct,
                    "temperature_c": truth.cpu_c,
                    "skin_c": truth.skin_c,
                    "cap": truth.cap,
                    "load": truth.load,
                    "charger": phone.simulator.charger,
                }
            )
        return [*rows, *(_describe_fake(*fake) for fake in self._fakes.values())]


def _turn(relays: Sequence[Relay], order: dict[str, Any]) -> None:
    """Carry out an order that concerns cables only."""
    for relay in relays:
        match order["op"]:
            case "replug":
                relay.replug()
            case "stall":
                relay.stall(order["on"])
            case "link_rate":
                relay.limit(order["bytes_per_s"])
            case "cut":
                relay.cut()
            case unknown:
                raise LabError(f"unknown order {unknown!r}")


def _describe(phone: VirtualPhone) -> dict[str, Any]:
    spec = phone.spec
    return {
        "id": spec.id,
        "serial": spec.serial,
        "profile": spec.profile.id,
        "behaviours": sorted(spec.behaviours),
        "ports": [relay.port for relay in phone.relays],
        "plugged": any(relay.plugged for relay in phone.relays),
        "running": phone.running,
        "boots": phone.boots,
        "pid": phone.pid,
    }


def _describe_fake(spec: PhoneSpec, _: asyncio.Server, port: int) -> dict[str, Any]:
    return {
        "id": spec.id,
        "serial": spec.serial,
        "profile": spec.profile.id,
        "behaviours": sorted(spec.behaviours),
        "ports": [port],
        "plugged": True,
        "running": False,
        "boots": 0,
        "pid": 0,
    }


def main() -> int:
    folder = Path(sys.argv[1])
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return asyncio.run(Supervisor(folder, config).run())


if __name__ == "__main__":
    sys.exit(main())

"""One virtual phone as the supervisor sees it: its boot process, its cable, its simulated sensors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import device_agents
from device_agents.virtual import boot
from device_agents.virtual.errors import LabError
from device_agents.virtual.profiles import Profile
from device_agents.virtual.relay import Relay
from device_agents.virtual.simulator import Simulator, machine_cpus

BOOT_LIMIT_S = 20.0
COLD_BOOT, SHELL_REBOOT = "reboot", "reboot,shell"
"""Boot reasons (Android's `sys.boot.reason`) of the first boot, and of one that the phone's shell asked for."""

REBOOT_S = 1.0
"""How long a phone is away when it reboots; a real one needs half a minute."""

_PACKAGES = str(Path(device_agents.__file__).parent.parent)

SMALL_STORAGE_BYTES = 48_000_000
ENVIRONMENT = {
    "PATH": "/system/bin",
    "ANDROID_ROOT": "/system",
    "ANDROID_DATA": "/data",
    "ANDROID_STORAGE": "/storage",
    "EXTERNAL_STORAGE": "/sdcard",
    "TMPDIR": "/data/local/tmp",
    "ADBD_PORT": str(boot.ADBD_PORT),
    # A phone has more cores than this machine: threads that wait must sleep, or they take the CPU from those that work.
    "OMP_WAIT_POLICY": "passive",
}


@dataclass(frozen=True, slots=True)
class PhoneSpec:
    """What a phone shall be.

    Args:
        id: name in the lab.
        twin: a second port leads to the same phone, as Wi-Fi beside USB does.
    """

    id: str
    serial: str
    profile: Profile
    behaviours: frozenset[str]
    twin: bool = False


class VirtualPhone:
    """Boots the phone, keeps its cable, and moves its sensors."""

    def __init__(
        self,
        spec: PhoneSpec,
        listeners: list[socket.socket],
        *,
        root: Path,
        state: Path,
        folder: Path,
        note: Callable[[str], None],
    ) -> None:
        """`state`: folder on tmpfs for what the phone shows; `folder`: on disk, for storage and the truth."""
        self.spec = spec
        self._root = root
        self._state = state
        self._folder = folder
        self._note = note
        self.relays = [Relay(listener, self._connect) for listener in listeners]
        self.simulator = Simulator(spec.profile, spec.serial, state, folder / "truth.jsonl", spec.behaviours)
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._pending: dict[int, asyncio.Future[socket.socket | None]] = {}
        self._requests = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._up = asyncio.Event()
        self._closing = False
        self._boot_reason = COLD_BOOT
        self.boots = 0
        self.failure = ""

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        return self._up.is_set()

    async def start(self) -> None:
        """Boot it and open the cable; returns when its init runs.

        Raises:
            LabError: it did not boot.
        """
        for folder in ("proc", "sys", "phone/settings", "phone/affinity", "settings", "affinity"):
            (self._state / folder).mkdir(parents=True, exist_ok=True)
        (self._folder / "storage").mkdir(parents=True, exist_ok=True)
        (self._folder / "storage").chmod(0o771)
        self._tasks.append(asyncio.create_task(self._keep_booted()))
        waiting = asyncio.create_task(self._up.wait())
        await asyncio.wait([waiting, self._tasks[0]], timeout=BOOT_LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not self._up.is_set():
            raise LabError(self.failure or f"did not boot within {BOOT_LIMIT_S:.0f} s", device=self.spec.id)
        for relay in self.relays:
            relay.start()

    async def _keep_booted(self) -> None:
        """Boot, wait for the end, and boot again when the phone asked for it."""
        while not self._closing:
            try:
                code = await self._boot_once()
            except OSError as wrong:
                self.failure = f"cannot boot: {wrong}"
                code = 1
            self._up.clear()
            self.simulator.halt()
            for relay in self.relays:
                relay.cut()
            if code != boot.REBOOT_EXIT or self._closing:
                self.failure = self.failure or f"its boot process ended with exit code {code}"
                self._note(f"{self.spec.id}: {self.failure}")
                return
            await asyncio.sleep(REBOOT_S)

    async def _boot_once(self) -> int:
        uptime = 20.0
        self.simulator.boot(str(uuid.uuid4()), uptime, self._boot_reason)
        self._boot_reason = SHELL_REBOOT
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        spec = {
            "root": str(self._root),
            "state": str(self._state),
            "storage": str(self._folder / "storage"),
            "storage_bytes": SMALL_STORAGE_BYTES if "small_storage" in self.spec.behaviours else None,
            "parent": os.getpid(),
            "booted_at": self.simulator.booted_at,
            "restart_kills": "adbd_restart_kills" in self.spec.behaviours,
            "environment": ENVIRONMENT,
        }
        with there:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", boot.START, _PACKAGES, str(there.fileno())],
                pass_fds=[there.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={"LC_ALL": "C"},
            )
        here.send(json.dumps(spec).encode())
        self._control = here
        self.boots += 1
        with here:
            await self._listen(here)
            self._control = None
        code = await asyncio.to_thread(self._process.wait)
        for future in self._pending.values():
            if not future.done():
                future.set_result(None)
        self._pending.clear()
        return code

    async def _listen(self, control: socket.socket) -> None:
        """Take what the phone's init says until it is gone."""
        loop = asyncio.get_running_loop()
        control.setblocking(False)
        gone = loop.create_future()

        def readable() -> None:
            try:
                raw, descriptors, _, _ = socket.recv_fds(control, 65536, 4)
            except BlockingIOError:
                return
            except OSError:
                raw, descriptors = b"", []
            if not raw:
                loop.remove_reader(control)
                if not gone.done():
                    gone.set_result(None)
                return
            self._on_event(json.loads(raw), descriptors)

        loop.add_reader(control, readable)
        try:
            await gone
        finally:
            loop.remove_reader(control)

    def _on_event(self, event: dict[str, Any], descriptors: list[int]) -> None:
        match event["event"]:
            case "booted":
                self.simulator.attach(descriptors[0])
                self._up.set()
                self._set_other_load()
            case "hogs":
                self.simulator.hogs(frozenset(event["pids"]))
            case "connected" | "refused":
                link = socket.socket(fileno=descriptors[0]) if descriptors else None
                future = self._pending.pop(event["id"], None)
                if future is not None and not future.done():
                    future.set_result(link)
                elif link is not None:
                    link.close()
            case "failed":
                self.failure = event["message"]
            case "adbd" | "reboot":
                self._note(f"{self.spec.id}: {event['event']} {event.get('pid', '')}".rstrip())

    async def _connect(self) -> socket.socket | None:
        """A connection to adbd from inside the phone; waits out a reboot."""
        for _ in range(40):
            await self._up.wait()
            if self._control is None:
                continue
            self._requests += 1
            future: asyncio.Future[socket.socket | None] = asyncio.get_running_loop().create_future()
            self._pending[self._requests] = future
            self.order(op="connect", id=self._requests)
            link = await future
            if link is not None:
                return link
            await asyncio.sleep(0.05)
        return None

    def order(self, **order: Any) -> None:
        """Tell the phone's init what to do; nothing happens while it is down."""
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._control.send(json.dumps(order).encode())

    def tick(self) -> None:
        """Move the simulation on; slow the busy processes down when the phone is hot."""
        if self._up.is_set():
            shares = self.simulator.tick()
            if shares is not None:
                self.order(op="duty", shares=shares)

    def set(self, **values: Any) -> None:
        """Change the truth, see `Lab.set`.

        Raises:
            LabError: more load than this machine can give.
        """
        if not 0.0 <= values.get("other_load", 0.0) <= 1.0:
            raise LabError("a load is a share from 0 to 1", device=self.spec.id)
        self.simulator.set(**values)
        if "other_load" in values:
            self._set_other_load()

    def _set_other_load(self) -> None:
        """Busy processes of the system, on as large a share of this machine's CPUs as of the phone's cores."""
        self.order(op="hog", cpus=self.simulator.other_load * min(machine_cpus(), self.spec.profile.cores))

    def reboot(self, reason: str) -> None:
        """End everything and boot again, with that boot reason."""
        self._boot_reason = reason
        self.order(op="reboot")

    def update_os(self, build: str) -> None:
        """Boot again with another build of the system.

        Raises:
            LabError: `build` is no build id.
        """
        if not build.replace(".", "").isalnum():
            raise LabError(f"{build!r} is no build id: letters, digits and dots", device=self.spec.id)
        self.simulator.use_build(build)
        self.reboot("reboot,ota")

    def suspend(self, seconds: float) -> None:
        """Hold the phone still; its uptime goes on, the time that its cores account for does not."""
        self.simulator.sleep(seconds)
        self.order(op="suspend", seconds=seconds)

    def low_memory_kill(self, pid: int) -> None:
        """End a process (`pid` as the phone sees it) as the low memory killer does, with its words in the log.

        Raises:
            LabError: there is no such process.
        """
        victim = self.simulator.process(pid) if pid > 1 else None
        if victim is None:
            raise LabError(f"no process {pid} on the phone", device=self.spec.id)
        self.order(op="kill", pid=pid)
        self.simulator.killed(pid, *victim)

    async def close(self) -> None:
        """End the phone and everything in it."""
        self._closing = True
        for relay in self.relays:
            await relay.close()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        for task in self._tasks:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(task, 5.0)
        self.simulator.halt()
        shutil.rmtree(self._state, ignore_errors=True)

"""A virtual iPhone: its apps and their containers, its real processes, its body, and the faults it was given."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from device_agents.virtual.iphone import apps, deaths, process
from device_agents.virtual.iphone.apps import InstalledApp
from device_agents.virtual.iphone.body import Body
from device_agents.virtual.iphone.links import Cable, Fuse, Links
from device_agents.virtual.iphone.process import Process, Stream
from device_agents.virtual.iphone.profiles import IphoneProfile
from device_agents.virtual.iphone.storage import Storage
from device_agents.virtual.iphone.syslog import SystemLog

DEVICE_STATE = "FARM_DEVICE_STATE"
"""Environment variable with the path of the file that tells an app what iOS would tell it."""

FAULTS = frozenset(
    {
        "trust_refused",
        "trust_pending",
        "locked",
        "locked_since_boot",
        "developer_mode_off",
        "no_image",
        "image_needs_network",
        "afc_stall",
        "no_tunnel",
        "dvt_refused",
        "dvt_hang",
        "sysmontap_empty",
    }
)
"""States that last until they are ended; what happens once is an order (`control.py`)."""


class LaunchRefused(Exception):
    """The phone does not launch the app.

    Args:
        text: in iOS's words; domain, code: of its NSError.
    """

    def __init__(self, text: str, *, domain: str = "FBSOpenApplicationServiceErrorDomain", code: int = 1) -> None:
        super().__init__(text)
        self.text = text
        self.domain = domain
        self.code = code


class Iphone:
    """One phone of a lab. All but `cable`, `faults`, `fuse`, `links` and `storage` belongs to the event loop."""

    def __init__(self, udid: str, profile: IphoneProfile, folder: Path) -> None:
        """`folder`: on disk, for its storage, its truth and what it remembers of hosts."""
        self.udid = udid
        self.profile = profile
        self.folder = folder
        self.plugged = True
        self.connection = "USB"
        self.faults: set[str] = set()
        self.links = Links()
        self.fuse = Fuse()
        self.cable = Cable()
        self.apps: dict[str, InstalledApp] = {}
        self.processes: dict[int, Process] = {}
        self.storage = Storage(folder, profile)
        self.log = SystemLog(profile.name)
        self.body = Body(profile, folder / "truth.jsonl", udid)
        self.boot_id = str(uuid.uuid4()).upper()
        self.language = "en-US"
        self.app_limit_bytes = int(profile.ram_bytes * profile.app_limit_share)
        self.restart_asked: Callable[[], None] = lambda: None
        self._exit_callbacks: list[Callable[[Process], None]] = []

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def locked(self) -> bool:
        return bool(self.faults & {"locked", "locked_since_boot"})

    @property
    def developer_mode(self) -> bool:
        return "developer_mode_off" not in self.faults

    @property
    def image_mounted(self) -> bool:
        return not self.faults & {"no_image", "image_needs_network"}

    def uptime_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def battery(self) -> dict[str, Any]:
        """The power source as the registry shows it; its values change only when `UpdateTime` does."""
        return self.body.registry()

    def thermal_state(self) -> str:
        """ "nominal", "fair", "serious" or "critical"."""
        return self.body.thermal_state()

    # --- apps ---------------------------------------------------------------------------------------------------------

    def register(self, folder: Path) -> InstalledApp:
        """Take an unpacked `.app` folder as an installed app, with a new container unless it has one."""
        app = apps.read(folder, self.storage)
        self.apps[app.bundle] = app
        return app

    def documents(self, bundle: str) -> Path:
        """The app's Documents.

        Raises:
            KeyError: it is not installed.
        """
        return self.apps[bundle].container / "Documents"

    def uninstall(self, bundle: str) -> bool:
        """Remove an app with all its data; False when there is none."""
        app = self.apps.pop(bundle, None)
        if app is None:
            return False
        for running in self.running(bundle):
            running.send(signal.SIGKILL)
        shutil.rmtree(app.folder.parent, ignore_errors=True)
        shutil.rmtree(app.container, ignore_errors=True)
        self.storage.recount()
        return True

    # --- processes ----------------------------------------------------------------------------------------------------

    def running(self, bundle: str = "") -> list[Process]:
        return [known for known in self.processes.values() if known.alive and bundle in ("", known.bundle)]

    async def launch(
        self, bundle: str, arguments: Sequence[str], environment: Mapping[str, str], *, kill_existing: bool
    ) -> Process:
        """Start an app's executable, as a real process of this machine, in its Documents.

        Raises:
            LaunchRefused: not installed, locked, or not to be started.
        """
        app = self.apps.get(bundle)
        if app is None:
            raise LaunchRefused(
                f'The request to open "{bundle}" failed: the application is unknown to FrontBoard.', code=4
            )
        if self.locked:
            raise LaunchRefused(
                f"Unable to launch {bundle} because the device was not, or could not be, unlocked.",
                domain="FBSOpenApplicationErrorDomain",
                code=7,
            )
        if kill_existing:
            for old in self.running(bundle):
                old.send(signal.SIGKILL)
                await old.wait()
        elif existing := self.running(bundle):
            return existing[0]
        self._write_device_state(app, None)
        try:
            started = await process.start(
                app.folder / app.executable,
                arguments,
                self._environment(app, environment),
                folder=app.container / "Documents",
                bundle=bundle,
            )
        except OSError as wrong:
            raise LaunchRefused(f"The application {bundle} could not be started: {wrong}") from wrong
        self.processes[started.pid] = started
        started.watch(self._ended)
        self.log.write("SpringBoard", f"[{bundle}] launched with pid {started.pid}")
        self.body.note("launch", bundle=bundle, pid=started.pid)
        return started

    def _environment(self, app: InstalledApp, environment: Mapping[str, str]) -> dict[str, str]:
        return {
            "HOME": str(app.container),
            "CFFIXED_USER_HOME": str(app.container),
            "TMPDIR": str(app.container / "tmp"),
            "PATH": "/usr/bin:/bin",
            "LD_LIBRARY_PATH": str(app.folder),
            **environment,
            DEVICE_STATE: str(self._device_state_path(app)),
        }

    def _ended(self, ended: Process) -> None:
        self.processes.pop(ended.pid, None)
        self.storage.recount()
        how = f"signal {ended.signal}" if ended.signal is not None else f"code {ended.exit_code}"
        self.log.write("SpringBoard", f"[{ended.bundle}:{ended.pid}] exited with {how}")
        self.body.note("exit", bundle=ended.bundle, pid=ended.pid, code=ended.exit_code, signal=ended.signal)
        for callback in list(self._exit_callbacks):
            callback(ended)

    def on_exit(self, callback: Callable[[Process], None]) -> Callable[[], None]:
        """Call `callback` with each process that ends; returns what ends that."""
        self._exit_callbacks.append(callback)

        def forget() -> None:
            if callback in self._exit_callbacks:
                self._exit_callbacks.remove(callback)

        return forget

    def output_of(self, pid: int) -> AsyncIterator[tuple[Stream, bytes]]:
        """What the process wrote, from its start until its end.

        Raises:
            KeyError: there is no such process.
        """
        return self.processes[pid].output.read()

    def kill(self, pid: int) -> None:
        """End a process of the phone; nothing happens when it has ended already."""
        if pid in self.processes:
            self.processes[pid].send(signal.SIGKILL)

    def usage(self, pid: int) -> tuple[float, int]:
        """CPU seconds and physical footprint in bytes.

        Raises:
            ProcessLookupError: there is no such process on this phone.
        """
        if pid not in self.processes:
            raise ProcessLookupError(f"no process {pid}")
        return process.usage(pid)

    def system_usage(self) -> dict[str, Any]:
        """Of the whole phone: `cores`, `load` (busy share of them), `busy_s` (CPU seconds since boot), `ram_bytes`,
        `used_bytes`, `processes`."""
        held = self.profile.ram_bytes * 0.38
        for pid in list(self.processes):
            try:
                held += process.usage(pid)[1]
            except ProcessLookupError:
                continue
        return {
            "cores": self.profile.cores,
            "load": self.body.state.load,
            "busy_s": self.body.busy_s,
            "ram_bytes": self.profile.ram_bytes,
            "used_bytes": int(min(held, self.profile.ram_bytes)),
            "processes": len(self.running()),
        }

    # --- what happens to it -------------------------------------------------------------------------------------------

    def tick(self) -> dict[int, float]:
        """Move its body on; returns pid → share of the time that it may run, of those that must run slower."""
        used = 0.0
        over: list[Process] = []
        footprints: dict[str, int] = {}
        for known in self.running():
            try:
                cpu_s, footprint = process.usage(known.pid)
            except ProcessLookupError:
                continue
            used += max(0.0, cpu_s - known.cpu_s)
            known.cpu_s = cpu_s
            footprints[known.bundle] = footprint
            if footprint > self.app_limit_bytes and not known.ending:
                over.append(known)
        self.body.tick(used)
        for app in self.apps.values():
            if app.bundle in footprints:
                self._write_device_state(app, footprints[app.bundle])
        for victim in over:
            deaths.jetsam(self, victim.pid)
        cap = self.body.state.cap
        return {} if cap >= 1.0 else {known.pid: cap for known in self.running()}

    def to_background(self, *, back: bool = False) -> None:
        """Every app leaves the screen, or the running one comes back to it."""
        for known in self.running():
            known.frontmost = back
        self._tell_apps()
        self.body.note("to_foreground" if back else "to_background")

    def lock(self, on: bool) -> None:
        """The screen locks, with the passcode, or is unlocked."""
        self.faults -= {"locked", "locked_since_boot"}
        if on:
            self.faults.add("locked")
            self.to_background()

    def set(self, *, app_limit_bytes: int | None = None, **values: Any) -> None:
        """Change the truth: the memory that an app may hold, and what `Body.set` takes.

        Raises:
            LabError: it cannot be so.
        """
        if app_limit_bytes is not None:
            self.app_limit_bytes = app_limit_bytes
        self.body.set(**values)
        self._tell_apps()

    def boot(self, *, locked: bool) -> None:
        """Begin a new boot, of which nothing runs yet."""
        self.boot_id = str(uuid.uuid4()).upper()
        self.faults -= {"locked", "locked_since_boot"}
        self.faults.add("no_image")
        if locked:
            self.faults.add("locked_since_boot")
        self.body.note("boot", boot_id=self.boot_id)

    async def end_apps(self) -> None:
        ending = self.running()
        for known in ending:
            known.send(signal.SIGKILL)
        await asyncio.gather(*(known.wait() for known in ending))

    async def close(self) -> None:
        """End its apps and cut every connection."""
        self.links.cut()
        await self.end_apps()

    # --- what an app is told ------------------------------------------------------------------------------------------

    def _device_state_path(self, app: InstalledApp) -> Path:
        return self.folder / "told" / f"{app.container.name}.json"

    def _tell_apps(self) -> None:
        for bundle in {known.bundle for known in self.running()} & self.apps.keys():
            self._write_device_state(self.apps[bundle], None)

    def _write_device_state(self, app: InstalledApp, footprint: int | None) -> None:
        running = self.running(app.bundle)
        if footprint is None:
            try:
                footprint = process.usage(running[0].pid)[1] if running else 0
            except ProcessLookupError:
                footprint = 0
        content = {
            **self.body.told(),
            "frontmost": running[0].frontmost if running else True,
            "available_bytes": max(0, self.app_limit_bytes - footprint),
        }
        path = self._device_state_path(app)
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(path)

"""What the worker of one iPhone can be asked for; every public coroutine is a call. Plain data in and out."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from device_agents.ios.client.areas import CRASHES, MEDIA, Areas
from device_agents.ios.client.kinds import kind_of
from device_agents.ios.client.link import Link
from device_agents.ios.failures import Kind, Refused
from device_agents.ios.lease_rules import decide
from device_agents.ios.versions import developer_way
from device_agents.ios.watch import Watch, read_end
from device_agents.ios.worker import Tell

LEASE = "farm/lease"
_LOCK = "farm/lease.lock"
_LEASE_BYTES = 64 * 1024

_REPORT_BYTES_MAX = 4 * 1024 * 1024


class PhoneService:
    """Args as for `Link`."""

    def __init__(self, udid: str, *, tunneld: str, records: Path) -> None:
        self._link = Link(udid, tunneld=tunneld, records=records)
        self._areas = Areas(self._link)
        self._watches: dict[str, Watch] = {}

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> PhoneService:
        records = Path(settings["records"])
        return cls(str(settings["udid"]), tunneld=str(settings["tunneld"]), records=records)

    def kind_of(self, error: BaseException) -> Kind:
        return kind_of(error)

    # --- what it is ---------------------------------------------------------------------------------------------------

    async def examine(self) -> dict[str, Any]:
        """Everything that discovery shows: `values` of lockdown, and for each further thing what was seen or, in a
        mapping with `kind` and `text`, why it could not be."""
        paired = await self._link.is_paired()
        found: dict[str, Any] = {"paired": paired, "values": _plain(await self._link.values(paired=False))}
        if not paired:
            return found
        found["disk"] = await self._tried(self._link.value("com.apple.disk_usage", None))
        found["battery"] = await self._tried(self._link.battery())
        found["developer_mode"] = await self._tried(self._link.developer_mode())
        found["image"] = await self._tried(self._link.image_mounted())
        found["apps"] = await self._tried(self.apps())
        if found["apps"].get("kind") == "locked":
            # A phone that is merely locked tells its apps.
            found["apps"]["kind"] = "locked_since_boot"
        return found

    async def examine_tunnel(self) -> str:
        """How the developer services are reached, "lockdown" or "tunnel"; raises what is in their way."""
        await self._link.developer_services()
        return developer_way(str((await self._link.values()).get("ProductVersion", "")))

    async def values(self) -> dict[str, Any]:
        return dict(_plain(await self._link.values()))

    async def value(self, domain: str | None = None, key: str | None = None) -> Any:
        return _plain(await self._link.value(domain, key))

    async def battery(self) -> dict[str, Any]:
        return dict(_plain(await self._link.battery()))

    async def uptime(self) -> float:
        """Seconds since the boot, by the phone's own clock."""
        return await (await self._link.developer_services()).uptime_s()

    async def load(self, interval_s: float) -> float | None:
        return await (await self._link.developer_services()).load_pct(interval_s)

    async def _tried(self, asked: Any) -> Any:
        try:
            return _plain(await asked)
        except Exception as error:  # noqa: BLE001 - why something could not be seen is what is to be shown
            return {"kind": kind_of(error), "text": str(error)}

    # --- preparing it -------------------------------------------------------------------------------------------------

    async def pair(self) -> None:
        await self._link.pair()

    async def mount_image(self) -> None:
        await self._link.mount_image()

    async def restart_phone(self) -> None:
        await self._link.restart_phone()

    # --- apps and files -----------------------------------------------------------------------------------------------

    async def apps(self) -> dict[str, Any]:
        """Bundle → executable, version, build and path of the user's apps."""
        names = {
            "executable": "CFBundleExecutable",
            "version": "CFBundleShortVersionString",
            "build": "CFBundleVersion",
            "path": "Path",
        }
        found = await self._link.apps()
        return {bundle: {name: str(info.get(key, "")) for name, key in names.items()} for bundle, info in found.items()}

    async def install(self, package: str, tell: Tell) -> None:
        await self._link.install(package, tell)
        await self._areas.forget_apps()

    async def stat(self, area: str, path: str) -> dict[str, Any] | None:
        return await self._areas.stat(area, path)

    async def listing(self, area: str, path: str) -> dict[str, Any]:
        return await self._areas.listing(area, path)

    async def make_folder(self, area: str, path: str) -> None:
        await self._areas.make_folder(area, path)

    async def rename(self, area: str, path: str, target: str) -> None:
        await self._areas.rename(area, path, target)

    async def remove(self, area: str, path: str) -> None:
        await self._areas.remove(area, path)

    async def touch(self, area: str, path: str) -> None:
        await self._areas.touch(area, path, time.time())

    async def free_bytes(self, area: str) -> int | None:
        return await self._areas.free_bytes(area)

    async def read(self, area: str, path: str, most: int) -> str:
        """The beginning of a file, in base64."""
        return base64.b64encode(await self._areas.read(area, path, most)).decode()

    async def write(self, area: str, path: str, content: str) -> None:
        """Replace a file; `content` is base64."""
        await self._areas.write(area, path, base64.b64decode(content))

    async def pull(self, area: str, path: str, into: str, most: int, offset: int = 0) -> int:
        return await self._areas.pull(area, path, Path(into), most=most, offset=offset)

    async def push(self, area: str, path: str, source: str, offset: int, length: int, tell: Tell) -> None:
        await self._areas.push(area, path, Path(source), offset=offset, length=length, tell=tell)

    async def reports(self, names: tuple[str, ...], since: float) -> dict[str, str]:
        """Crash and kill reports whose name begins with one of `names`, changed after `since` (Unix seconds of the
        phone): name → content in base64, the newest eight."""
        found = {
            name: about
            for name, about in (await self._areas.listing(CRASHES, "")).items()
            if name.startswith(tuple(names)) and not about["folder"] and about["mtime"] >= since
        }
        newest = sorted(found, key=lambda name: -float(found[name]["mtime"]))[:8]
        return {name: await self.read(CRASHES, name, _REPORT_BYTES_MAX) for name in newest}

    # --- lease --------------------------------------------------------------------------------------------------------

    async def lease(self, verb: str, token: str, dead: str, seconds: int, text: str) -> str:
        """Do `verb` to the lease; the phone's time and the lease afterwards.

        It lies in the media folder: the app that will own the Documents may not be installed yet.
        """
        await self._areas.make_folder(MEDIA, "farm")
        async with self._areas.locked(MEDIA, _LOCK):
            found = b""
            if await self._areas.stat(MEDIA, LEASE) is not None:
                found = await self._areas.read(MEDIA, LEASE, _LEASE_BYTES)
            now = float(await self._link.value(None, "TimeIntervalSince1970") or time.time())
            before = found.decode("utf-8", "replace")
            after = decide(verb, token, dead, seconds, text, now=now, found=before)
            if after != before:
                if after:
                    await self._areas.write(MEDIA, f"{LEASE}.new", after.encode())
                    await self._areas.rename(MEDIA, f"{LEASE}.new", LEASE)
                else:
                    await self._areas.remove(MEDIA, LEASE)
        return f"{int(now)}\n{after}"

    # --- jobs ---------------------------------------------------------------------------------------------------------

    async def launch(
        self,
        key: str,
        bundle: str,
        arguments: list[str],
        environment: dict[str, str],
        folder: str,
        run_s: float,
        sampled: bool,
    ) -> int:
        """Start the app for job `key` and follow it; returns its pid.

        Args:
            folder: of this host, for what is kept. run_s: the app is ended after so many seconds.
        """
        instruments = await self._link.developer_services()
        pid = await instruments.launch(bundle, arguments, environment)
        watch = Watch(pid, Path(folder), self._link.battery, sampled=sampled)
        await instruments.observe(pid, watch.take_output)
        watch.follow(instruments, limit_s=run_s)
        self._watches[key] = watch
        return pid

    async def idle(self, key: str, folder: str, seconds: float) -> None:
        """Look at the phone for so long while nothing of ours runs on it."""
        watch = Watch(0, Path(folder), self._link.battery, sampled=True)
        watch.follow(None, limit_s=seconds)
        with suppress(Exception):
            await watch.look_at_clock(await self._link.developer_services())
        self._watches[key] = watch
        asyncio.get_running_loop().call_later(seconds, watch.end, 0, None, "exit")

    async def job(
        self, key: str, bundle: str, pid: int, folder: str, run_s: float, wait_s: float, sampled: bool
    ) -> dict[str, Any]:
        """How a job stands: `phase` ("running", "ended", "unknown": gone, and nobody saw how), `live`, and for an ended
        one `exit_code`, `signal`, `by`. Waits up to `wait_s` for its end.

        A job that this worker does not follow yet, or no longer, is followed from here on; raises when the phone is
        away.
        """
        ended = read_end(Path(folder))
        if ended is not None:
            return {"phase": "ended", "live": {}, **ended}
        watch = self._watches.get(key)
        if watch is None or watch.lost.is_set():
            watch = await self._follow_again(key, bundle, pid, Path(folder), run_s, sampled)
            if watch is None:
                return {"phase": "unknown", "live": {}}
        over = [asyncio.create_task(each.wait()) for each in (watch.ended, watch.lost)]
        try:
            await asyncio.wait(over, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in over:
                task.cancel()
        ended = read_end(Path(folder)) if watch.ended.is_set() else None
        if ended is not None:
            return {"phase": "ended", "live": {}, **ended}
        return {"phase": "running", "live": dict(watch.live)}

    async def _follow_again(
        self, key: str, bundle: str, pid: int, folder: Path, run_s: float, sampled: bool
    ) -> Watch | None:
        """Follow a job after its observation was lost; None when its process is gone."""
        try:
            instruments = await self._link.developer_services()
            if await instruments.pid_of(bundle) != pid:
                return None
        except Exception as error:
            # First what is the matter with the phone itself, then with what stands on it.
            await self._link.values()
            if kind_of(error) == "tunnel":
                # There was one when the job began.
                raise Refused("cut", str(error)) from error
            raise
        watch = self._watches.get(key) or Watch(pid, folder, self._link.battery, sampled=sampled)
        await instruments.observe(pid, watch.take_output)
        if await instruments.pid_of(bundle) != pid:
            # It ended before it was observed: nobody will tell how.
            return None
        watch.follow(instruments, limit_s=run_s)
        self._watches[key] = watch
        return watch

    async def end_job(self, key: str, bundle: str, pid: int) -> bool:
        """End a job's process where it runs; whether it did."""
        watch = self._watches.pop(key, None)
        if watch is not None:
            watch.stop()
        if not pid:
            return False
        instruments = await self._link.developer_services()
        if await instruments.pid_of(bundle) != pid:
            return False
        with suppress(Refused):
            await instruments.kill(pid)
        for _ in range(50):
            if await instruments.pid_of(bundle) != pid:
                return True
            await asyncio.sleep(0.1)
        raise Refused("refused", f"process {pid} of {bundle} does not end")

    async def pid_of(self, bundle: str) -> int:
        return await (await self._link.developer_services()).pid_of(bundle)


def _plain(value: Any) -> Any:
    """The value without what JSON does not have."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items() if not isinstance(inner, bytes | bytearray)}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value if not isinstance(inner, bytes | bytearray)]
    return value if isinstance(value, str | int | float | bool | None) else str(value)

"""Virtual iPhones in a process of their own, with a package of a small app, for tests with unmodified clients."""

from __future__ import annotations

import asyncio
import os
import plistlib
import sys
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymobiledevice3.lockdown import UsbmuxLockdownClient, create_using_usbmux

from device_agents.virtual.iphone.lab import IphoneInfo, IphoneLab, IphoneLabInfo, IphoneWish

BUNDLE = "org.farmbench.runner"
_LIMIT_S = 60.0

# wait: until it is ended; hold BYTES: as that, with memory; spin: on one core; state FILE: writes down what it is told
# of the device whenever that changes.
_APP = """#!{python} -S
import json, os, signal, sys, time
order = sys.argv[1] if len(sys.argv) > 1 else "wait"
if order == "hold":
    held = bytearray(os.urandom(1 << 20) * (int(sys.argv[2]) >> 20))
print("ready", flush=True)
while order == "spin":
    pass
told = None
while order == "state":
    with open(os.environ["FARM_DEVICE_STATE"]) as file:
        now = file.read()
    if now != told:
        told = now
        with open(sys.argv[2], "a") as out:
            out.write(now + "\\n")
    time.sleep(0.02)
signal.pause()
"""


def package(path: Path, *, bundle: str = BUNDLE, version: str = "1", program: str = _APP, **info: Any) -> Path:
    """An .ipa with the small app, or another one whose `program` has {python} for its interpreter; a value of `info`
    that is bytes is a file of the app instead."""
    files = {name: data for name, data in info.items() if isinstance(data, bytes)}
    told = {
        "CFBundleIdentifier": bundle,
        "CFBundleExecutable": "FarmRunner",
        "CFBundleVersion": version,
        "CFBundleShortVersionString": version,
        "UIFileSharingEnabled": True,
        **{name: value for name, value in info.items() if name not in files},
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Payload/FarmRunner.app/Info.plist", plistlib.dumps(told))
        executable = zipfile.ZipInfo("Payload/FarmRunner.app/FarmRunner")
        executable.external_attr = 0o755 << 16
        archive.writestr(executable, program.replace("{python}", sys.executable))
        for name, data in files.items():
            archive.writestr(f"Payload/FarmRunner.app/{name.replace('__', '.')}", data)
    return path


@dataclass(frozen=True, slots=True)
class Running:
    """A lab that is up; `records`: where the client keeps its own pair records."""

    lab: IphoneLab
    info: IphoneLabInfo
    records: Path

    def phone(self, name: str = "") -> IphoneInfo:
        return self.info.phone(name) if name else self.info.phones[0]

    def order(self, name: str, phone: str = "", **values: Any) -> Any:
        return self.lab.order(name, phone or self.info.phones[0].id, **values)

    def status(self, phone: str = "") -> dict[str, Any]:
        udid = self.phone(phone).udid
        found: list[dict[str, Any]] = self.lab.order("status")
        return next(entry for entry in found if entry["udid"] == udid)

    @asynccontextmanager
    async def connect(self, phone: str = "", **more: Any) -> AsyncIterator[UsbmuxLockdownClient]:
        """The client's lockdown, paired unless told otherwise."""
        client = await create_using_usbmux(
            serial=self.phone(phone).udid,
            pairing_records_cache_folder=self.records,
            usbmux_address=self.info.usbmux,
            **{"pair_timeout": 0, **more},
        )
        try:
            yield client
        finally:
            await client.close()


@contextmanager
def iphones(folder: Path, *wishes: IphoneWish | str) -> Iterator[Running]:
    """A lab with these phones; clients without an address of their own find its muxer by the environment."""
    lab = IphoneLab(folder / "lab")
    known = os.environ.get("USBMUXD_SOCKET_ADDRESS")
    info = lab.up([IphoneWish(wish) if isinstance(wish, str) else wish for wish in wishes], die_with=os.getpid())
    os.environ.update(info.env)
    try:
        yield Running(lab, info, folder / "client-records")
    finally:
        if known is None:
            del os.environ["USBMUXD_SOCKET_ADDRESS"]
        else:
            os.environ["USBMUXD_SOCKET_ADDRESS"] = known
        lab.down()


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Run a test that awaits, with a limit."""
    asyncio.run(asyncio.wait_for(work(), _LIMIT_S))


async def until(condition: Callable[[], Any], limit_s: float = 15.0) -> Any:
    """Wait until `condition` holds, without holding up the client; returns what it gave.

    Raises:
        TimeoutError: it does not within the limit.
    """
    async with asyncio.timeout(limit_s):
        while not (found := await asyncio.to_thread(condition)):
            await asyncio.sleep(0.02)
        return found

"""How fast a model goes to an iPhone, beside the client library's own push in the same run; memory of the workers.

python bench/iphone_push.py [MEGABYTES] [ROUNDS]: against a virtual iPhone, whose storage is a folder of this machine.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
from pymobiledevice3.lockdown import create_using_usbmux
from pymobiledevice3.services.afc import AfcService

from device_agents.ios.client import areas
from device_agents.ios.phone import Phone
from device_agents.virtual.iphone.lab import IphoneLab, IphoneWish
from harness.model import Lab

WORKERS = 8


def main() -> None:
    size = int(sys.argv[1] if len(sys.argv) > 1 else 300) * 1_000_000
    rounds = int(sys.argv[2] if len(sys.argv) > 2 else 5)
    with tempfile.TemporaryDirectory() as folder:
        lab = IphoneLab(Path(folder, "lab"))
        info = lab.up([IphoneWish("iphone-15-pro@18")] * 1, die_with=os.getpid())
        os.environ.update(info.env)
        try:
            source = Path(folder, "model")
            source.write_bytes(os.urandom(1 << 20) * (size >> 20))
            _push(info.phones[0].udid, Lab(usbmux=info.usbmux), source, rounds)
            _memory(info.phones[0].udid, Lab(usbmux=info.usbmux))
        finally:
            lab.down()


def _push(udid: str, lab: Lab, source: Path, rounds: int) -> None:
    """Both ways in turn, into the media folder, so that no app is needed."""
    phone = Phone(udid, lab)
    phone.ask("pair", limit_s=30)
    size = source.stat().st_size
    speeds: dict[str, list[float]] = {"farm": [], "library": []}
    for _ in range(rounds):
        begun = time.perf_counter()
        phone.ask("push", area=areas.MEDIA, path="ours", source=str(source), offset=0, length=size, limit_s=300)
        speeds["farm"].append(size / 1e6 / (time.perf_counter() - begun))
        speeds["library"].append(size / 1e6 / asyncio.run(_library(udid, source)))
        for name in ("ours", "theirs"):
            phone.ask("remove", area=areas.MEDIA, path=name, limit_s=30)
    phone.close()
    for name, found in speeds.items():
        print(f"{name}: {statistics.median(found):.0f} MB/s ({min(found):.0f} to {max(found):.0f})")
    ratio = statistics.median(speeds["farm"]) / statistics.median(speeds["library"])
    print(f"farm / library: {ratio:.2f} ({areas.IN_FLIGHT} packets of {areas.WRITE_BYTES >> 10} KiB in flight)")


async def _library(udid: str, source: Path) -> float:
    """Seconds of its push alone, the connection not counted, as farm's is kept open."""
    async with await create_using_usbmux(serial=udid) as lockdown, AfcService(lockdown) as afc:
        begun = time.perf_counter()
        await afc.push(str(source), "/theirs", progress_bar=False)
        return time.perf_counter() - begun


def _memory(udid: str, lab: Lab) -> None:
    """PSS of workers that have spoken to a phone."""
    phones = [Phone(udid, lab) for _ in range(WORKERS)]
    for phone in phones:
        phone.ask("examine", limit_s=60)
    found = [psutil.Process(phone.worker.pid).memory_full_info().pss / 1e6 for phone in phones]
    print(f"{WORKERS} workers: {statistics.median(found):.0f} MB PSS each, {sum(found):.0f} MB in all")
    for phone in phones:
        phone.close()


if __name__ == "__main__":
    main()

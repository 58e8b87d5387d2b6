"""Instruments through the muxer of a lab: over lockdown on iOS 16, through the client's own tunnel from 17.4 on."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymobiledevice3.exceptions import ConnectionTerminatedError, InvalidServiceError, PasswordRequiredError
from pymobiledevice3.lockdown import LockdownClient, create_using_usbmux
from pymobiledevice3.services.dvt.instruments.device_info import DeviceInfo
from pymobiledevice3.services.dvt.instruments.dvt_provider import DvtProvider
from pymobiledevice3.services.dvt.instruments.process_control import ProcessControl
from pymobiledevice3.tunneld.api import get_tunneld_device_by_udid

from device_agents.virtual.iphone.lab import IphoneLab, IphoneLabInfo, IphoneWish
from tests.lab.iphones import BUNDLE, package, run

# The client's tunnel is one per process, and it keeps what it knows of phones in its home.
_TUNNEL_CLIENT = """
import asyncio, json, sys
from pymobiledevice3.remote.userspace_tunnel import UserspaceRsdTunnel
from pymobiledevice3.services.dvt.instruments.device_info import DeviceInfo
from pymobiledevice3.services.dvt.instruments.dvt_provider import DvtProvider
from pymobiledevice3.services.dvt.instruments.process_control import ProcessControl
from pymobiledevice3.services.dvt.instruments.sysmontap import Sysmontap

async def main(udid, bundle):
    async with UserspaceRsdTunnel(serial=udid) as rsd:
        async with DvtProvider(rsd) as provider, ProcessControl(provider) as control:
            pid = await control.launch(bundle, ["spin"])
            loads = []
            async with await Sysmontap.create(provider, 100) as tap:
                async for processes in tap.iter_processes():
                    loads += [row["cpuUsage"] for row in processes if row["pid"] == pid]
                    if len(loads) == 5:
                        break
            async with DeviceInfo(provider) as info:
                names = [process["name"] for process in await info.proclist()]
            await control.kill(pid)
        print(json.dumps({"udid": rsd.udid, "version": rsd.product_version, "loads": loads, "names": names}))

asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 60))
"""


@pytest.fixture(scope="module")
def iphones(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[IphoneLab, IphoneLabInfo]]:
    folder = tmp_path_factory.mktemp("iphones")
    app = package(folder)
    lab = IphoneLab(folder / "lab")
    profiles = ("iphone-14@16", "iphone-15-pro@18", "iphone-se-3@26", "iphone-14@17.2")
    info = lab.up([IphoneWish(profile, apps=(app,), id=profile) for profile in profiles], die_with=os.getpid())
    yield lab, info
    lab.down()


async def paired(info: IphoneLabInfo, phone: str, records: Path) -> LockdownClient:
    return await create_using_usbmux(
        serial=info.phone(phone).udid, usbmux_address=info.usbmux, pairing_records_cache_folder=records
    )


def test_instruments_over_lockdown(iphones: tuple[IphoneLab, IphoneLabInfo], tmp_path: Path) -> None:
    lab, info = iphones

    async def work() -> None:
        client = await paired(info, "iphone-14@16", tmp_path)
        async with client, DvtProvider(client) as provider, ProcessControl(provider) as control:
            pid = await control.launch(BUNDLE, ["wait"])
            async with DeviceInfo(provider) as device:
                assert pid in [process["pid"] for process in await device.proclist()]
                assert await asyncio.to_thread(lab.order, "dvt_drop", "iphone-14@16") == 1
                with pytest.raises(ConnectionTerminatedError):
                    await device.proclist()
            async with DvtProvider(client) as again, ProcessControl(again) as other:
                assert await other.process_identifier_for_bundle_identifier(BUNDLE) == pid
                await other.kill(pid)

    run(work)


@pytest.mark.parametrize(
    ("fault", "error"),
    [("no_image", InvalidServiceError), ("developer_mode_off", InvalidServiceError), ("locked", PasswordRequiredError)],
)
def test_why_lockdown_does_not_start_instruments(
    iphones: tuple[IphoneLab, IphoneLabInfo], tmp_path: Path, fault: str, error: type[Exception]
) -> None:
    lab, info = iphones

    async def work() -> None:
        client = await paired(info, "iphone-14@16", tmp_path)
        async with client:
            lab.order(fault, "iphone-14@16")
            try:
                with pytest.raises(error):
                    await DvtProvider(client).connect()
            finally:
                lab.order(fault, "iphone-14@16", on=False)
            async with DvtProvider(client):
                pass

    run(work)


def test_new_phones_have_no_instruments_over_lockdown(iphones: tuple[IphoneLab, IphoneLabInfo], tmp_path: Path) -> None:
    _, info = iphones

    async def work() -> None:
        client = await paired(info, "iphone-15-pro@18", tmp_path)
        async with client:
            with pytest.raises(InvalidServiceError):
                await DvtProvider(client).connect()

    run(work)


def through_tunnel(info: IphoneLabInfo, phone: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _TUNNEL_CLIENT, info.phone(phone).udid, BUNDLE],
        env={**os.environ, **info.env, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("phone", ["iphone-15-pro@18", "iphone-se-3@26"])
def test_instruments_through_the_clients_own_tunnel(
    iphones: tuple[IphoneLab, IphoneLabInfo], tmp_path: Path, phone: str
) -> None:
    _, info = iphones
    done = through_tunnel(info, phone, tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["udid"], told["version"]) == (info.phone(phone).udid, info.phone(phone).ios)
    assert told["loads"][0] is None
    assert max(told["loads"][1:]) > 20.0
    assert "FarmRunner" in told["names"]


def test_a_version_without_that_tunnel(iphones: tuple[IphoneLab, IphoneLabInfo], tmp_path: Path) -> None:
    _, info = iphones

    async def work() -> None:
        client = await paired(info, "iphone-14@17.2", tmp_path)
        async with client:
            with pytest.raises(InvalidServiceError):
                await client.start_lockdown_service("com.apple.internal.devicecompute.CoreDeviceProxy")
        host, _, port = info.tunneld.rpartition(":")
        assert await get_tunneld_device_by_udid(info.phone("iphone-14@17.2").udid, (host, int(port))) is None

    run(work)


def test_tunneld_of_a_lab(iphones: tuple[IphoneLab, IphoneLabInfo]) -> None:
    lab, info = iphones

    async def work() -> None:
        host, _, port = info.tunneld.rpartition(":")
        udid = info.phone("iphone-se-3@26").udid
        rsd = await get_tunneld_device_by_udid(udid, (host, int(port)))
        assert rsd is not None
        async with rsd, DvtProvider(rsd) as provider, DeviceInfo(provider) as device:
            assert (await device.system_information())["_deviceIdentifier"] == udid
            lab.order("no_tunnel", "iphone-se-3@26")
            assert await get_tunneld_device_by_udid(udid, (host, int(port))) is None
            lab.order("no_tunnel", "iphone-se-3@26", on=False)

    run(work)

"""Instruments through the muxer of a lab: over lockdown on iOS 16, through the client's own tunnel from 17.4 on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymobiledevice3.exceptions import ConnectionTerminatedError, InvalidServiceError, PasswordRequiredError
from pymobiledevice3.services.afc import AfcService
from pymobiledevice3.services.diagnostics import DiagnosticsService
from pymobiledevice3.services.dvt.instruments.device_info import DeviceInfo
from pymobiledevice3.services.dvt.instruments.dvt_provider import DvtProvider
from pymobiledevice3.services.dvt.instruments.process_control import ProcessControl
from pymobiledevice3.tunneld.api import get_tunneld_device_by_udid

from device_agents.virtual.iphone.lab import IphoneWish
from tests.lab.iphone_lab import BUNDLE, Running, iphones, package, run

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


OLD, NEW, NEWEST, BETWEEN = "iphone-14@16", "iphone-15-pro@18", "iphone-se-3@26", "iphone-14@17.2"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("iphones")
    apps = (package(folder / "FarmRunner.ipa"),)
    with iphones(
        folder, *(IphoneWish(profile, apps=apps, id=profile) for profile in (OLD, NEW, NEWEST, BETWEEN))
    ) as up:
        yield up


def tunneld(lab: Running) -> tuple[str, int]:
    host, _, port = lab.info.tunneld.rpartition(":")
    return host, int(port)


def test_instruments_over_lockdown(lab: Running) -> None:
    async def work() -> None:
        async with lab.connect(OLD) as client:
            async with DvtProvider(client) as provider, ProcessControl(provider) as control:
                pid = await control.launch(BUNDLE, ["wait"])
                async with DeviceInfo(provider) as device:
                    assert pid in [process["pid"] for process in await device.proclist()]
                    assert lab.order("dvt_drop", OLD) == 1
                    with pytest.raises(ConnectionTerminatedError):
                        await device.proclist()
            async with DvtProvider(client) as provider, ProcessControl(provider) as control:
                assert await control.process_identifier_for_bundle_identifier(BUNDLE) == pid
                await control.kill(pid)

    run(work)


@pytest.mark.parametrize(
    ("fault", "error"),
    [("no_image", InvalidServiceError), ("developer_mode_off", InvalidServiceError), ("locked", PasswordRequiredError)],
)
def test_why_lockdown_does_not_start_instruments(lab: Running, fault: str, error: type[Exception]) -> None:
    async def work() -> None:
        async with lab.connect(OLD) as client:
            lab.order(fault, OLD)
            try:
                with pytest.raises(error):
                    await DvtProvider(client).connect()
            finally:
                lab.order(fault, OLD, on=False)
            async with DvtProvider(client):
                pass

    run(work)


def test_new_phones_have_no_instruments_over_lockdown(lab: Running) -> None:
    async def work() -> None:
        async with lab.connect(NEW) as client:
            with pytest.raises(InvalidServiceError):
                await DvtProvider(client).connect()

    run(work)


@pytest.mark.parametrize("phone", [NEW, NEWEST])
def test_instruments_through_the_clients_own_tunnel(lab: Running, tmp_path: Path, phone: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TUNNEL_CLIENT, lab.phone(phone).udid, BUNDLE],
        env={**os.environ, **lab.info.env, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["udid"], told["version"]) == (lab.phone(phone).udid, lab.phone(phone).ios)
    assert told["loads"][0] is None
    assert max(told["loads"][1:]) > 20.0
    assert "FarmRunner" in told["names"]


def test_a_version_without_that_tunnel(lab: Running) -> None:
    async def work() -> None:
        async with lab.connect(BETWEEN) as client:
            with pytest.raises(InvalidServiceError):
                await client.start_lockdown_service("com.apple.internal.devicecompute.CoreDeviceProxy")
        assert await get_tunneld_device_by_udid(lab.phone(BETWEEN).udid, tunneld(lab)) is None

    run(work)


def test_tunneld_of_a_lab(lab: Running) -> None:
    async def work() -> None:
        udid = lab.phone(NEWEST).udid
        rsd = await get_tunneld_device_by_udid(udid, tunneld(lab))
        assert rsd is not None
        async with rsd, DvtProvider(rsd) as provider, DeviceInfo(provider) as device:
            assert (await device.system_information())["_deviceIdentifier"] == udid
            lab.order("no_tunnel", NEWEST)
            assert await get_tunneld_device_by_udid(udid, tunneld(lab)) is None
            lab.order("no_tunnel", NEWEST, on=False)
            async with AfcService(rsd) as afc:
                assert "DCIM" in await afc.listdir("/")
            async with DiagnosticsService(rsd) as diagnostics:
                assert (await diagnostics.get_battery())["UpdateTime"] > 0

    run(work)

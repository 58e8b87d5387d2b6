"""Discovery behind the tunnel and tunneld of a virtual iPhone, seen by the unmodified client."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pymobiledevice3.exceptions import (
    ConnectionTerminatedError,
    InvalidServiceError,
    StartServiceError,
    TunneldConnectionError,
)
from pymobiledevice3.remote.remote_service_discovery import RemoteServiceDiscoveryService
from pymobiledevice3.services.afc import AfcService
from pymobiledevice3.services.dvt.instruments.device_info import DeviceInfo
from pymobiledevice3.services.dvt.instruments.dvt_provider import DvtProvider
from pymobiledevice3.services.dvt.instruments.process_control import ProcessControl
from pymobiledevice3.tunneld.api import get_tunneld_device_by_udid, get_tunneld_devices

from device_agents.virtual.iphone import dvt
from device_agents.virtual.iphone.lockdown import Lockdown
from device_agents.virtual.iphone.phone import Iphone
from device_agents.virtual.iphone.ports import Ports
from device_agents.virtual.iphone.rsd import Rsd
from device_agents.virtual.iphone.services import Registry, Service
from device_agents.virtual.iphone.tunneld import Tunneld
from tests.lab.iphones import BUNDLE, elsewhere, phone_of, run

ODD = 'A "b"<c>&é 0001'


@dataclass
class Lab:
    tunneld: Tunneld
    phones: list[Iphone]
    there: Callable[..., Awaitable[object]]

    @property
    def phone(self) -> Iphone:
        return self.phones[0]

    async def found(self) -> RemoteServiceDiscoveryService:
        rsd = await get_tunneld_device_by_udid(self.phone.udid, self.tunneld.address)
        assert rsd is not None
        return rsd


@asynccontextmanager
async def lab(folder: Path, *profiles: str, udids: tuple[str, ...] = ()) -> AsyncIterator[Lab]:
    """Phones with tunnels, and a tunneld."""
    async with elsewhere(_lab(folder, profiles, udids)) as ((tunneld, phones), there):
        yield Lab(tunneld, phones, there)


@asynccontextmanager
async def _lab(
    folder: Path, profiles: tuple[str, ...], udids: tuple[str, ...]
) -> AsyncIterator[tuple[Tunneld, list[Iphone]]]:
    async with AsyncExitStack() as stack:
        phones, rsds = [], []
        for number, profile in enumerate(profiles):
            udid = udids[number] if udids else f"0000{number}130-000A2B3C4D5E6F70"
            phones.append(await stack.enter_async_context(phone_of(folder / str(number), profile, udid=udid)))
            rsds.append(await stack.enter_async_context(tunnelled(phones[-1])))
        tunneld = Tunneld(rsds)
        await tunneld.start()
        stack.push_async_callback(tunneld.close)
        yield tunneld, phones


@asynccontextmanager
async def tunnelled(phone: Iphone, registry: Registry | None = None) -> AsyncIterator[Rsd]:
    registry = registry or Registry()
    lockdown = Lockdown(phone, registry, Ports())
    rsd = Rsd(
        phone, registry, lockdown=Service("com.apple.mobile.lockdown", lockdown.serve), native=dvt.tunnel_services()
    )
    await rsd.start()
    try:
        yield rsd
    finally:
        await rsd.close()


@pytest.mark.parametrize("profile", ["iphone-15-pro", "iphone-14@26"])
def test_an_app_is_launched_through_the_tunnel(tmp_path: Path, profile: str) -> None:
    async def work() -> None:
        async with lab(tmp_path, profile) as there, await there.found() as rsd:
            phone = there.phone
            assert (rsd.udid, rsd.product_type) == (phone.udid, phone.profile.product_type)
            assert (rsd.product_version, rsd.product_build_version) == (
                phone.profile.ios_version,
                phone.profile.build_version,
            )
            assert rsd.ecid == rsd.all_values["UniqueChipID"]
            assert await rsd.get_value(key="UniqueDeviceID") == phone.udid
            async with DvtProvider(rsd) as provider, ProcessControl(provider) as control:
                pid = await control.launch(BUNDLE, ["wait"])
                assert list(phone.processes) == [pid]
                async with DeviceInfo(provider) as info:
                    assert pid in [process["pid"] for process in await info.proclist()]

    run(work)


def test_each_phone_has_a_tunnel_of_its_own(tmp_path: Path) -> None:
    async def work() -> None:
        udids = ("00008130-000A2B3C4D5E6F70", ODD)
        async with lab(tmp_path, "iphone-15-pro", "iphone-14@18", udids=udids) as there:
            devices = await get_tunneld_devices(there.tunneld.address)
            try:
                assert {device.udid: device.product_type for device in devices} == {
                    phone.udid: phone.profile.product_type for phone in there.phones
                }
            finally:
                for device in devices:
                    await device.close()

    run(work)


def test_without_its_image_the_server_is_not_there(tmp_path: Path) -> None:
    async def work() -> None:
        async with lab(tmp_path, "iphone-15-pro") as there:
            phone = there.phone
            for fault in ("no_image", "developer_mode_off", "image_needs_network"):
                phone.faults = {fault}
                async with await there.found() as rsd:
                    with pytest.raises(InvalidServiceError):
                        await DvtProvider(rsd).connect()
            phone.faults = set()
            async with await there.found() as rsd, DvtProvider(rsd):
                assert phone.links.count("dvt") == 1

    run(work)


def test_a_service_that_cannot_start_says_why(tmp_path: Path) -> None:
    async def work() -> None:
        registry = Registry()
        registry.add(Service("com.apple.afc", _never))
        async with (
            phone_of(tmp_path) as phone,
            tunnelled(phone, registry) as rsd,
            RemoteServiceDiscoveryService(rsd.address) as client,
        ):
            phone.faults.add("locked_since_boot")
            with pytest.raises(StartServiceError, match="PasswordProtected"):
                await AfcService(client).connect()

    run(work)


async def _never(phone: Iphone, incoming: object) -> None:
    raise AssertionError("started")


def test_a_phone_that_is_unplugged_has_no_tunnel(tmp_path: Path) -> None:
    async def work() -> None:
        async with lab(tmp_path, "iphone-15-pro") as there:
            phone, tunneld = there.phone, there.tunneld
            async with await there.found() as rsd, DvtProvider(rsd) as provider:
                address = rsd.service.address
                async with DeviceInfo(provider) as info:
                    phone.plugged = False
                    assert phone.links.cut() >= 3
                    with pytest.raises(ConnectionTerminatedError):
                        await info.proclist()
            assert await get_tunneld_device_by_udid(phone.udid, tunneld.address) is None
            with pytest.raises((ConnectionTerminatedError, ConnectionError)):
                await RemoteServiceDiscoveryService(address).connect()
            phone.plugged = True
            await (await there.found()).close()

    run(work)


def test_what_tunneld_answers(tmp_path: Path) -> None:
    def ask(address: tuple[str, int], path: str) -> tuple[int, object]:
        try:
            with urllib.request.urlopen(f"http://{address[0]}:{address[1]}{path}", timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    async def work() -> None:
        async with lab(tmp_path, "iphone-15-pro") as there:
            phone, tunneld = there.phone, there.tunneld
            address = tunneld.address
            assert (await asyncio.to_thread(ask, address, "/hello"))[0] == 200
            status, tunnel = await asyncio.to_thread(ask, address, f"/start-tunnel?udid={phone.udid}")
            assert status == 200
            assert isinstance(tunnel, dict)
            async with RemoteServiceDiscoveryService((tunnel["address"], tunnel["port"])) as rsd:
                assert rsd.udid == phone.udid
                assert (await asyncio.to_thread(ask, address, f"/cancel?udid={phone.udid}"))[0] == 200
                with pytest.raises(ConnectionTerminatedError):
                    await rsd.service.receive_response()
            assert (await asyncio.to_thread(ask, address, "/start-tunnel?udid=none"))[0] == 501
            assert (await asyncio.to_thread(ask, address, "/nothing"))[0] == 404
            await there.there(tunneld.close())
            with pytest.raises(TunneldConnectionError):
                await get_tunneld_devices(address)
            await there.there(tunneld.start(address[1]))
            await (await there.found()).close()

    run(work)


def test_noise_is_hung_up_on_and_others_are_served(tmp_path: Path) -> None:
    async def work() -> None:
        async with lab(tmp_path, "iphone-15-pro") as there, await there.found() as rsd:
            ports = [rsd.service.address[1], rsd.get_service_port(dvt.OVER_TUNNEL), there.tunneld.address[1]]
            for port in ports:
                for noise in (
                    b"GET / HTTP/1.1\r\n\r",
                    b"\0" * 200,
                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 99,
                ):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.write(noise)
                    writer.write_eof()
                    await asyncio.wait_for(reader.read(), 10)
                    writer.close()
            async with DvtProvider(rsd) as provider, DeviceInfo(provider) as info:
                assert await info.system_information()

    run(work)

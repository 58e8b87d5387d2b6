"""Muxer, lockdown and pairing of virtual iPhones, seen by unmodified clients."""

from __future__ import annotations

import asyncio
import contextlib
import os
import plistlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymobiledevice3.exceptions import (
    ConnectionTerminatedError,
    DeviceNotFoundError,
    InvalidServiceError,
    MuxException,
    PairingDialogResponsePendingError,
    PasswordRequiredError,
    UserDeniedPairingError,
)
from pymobiledevice3.services.diagnostics import DiagnosticsService
from pymobiledevice3.services.heartbeat import HeartbeatService
from pymobiledevice3.services.os_trace import OsTraceService
from pymobiledevice3.services.syslog import SyslogService
from pymobiledevice3.usbmux import PlistMuxConnection, create_mux, list_devices

from device_agents.virtual.errors import LabError
from device_agents.virtual.iphone import profiles
from device_agents.virtual.iphone.lab import IphoneLab, IphoneWish
from tests.lab.iphone_lab import Running, iphones, run, until

ODD = "00008130-Ünïcödé; rm -rf $HOME'\"<x>/.."


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A phone of today and one of iOS 16; tests leave them as they were."""
    with iphones(tmp_path_factory.mktemp("pair"), "iphone-15-pro@18", "iphone-14@16") as running:
        yield running


def test_both_phones_are_listed_and_say_what_they_are(pair: Running) -> None:
    async def work() -> None:
        listed = await list_devices(usbmux_address=pair.info.usbmux)
        assert {(device.serial, device.connection_type) for device in listed} == {
            (phone.udid, "USB") for phone in pair.info.phones
        }
        for name, product, major in (("iphone-15-pro", "iPhone16,1", "18."), ("iphone-14", "iPhone14,7", "16.")):
            async with pair.connect(name) as client:
                assert client.paired
                assert client.udid == pair.phone(name).udid
                assert client.product_type == product
                assert client.product_version.startswith(major)
                assert client.ecid == int(client.udid.split("-")[1], 16)
                assert client.display_name == pair.phone(name).title.removeprefix("Apple ")

    run(work)


def test_a_pair_record_is_kept_in_the_labs_folder_and_used_again(pair: Running) -> None:
    async def work() -> None:
        async with pair.connect() as client:
            host = client.host_id
        kept = list((pair.phone().folder.parent.parent / "pair-records").glob("*.plist"))
        assert host in [plistlib.loads(file.read_bytes())["HostID"] for file in kept]
        assert not Path(f"/var/lib/lockdown/{pair.phone().udid}.plist").exists()
        async with pair.connect(autopair=False) as client:
            assert client.paired

    run(work)


def test_values_by_domain(pair: Running) -> None:
    async def work() -> None:
        async with pair.connect() as client:
            disk = await client.get_value("com.apple.disk_usage")
            assert 0 < disk["AmountDataAvailable"] < disk["TotalDataCapacity"] < disk["TotalDiskCapacity"]
            battery = await client.get_value("com.apple.mobile.battery")
            assert battery["BatteryIsCharging"] is True
            assert battery["BatteryCurrentCapacity"] == pytest.approx(74, abs=1)
            assert await client.get_developer_mode_status() is True
            assert await client.get_value("com.apple.international", "Language") == "en-US"

    run(work)


def test_a_stranger_is_told_little_and_given_nothing(pair: Running) -> None:
    async def work() -> None:
        async with pair.connect(autopair=False, pair_record={"HostID": "nobody", "SystemBUID": "x"}) as client:
            assert not client.paired
            assert client.product_type == "iPhone16,1"
            assert "SerialNumber" not in client.all_values
            client.paired = True
            with pytest.raises(Exception, match="SessionInactive"):
                await client.start_lockdown_service("com.apple.afc")

    run(work)


def test_the_battery_has_new_values_only_with_a_new_time(pair: Running) -> None:
    async def work() -> None:
        async with pair.connect() as client, DiagnosticsService(client) as diagnostics:
            first = await diagnostics.get_battery()
            assert first["ExternalConnected"] and first["IsCharging"] and first["InstantAmperage"] > 0
            assert first["Temperature"] == pytest.approx(2500, abs=300)
            assert first["AppleRawCurrentCapacity"] < first["AppleRawMaxCapacity"] < first["DesignCapacity"]
            assert await diagnostics.get_battery() == first
            assert await diagnostics.ioregistry(name="NoSuchEntry") == {}

    run(work)


def test_the_heart_beats_and_the_log_is_told(pair: Running) -> None:
    async def work() -> None:
        async with pair.connect() as client:
            beating = asyncio.create_task(HeartbeatService(client).start())
            stream = OsTraceService(client).syslog()
            pair.order("log", process="farmd", message="größer als 4 °C")
            entry = await anext(entry async for entry in stream if entry.filename.endswith("farmd"))
            assert entry.message == "größer als 4 °C"
            await stream.aclose()
            lines = SyslogService(client).watch()
            waiting = asyncio.create_task(anext(line async for line in lines if "farmd" in str(line)))
            while not waiting.done():
                pair.order("log", process="farmd", message="again")
                await asyncio.wait([waiting], timeout=0.05)
            assert "farmd[0] <Notice>: again" in str(waiting.result())
            assert not beating.done()
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    run(work)


def test_the_tools_of_libimobiledevice_agree(pair: Running, tmp_path: Path) -> None:
    if shutil.which("ideviceinfo") is None or shutil.which("idevice_id") is None:
        pytest.skip("libimobiledevice's tools are not installed (Debian: libimobiledevice-utils)")
    environment = {**os.environ, **pair.info.env, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}

    def says(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    async def work() -> None:
        async with pair.connect() as client:
            assert client.paired

    run(work)
    udid = pair.phone().udid
    assert set(says("idevice_id", "-l").split()) == {phone.udid for phone in pair.info.phones}
    told = dict(line.split(": ", 1) for line in says("ideviceinfo", "-u", udid).splitlines() if ": " in line)
    assert (told["ProductType"], told["UniqueDeviceID"]) == ("iPhone16,1", udid)
    assert "AmountDataAvailable" in says("ideviceinfo", "-u", udid, "-q", "com.apple.disk_usage")


def test_the_tools_of_libimobiledevice_pair_by_themselves(tmp_path: Path) -> None:
    if shutil.which("idevicepair") is None or shutil.which("ideviceinfo") is None:
        pytest.skip("libimobiledevice's tools are not installed (Debian: libimobiledevice-utils)")
    with iphones(tmp_path, "iphone-15-pro@26") as running:
        environment = {**os.environ, **running.info.env, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
        udid = running.phone().udid
        for command, says in (
            (("idevicepair", "-u", udid, "pair"), "SUCCESS: Paired with device"),
            (("idevicepair", "-u", udid, "validate"), "SUCCESS: Validated pairing"),
            (("ideviceinfo", "-u", udid, "-k", "SerialNumber"), "V"),
            (("idevicediagnostics", "-u", udid, "ioregentry", "AppleSmartBattery"), "InstantAmperage"),
        ):
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)
            assert done.returncode == 0 and says in done.stdout, (command, done.stdout, done.stderr)


def test_eight_phones_at_once(tmp_path: Path) -> None:
    with iphones(tmp_path, *(["iphone-se-3", "iphone-14@16"] * 4)) as running:
        assert len({phone.udid for phone in running.info.phones}) == 8

        async def one(udid: str) -> str:
            async with running.connect(udid) as client, DiagnosticsService(client) as diagnostics:
                assert (await diagnostics.get_battery())["BatteryInstalled"]
                return str(client.udid)

        async def work() -> None:
            found = await asyncio.gather(*(one(phone.udid) for phone in running.info.phones))
            assert found == [phone.udid for phone in running.info.phones]

        run(work)


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_phones_come_and_go(tmp_path: Path) -> None:
    with iphones(tmp_path, "iphone-se-3@18", "iphone-14@16") as running:

        async def work() -> None:
            mux = await create_mux(running.info.usbmux)
            assert isinstance(mux, PlistMuxConnection)
            await mux.listen()
            for _ in range(2):
                await mux.receive_device_state_update()
            before = {device.serial: device.devid for device in mux.devices}
            udid = running.phone().udid
            async with running.connect() as client:
                await asyncio.to_thread(running.order, "unplug")
                # That it was paired is told too.
                while udid in [device.serial for device in mux.devices]:
                    await mux.receive_device_state_update()
                with pytest.raises((ConnectionTerminatedError, DeviceNotFoundError, MuxException)):
                    await client.get_value("com.apple.disk_usage")
            with pytest.raises(DeviceNotFoundError):
                async with running.connect():
                    pass
            await asyncio.to_thread(running.order, "plug")
            while udid not in [device.serial for device in mux.devices]:
                await mux.receive_device_state_update()
            assert {device.serial: device.devid for device in mux.devices}[udid] > before[udid]
            async with running.connect() as client:
                assert client.paired
            await mux.close()

        run(work)


def test_a_phone_off_the_cable_is_reached_over_the_network(tmp_path: Path) -> None:
    with iphones(tmp_path, "iphone-14@18") as running:

        async def work() -> None:
            await asyncio.to_thread(running.order, "plug", connection="Network")
            (device,) = await list_devices(usbmux_address=running.info.usbmux)
            assert device.is_network
            async with running.connect() as client, DiagnosticsService(client) as diagnostics:
                battery = await diagnostics.get_battery()
                assert battery["ExternalConnected"] is False and battery["InstantAmperage"] < 0

        run(work)


def test_trust_is_asked_for_refused_and_taken_back(tmp_path: Path) -> None:
    with iphones(tmp_path, IphoneWish("iphone-15-pro", faults=("trust_pending",))) as running:

        async def connect() -> None:
            async with running.connect():
                pass

        async def work() -> None:
            with pytest.raises(PairingDialogResponsePendingError):
                await connect()
            await asyncio.to_thread(running.order, "trust_pending", on=False)
            await asyncio.to_thread(running.order, "trust_refused")
            with pytest.raises(UserDeniedPairingError):
                await connect()
            await asyncio.to_thread(running.order, "trust_refused", on=False)
            await asyncio.to_thread(running.order, "locked")
            with pytest.raises(PasswordRequiredError):
                await connect()
            await asyncio.to_thread(running.order, "locked", on=False)
            await connect()
            await asyncio.to_thread(running.order, "not_paired", keep_record=True)
            async with running.connect(autopair=False) as client:
                assert not client.paired
            await connect()

        run(work)


def test_before_the_first_unlock_hardly_any_service_starts(tmp_path: Path) -> None:
    with iphones(tmp_path, "iphone-15-pro") as running:

        async def work() -> None:
            async with running.connect():
                pass
            await asyncio.to_thread(running.order, "locked_since_boot")
            async with running.connect() as client:
                assert client.all_values["PasswordProtected"] is True
                with pytest.raises(PasswordRequiredError):
                    await client.start_lockdown_service("com.apple.afc")
                async with DiagnosticsService(client) as diagnostics:
                    assert (await diagnostics.get_battery())["BatteryInstalled"]
            await asyncio.to_thread(running.order, "locked_since_boot", on=False)
            async with running.connect() as client:
                await (await client.start_lockdown_service("com.apple.afc")).close()
                with pytest.raises(InvalidServiceError):
                    await client.start_lockdown_service("com.apple.no_such_service")

        run(work)


def test_a_muxer_that_is_restarted_keeps_its_port_and_its_records(tmp_path: Path) -> None:
    with iphones(tmp_path, "iphone-14@16") as running:

        async def work() -> None:
            async with running.connect() as client:
                await asyncio.to_thread(running.lab.order, "muxer_restart")
                # The client connects anew by itself, by the same address.
                assert await client.get_value(key="UniqueDeviceID") == running.phone().udid
            async with running.connect(autopair=False) as client:
                assert client.paired

        run(work)


def test_a_restart_ends_the_connection_and_the_image(tmp_path: Path) -> None:
    with iphones(tmp_path, "iphone-14@18") as running:

        async def work() -> None:
            async with running.connect() as client, DiagnosticsService(client) as diagnostics:
                await diagnostics.restart()
                await until(lambda: "no_image" in running.status()["faults"])
            await until(lambda: running.status()["plugged"])
            async with running.connect() as client:
                assert client.paired

        run(work)


def test_a_udid_of_odd_characters(tmp_path: Path) -> None:
    with iphones(tmp_path, IphoneWish("iphone-14@16", udid=ODD)) as running:

        async def work() -> None:
            (device,) = await list_devices(usbmux_address=running.info.usbmux)
            assert device.serial == ODD
            mux = await create_mux(running.info.usbmux)
            assert isinstance(mux, PlistMuxConnection)
            await mux.save_pair_record(ODD, device.devid, plistlib.dumps({"HostID": "x"}))
            assert (await mux.get_pair_record(ODD))["HostID"] == "x"
            await mux.close()

        run(work)
        kept = list((running.phone().folder.parent.parent / "pair-records").iterdir())
        assert len(kept) == 1 and kept[0].is_file()


@pytest.mark.parametrize(
    "sent", [b"", b"\0" * 16, b"\xff" * 64, b"GET / HTTP/1.1\r\n\r\n"], ids=["nothing", "zeros", "ones", "http"]
)
def test_the_muxer_outlives_bytes_that_are_no_message(pair: Running, sent: bytes) -> None:
    async def work() -> None:
        host, port = pair.info.usbmux.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent)
        # It hangs up on what is no message, and may have done so before this end is done.
        with contextlib.suppress(OSError):
            writer.write_eof()
            await reader.read()
        writer.close()
        assert len(await list_devices(usbmux_address=pair.info.usbmux)) == 2

    run(work)


def test_orders_that_cannot_be_carried_out_are_refused(pair: Running) -> None:
    for name, values in (("no_such_order", {}), ("jetsam", {}), ("set", {"values": {"charger": "sun"}}), ("set", {})):
        with pytest.raises(LabError):
            pair.order(name, **values)
    with pytest.raises(LabError, match="no iPhone"):
        pair.order("unplug", "iphone-99")
    assert pair.status()["plugged"]


def test_profiles_say_which_there_are() -> None:
    assert profiles.names() == ("iphone-15-pro", "iphone-14", "iphone-se-3")
    assert profiles.load("iphone-14@16").build_version == "20H350"
    with pytest.raises(LabError, match="iphone-14"):
        profiles.load("iphone-41")
    with pytest.raises(LabError, match="does not run iOS 12"):
        profiles.load("iphone-14@12")


def test_a_lab_ends_with_whoever_it_was_started_for(tmp_path: Path) -> None:
    owner = subprocess.Popen(["sleep", "60"])
    lab = IphoneLab(tmp_path / "lab")
    try:
        lab.up([IphoneWish("iphone-14@16")], die_with=owner.pid)
        with pytest.raises(LabError, match="up already"):
            lab.up([IphoneWish("iphone-14@16")])
        owner.kill()
        owner.wait()

        async def ended() -> None:
            await until(lambda: not (tmp_path / "lab/ready.json").exists())

        run(ended)
        with pytest.raises(LabError, match="not up"):
            lab.info()
    finally:
        owner.kill()
        lab.down()
    assert not (tmp_path / "lab").exists()

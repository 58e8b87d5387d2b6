"""Apps, images, reports and the body of virtual iPhones, seen by unmodified clients."""

from __future__ import annotations

import asyncio
import json
import os
import plistlib
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pymobiledevice3.exceptions import (
    AlreadyMountedError,
    AppInstallError,
    DeveloperModeIsNotEnabledError,
    DeviceNotFoundError,
    InvalidServiceError,
    MissingManifestError,
    PasswordRequiredError,
    TunneldConnectionError,
)
from pymobiledevice3.lockdown import UsbmuxLockdownClient
from pymobiledevice3.services.amfi import AmfiService
from pymobiledevice3.services.crash_reports import CrashReportsManager
from pymobiledevice3.services.diagnostics import DiagnosticsService
from pymobiledevice3.services.dvt.instruments.dvt_provider import DvtProvider
from pymobiledevice3.services.dvt.instruments.process_control import ProcessControl
from pymobiledevice3.services.installation_proxy import InstallationProxyService
from pymobiledevice3.services.mobile_image_mounter import DeveloperDiskImageMounter, PersonalizedImageMounter
from pymobiledevice3.tunneld.api import get_tunneld_device_by_udid

from device_agents.virtual import physics
from device_agents.virtual.iphone.lab import IphoneWish
from device_agents.virtual.iphone.profiles import load
from tests.lab.iphone_lab import BUNDLE, Running, iphones, package, run, until

HELD = 64 << 20


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Running]:
    """A phone of iOS 16 with the app; its instruments server needs no tunnel."""
    with iphones(tmp_path, IphoneWish("iphone-14@16", apps=(package(tmp_path / "runner.ipa"),))) as running:
        yield running


@asynccontextmanager
async def launched(running: Running, *arguments: str) -> AsyncIterator[tuple[UsbmuxLockdownClient, int]]:
    """The app, up to where it runs."""
    async with running.connect() as client, DvtProvider(client) as provider, ProcessControl(provider) as control:
        pid = await control.launch(BUNDLE, list(arguments))
        async for event in control:
            if event.pid == pid and "ready" in event.message:
                break
        yield client, pid


async def reports(client: UsbmuxLockdownClient) -> dict[str, str]:
    """Name → text of each crash report."""
    async with CrashReportsManager(client) as manager:
        await manager.flush()
        return {name: (await manager.afc.get_file_contents(name)).decode() for name in await manager.ls()}


async def gone(running: Running, pid: int) -> None:
    await until(lambda: pid not in [known["pid"] for known in running.status()["processes"]])


def events(running: Running, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in running.phone().truth.read_text().splitlines()]
    return [line for line in lines if line.get("event") == name]


# --- install ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["iphone-15-pro@18", "iphone-14@16"])
def test_an_app_is_installed_replaced_and_removed(tmp_path: Path, profile: str) -> None:
    with iphones(tmp_path, profile) as running:

        async def work() -> None:
            async with running.connect() as client, InstallationProxyService(client) as proxy:
                assert await proxy.get_apps("User") == {}
                await proxy.install_from_local(package(tmp_path / "1.ipa"), developer=True)
                found = (await proxy.get_apps("User", calculate_sizes=True))[BUNDLE]
                assert (found["CFBundleVersion"], found["CFBundleExecutable"]) == ("1", "FarmRunner")
                assert found["StaticDiskUsage"] > 0
                (Path(running.status()["apps"][BUNDLE]) / "kept").write_text("x")
                await proxy.install_from_local(package(tmp_path / "2.ipa", version="2"), developer=True)
                assert (await proxy.get_apps("User"))[BUNDLE]["CFBundleVersion"] == "2"
                assert (Path(running.status()["apps"][BUNDLE]) / "kept").exists()
                assert [app["CFBundleIdentifier"] for app in await proxy.browse()] == [BUNDLE]
                assert await proxy.get_apps("System") == {}
                await proxy.uninstall(BUNDLE)
                assert await proxy.get_apps("User") == {}

        run(work)
        folder = running.phone().folder
        assert list((folder / "media/PublicStaging").rglob("*.ipa")) == []
        assert list((folder / "bundles").iterdir()) == []


def test_packages_that_are_refused(tmp_path: Path) -> None:
    expired = plistlib.dumps({"ExpirationDate": datetime(2020, 1, 1), "Name": "old"})
    valid = plistlib.dumps({"ExpirationDate": datetime(2099, 1, 1), "Name": "new"})
    broken = tmp_path / "broken.ipa"
    whole = package(tmp_path / "whole.ipa").read_bytes()
    broken.write_bytes(whole.replace(b"<plist", b"<plisX"))
    with iphones(tmp_path, "iphone-14@16") as running:

        async def work() -> None:
            async with running.connect() as client, InstallationProxyService(client) as proxy:
                for path, words in (
                    (package(tmp_path / "e.ipa", embedded__mobileprovision=b"\0CMS" + expired), "0xe8008015"),
                    (package(tmp_path / "n.ipa", MinimumOSVersion="17.0"), "DeviceOSVersionTooLow"),
                    (package(tmp_path / "x.ipa", CFBundleExecutable="../x"), "PackageInspectionFailed"),
                    (broken, "PackageInspectionFailed"),
                ):
                    with pytest.raises(AppInstallError, match=words):
                        await proxy.install_from_local(path, developer=True)
                    assert await proxy.get_apps("User") == {}
                good = package(tmp_path / "g.ipa", embedded__mobileprovision=b"\0CMS" + valid + b"\0sig")
                await proxy.install_from_local(good, developer=True)
                assert BUNDLE in await proxy.get_apps("User")

        run(work)


# --- the body ---------------------------------------------------------------------------------------------------------


def test_an_app_is_told_of_the_device(old: Running) -> None:
    async def work() -> None:
        async with launched(old, "state", "told"):
            told = Path(old.status()["apps"][BUNDLE]) / "told"

            def last() -> dict[str, Any]:
                lines = told.read_text().splitlines() if told.exists() else []
                return dict(json.loads(lines[-1])) if lines else {}

            first = await until(last)
            assert first["thermal_state"] == "nominal"
            assert first["frontmost"] is True and first["charging"] is True and first["low_power"] is False
            assert 0 < first["available_bytes"] <= load("iphone-14").ram_bytes
            await asyncio.to_thread(old.order, "to_background")
            await until(lambda: last()["frontmost"] is False)
            await asyncio.to_thread(old.order, "set", values={"temperature_c": 43, "heat_scale": 1e-4})
            await until(lambda: last()["thermal_state"] == "serious")
            await asyncio.to_thread(old.order, "set", values={"low_power": True, "charger": "none", "battery_level": 9})
            await until(lambda: last()["low_power"] and not last()["charging"] and last()["battery_level_pct"] == 9)

    run(work)


def test_work_warms_the_phone_and_empties_its_battery(old: Running) -> None:
    async def work() -> None:
        quick = {"charger": "none", "heat_scale": 40, "battery_scale": 40}
        await asyncio.to_thread(old.order, "set", values=quick)
        before = old.status()
        async with launched(old, "spin") as (client, pid), DiagnosticsService(client) as diagnostics:
            first = await diagnostics.get_battery()
            assert first["InstantAmperage"] < 0

            async def later() -> dict[str, Any]:
                while (found := await diagnostics.get_battery())["UpdateTime"] == first["UpdateTime"]:
                    assert found == first
                    await asyncio.sleep(0.05)
                return dict(found)

            await later()
            await until(lambda: old.status()["cpu_c"] > before["cpu_c"] + 5)
            second = await later()
            assert second["InstantAmperage"] < -100
            assert old.status()["load"] > 0.2
            await asyncio.to_thread(old.order, "user_kill")
            await gone(old, pid)

    run(work)
    lines = [json.loads(line) for line in old.phone().truth.read_text().splitlines()]
    assert lines[-1]["energy_j"] > lines[0]["energy_j"] and lines[-1]["busy_s"] > 0
    assert events(old, "launch") and events(old, "exit")


def test_apps_of_a_hot_phone_are_held_still_for_a_share_of_the_time(old: Running) -> None:
    async def work() -> None:
        async with launched(old, "spin") as (_, pid):
            await asyncio.to_thread(old.order, "set", values={"temperature_c": 110, "heat_scale": 1e-4})
            seen: set[str] = set()

            def both() -> bool:
                seen.add(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
                return {"R", "T"} <= seen

            await until(both)
            assert old.status()["cap"] < 1.0
            await asyncio.to_thread(old.order, "user_kill")
            await gone(old, pid)
        assert events(old, "set")[-1]["cap"] < 1.0

    run(work)


def test_physics_take_an_iphone_as_they_take_any_phone() -> None:
    profile = load("iphone-15-pro")
    state = physics.at_rest(profile, 80.0)
    for _ in range(600):
        state = physics.step(state, profile, load=1.0, seconds=1.0, charger="none", charging=True)
    assert state.skin_c > profile.thermal.fair_c
    assert state.cap < 1.0
    assert state.battery_out_j == pytest.approx(state.energy_j, rel=0.02)


# --- deaths -----------------------------------------------------------------------------------------------------------


def test_a_jetsam_leaves_a_report_with_the_memory_that_was_held(old: Running) -> None:
    async def work() -> None:
        async with launched(old, "hold", str(HELD)) as (client, pid):
            told = await asyncio.to_thread(old.order, "jetsam", reason="per-process-limit")
            assert told["pid"] == pid
            await gone(old, pid)
            text = (await reports(client))["/" + told["report"]]
            head, body = text.split("\n", 1)
            assert json.loads(head)["bug_type"] == "298"
            (victim,) = [entry for entry in json.loads(body)["processes"] if "reason" in entry]
            held = victim["rpages"] * json.loads(body)["memoryStatus"]["pageSize"]
            assert (victim["name"], victim["pid"], victim["reason"]) == ("FarmRunner", pid, "per-process-limit")
            assert HELD < held < HELD + (40 << 20)

    run(work)
    (end,) = events(old, "exit")
    assert (end["code"], end["signal"]) == (None, signal.SIGKILL)


def test_a_crash_and_a_watchdog_leave_reports_and_a_user_leaves_none(old: Running) -> None:
    async def work() -> None:
        async with launched(old) as (client, pid):
            told = await asyncio.to_thread(old.order, "crash", signal=int(signal.SIGABRT))
            await gone(old, pid)
            async with CrashReportsManager(client) as manager:
                parsed = await manager.parse(told["report"])
                assert parsed.name == "FarmRunner"
            _, body = (await reports(client))["/" + told["report"]].split("\n", 1)
            assert json.loads(body)["exception"]["signal"] == "SIGABRT"
            assert json.loads(body)["pid"] == pid
        async with launched(old) as (client, pid):
            told = await asyncio.to_thread(old.order, "watchdog", target=pid)
            await gone(old, pid)
            _, body = (await reports(client))["/" + told["report"]].split("\n", 1)
            assert json.loads(body)["termination"]["code"] == 0x8BADF00D
        async with launched(old) as (client, pid):
            before = await reports(client)
            await asyncio.to_thread(old.order, "user_kill")
            await gone(old, pid)
            assert await reports(client) == before

    run(work)


def test_an_app_over_its_limit_is_killed_by_the_phone_itself(tmp_path: Path) -> None:
    app = package(tmp_path / "runner.ipa")
    with iphones(tmp_path, IphoneWish("iphone-14@16", apps=(app,))) as running:

        async def work() -> None:
            await asyncio.to_thread(running.order, "set", values={"app_limit_bytes": 30 << 20})
            async with (
                running.connect() as client,
                DvtProvider(client) as provider,
                ProcessControl(provider) as control,
            ):
                pid = await control.launch(BUNDLE, ["hold", str(HELD)])
                await gone(running, pid)
                (name,) = await reports(client)
                assert name.startswith("/JetsamEvent-")

        run(work)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_an_app_lives_on_without_its_cable_and_dies_with_its_lab(tmp_path: Path, end: signal.Signals) -> None:
    app = package(tmp_path / "runner.ipa")
    with iphones(tmp_path, IphoneWish("iphone-14@16", apps=(app,))) as running:

        async def work() -> int:
            async with (
                running.connect() as client,
                DvtProvider(client) as provider,
                ProcessControl(provider) as control,
            ):
                pid = await control.launch(BUNDLE, ["wait"])
                await asyncio.to_thread(running.order, "unplug")
                with pytest.raises(DeviceNotFoundError):
                    await client.get_value("com.apple.disk_usage")
            assert [known["pid"] for known in running.status()["processes"]] == [pid]
            return pid

        pid = asyncio.run(asyncio.wait_for(work(), 60))
        os.kill(running.info.pid, end)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists()


# --- developer mode, image, tunnel ------------------------------------------------------------------------------------


def test_developer_services_need_mode_image_and_an_unlocked_screen(old: Running) -> None:
    async def start() -> None:
        async with old.connect() as client, DvtProvider(client):
            pass

    async def work() -> None:
        await start()
        for fault, error in (
            ("developer_mode_off", InvalidServiceError),
            ("no_image", InvalidServiceError),
            ("locked", PasswordRequiredError),
        ):
            await asyncio.to_thread(old.order, fault)
            with pytest.raises(error):
                await start()
            await asyncio.to_thread(old.order, fault, on=False)
        await start()

    run(work)


def test_the_image_of_ios_16_is_mounted_and_unmounted(old: Running, tmp_path: Path) -> None:
    image, signature = tmp_path / "i.dmg", tmp_path / "i.dmg.signature"
    image.write_bytes(b"image" * 200_000)
    signature.write_bytes(b"signature")

    async def work() -> None:
        async with old.connect() as client, DeveloperDiskImageMounter(client) as mounter:
            with pytest.raises(AlreadyMountedError):
                await mounter.mount(image, signature)
            await mounter.umount()
            assert not await mounter.is_image_mounted("Developer")
            await asyncio.to_thread(old.order, "developer_mode_off")
            assert await mounter.query_developer_mode_status() is False
            with pytest.raises(DeveloperModeIsNotEnabledError):
                await mounter.mount(image, signature)
            await asyncio.to_thread(old.order, "developer_mode_off", on=False)
            await mounter.mount(image, signature)
            assert await mounter.is_image_mounted("Developer")

    run(work)


def test_the_first_mount_of_a_personal_image_needs_a_manifest(tmp_path: Path) -> None:
    image, manifest, cache = (tmp_path / name for name in ("Image.dmg", "BuildManifest.plist", "Image.trustcache"))
    for path in (image, manifest, cache):
        path.write_bytes(plistlib.dumps({"BuildIdentities": []}))
    with iphones(tmp_path, IphoneWish("iphone-15-pro", faults=("image_needs_network",))) as running:

        async def work() -> None:
            async with running.connect() as client:
                async with PersonalizedImageMounter(client) as mounter:
                    with pytest.raises(MissingManifestError):
                        await mounter.query_personalization_manifest("DeveloperDiskImage", b"digest")
                async with PersonalizedImageMounter(client) as mounter:
                    found = await mounter.query_personalization_identifiers()
                    assert (found["BoardId"], found["ChipID"]) == (0x04, 0x8130)
                    assert len(await mounter.query_nonce("DeveloperDiskImage")) == 32
                    # A ticket that came from elsewhere.
                    await mounter.upload_image("Personalized", image.read_bytes(), b"ticket")
                    await mounter.mount_image("Personalized", b"ticket", extras={"ImageTrustCache": b"x"})
                    await mounter.umount()
                    await mounter.mount(image, manifest, cache)
                    assert [entry["DiskImageType"] for entry in await mounter.copy_devices()] == ["Personalized"]

        run(work)


def test_developer_mode_is_switched_on_by_the_client(tmp_path: Path) -> None:
    with iphones(tmp_path, IphoneWish("iphone-14@16", faults=("developer_mode_off",))) as running:

        async def work() -> None:
            async with running.connect() as client:
                await AmfiService(client).enable_developer_mode(enable_post_restart=False)
            await until(lambda: running.status()["plugged"] and "no_image" in running.status()["faults"])
            async with running.connect() as client:
                assert await client.get_developer_mode_status() is False
                await AmfiService(client).enable_developer_mode_post_restart()
                assert await client.get_developer_mode_status() is True

        run(work)


def test_a_phone_of_today_is_launched_on_through_its_tunnel(tmp_path: Path) -> None:
    app = package(tmp_path / "runner.ipa")
    with iphones(tmp_path, IphoneWish("iphone-15-pro", apps=(app,)), "iphone-14@17.2") as running:
        host, port = running.info.tunneld.split(":")

        async def work() -> None:
            tunnel = await get_tunneld_device_by_udid(running.phone().udid, (host, int(port)))
            assert tunnel is not None
            async with tunnel, DvtProvider(tunnel) as provider, ProcessControl(provider) as control:
                pid = await control.launch(BUNDLE, ["wait"])
                assert [known["pid"] for known in running.status()["processes"]] == [pid]
                await asyncio.to_thread(running.order, "tunneld")
            assert [known["pid"] for known in running.status()["processes"]] == [pid]
            with pytest.raises(TunneldConnectionError):
                await get_tunneld_device_by_udid(running.phone().udid, (host, int(port)))

        async def again() -> None:
            await asyncio.to_thread(running.order, "tunneld", on=True)
            tunnel = await get_tunneld_device_by_udid(running.phone().udid, (host, int(port)))
            assert tunnel is not None
            await tunnel.close()
            # iOS 17.2 has no tunnel without root on the host.
            assert await get_tunneld_device_by_udid(running.phone("iphone-14").udid, (host, int(port))) is None

        run(work)
        run(again)

"""The instruments server of a virtual iPhone, seen by the unmodified client."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pymobiledevice3.dtx import DTXContext, DTXNsError, QueueShutDown, dtx_on_invoke
from pymobiledevice3.exceptions import ConnectionTerminatedError, UnrecognizedSelectorError
from pymobiledevice3.services.dvt.instruments.device_info import DeviceInfo
from pymobiledevice3.services.dvt.instruments.dvt_provider import DvtProvider
from pymobiledevice3.services.dvt.instruments.energy_monitor import EnergyMonitor
from pymobiledevice3.services.dvt.instruments.process_control import ProcessControl, ProcessControlService
from pymobiledevice3.services.dvt.instruments.screenshot import Screenshot
from pymobiledevice3.services.dvt.instruments.sysmontap import Sysmontap

from device_agents.virtual.iphone.machtime import DENOMINATOR, NUMERATOR
from device_agents.virtual.iphone.phone import Iphone
from tests.lab.iphones import BUNDLE, HELD_BYTES, instruments, phone_of, run

OLD = "iphone-14@16"
End = tuple[int, int | None, int | None]


class Watching(ProcessControlService):
    """The client's channel, with the ends that the library only logs."""

    def __init__(self, ctx: DTXContext) -> None:
        super().__init__(ctx)
        self.ends: asyncio.Queue[End] = asyncio.Queue()

    @dtx_on_invoke("processWithPID:terminatedWithExitCode:orCrashingSignal:")
    async def _on_process_terminated(self, pid: int, exit_code: int | None, crashing_signal: int | None) -> None:
        self.ends.put_nowait((pid, exit_code, crashing_signal))


async def watching(provider: DvtProvider) -> tuple[ProcessControl, Watching]:
    service = await provider.dtx.open_channel(ProcessControlService.IDENTIFIER, Watching)
    return ProcessControl(provider, service), service


async def started(control: ProcessControl, *arguments: str, **more: Any) -> int:
    """Launch, and wait until the app itself runs."""
    pid = await control.launch(BUNDLE, list(arguments), **more)
    await said(control, pid, "ready")
    return pid


async def said(control: ProcessControl, pid: int, text: str) -> None:
    heard = ""
    async for event in control:
        if event.pid == pid:
            heard += event.message
        if text in heard:
            return


def on(folder: Path, check: Callable[[Iphone, DvtProvider], Awaitable[None]], profile: str = "iphone-15-pro") -> None:
    async def work() -> None:
        async with phone_of(folder, profile) as phone, instruments(phone) as provider:
            await check(phone, provider)

    run(work)


@pytest.mark.parametrize("profile", ["iphone-15-pro", OLD, "iphone-se-3@26"])
def test_an_app_is_launched_heard_and_seen_to_end(tmp_path: Path, profile: str) -> None:
    async def check(phone: Iphone, provider: DvtProvider) -> None:
        control, service = await watching(provider)
        pid = await control.launch(BUNDLE, ["report", "farm/jobs/a b"], environment={"TOKEN": "täx"})
        await service.startObservingPid_(pid)
        assert await service.ends.get() == (pid, 3, None)
        events = [service.output_events.get_nowait() for _ in range(service.output_events.qsize())]
        heard = "".join(text for text, _, _ in events)
        assert {of for _, of, _ in events} == {pid}
        assert "größer\n" in heard
        told = json.loads(next(line for line in heard.splitlines() if line.startswith("{")))
        documents = str(phone.documents(BUNDLE))
        assert told == {"arguments": ["report", "farm/jobs/a b"], "folder": documents, "token": "täx"}

    on(tmp_path, check, profile)


def test_an_end_by_a_signal_is_told_by_darwins_number(tmp_path: Path) -> None:
    async def check(phone: Iphone, provider: DvtProvider) -> None:
        control, service = await watching(provider)
        for here, there in ((signal.SIGSEGV, 11), (signal.SIGBUS, 10), (signal.SIGUSR1, 30)):
            pid = await control.launch(BUNDLE, ["fall", str(int(here))])
            await service.startObservingPid_(pid)
            assert await service.ends.get() == (pid, None, there)
        pid = await started(control, "wait")
        await service.startObservingPid_(pid)
        await control.kill(pid)
        assert await service.ends.get() == (pid, None, 9)
        assert pid not in phone.processes
        await control.kill(pid)

    on(tmp_path, check)


def test_who_no_longer_watches_is_told_nothing(tmp_path: Path) -> None:
    async def check(phone: Iphone, provider: DvtProvider) -> None:
        control, service = await watching(provider)
        first = await started(control, "wait")
        await service.startObservingPid_(first)
        await service.stopObservingPid_(first)
        second = await started(control, "wait")
        await service.startObservingPid_(second)
        await control.kill(second)
        assert (await service.ends.get())[0] == second
        assert first not in phone.processes
        assert service.ends.empty()

    on(tmp_path, check)


def test_one_instance_of_an_app(tmp_path: Path) -> None:
    async def check(phone: Iphone, provider: DvtProvider) -> None:
        async with ProcessControl(provider) as control:
            assert await control.process_identifier_for_bundle_identifier(BUNDLE) == 0
            first = await started(control, "wait")
            assert await control.process_identifier_for_bundle_identifier(BUNDLE) == first
            assert await control.launch(BUNDLE, ["wait"], kill_existing=False) == first
            second = await started(control, "wait", kill_existing=True)
            assert second != first
            assert list(phone.processes) == [second]
            assert await control.is_debuggable(second)

    on(tmp_path, check)


def test_an_app_is_stopped_and_goes_on(tmp_path: Path) -> None:
    async def shows(pid: int, *, stopped: bool) -> None:
        while (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T") != stopped:
            await asyncio.sleep(0)

    async def check(phone: Iphone, provider: DvtProvider) -> None:
        async with ProcessControl(provider) as control:
            pid = await started(control, "wait")
            await control.suspend(pid)
            await shows(pid, stopped=True)
            await control.resume(pid)
            await shows(pid, stopped=False)
            await control.signal(pid, 17)
            await shows(pid, stopped=True)
            with pytest.raises(DTXNsError, match="Unsupported signal 1"):
                await control.signal(pid, 1)

    on(tmp_path, check)


def test_a_locked_phone_launches_nothing_and_says_so(tmp_path: Path) -> None:
    async def check(phone: Iphone, provider: DvtProvider) -> None:
        phone.lock(True)
        async with ProcessControl(provider) as control:
            with pytest.raises(DTXNsError, match="currently locked") as refused:
                await control.launch(BUNDLE)
            domain = "DTXMessage" if phone.profile.major < 17 else "com.apple.dt.deviceprocesscontrolservice"
            assert refused.value.error.domain == domain
            assert not phone.processes
            phone.lock(False)
            await started(control, "wait")

    on(tmp_path / "new", check)
    on(tmp_path / "old", check, OLD)


def test_an_app_that_is_not_there_cannot_be_launched(tmp_path: Path) -> None:
    async def check(phone: Iphone, provider: DvtProvider) -> None:
        async with ProcessControl(provider) as control:
            with pytest.raises(DTXNsError, match="unknown to FrontBoard"):
                await control.launch("org.farmbench.nothing")
            with pytest.raises(DTXNsError, match=r"org\.farmbench\.runner"):
                await control.launch(BUNDLE, start_suspended=True)

    on(tmp_path, check)


def test_samples_show_what_the_process_really_uses(tmp_path: Path) -> None:
    async def check(phone: Iphone, provider: DvtProvider) -> None:
        async with ProcessControl(provider) as control:
            spinning = await started(control, "spin")
            used_before = phone.usage(spinning)[0]
            rows = []
            async with await Sysmontap.create(provider, 200) as tap:
                async for processes in tap.iter_processes():
                    rows.append(next(row for row in processes if row["pid"] == spinning))
                    if len(rows) == 6:
                        break
            used_after = phone.usage(spinning)[0]
            cpu_s = [(row["cpuTotalUser"] + row["cpuTotalSystem"]) / 1e9 for row in rows]
            assert used_before <= cpu_s[0] <= cpu_s[-1] <= used_after
            assert rows[0]["cpuUsage"] is None
            for before, after, used in zip(rows, rows[1:], (b - a for a, b in pairwise(cpu_s)), strict=False):
                passed_s = (after["procAge"] - before["procAge"]) / 1e9
                assert after["cpuUsage"] == pytest.approx(100.0 * used / passed_s, abs=5.0)
            assert max(row["cpuUsage"] for row in rows[1:]) > 20.0
            assert rows[-1]["name"] == "FarmRunner"

            holding = await started(control, "hold")
            await said(control, holding, "holding")
            async with Sysmontap(provider, ["pid", "physFootprint", "unknownToAll"], [], 50) as tap:
                async for processes in tap.iter_processes():
                    row = next(row for row in processes if row["pid"] == holding)
                    break
            assert HELD_BYTES <= row["physFootprint"] <= HELD_BYTES + (24 << 20)
            assert row["unknownToAll"] is None

    on(tmp_path, check)


def test_samples_come_at_the_pace_that_was_asked_for(tmp_path: Path) -> None:
    async def check(phone: Iphone, provider: DvtProvider) -> None:
        async with Sysmontap(provider, ["pid"], [], 100) as tap:
            records = []
            async for record in tap:
                if isinstance(record, dict) and "Processes" in record:
                    records.append(record)
                if len(records) == 5:
                    break
        ticks = [record["EndMachAbsTime"] for record in records]
        # One that comes late makes no other one late: single gaps say nothing.
        assert (ticks[-1] - ticks[0]) * NUMERATOR / DENOMINATOR / 1e9 >= 4 * 0.1 - 0.01
        assert [record["StartMachAbsTime"] for record in records[1:]] == ticks[:-1]

    on(tmp_path, check)


def test_samples_of_the_system(tmp_path: Path) -> None:
    async def check(phone: Iphone, provider: DvtProvider) -> None:
        async with ProcessControl(provider) as control:
            await started(control, "spin")
        async with await Sysmontap.create(provider, 200) as tap:
            loads = []
            async for record in tap:
                if not isinstance(record, dict) or "System" not in record:
                    continue
                values = tap.system_attributes_cls(*record["System"])
                assert values.physMemSize == phone.profile.ram_bytes
                assert record["CPUCount"] == phone.profile.cores
                if "SystemCPUUsage" in record:
                    loads.append(record["SystemCPUUsage"]["CPU_TotalLoad"])
                if len(loads) == 3:
                    break
        assert max(loads) > 20.0

    on(tmp_path, check)


def test_what_the_phone_is(tmp_path: Path) -> None:
    async def check(phone: Iphone, provider: DvtProvider) -> None:
        async with ProcessControl(provider) as control, DeviceInfo(provider) as info:
            pid = await started(control, "wait")
            system = await info.system_information()
            assert (system["_productType"], system["_productVersion"]) == ("iPhone14,7", phone.profile.ios_version)
            assert system["_deviceIdentifier"] == phone.udid
            hardware = await info.hardware_information()
            assert (hardware["numberOfCpus"], hardware["hwCPUtype"]) == (phone.profile.cores, 0x0100000C)
            processes = {process["pid"]: process for process in await info.proclist()}
            assert processes[1]["isApplication"] is False
            app = processes[pid]
            assert (app["name"], app["isApplication"]) == ("FarmRunner", True)
            assert app["startDate"].timestamp() == pytest.approx(phone.processes[pid].started, abs=0.001)
            assert app["realAppName"].endswith("/FarmRunner.app/FarmRunner")
            assert await info.execname_for_pid(pid) == app["realAppName"]
            assert await info.is_running_pid(pid)
            await control.kill(pid)
            await phone.end_apps()
            assert not await info.is_running_pid(pid)

    on(tmp_path, check, OLD)


def test_the_clocks(tmp_path: Path) -> None:
    async def check(phone: Iphone, provider: DvtProvider) -> None:
        async with DeviceInfo(provider) as info:
            before, boot = time.time(), phone.uptime_ns()
            absolute, numerator, denominator, continuous, unix_s, zone = await info.mach_time_info()
            assert (numerator, denominator) == (125, 3)
            assert boot <= continuous * 125 / 3 + 50 <= phone.uptime_ns() + 100
            assert absolute <= continuous
            assert before <= unix_s <= time.time()
            assert isinstance(zone, str)

    on(tmp_path, check)


def test_energy_follows_the_work(tmp_path: Path) -> None:
    async def costs(provider: DvtProvider, pid: int) -> dict[str, Any]:
        async with EnergyMonitor(provider, [pid]) as monitor:
            async for sample in monitor:
                if sample[pid]["energy.cpu.cost"] > 20.0 or sample[pid]["kIDEGaugeSecondsSinceInitialQueryKey"]:
                    return sample[pid]
        raise AssertionError

    async def check(phone: Iphone, provider: DvtProvider) -> None:
        async with ProcessControl(provider) as control:
            busy = await costs(provider, await started(control, "spin"))
            idle = await costs(provider, await started(control, "wait"))
        assert busy["energy.cpu.cost"] > 20.0 > idle["energy.cpu.cost"]
        assert busy["energy.cost"] == busy["energy.cpu.cost"] + busy["energy.overhead"]

    on(tmp_path, check)


def test_an_app_outlives_the_connection(tmp_path: Path) -> None:
    async def work() -> None:
        async with phone_of(tmp_path) as phone:
            async with instruments(phone) as provider:
                control, service = await watching(provider)
                pid = await started(control, "wait")
                await service.startObservingPid_(pid)
                asking = asyncio.create_task(service.output_events.get())
                await asyncio.sleep(0)
                assert phone.links.cut("dvt") == 1
                with pytest.raises(QueueShutDown):
                    await asking
                with pytest.raises(ConnectionTerminatedError):
                    await control.launch(BUNDLE, ["wait"])
            os.kill(pid, 0)
            async with instruments(phone) as provider:
                control, service = await watching(provider)
                assert await control.process_identifier_for_bundle_identifier(BUNDLE) == pid
                await service.startObservingPid_(pid)
                await control.kill(pid)
                assert await service.ends.get() == (pid, None, 9)
                assert phone.links.count("dvt") == 1

    run(work)


def test_a_call_that_is_never_answered(tmp_path: Path) -> None:
    async def check(phone: Iphone, provider: DvtProvider) -> None:
        async with DeviceInfo(provider) as info:
            phone.faults.add("dvt_hang")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(info.proclist(), 0.3)
            phone.faults.clear()
            assert await info.proclist()

    on(tmp_path, check)


def test_samples_that_end_before_they_begin(tmp_path: Path) -> None:
    async def check(phone: Iphone, provider: DvtProvider) -> None:
        phone.faults.add("sysmontap_empty")
        with pytest.raises((QueueShutDown, ConnectionTerminatedError)):
            async with Sysmontap(provider, ["pid"], [], 50) as tap:
                async for _ in tap.iter_processes():
                    raise AssertionError("a sample")
        phone.faults.clear()
        async with Sysmontap(provider, ["pid"], [], 50) as tap:
            async for processes in tap.iter_processes():
                assert processes[0]["pid"] == 1
                break

    on(tmp_path, check)


def test_a_server_that_hangs_up(tmp_path: Path) -> None:
    async def work() -> None:
        async with phone_of(tmp_path) as phone:
            phone.faults.add("dvt_refused")
            with pytest.raises((ConnectionTerminatedError, ConnectionError)):
                async with instruments(phone):
                    raise AssertionError("connected")

    run(work)


def test_what_the_server_does_not_have(tmp_path: Path) -> None:
    async def check(phone: Iphone, provider: DvtProvider) -> None:
        with pytest.raises(ConnectionTerminatedError):
            async with Screenshot(provider) as screenshot:
                await screenshot.get_screenshot()
        async with DeviceInfo(provider) as info:
            with pytest.raises(UnrecognizedSelectorError):
                await info.network_information()
            with pytest.raises(DTXNsError):
                await info.service.invoke("isRunningPid:")
            assert await info.proclist()

    on(tmp_path, check)

"""`deviceinfo`: what the phone is, its clocks and its processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from device_agents.virtual.iphone import dvt_sysmon, machtime
from device_agents.virtual.iphone.dtx import Channel, ChannelService, Method, Refused, refusal
from device_agents.virtual.iphone.keyed import ns_date
from device_agents.virtual.iphone.phone import Iphone
from device_agents.virtual.iphone.process import Process

IDENTIFIER = "com.apple.instruments.server.services.deviceinfo"
CAPABILITIES = {
    IDENTIFIER: 113,
    "com.apple.instruments.target.mtb.numer": machtime.NUMERATOR,
    "com.apple.instruments.target.mtb.denom": machtime.DENOMINATOR,
    "com.apple.instruments.target.user-page-size": dvt_sysmon.PAGE_BYTES,
}
_ARM64 = 0x0100000C
_ARM64E = 2


class DeviceInfo(ChannelService):
    """One client's channel."""

    def __init__(self, phone: Iphone, channel: Channel) -> None:
        super().__init__(channel)
        self._phone = phone

    def methods(self) -> Mapping[str, Method]:
        return {
            "systemInformation": self._system,
            "hardwareInformation": self._hardware,
            "machTimeInfo": self._mach_time,
            "machKernelName": self._kernel,
            "runningProcesses": self._running,
            "isRunningPid:": self._is_running,
            "execnameForPid:": self._executable,
            "nameForUID:": self._user,
            "nameForGID:": self._user,
            "sysmonProcessAttributes": self._process_attributes,
            "sysmonSystemAttributes": self._system_attributes,
        }

    async def _system(self) -> dict[str, Any]:
        profile = self._phone.profile
        return {
            "_deviceDescription": f"Build Version {profile.build_version}, iPhone ID {self._phone.udid}",
            "_deviceDisplayName": f"{profile.name} (v{profile.ios_version})",
            "_deviceIdentifier": self._phone.udid,
            "_deviceVersion": profile.build_version,
            "_productType": profile.product_type,
            "_productVersion": profile.ios_version,
            "_xrdeviceClassName": "XRMobileDevice",
        }

    async def _hardware(self) -> dict[str, Any]:
        return {
            "numberOfPhysicalCpus": self._phone.profile.cores,
            "numberOfCpus": self._phone.profile.cores,
            "hwCPUtype": _ARM64,
            "hwCPUsubtype": _ARM64E,
            "hwCPU64BitCapable": 1,
        }

    async def _mach_time(self) -> list[Any]:
        return machtime.info()

    async def _kernel(self) -> str:
        return f"/mach.release.{self._phone.profile.hardware_platform}"

    async def _running(self) -> list[dict[str, Any]]:
        launchd = {"pid": 1, "name": "launchd", "realAppName": dvt_sysmon.LAUNCHD, "isApplication": False}
        return [launchd, *(self._described(process) for process in self._phone.running())]

    def _described(self, process: Process) -> dict[str, Any]:
        return {
            "pid": process.pid,
            "name": process.name,
            "realAppName": dvt_sysmon.executable(self._phone, process),
            "bundleIdentifier": process.bundle,
            "isApplication": True,
            "startDate": ns_date(process.started),
            "foregroundRunning": process.frontmost,
        }

    async def _is_running(self, pid: Any) -> bool:
        return pid == 1 or pid in self._phone.processes

    async def _executable(self, pid: Any) -> str:
        if pid == 1:
            return dvt_sysmon.LAUNCHD
        if pid not in self._phone.processes:
            raise Refused(refusal(f"no process {pid}"))
        return dvt_sysmon.executable(self._phone, self._phone.processes[pid])

    async def _user(self, number: Any) -> str:
        return {0: "root", dvt_sysmon.MOBILE: "mobile"}.get(number, str(number))

    async def _process_attributes(self) -> list[str]:
        return list(dvt_sysmon.PROCESS_ATTRIBUTES)

    async def _system_attributes(self) -> list[str]:
        return list(dvt_sysmon.SYSTEM_ATTRIBUTES)

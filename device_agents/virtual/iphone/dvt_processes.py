"""`processcontrol`: apps are launched, watched and ended over a DTX channel.

What iOS answers was read in the decompiled instruments server of iOS 17 (`DTProcessControlService`,
`DTSpringBoardProcessControlService`) and in clients that were used with real phones.
"""

from __future__ import annotations

import asyncio
import codecs
import signal
from collections.abc import Mapping
from typing import Any

from device_agents.virtual.iphone import machtime
from device_agents.virtual.iphone.darwin import darwin_signal
from device_agents.virtual.iphone.dtx import Channel, ChannelService, Method, Refused, refusal
from device_agents.virtual.iphone.dtx_wire import Int32, Int64
from device_agents.virtual.iphone.keyed import Coded, ns_error
from device_agents.virtual.iphone.phone import Iphone, LaunchRefused
from device_agents.virtual.iphone.process import Process

IDENTIFIER = "com.apple.instruments.server.services.processcontrol"
CAPABILITIES = {
    IDENTIFIER: 2,
    f"{IDENTIFIER}.capability.signal": 1,
    f"{IDENTIFIER}.capability.isdebuggable": 1,
}
_TELL_ENDS = "com.apple.instruments.client.processcontrol.capability.terminationCallback"
_DOMAIN = "com.apple.dt.deviceprocesscontrolservice"
_LOCKED = 7

_FROM_DARWIN = {9: signal.SIGKILL, 15: signal.SIGTERM, 17: signal.SIGSTOP, 19: signal.SIGCONT}
"""The signals that iOS sends for a client, by Darwin's numbers."""


class ProcessControl(ChannelService):
    """One client's channel. What it launched lives on when it goes."""

    def __init__(self, phone: Iphone, channel: Channel) -> None:
        super().__init__(channel)
        self._phone = phone
        self._launched: dict[int, Process] = {}
        self._outputs: dict[int, asyncio.Task[None]] = {}
        self._observed: dict[int, asyncio.Task[None]] = {}

    def methods(self) -> Mapping[str, Method]:
        return {
            "launchSuspendedProcessWithDevicePath:bundleIdentifier:environment:arguments:options:": self._launch,
            "startObservingPid:": self._start_observing,
            "stopObservingPid:": self._stop_observing,
            "processIdentifierForBundleIdentifier:": self._pid_of,
            "sendSignal:toPid:": self._send_signal,
            "killPid:": self._kill,
            "suspendPid:": self._suspend,
            "resumePid:": self._resume,
            "isPidDebuggable:": self._is_debuggable,
        }

    async def _launch(self, path: Any, bundle: Any, environment: Any, arguments: Any, options: Any) -> int:
        options = options or {}
        if options.get("StartSuspendedKey"):
            raise Refused(self._error(str(bundle), "Permission to debug was denied."))
        running = {process.pid for process in self._phone.running()}
        try:
            process = await self._phone.launch(
                str(bundle),
                [str(argument) for argument in arguments or ()],
                {str(name): str(value) for name, value in (environment or {}).items()},
                kill_existing=bool(options.get("KillExisting", True)),
            )
        except LaunchRefused as error:
            reason = (
                "Device is currently locked. Please unlock the device and try again."
                if error.code == _LOCKED
                else f"{error.text} : Failed to launch process with bundle identifier '{bundle}'."
            )
            raise Refused(self._error(str(bundle), reason)) from error
        self._launched[process.pid] = process
        if process.pid not in running:
            self._outputs[process.pid] = self.spawn(self._forward_output(process))
        return process.pid

    def _error(self, bundle: str, reason: str) -> Coded:
        if self._phone.profile.major < 17:
            return refusal(reason)
        info = {"NSLocalizedDescription": f"Request to launch {bundle} failed.", "NSLocalizedFailureReason": reason}
        return ns_error(_DOMAIN, 2, **info)

    async def _forward_output(self, process: Process) -> None:
        decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")}
        async for stream, data in process.output.read():
            if text := decoders[stream].decode(data):
                await self._tell_output(process.pid, text)
        for decoder in decoders.values():
            if text := decoder.decode(b"", final=True):
                await self._tell_output(process.pid, text)

    async def _tell_output(self, pid: int, text: str) -> None:
        await self.channel.call("outputReceived:fromProcess:atTime:", text, Int32(pid), Int64(machtime.absolute()))

    async def _start_observing(self, pid: Any) -> None:
        process = self._find(pid)
        if process is not None and process.pid not in self._observed and self.channel.peer.get(_TELL_ENDS):
            self._observed[process.pid] = self.spawn(self._tell_end(process))

    async def _tell_end(self, process: Process) -> None:
        await process.wait()
        if process.pid in self._outputs:
            await asyncio.wait([self._outputs[process.pid]])
        signum = None if process.signal is None else darwin_signal(process.signal)
        await self.channel.call(
            "processWithPID:terminatedWithExitCode:orCrashingSignal:", process.pid, process.exit_code, signum
        )

    async def _stop_observing(self, pid: Any) -> None:
        task = self._observed.pop(_number(pid), None)
        if task is not None:
            task.cancel()

    async def _pid_of(self, bundle: Any) -> int:
        running = self._phone.running(str(bundle)) if bundle else []
        return running[0].pid if running else 0

    async def _send_signal(self, signum: Any, pid: Any) -> None:
        number = _FROM_DARWIN.get(_number(signum))
        if number is None:
            raise Refused(refusal(f"Unsupported signal {signum}"))
        process = self._phone.processes.get(_number(pid))
        if process is not None:
            process.send(number)
        elif number in (signal.SIGSTOP, signal.SIGCONT):
            raise Refused(refusal(f"Failed to send signal {signum} to process {pid}: 3"))

    async def _kill(self, pid: Any) -> None:
        self._phone.kill(_number(pid))

    async def _suspend(self, pid: Any) -> None:
        if (process := self._phone.processes.get(_number(pid))) is not None:
            process.send(signal.SIGSTOP)

    async def _resume(self, pid: Any) -> None:
        if (process := self._phone.processes.get(_number(pid))) is not None:
            process.send(signal.SIGCONT)

    async def _is_debuggable(self, pid: Any) -> bool:
        return _number(pid) in self._phone.processes

    def _find(self, pid: Any) -> Process | None:
        number = _number(pid)
        return self._phone.processes.get(number) or self._launched.get(number)


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(refusal(f"{value!r} is not a number"))
    return value

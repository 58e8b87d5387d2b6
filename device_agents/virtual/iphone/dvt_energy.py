"""`debug-gauge-data-providers.Energy`: the figures behind Xcode's energy gauge, without a unit.

Names, the constant overhead and how the total adds up are those of records from real phones (tidevice, HydraLab, idb).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from device_agents.virtual.iphone.dtx import Channel, ChannelService, Method
from device_agents.virtual.iphone.phone import Iphone

IDENTIFIER = "com.apple.xcode.debug-gauge-data-providers.Energy"
CAPABILITIES = {IDENTIFIER: 1}

_THERMAL = ("nominal", "fair", "serious", "critical")
_OWN_OVERHEAD = -10
_FOREGROUND_COST = 8


@dataclass(slots=True)
class _Watched:
    first_s: float
    last_s: float
    cpu_s: float


class EnergyGauge(ChannelService):
    """One client's channel."""

    def __init__(self, phone: Iphone, channel: Channel) -> None:
        super().__init__(channel)
        self._phone = phone
        self._watched: dict[int, _Watched] = {}

    def methods(self) -> Mapping[str, Method]:
        return {
            "startSamplingForPIDs:": self._start,
            "stopSamplingForPIDs:": self._stop,
            "sampleAttributes:forPIDs:": self._sample,
        }

    async def _start(self, pids: Any) -> None:
        now = time.monotonic()
        for pid in _pids(pids):
            try:
                self._watched[pid] = _Watched(now, now, self._phone.usage(pid)[0])
            except ProcessLookupError:
                continue

    async def _stop(self, pids: Any) -> None:
        for pid in _pids(pids):
            self._watched.pop(pid, None)

    async def _sample(self, attributes: Any, pids: Any) -> dict[int, dict[str, Any]]:
        return {pid: self._costs(pid, self._watched[pid]) for pid in _pids(pids) if pid in self._watched}

    def _costs(self, pid: int, watched: _Watched) -> dict[str, Any]:
        now = time.monotonic()
        try:
            cpu_s = self._phone.usage(pid)[0]
        except ProcessLookupError:
            cpu_s = watched.cpu_s
        passed = now - watched.last_s
        cpu = 100.0 * max(0.0, cpu_s - watched.cpu_s) / passed if passed > 0 else 0.0
        watched.last_s, watched.cpu_s = now, cpu_s
        process = self._phone.processes.get(pid)
        return {
            "kIDEGaugeSecondsSinceInitialQueryKey": int(now - watched.first_s),
            "energy.version": 1,
            "energy.cost": cpu + _OWN_OVERHEAD,
            "energy.overhead": _OWN_OVERHEAD,
            "energy.cpu.cost": cpu,
            "energy.cpu.overhead": 0,
            "energy.gpu.cost": 0,
            "energy.gpu.overhead": 0,
            "energy.networking.cost": 0,
            "energy.networkning.overhead": 0,
            "energy.location.cost": 0,
            "energy.location.overhead": 0,
            "energy.display.cost": 0,
            "energy.display.overhead": 0,
            "energy.appstate.cost": _FOREGROUND_COST if process is not None and process.frontmost else 0,
            "energy.appstate.overhead": 0,
            "energy.thermalstate.cost": _THERMAL.index(self._phone.thermal_state()),
            "energy.inducedthermalstate.cost": -1,
        }


def _pids(value: Any) -> list[int]:
    items = value if isinstance(value, list | set) else []
    return [item for item in items if isinstance(item, int) and not isinstance(item, bool)]

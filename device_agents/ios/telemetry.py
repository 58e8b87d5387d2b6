"""What an iPhone says of itself right now: by its battery, by lockdown, and by what the app tells when it is asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping

from device_agents.android.telemetry import parse_ioregistry
from device_agents.ios.check import probe
from device_agents.ios.events import Told
from device_agents.ios.phone import Phone
from device_agents.ios.samples import THERMAL_STATES
from harness.errors import FarmError
from harness.gates import Conditions
from harness.model import MEGABYTE, Measured, Reading, Unavailable

RECENT_S = 3.0
"""How old what the app told of the phone may be for it to stand for now."""

LOAD_S = 1.0
"""How long the phone's load is looked at."""

_BATTERY = (
    "battery_level_pct",
    "battery_temperature_c",
    "battery_status",
    "battery_current_a",
    "power_state_external",
    "cycle_count",
    "charge_full_mah",
    "charge_full_design_mah",
)
_NO_SENSOR = Unavailable("iOS shows this temperature to no one")
_NO_WORD = Unavailable("iOS has no word for it; charge cycles and capacity tell")
_UNTOLD = {
    "battery_override": Unavailable("nothing on an iPhone can make up its battery"),
    "thermal_override": Unavailable("a thermal condition set by Xcode is not told; the app's thermal state shows it"),
    "screen_on": Unavailable("iOS does not tell it; the app keeps the screen on while it works"),
    "airplane_mode": Unavailable("iOS does not tell it"),
}
_ONLY_APPS = "iOS tells it to apps only"


class AppLook:
    """What the app told of the phone a moment ago, asked anew when that is too old.

    The app is not launched while a job of ours runs in it: that would end the job.
    """

    def __init__(self, phone: Phone, clock: Callable[[], float] = time.monotonic) -> None:
        self._phone = phone
        self._clock = clock
        self._at = -RECENT_S
        self._bundle = ""
        self._readings: Mapping[str, Reading] = {}

    def readings(self, *, limit_s: float) -> Mapping[str, Reading]:
        """thermal_status, memory_available_mb and power_saver: each read, or unavailable with the reason."""
        # Another app may have come, or been installed, a moment ago: that there was none does not stand for now.
        if self._bundle != self._phone.bundle or self._clock() - self._at > RECENT_S:
            self._bundle = ""
            self._readings = self._look(limit_s)
            self._at = self._clock()
        return self._readings

    def _look(self, limit_s: float) -> Mapping[str, Reading]:
        try:
            bundles = self._phone.bundles(limit_s=limit_s)
            if self._phone.bundle not in bundles:
                return _none(f"{_ONLY_APPS}, and farm's is not installed yet")
            self._bundle = self._phone.bundle
            if self._phone.ask("pid_of", bundle=self._phone.bundle, limit_s=limit_s, doing="looking for the app"):
                return _none(f"{_ONLY_APPS}, and farm's is at work")
            return readings_of(probe(self._phone, limit_s=limit_s))
        except FarmError as error:
            return _none(f"{_ONLY_APPS}, and farm's could not be asked: {error.message}")


def readings_of(told: Told) -> dict[str, Reading]:
    """The readings in what the app told."""
    device = told.devices[-1] if told.devices else {}
    state, available, low = device.get("thermal_state"), device.get("available_bytes"), device.get("low_power")
    found = _none("the app does not tell it")
    if str(state) in THERMAL_STATES:
        found["thermal_status"] = Measured(float(THERMAL_STATES[str(state)]), "", "ProcessInfo.thermalState", 1.0)
    if isinstance(available, int) and not isinstance(available, bool) and available >= 0:
        source = "os_proc_available_memory of the app"
        found["memory_available_mb"] = Measured(available / MEGABYTE, "MB", source)
    if isinstance(low, bool):
        found["power_saver"] = Measured(float(low), "", "ProcessInfo.isLowPowerModeEnabled", 1.0)
    return found


def _none(reason: str) -> dict[str, Reading]:
    return dict.fromkeys(("thermal_status", "memory_available_mb", "power_saver"), Unavailable(reason))


def battery_readings(phone: Phone, *, limit_s: float) -> dict[str, Reading]:
    """Everything that the phone's gauge shows, by name of `parse_ioregistry`."""
    told = phone.ask("battery", limit_s=limit_s, doing="asking for its battery")
    return dict(parse_ioregistry(json.dumps(told).encode()))


class IosTelemetry:
    """`device_agents.base.Telemetry` of an iPhone."""

    def __init__(self, phone: Phone, look: AppLook) -> None:
        self._phone = phone
        self._look = look

    def snapshot(self, *, limit_s: float) -> Mapping[str, Reading]:
        battery = battery_readings(self._phone, limit_s=limit_s)
        app = self._look.readings(limit_s=limit_s)
        return {
            **{name: battery[name] for name in _BATTERY},
            "battery_health": _NO_WORD,
            "thermal_status": app["thermal_status"],
            "skin_temperature_c": _NO_SENSOR,
            "cpu_temperature_c": _NO_SENSOR,
            "memory_available_mb": app["memory_available_mb"],
        }

    def design_capacity(self, *, limit_s: float) -> Reading:
        return battery_readings(self._phone, limit_s=limit_s)["charge_full_design_mah"]


class IosConditions:
    """`device_agents.base.PhoneConditions` of an iPhone."""

    def __init__(self, phone: Phone, telemetry: IosTelemetry, look: AppLook) -> None:
        self._phone = phone
        self._telemetry = telemetry
        self._look = look

    def read(self, *, limit_s: float, quiet_pct: float = 0.0) -> Conditions:
        # The load first: all that follows is load of ours.
        load = self._load(limit_s)
        readings = {
            **self._telemetry.snapshot(limit_s=limit_s),
            "other_load_pct": load,
            "power_saver": self._look.readings(limit_s=limit_s)["power_saver"],
            "storage_free_mb": self._storage(limit_s),
            "uptime_s": self._uptime(limit_s),
            **_UNTOLD,
        }
        return Conditions(readings)

    def _load(self, limit_s: float) -> Reading:
        try:
            percent = self._phone.ask("load", interval_s=LOAD_S, limit_s=limit_s, doing="looking at its load")
        except FarmError as error:
            return Unavailable(f"the phone's load could not be looked at: {error.message}")
        if percent is None:
            return Unavailable("the phone does not tell its load")
        return Measured(float(percent), "%", f"sysmontap CPU_TotalLoad over {LOAD_S:g} s, % of all cores", 0.1)

    def _storage(self, limit_s: float) -> Reading:
        key = "AmountDataAvailable"
        said = self._phone.ask(
            "value", domain="com.apple.disk_usage", key=key, limit_s=limit_s, doing="asking for free space"
        )
        if not isinstance(said, int):
            return Unavailable("the phone does not tell its free space")
        return Measured(said / MEGABYTE, "MB", f"lockdown com.apple.disk_usage {key}")

    def _uptime(self, limit_s: float) -> Reading:
        try:
            said = self._phone.ask("uptime", limit_s=limit_s, doing="asking for its uptime")
        except FarmError as error:
            return Unavailable(f"the phone's uptime could not be asked for: {error.message}")
        return Measured(float(said), "s", "machTimeInfo")

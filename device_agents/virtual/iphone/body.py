"""Heat, power and battery of a virtual iPhone, what its registry and its apps see of them, and the truth file."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from device_agents.virtual import physics
from device_agents.virtual.errors import LabError
from device_agents.virtual.iphone.profiles import IphoneProfile
from device_agents.virtual.simulator import machine_cpus
from device_agents.virtual.truth import Truth, of_state

_FIRST_LEVEL_PCT = 74.0
_LOW_POWER_CAP = 0.6
_SCALES = ("heat_scale", "battery_scale")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a test asked of a phone beyond its profile; all of it is in the truth.

    Args:
        charger: "none", "usb", "ac"; charging: whether it feeds the battery; low_power: low power mode.
        ambient_c: temperature of the room in °C, None: that of the profile.
        heat_scale: how many times as fast it warms and cools; battery_scale: how much finer and faster its gauge is.
    """

    charger: str = "usb"
    charging: bool = True
    low_power: bool = False
    ambient_c: float | None = None
    heat_scale: float = 1.0
    battery_scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Shown:
    """One value of the gauge: `update_time` in seconds since 1970, the others in the registry's units."""

    update_time: int
    charge_mah: int
    milliamps: int
    millivolts: int
    centi_c: int
    charging: bool
    external: bool


class Body:
    """The truth of one phone, moved on by `tick`."""

    def __init__(self, profile: IphoneProfile, truth: Path, udid: str) -> None:
        self._profile = profile
        self._heat = profile
        self._serial = "F8Y" + "".join(c for c in udid.upper() if c.isalnum())[-14:]
        self._truth = Truth(truth)
        self.wanted = Wanted()
        # A moment after, so that there is a current from the start.
        self.state = self._step(physics.at_rest(profile, _FIRST_LEVEL_PCT), 0.0, 1e-3)
        self.busy_s = 0.0
        self._last = self._due = time.monotonic()
        self._passed_s = self._passed_as = 0.0
        self._thermal = "nominal"
        self._shown = self._read_gauge(int(time.time()))
        self.note("boot")

    def tick(self, used_cpu_s: float) -> None:
        """Advance to now, with the CPU time that the phone's processes used since the last call."""
        now = time.monotonic()
        seconds = now - self._last
        if seconds <= 0:
            return
        self._last = now
        self.busy_s += used_cpu_s
        load = min(1.0, used_cpu_s / seconds / min(machine_cpus(), self._profile.cores))
        before = self.state.cap
        self.state = self._step(self.state, load, seconds)
        self._passed_s += seconds
        self._passed_as += self.state.battery_a * seconds
        second = int(time.time())
        # Its time goes in whole seconds, and other values mean another time.
        if now >= self._due and second > self._shown.update_time:
            self._shown = self._read_gauge(second)
        event = "cap" if self.state.cap != before else ""
        if self.thermal_state() != self._thermal:
            self._thermal = self.thermal_state()
            event = event or "thermal"
        self.note(event)

    def _step(self, state: physics.State, load: float, seconds: float) -> physics.State:
        moved = physics.step(
            state,
            self._heat,
            load=load,
            seconds=seconds,
            charger=self.wanted.charger,
            charging=self.wanted.charging,
        )
        return replace(moved, cap=min(moved.cap, _LOW_POWER_CAP)) if self.wanted.low_power else moved

    def set(self, *, battery_level: float | None = None, temperature_c: float | None = None, **wanted: Any) -> None:
        """Change the truth: level in percent; temperature of skin, battery and CPU in °C; the fields of `Wanted`.

        Raises:
            LabError: a field that is not there, or a value that cannot be.
        """
        try:
            self.wanted = _checked(replace(self.wanted, **wanted))
        except TypeError as wrong:
            raise LabError(f"cannot be set: {', '.join(sorted(wanted))}", advice=str(wrong)) from wrong
        state = self.state
        if battery_level is not None:
            state = replace(state, charge_mah=state.full_mah * min(max(battery_level, 0.0), 100.0) / 100.0)
        if temperature_c is not None:
            cap = physics.cap_for(temperature_c, self._profile.physics)
            state = replace(state, cpu_c=temperature_c, skin_c=temperature_c, battery_c=temperature_c, cap=cap)
        room = self._profile.physics
        if self.wanted.ambient_c is not None:
            room = replace(room, ambient_c=self.wanted.ambient_c)
        self._heat = replace(self._profile, physics=physics.faster_heat(room, self.wanted.heat_scale))
        # A moment later the current is the new one too.
        self.state = self._step(state, state.load, 1e-3)
        self._thermal = self.thermal_state()
        self._passed_s = self._passed_as = 0.0
        self._due = time.monotonic()
        self._shown = self._read_gauge(max(int(time.time()), self._shown.update_time + 1))
        self.note("set")

    def thermal_state(self) -> str:
        """As `ProcessInfo.thermalState` says it."""
        skin, limits = self.state.skin_c, self._profile.thermal
        if skin >= limits.critical_c:
            return "critical"
        if skin >= limits.serious_c:
            return "serious"
        return "fair" if skin >= limits.fair_c else "nominal"

    def told(self) -> dict[str, Any]:
        """What iOS tells every app."""
        external = self.wanted.charger != "none"
        return {
            "thermal_state": self.thermal_state(),
            "low_power": self.wanted.low_power,
            # UIDevice.batteryLevel goes in steps of one percent here; iOS rounds more on some versions.
            "battery_level_pct": round(self.state.level_pct),
            "charging": external and self.wanted.charging,
        }

    def _read_gauge(self, update_time: int) -> Shown:
        battery = self._profile.battery
        period, now = battery.period_s / self.wanted.battery_scale, time.monotonic()
        # Counted from the last value that was due: a late look makes no value late for ever.
        self._due = (now if now - self._due > period else self._due) + period
        mean = self._passed_as / self._passed_s if self._passed_s > 0 else self.state.battery_a
        self._passed_s = self._passed_as = 0.0
        step = battery.counter_step_mah
        external = self.wanted.charger != "none"
        return Shown(
            update_time=update_time,
            charge_mah=int(self.state.charge_mah / step) * step,
            milliamps=round(mean * 1000.0),
            millivolts=round(self.state.battery_v * 1000.0),
            centi_c=round(self.state.battery_c * 100.0),
            charging=external and self.wanted.charging and self.state.charge_mah < self.state.full_mah,
            external=external,
        )

    def registry(self) -> dict[str, Any]:
        """`AppleSmartBattery` of the I/O registry: mAh, mA (negative: out of the battery), mV, hundredths of °C."""
        shown, battery = self._shown, self._profile.battery
        full = battery.charge_full_mah
        percent = min(100, round(100.0 * shown.charge_mah / full))
        return {
            "IOClass": "AppleSmartBattery",
            "IONameMatched": "charger,t8110",
            "UpdateTime": shown.update_time,
            "AppleRawCurrentCapacity": shown.charge_mah,
            "AppleRawMaxCapacity": full,
            "NominalChargeCapacity": full,
            "DesignCapacity": battery.design_mah,
            "CurrentCapacity": percent,
            "MaxCapacity": 100,
            "CycleCount": battery.cycles,
            "InstantAmperage": shown.milliamps,
            "Amperage": shown.milliamps,
            "Voltage": shown.millivolts,
            "AppleRawBatteryVoltage": shown.millivolts,
            "Temperature": shown.centi_c,
            "IsCharging": shown.charging,
            "ExternalConnected": shown.external,
            "ExternalChargeCapable": shown.external,
            "AppleRawExternalConnected": shown.external,
            "FullyCharged": shown.external and percent >= 100,
            "AtCriticalLevel": percent <= 2,
            "BatteryInstalled": True,
            "Serial": self._serial,
            "AdapterDetails": _adapter(self.wanted.charger),
        }

    def note(self, event: str = "", **more: Any) -> None:
        """Write a line of truth when one is due, or because something happened."""
        uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
        self._truth.note(time.monotonic(), uptime, lambda: self._facts(uptime), event=event, **more)

    def _facts(self, uptime: float) -> dict[str, Any]:
        state, wanted = self.state, self.wanted
        return {
            "host_s": time.time(),
            "uptime_s": uptime,
            **of_state(state),
            "busy_s": self.busy_s,
            "thermal_state": self.thermal_state(),
            "charger": wanted.charger,
            "charging": wanted.charging,
            "low_power": wanted.low_power,
            "ambient_c": self._heat.physics.ambient_c,
            "heat_scale": wanted.heat_scale,
            "battery_scale": wanted.battery_scale,
        }


def _checked(wanted: Wanted) -> Wanted:
    if wanted.charger not in physics.CHARGER_W:
        raise LabError(f"no charger {wanted.charger!r}", advice=f"one of: {', '.join(physics.CHARGER_W)}")
    if any(getattr(wanted, name) <= 0 for name in _SCALES):
        raise LabError("a scale must be above 0")
    return wanted


def _adapter(charger: str) -> dict[str, Any]:
    if charger == "none":
        return {"FamilyCode": 0}
    watts = round(physics.CHARGER_W[charger])
    name = "usb host" if charger == "usb" else "pd charger"
    return {"FamilyCode": -536854528, "Description": name, "Watts": watts}

"""The fuel gauge of a virtual phone: how late, how coarse and how noisy it shows the truth."""

from __future__ import annotations

import random
from dataclasses import replace

from device_agents.virtual import sensors
from device_agents.virtual.physics import State
from device_agents.virtual.profiles import Battery, Profile
from device_agents.virtual.texts import Gauge


def scaled(battery: Battery, scale: float) -> Battery:
    """A gauge whose period and charge step are `scale` times smaller: what one shows in `scale` minutes, this one
    shows in one. Resolution of current and voltage stay."""
    return replace(
        battery,
        period_s=battery.period_s / scale,
        counter_step_uah=max(1, round(battery.counter_step_uah / scale)),
    )


class FuelGauge:
    """Shows one value per period; between them the last one is held, in sysfs and in `dumpsys battery` alike.

    Its noise is the same in every run of the same phone.
    """

    def __init__(self, profile: Profile, seed: str) -> None:
        self._profile = profile
        self._shown_by = profile
        self._random = random.Random(seed)
        self._shown: Gauge | None = None
        self._due = 0.0
        self._passed_s = 0.0
        self._passed_as = 0.0
        self.scale = 1.0

    def set_scale(self, scale: float) -> None:
        self.scale = scale
        self._shown_by = replace(self._profile, battery=scaled(self._profile.battery, scale))
        self.refresh()

    def refresh(self) -> None:
        """Show the truth at the next reading, as after a plug was pulled."""
        self._due = self._passed_s = self._passed_as = 0.0

    def passed(self, battery_a: float, seconds: float) -> None:
        """Let a constant current pass."""
        self._passed_s += seconds
        self._passed_as += battery_a * seconds

    def read(self, state: State, now: float, *, charger: str, charging: bool) -> Gauge:
        """What it shows at `now`."""
        if self._shown is None or now >= self._due:
            battery = self._shown_by.battery
            # Counted from the last value that was due: a late look makes no value late for ever.
            late = now - self._due
            self._due = (now if late > battery.period_s else self._due) + battery.period_s
            self._shown = self._new(state, charger, charging)
            self._passed_s = self._passed_as = 0.0
        return self._shown

    def _new(self, state: State, charger: str, charging: bool) -> Gauge:
        battery = self._shown_by.battery
        shown = sensors.read_gauge(self._shown_by, state, charger, charging)
        current = state.battery_a
        if battery.current_mean and self._passed_s > 0:
            current = self._passed_as / self._passed_s
        micro_a, micro_v = current * 1e6, state.battery_v * 1e6
        if current:
            micro_a += self._random.gauss(0.0, battery.current_noise_ua)
        micro_v += self._random.gauss(0.0, battery.voltage_noise_uv)
        return replace(
            shown,
            current_ua=sensors.stepped(micro_a, battery.current_step_ua),
            voltage_uv=sensors.stepped(micro_v, battery.voltage_step_uv),
        )

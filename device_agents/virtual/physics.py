"""Heat, power and battery of a virtual phone: pure functions over a frozen state, exact in what they claim.

Two thermal masses (CPU over skin, skin over air), a battery that follows the skin, and a frequency cap that falls in a
straight line above a trip temperature. Energy and charge are integrals of the same power that heats the phone, so that
they are the truth by which a gauge or a method can be judged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

from device_agents.virtual.profiles import Physics

INTERNAL_OHM = 0.09
"""Resistance of a lithium-ion phone battery of middle age."""

CHARGER_W = {"none": 0.0, "usb": 2.5, "ac": 18.0}
"""Power a source can give: a USB 2 port (500 mA at 5 V) and a fast charger."""

HYSTERESIS_C = 5.0
"""How much cooler than a trip point a zone must be for its cap to be lifted (`hysteresis` of a trip in the kernel's
device tree binding for thermal zones). As on phones whose cap does not flicker with every pause of the load."""

_MAX_STEP_S = 0.25
_STEPS_PER_LAG = 20
_CAP_STEPS = 16
_CHARGE_LIMIT_A_PER_AH = 1.0
_TAPER_FROM = 0.8


class Cell(Protocol):
    """A battery."""

    @property
    def charge_full_mah(self) -> int: ...


class Body(Protocol):
    """What the physics need to know of a model of phone."""

    @property
    def physics(self) -> Physics: ...

    @property
    def battery(self) -> Cell: ...


@dataclass(frozen=True, slots=True)
class State:
    """The truth at one moment.

    Args:
        cpu_c, skin_c, battery_c: temperatures.
        charge_mah: what is in the battery; full_mah: what fits in.
        cap: frequency cap as a share of the full frequency.
        power_w: drawn by the phone; battery_a: into the battery (negative: out of it); battery_v: at its terminals.
        energy_j: drawn by the phone since boot; battery_out_j, battery_in_j: left and entered the battery since boot.
        load: share of the phone's processors that is busy, 0 to 1.
    """

    cpu_c: float
    skin_c: float
    battery_c: float
    charge_mah: float
    full_mah: float
    cap: float = 1.0
    power_w: float = 0.0
    battery_a: float = 0.0
    battery_v: float = 3.85
    energy_j: float = 0.0
    battery_out_j: float = 0.0
    battery_in_j: float = 0.0
    load: float = 0.0

    @property
    def level_pct(self) -> float:
        return 100.0 * self.charge_mah / self.full_mah


def at_rest(profile: Body, level_pct: float) -> State:
    """A phone that has lain idle long enough: idle power has warmed it above the air."""
    physics, full = profile.physics, float(profile.battery.charge_full_mah)
    skin = physics.ambient_c + physics.idle_w * 0.5 * physics.skin_air_k_per_w
    charge = full * level_pct / 100.0
    volts = open_circuit_v(charge / full)
    return State(cpu_c=skin + 2.0, skin_c=skin, battery_c=skin - 0.5, charge_mah=charge, full_mah=full, battery_v=volts)


def open_circuit_v(filled: float) -> float:
    """Voltage without load of a lithium-ion cell filled to the share `filled`."""
    share = min(max(filled, 0.0), 1.0)
    return 3.42 + 0.80 * share + 0.16 * math.exp(-12.0 * (1.0 - share)) - 0.25 * math.exp(-25.0 * share)


def cap_for(cpu_c: float, physics: Physics) -> float:
    """Frequency cap that a CPU temperature comes to, in steps as a governor has them."""
    over = (cpu_c - physics.trip_c) / physics.span_c
    share = 1.0 - (1.0 - physics.floor) * min(max(over, 0.0), 1.0)
    return max(physics.floor, math.ceil(share * _CAP_STEPS * 2) / (_CAP_STEPS * 2))


def next_cap(cap: float, cpu_c: float, physics: Physics) -> float:
    """The cap after `cap`: it falls at once, and rises only when the CPU is cooler by the hysteresis."""
    falling, rising = cap_for(cpu_c, physics), cap_for(cpu_c + HYSTERESIS_C, physics)
    return min(max(cap, rising), falling)


def faster_heat(physics: Physics, scale: float) -> Physics:
    """A phone that warms and cools `scale` times as fast, between the same temperatures and at the same power."""
    return replace(
        physics,
        cpu_j_per_k=physics.cpu_j_per_k / scale,
        skin_j_per_k=physics.skin_j_per_k / scale,
        battery_lag_s=physics.battery_lag_s / scale,
    )


def step(
    state: State,
    profile: Body,
    *,
    load: float,
    seconds: float,
    charger: str,
    charging: bool,
    asleep: bool = False,
) -> State:
    """The state `seconds` later, under a constant load.

    Args:
        load: share of the phone's processors that is busy.
        charger: "none", "usb" or "ac".
        charging: False: the charger feeds the phone but not the battery.
        asleep: the phone is suspended.
    """
    physics = profile.physics
    largest = min(_MAX_STEP_S, physics.cpu_j_per_k * physics.cpu_skin_k_per_w / _STEPS_PER_LAG)
    count = max(1, math.ceil(seconds / largest))
    for _ in range(count):
        state = _small_step(state, physics, load, seconds / count, CHARGER_W[charger], charging, asleep)
    return state


def _small_step(
    state: State, physics: Physics, load: float, seconds: float, input_w: float, charging: bool, asleep: bool
) -> State:
    # Voltage falls with frequency: power goes with about its square.
    cpu_w = physics.cpu_w * load * state.cap**2
    rest_w = physics.asleep_w if asleep else physics.idle_w
    power = rest_w + cpu_w
    to_skin = (state.cpu_c - state.skin_c) / physics.cpu_skin_k_per_w
    to_air = (state.skin_c - physics.ambient_c) / physics.skin_air_k_per_w
    # Half of the idle power is the screen's and radio's and warms the skin directly.
    cpu_c = state.cpu_c + (cpu_w + 0.1 * rest_w - to_skin) / physics.cpu_j_per_k * seconds
    skin_c = state.skin_c + (to_skin + 0.4 * rest_w - to_air) / physics.skin_j_per_k * seconds
    battery_c = state.battery_c + (state.skin_c - 0.5 - state.battery_c) / physics.battery_lag_s * seconds
    current = _battery_current(state, power, input_w, charging)
    volts = open_circuit_v(state.charge_mah / state.full_mah) + current * INTERNAL_OHM
    charge = state.charge_mah + current * 1000.0 * seconds / 3600.0
    joule = volts * current * seconds
    return replace(
        state,
        cpu_c=cpu_c,
        skin_c=skin_c,
        battery_c=battery_c,
        charge_mah=min(max(charge, 0.0), state.full_mah),
        cap=next_cap(state.cap, cpu_c, physics),
        power_w=power,
        battery_a=current,
        battery_v=volts,
        energy_j=state.energy_j + power * seconds,
        battery_out_j=state.battery_out_j + max(-joule, 0.0),
        battery_in_j=state.battery_in_j + max(joule, 0.0),
        load=load,
    )


def _battery_current(state: State, power: float, input_w: float, charging: bool) -> float:
    """Amperes into the battery: what the charger leaves over, limited as charging nears its end."""
    spare = input_w - power
    volts = state.battery_v
    if spare <= 0:
        return spare / volts
    if not charging or state.charge_mah >= state.full_mah:
        return 0.0
    filled = state.charge_mah / state.full_mah
    limit = state.full_mah / 1000.0 * _CHARGE_LIMIT_A_PER_AH
    if filled > _TAPER_FROM:
        limit *= max(0.05, (1.0 - filled) / (1.0 - _TAPER_FROM))
    return min(spare / volts, limit)

"""What a virtual phone claims to be: one YAML file per model, read into frozen types."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, TypeAdapter

from device_agents.virtual.errors import LabError

FOLDER = Path(__file__).parent / "phones"
Node = Literal["cpu", "gpu", "skin", "battery", "constant"]
Health = Literal["Good", "Overheat", "Dead", "Over voltage", "Unspecified failure", "Cold"]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Cores of one kind.

    Args:
        capacity: as in sysfs, 1024 for the fastest.
        min_khz, max_khz: lowest and highest frequency.
        part: ARM part number.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    cores: int
    capacity: int
    min_khz: int
    max_khz: int
    part: str
    governor: str = "sched_pixel"


@dataclass(frozen=True, slots=True)
class Zone:
    """A thermal zone in sysfs.

    Args:
        type: its name there; may repeat.
        node: temperature it follows; "constant" zones show `value` as it is, whatever the phone does.
        scale: file units per °C (1000, 10 or 1).
        offset_c: added to the node's temperature.
        denied: the shell may not read its temperature.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    type: str
    node: Node
    scale: int = 1000
    offset_c: float = 0.0
    value: int = 0
    denied: bool = False


@dataclass(frozen=True, slots=True)
class HalTemperature:
    """An entry of `dumpsys thermalservice`.

    Args:
        type: Android's TemperatureType.
        value: shown as it is when `node` is "constant".
        hot: seven thresholds in °C, null for NaN.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    name: str
    type: int
    node: Node
    offset_c: float = 0.0
    value: float = 0.0
    hot: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class ThermalService:
    """`dumpsys thermalservice` of a maker.

    Args:
        hal: line that names the connection; indent: before each entry; listeners: number printed.
        lying_status: the global status stays 0 whatever the skin says.
        cached_c: added to what stands under the stale "Cached temperatures".
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    hal: str
    temperatures: tuple[HalTemperature, ...]
    indent: str = "\t"
    listeners: int = 4
    lying_status: bool = False
    cached_c: float = 9.0


@dataclass(frozen=True, slots=True)
class Battery:
    """The battery and its gauge with the maker's habits.

    Args:
        design_mah: capacity when new; charge_full_mah: today's.
        cycles: charge cycles so far.
        health: word of the kernel for it. counts_cycles: False: the gauge shows 0 cycles, as one that keeps no count.
        current: where the shell reads the current: "readable", "denied" or "absent".
        current_unit: of `current_now`: "uA" or "mA".
        charging_sign: sign of the current while charging.
        current_step_ua, voltage_step_uv, counter_step_uah: resolution of the gauge.
        period_s: how often the gauge has a new value.
        current_mean: the current is the mean since the last value, as many coarse gauges have it, not that of a moment.
        current_noise_ua, voltage_noise_uv: standard deviation of what a single value is off by.
        counter_unit: of the charge counter, in sysfs and in `dumpsys battery`: "uAh", "mAh" or "none" (0).
        style: maker's form of `dumpsys battery`: "aosp", "samsung", "oplus".
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    design_mah: int
    charge_full_mah: int
    cycles: int
    style: Literal["aosp", "samsung", "oplus"]
    current: Literal["readable", "denied", "absent"] = "readable"
    current_unit: Literal["uA", "mA"] = "uA"
    charging_sign: Literal[1, -1] = 1
    current_step_ua: int = 1000
    voltage_step_uv: int = 1000
    counter_step_uah: int = 1000
    period_s: float = 1.0
    current_mean: bool = False
    current_noise_ua: float = 0.0
    voltage_noise_uv: float = 0.0
    counter_unit: Literal["uAh", "mAh", "none"] = "uAh"
    health: Health = "Good"
    counts_cycles: bool = True
    uevent_extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Physics:
    """Power and heat.

    Args:
        idle_w: at idle, screen and radio included; cpu_w: added when every core is busy at full frequency; asleep_w:
            while the phone is suspended.
        cpu_skin_k_per_w, skin_air_k_per_w: thermal resistances; cpu_j_per_k, skin_j_per_k: heat capacities.
        battery_lag_s: time constant with which the battery follows the skin.
        trip_c: CPU temperature where the frequency cap starts to fall; span_c: over how many K it falls to `floor`, a
            share of the full frequency.
        ambient_c: of the air.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    idle_w: float = 0.9
    asleep_w: float = 0.05
    cpu_w: float = 7.0
    cpu_skin_k_per_w: float = 5.0
    skin_air_k_per_w: float = 3.0
    cpu_j_per_k: float = 1.2
    skin_j_per_k: float = 80.0
    battery_lag_s: float = 120.0
    trip_c: float = 68.0
    span_c: float = 20.0
    floor: float = 0.5
    ambient_c: float = 24.0


@dataclass(frozen=True, slots=True)
class Profile:
    """A phone model.

    Args:
        ram_kb: MemTotal; storage_kb, storage_used_kb: of /data, in kB of 1024 bytes.
        props: Android properties beyond those that are derived.
        denied: files below /sys that the shell may not read.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    id: str
    title: str
    tier: Literal["flagship", "mid-range", "budget"]
    brand: str
    manufacturer: str
    model: str
    product: str
    device: str
    soc_manufacturer: str
    soc_model: str
    platform: str
    hardware: str
    android: str
    sdk: int
    build: str
    patch: str
    ram_kb: int
    storage_kb: int
    storage_used_kb: int
    clusters: tuple[Cluster, ...]
    battery: Battery
    zones: tuple[Zone, ...]
    thermalservice: ThermalService
    physics: Physics = field(default_factory=Physics)
    props: dict[str, str] = field(default_factory=dict)
    denied: tuple[str, ...] = ()

    @property
    def cores(self) -> int:
        return sum(cluster.cores for cluster in self.clusters)

    @property
    def capacities(self) -> tuple[int, ...]:
        """Of each core, by its number."""
        return tuple(cluster.capacity for cluster in self.clusters for _ in range(cluster.cores))

    @property
    def fingerprint(self) -> str:
        """Well-formed, and clearly of no real build."""
        return f"{self.brand}/{self.product}/{self.device}:{self.android}/{self.build}/virtual:user/release-keys"


_ADAPTER: TypeAdapter[Profile] = TypeAdapter(Profile)


def with_bad_battery(profile: Profile) -> Profile:
    """The same phone after years at full charge: half of its capacity is gone, and the battery says that it is dead."""
    battery = profile.battery
    spent = replace(battery, charge_full_mah=round(battery.design_mah * 0.52), cycles=1180, health="Dead")
    return replace(profile, battery=spent)


def names() -> tuple[str, ...]:
    """Ids of the shipped profiles, flagship first."""
    found = [load(file.stem) for file in sorted(FOLDER.glob("*.yaml"))]
    order = ("flagship", "mid-range", "budget")
    preferred = ("pixel-8-pro", "galaxy-s24-ultra", "oneplus-12")
    found.sort(key=lambda p: (order.index(p.tier), preferred.index(p.id) if p.id in preferred else 9, p.id))
    return tuple(profile.id for profile in found)


@cache
def load(profile_id: str) -> Profile:
    """The shipped profile of that id.

    Raises:
        LabError: there is none; the message lists those there are.
    """
    file = FOLDER / f"{profile_id}.yaml"
    known = sorted(entry.stem for entry in FOLDER.glob("*.yaml"))
    if profile_id not in known:
        near = difflib.get_close_matches(profile_id, known, 1)
        raise LabError(
            f"no profile {profile_id!r} (there are: {', '.join(known)})",
            advice=f"did you mean {near[0]}?" if near else "choose one of these",
        )
    data: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return _ADAPTER.validate_python({"id": profile_id, **data})

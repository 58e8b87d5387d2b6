"""What a virtual iPhone claims to be: one YAML file per model, read into frozen types."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, TypeAdapter

from device_agents.virtual.errors import LabError
from device_agents.virtual.profiles import Physics

FOLDER = Path(__file__).parent / "iphones"


@dataclass(frozen=True, slots=True)
class Cell:
    """The battery and how its gauge shows it.

    Args:
        design_mah: capacity when new; charge_full_mah: today's; cycles: charge cycles so far.
        period_s: how often the registry has new values (`UpdateTime`).
        counter_step_mah: resolution of the charge counter.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    design_mah: int
    charge_full_mah: int
    cycles: int
    period_s: float = 20.0
    counter_step_mah: int = 1


@dataclass(frozen=True, slots=True)
class ThermalLimits:
    """Skin temperatures in °C from which `ProcessInfo.thermalState` is fair, serious and critical."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    fair_c: float = 37.5
    serious_c: float = 41.0
    critical_c: float = 45.0


@dataclass(frozen=True, slots=True)
class IphoneProfile:
    """An iPhone model on one version of iOS.

    Args:
        ios: build by version, of the versions that this model can be asked to run; the first is what it runs.
        name: as its owner called it; chip: as people call it; cpu: its CPU architecture.
        chip_id, board_id: of the hardware, also part of the UDID.
        cores: of the CPU; performance_cores: how many of them are fast ones.
        ram_bytes; storage_bytes: capacity of the data volume; storage_used_bytes: taken before anything is installed.
        app_limit_share: share of the memory that one app may hold before it is killed.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    id: str
    title: str
    tier: Literal["flagship", "mid-range", "budget"]
    product_type: str
    hardware_model: str
    hardware_platform: str
    chip: str
    chip_id: int
    board_id: int
    cores: int
    performance_cores: int
    ram_bytes: int
    storage_bytes: int
    storage_used_bytes: int
    ios: dict[str, str]
    battery: Cell
    name: str = "iPhone"
    model_number: str = "MTUW3"
    cpu: str = "arm64e"
    app_limit_share: float = 0.75
    ios_version: str = ""
    physics: Physics = field(default_factory=Physics)
    thermal: ThermalLimits = field(default_factory=ThermalLimits)

    @property
    def build_version(self) -> str:
        return self.ios[self.ios_version]

    @property
    def version(self) -> tuple[int, ...]:
        """Of iOS, as numbers."""
        return tuple(int(part) for part in self.ios_version.split("."))

    @property
    def major(self) -> int:
        return self.version[0]


_ADAPTER: TypeAdapter[IphoneProfile] = TypeAdapter(IphoneProfile)


def names() -> tuple[str, ...]:
    """Ids of the shipped profiles, flagship first."""
    order = ("flagship", "mid-range", "budget")
    found = [load(file.stem) for file in sorted(FOLDER.glob("*.yaml"))]
    return tuple(profile.id for profile in sorted(found, key=lambda profile: (order.index(profile.tier), profile.id)))


@cache
def load(profile_id: str) -> IphoneProfile:
    """The shipped profile `ID`, or `ID@VERSION` for another version of iOS: "iphone-14@16" is the newest 16 it knows.

    Raises:
        LabError: there is none; the message lists those there are.
    """
    base, _, version = profile_id.partition("@")
    file = FOLDER / f"{base}.yaml"
    known = sorted(entry.stem for entry in FOLDER.glob("*.yaml"))
    if base not in known:
        near = difflib.get_close_matches(base, known, 1)
        raise LabError(
            f"no iPhone profile {base!r} (there are: {', '.join(known)})",
            advice=f"did you mean {near[0]}?" if near else "choose one of these",
        )
    data: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    profile = _ADAPTER.validate_python({"id": profile_id, **data})
    wanted = [v for v in profile.ios if not version or v == version or v.startswith(f"{version}.")]
    if not wanted:
        raise LabError(
            f"{base} does not run iOS {version} (it runs: {', '.join(profile.ios)})", advice="choose one of these"
        )
    return replace(profile, ios_version=wanted[0])

"""What is known of a running lab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from device_agents.virtual.errors import LabError
from device_agents.virtual.iphone.lab import IphoneInfo


@dataclass(frozen=True, slots=True)
class LabPhone:
    """A phone of a running lab.

    Args:
        id: name in the lab; serial: ro.serialno; adb_serial: what `adb devices` shows; adb_serials: of all its cables.
        pid: its boot process on this machine, 0 for a phone that is only a listener (unauthorized, offline).
        truth: file with what the simulation really did; nothing that measures may read it.
    """

    id: str
    serial: str
    adb_serial: str
    adb_serials: tuple[str, ...]
    profile: str
    title: str
    model: str
    tier: str
    behaviours: frozenset[str]
    pid: int
    truth: Path
    plugged: bool = True
    running: bool = True
    readings: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabInfo:
    """A running lab.

    Args:
        adb_port: of its adb server, 0 without one. phones: those behind it.
        env: what adb, adbutils and clients of usbmuxd need in their environment to see this lab only.
        iphones, usbmux, tunneld: its iPhones, and host:port of their muxer and tunneld, "" without iPhones.
    """

    name: str
    folder: Path
    pid: int
    adb_port: int
    phones: tuple[LabPhone, ...]
    env: Mapping[str, str]
    iphones: tuple[IphoneInfo, ...] = ()
    usbmux: str = ""
    tunneld: str = ""

    def phone(self, phone_id: str) -> LabPhone:
        """The Android phone of that id.

        Raises:
            LabError: there is none.
        """
        return _by_id(self.phones, phone_id)

    def iphone(self, phone_id: str) -> IphoneInfo:
        """The iPhone of that id.

        Raises:
            LabError: there is none.
        """
        return _by_id(self.iphones, phone_id)


_Phone = TypeVar("_Phone", LabPhone, IphoneInfo)


def _by_id(phones: Sequence[_Phone], phone_id: str) -> _Phone:
    for phone in phones:
        if phone.id == phone_id:
            return phone
    raise LabError(f"no phone {phone_id!r} in the lab", advice=f"there are: {', '.join(p.id for p in phones)}")

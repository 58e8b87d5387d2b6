"""How an iOS version lets its developer services be reached. Pure."""

from __future__ import annotations

import re
from typing import Literal

Way = Literal["lockdown", "tunnel", "none"]


def version_of(text: str) -> tuple[int, ...]:
    """ "17.4.1" → (17, 4, 1); empty for what is no version."""
    return tuple(int(part) for part in text.split(".")) if re.fullmatch(r"\d{1,3}(\.\d{1,3}){0,3}", text) else ()


def developer_way(version: str) -> Way:
    """Over lockdown up to iOS 16, through a tunnel from 17.4 on; between them only as root, which farm does not do."""
    numbers = version_of(version)
    if numbers < (17,):
        return "lockdown"
    return "tunnel" if numbers >= (17, 4) else "none"


def has_developer_mode(version: str) -> bool:
    """Whether this iOS has the switch at all."""
    return version_of(version) >= (16,)


REFUSED = (
    "iOS 17.0 to 17.3 opens its developer services only to a tunnel that needs root and is made over Wi-Fi or by "
    "suspending a system service"
)

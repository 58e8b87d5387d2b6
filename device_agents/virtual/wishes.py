"""What a lab is asked for: phones by profile, each with its habits, as an operator types them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from device_agents.virtual import profiles
from device_agents.virtual.errors import LabError
from device_agents.virtual.iphone import profiles as iphone_profiles
from device_agents.virtual.iphone.lab import BEHAVIOURS as IPHONE_BEHAVIOURS
from device_agents.virtual.iphone.lab import IphoneWish

BEHAVIOURS: Mapping[str, str] = {
    "adbd_restart_kills": "everything that adbd started dies when adbd restarts",
    "deny_settings": "settings put and svc are denied, with the phone's own words",
    "ignore_settings": "settings put and svc succeed and change nothing",
    "small_storage": "48 MB of storage, really full when it is full",
    "bad_battery": "its battery holds half of its design capacity and says that it is dead",
    "unauthorized": "never accepts a key",
    "offline": "takes the connection and never answers",
    "twin": "reachable by two ports, as a phone on USB and on Wi-Fi is",
}


@dataclass(frozen=True, slots=True)
class PhoneWish:
    """A phone to start.

    Args:
        profile: id of a shipped profile; behaviours: names from BEHAVIOURS.
        id: name in the lab; made from the profile when empty.
    """

    profile: str
    behaviours: frozenset[str] = frozenset()
    id: str = ""


Wish = PhoneWish | IphoneWish


def parse_wish(text: str) -> Wish:
    """`PROFILE[@IOS][+BEHAVIOUR…]`, e.g. `galaxy-a34+deny_settings` or `iphone-14@16+locked`.

    Raises:
        LabError: no such profile or behaviour.
    """
    profile, *behaviours = text.split("+")
    iphone = profile.startswith("iphone-")
    if iphone:
        iphone_profiles.load(profile)
    else:
        profiles.load(profile)
    known = IPHONE_BEHAVIOURS if iphone else BEHAVIOURS
    unknown = [name for name in behaviours if name not in known]
    if unknown:
        of = " of an iPhone" if iphone else ""
        raise LabError(f"no behaviour {unknown[0]!r}{of}", advice=f"there are: {', '.join(known)}")
    if iphone:
        return IphoneWish(profile, tuple(dict.fromkeys(behaviours)))
    return PhoneWish(profile, frozenset(behaviours))


def wishes(count: int, chosen: Sequence[str] = (), behaviours: Sequence[str] = ()) -> list[Wish]:
    """`count` phones of the profiles `chosen` in turn (all shipped Android ones when empty), each with `behaviours`."""
    source = list(chosen) or list(profiles.names())
    return [parse_wish("+".join([source[number % len(source)], *behaviours])) for number in range(count)]


def named(phones: Sequence[PhoneWish], lab: str) -> list[dict[str, Any]]:
    """Give every phone an id and a serial; both are the same whenever the same lab is started again."""
    seen: dict[str, int] = {}
    named = []
    for wish in phones:
        profiles.load(wish.profile)
        base = wish.id or wish.profile
        seen[base] = seen.get(base, 0) + 1
        phone_id = base if seen[base] == 1 else f"{base}-{seen[base]}"
        serial = "VIRT" + hashlib.sha256(f"{lab}/{phone_id}".encode()).hexdigest()[:8].upper()
        named.append(
            {
                "id": phone_id,
                "serial": serial,
                "profile": wish.profile,
                "behaviours": sorted(wish.behaviours),
                "twin": "twin" in wish.behaviours,
            }
        )
    return named

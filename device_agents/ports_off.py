"""Which USB ports farm has switched off, kept on this machine: a phone whose port is off is not even listed.

A file per port is written before the port is switched off and removed once it is on again, so that a farm that was
killed in between leaves word for the next one. A port that holds its phone's charge stays off when its process ends, on
purpose: whoever takes phones next switches it on all the same.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.cache import cache_dir
from harness.leases import identity_of_this_process, is_alive
from harness.model import UsbPort

FOLDER = "usb-ports-off"
"""In farm's cache folder."""


@dataclass(frozen=True, slots=True)
class PortOff:
    """A port that was switched off.

    Args:
        port: which. until: Unix seconds by which it was to be on again.
        host, pid, pid_started: process that switched it, as in a lease.
        since: Unix seconds at which it was switched off; 0 where that was not written down.
        held_pct: it is off to hold its phone's charge, which stood at so many percent; None: off for another reason.
    """

    port: UsbPort
    until: float
    host: str
    pid: int
    pid_started: float
    since: float = 0.0
    held_pct: float | None = None


def note(port: UsbPort, *, off_s: float, held_pct: float | None = None) -> None:
    """Write down that this process switches `port` off, for `off_s` seconds at most. Args: held_pct: as in PortOff."""
    me, now = identity_of_this_process(), time.time()
    path = _path(port)
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {"hub": port.hub, "port": port.port, "since": now, "until": now + off_s, "held_pct": held_pct}
    fields |= {"host": me.host, "pid": me.pid, "pid_started": me.pid_started}
    part = path.with_suffix(".new")
    part.write_text(json.dumps(fields), encoding="utf-8")
    part.replace(path)


def forget(port: UsbPort) -> None:
    """The port is on again."""
    _path(port).unlink(missing_ok=True)


def noted() -> tuple[PortOff, ...]:
    """Every port that is written down as off, by whatever process."""
    folder = cache_dir() / FOLDER
    found = [_read(path) for path in sorted(folder.glob("*.json"))] if folder.is_dir() else []
    return tuple(each for each in found if each is not None)


def held_ports() -> frozenset[UsbPort]:
    """Ports that are off to hold the charge of their phones."""
    return frozenset(entry.port for entry in noted() if entry.held_pct is not None)


def left_off(*, alive: Callable[[str, int, float], bool] = is_alive) -> tuple[PortOff, ...]:
    """Ports that nobody will switch on any more: their process is gone, or cannot be told from here and is late."""
    return tuple(each for each in noted() if _given_up(each, alive))


def _given_up(entry: PortOff, alive: Callable[[str, int, float], bool]) -> bool:
    if not alive(entry.host, entry.pid, entry.pid_started):
        return True
    # A process of another container counts as alive for ever.
    return entry.host != identity_of_this_process().host and entry.until < time.time()


def _read(path: Path) -> PortOff | None:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        held = fields.get("held_pct")
        return PortOff(
            UsbPort(str(fields["hub"]), int(fields["port"])),
            float(fields["until"]),
            str(fields["host"]),
            int(fields["pid"]),
            float(fields["pid_started"]),
            float(fields.get("since", 0.0)),
            None if held is None else float(held),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Put back meanwhile, or not ours.
        return None


def _path(port: UsbPort) -> Path:
    return cache_dir() / FOLDER / f"{re.sub(r'[^A-Za-z0-9.-]', '_', port.hub)}_{port.port}.json"

"""Which USB ports farm has switched off, kept on this machine: a phone whose port is off is not even listed.

A file per port is written before the port is switched off and removed once it is on again, so that a farm that was
killed in between leaves word for the next one.
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
    """

    port: UsbPort
    until: float
    host: str
    pid: int
    pid_started: float


def note(port: UsbPort, *, off_s: float) -> None:
    """Write down that this process switches `port` off, for `off_s` seconds at most."""
    me = identity_of_this_process()
    path = _path(port)
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {"hub": port.hub, "port": port.port, "until": time.time() + off_s}
    fields |= {"host": me.host, "pid": me.pid, "pid_started": me.pid_started}
    part = path.with_suffix(".new")
    part.write_text(json.dumps(fields), encoding="utf-8")
    part.replace(path)


def forget(port: UsbPort) -> None:
    """The port is on again."""
    _path(port).unlink(missing_ok=True)


def left_off(*, alive: Callable[[str, int, float], bool] = is_alive) -> tuple[PortOff, ...]:
    """Ports that nobody will switch on any more: their process is gone, or cannot be told from here and is late."""
    folder = cache_dir() / FOLDER
    found = [_read(path) for path in sorted(folder.glob("*.json"))] if folder.is_dir() else []
    return tuple(each for each in found if each is not None and _given_up(each, alive))


def _given_up(entry: PortOff, alive: Callable[[str, int, float], bool]) -> bool:
    if not alive(entry.host, entry.pid, entry.pid_started):
        return True
    # A process of another container counts as alive for ever.
    return entry.host != identity_of_this_process().host and entry.until < time.time()


def _read(path: Path) -> PortOff | None:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        port = UsbPort(str(fields["hub"]), int(fields["port"]))
        return PortOff(
            port, float(fields["until"]), str(fields["host"]), int(fields["pid"]), float(fields["pid_started"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        # Put back meanwhile, or not ours.
        return None


def _path(port: UsbPort) -> Path:
    return cache_dir() / FOLDER / f"{re.sub(r'[^A-Za-z0-9.-]', '_', port.hub)}_{port.port}.json"

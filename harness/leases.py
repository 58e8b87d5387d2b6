"""Who holds a device: pure rules, and what identifies a process on a host."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from harness.model import LeaseInfo

_START_TOLERANCE_S = 2.0
"""psutil derives a start time from the boot time, which moves when the host's clock is set."""


def identity_of_this_process() -> LeaseInfo:
    """This process as the holder of no device yet: a template whose identity and expiry are to be filled in.

    The owner is FARM_OWNER, else "user@host"; a note may follow after a comma ("alice@bench, run R").
    """
    import getpass
    import platform

    import psutil

    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = f"uid{os.getuid()}"
    owner = os.environ.get("FARM_OWNER") or f"{user}@{platform.node() or 'this host'}"
    owner = "".join(c if c.isprintable() and c != "," else " " for c in owner)
    return LeaseInfo("", owner.strip(), _host(), os.getpid(), psutil.Process().create_time(), 0.0)


def is_alive(host: str, pid: int, pid_started: float) -> bool:
    """Whether a process may still live: True on another host, where nobody here can tell."""
    import psutil

    if host != _host():
        return True
    try:
        process = psutil.Process(pid)
        started: float = process.create_time()
        return abs(started - pid_started) <= _START_TOLERANCE_S and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def is_dead(lease: LeaseInfo) -> bool:
    """Whether the holder ran on this host and is gone; False for a reservation, which outlives its command, and for
    holders on other hosts, whose leases end by expiry only."""
    return not lease.reserved and not is_alive(lease.host, lease.pid, lease.pid_started)


def same_process(one: LeaseInfo, other: LeaseInfo) -> bool:
    return (one.host, one.pid) == (other.host, other.pid) and (
        abs(one.pid_started - other.pid_started) <= _START_TOLERANCE_S
    )


def person(lease: LeaseInfo) -> str:
    """The owner without the note: who may run on a phone reserved by the same person."""
    return lease.owner.split(",", 1)[0].strip()


def blocker(
    wanted: LeaseInfo, held: LeaseInfo | None, *, now: float, dead: Callable[[LeaseInfo], bool] = is_dead
) -> LeaseInfo | None:
    """The holder who keeps `wanted` from being granted, or None.

    A lease that expired, whose process is dead, or that is this process's own does not block; a reservation lets in
    its own person. `now` is Unix seconds.
    """
    if held is None or held.expires_at <= now:
        return None
    if held.reserved:
        return None if person(held) == person(wanted) else held
    return None if same_process(held, wanted) or dead(held) else held


@functools.cache
def _host() -> str:
    """Digest that says on which machine, and in which pid namespace, a pid is valid."""
    import platform
    import uuid

    machine = ""
    for name in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            machine = Path(name).read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            continue
        if machine:
            break
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    parts = (machine or hex(uuid.getnode()), platform.node(), namespace)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

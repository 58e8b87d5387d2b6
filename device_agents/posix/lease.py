"""The lease of a device that has a shell.

ROOT/lease holds three lines (`device_agents.device_lease`). Changes happen in one script on the device, under a folder
as a mutex (hard links may be denied there).
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
import time
import uuid
from pathlib import Path

from device_agents.device_lease import DeviceLease, holder_of
from device_agents.posix.link import Link, run_checked, text_of
from harness.model import LeaseInfo


class PosixLease(DeviceLease):
    """`device_agents.base.PhoneLease` in the folder `root` of the device behind `link`."""

    def __init__(self, link: Link, root: str) -> None:
        super().__init__(link.name)
        self._link = link
        self._root = root

    def _change(self, verb: str, token: str, dead: str, seconds: int, text: str, limit_s: float) -> LeaseInfo | None:
        output = run_checked(
            self._link,
            text_of("lease.sh"),
            self._root,
            verb,
            token,
            dead,
            str(seconds),
            text,
            uuid.uuid4().hex,
            limit_s=limit_s,
            doing="handling the lease",
        )
        return holder_of(output.decode("utf-8", "replace"), time.time())


def host_id() -> str:
    """A stable name of this host that tells nothing about it."""
    for path in (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id")):
        with contextlib.suppress(OSError):
            if text := path.read_text("ascii").strip():
                return hashlib.sha256(f"farm:{text}".encode()).hexdigest()[:16]
    return hashlib.sha256(f"farm:{platform.node()}:{uuid.getnode()}".encode()).hexdigest()[:16]

"""The lease kept on the device itself, so that every host and database sees it.

ROOT/lease holds three lines: expiry in seconds of the device's own clock, a token of the holder, and the lease as JSON.
Changes happen in one script on the device, under a folder as a mutex (hard links may be denied there).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import platform
import time
import uuid
from pathlib import Path

from device_agents.posix.link import Link, run_checked, text_of
from harness.errors import ErrorClass, Transient
from harness.leases import is_dead
from harness.model import LeaseInfo


class PosixLease:
    """`device_agents.base.PhoneLease` in the folder `root` of the device behind `link`."""

    def __init__(self, link: Link, root: str) -> None:
        self._link = link
        self._root = root

    def read(self, *, limit_s: float) -> LeaseInfo | None:
        return self._change("read", "", "", 0, "", limit_s)

    def acquire(self, lease: LeaseInfo, *, limit_s: float) -> LeaseInfo:
        holder = self._take(lease, "", limit_s)
        if _token(holder) != _token(lease) and is_dead(holder):
            holder = self._take(lease, _token(holder), limit_s)
        return lease if _token(holder) == _token(lease) else holder

    def renew(self, lease: LeaseInfo, *, limit_s: float) -> None:
        holder = self._change("renew", _token(lease), "", _seconds_left(lease), _json(lease), limit_s)
        if holder is None or _token(holder) != _token(lease):
            raise Transient(
                f"{self._link.name}: the lease is {'gone' if holder is None else f'held by {holder.owner}'}",
                error_class=ErrorClass.DEVICE_LEASED,
                advice="wait for the holder or choose another device",
                device=self._link.name,
            )

    def release(self, lease: LeaseInfo, *, limit_s: float) -> None:
        self._change("release", _token(lease), "", 0, "", limit_s)

    def _take(self, lease: LeaseInfo, dead: str, limit_s: float) -> LeaseInfo:
        holder = self._change("acquire", _token(lease), dead, _seconds_left(lease), _json(lease), limit_s)
        if holder is None:
            raise Transient(
                f"{self._link.name}: the lease cannot be written on the device",
                error_class=ErrorClass.INTERNAL,
                advice="free some storage on the phone",
                device=self._link.name,
            )
        return holder

    def _change(self, verb: str, token: str, dead: str, seconds: int, text: str, limit_s: float) -> LeaseInfo | None:
        """Do `verb` and return the holder afterwards, with its expiry on this host's clock."""
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
        return _holder(output.decode("utf-8", "replace"), time.time())


def host_id() -> str:
    """A stable name of this host that tells nothing about it."""
    for path in (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id")):
        with contextlib.suppress(OSError):
            if text := path.read_text("ascii").strip():
                return hashlib.sha256(f"farm:{text}".encode()).hexdigest()[:16]
    return hashlib.sha256(f"farm:{platform.node()}:{uuid.getnode()}".encode()).hexdigest()[:16]


def _token(lease: LeaseInfo) -> str:
    """Names the holder: the same process renewing is the same holder."""
    parts = (lease.owner, lease.host, str(lease.pid), f"{lease.pid_started:.2f}", str(lease.reserved))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _seconds_left(lease: LeaseInfo) -> int:
    return max(1, round(lease.expires_at - time.time()))


def _json(lease: LeaseInfo) -> str:
    return json.dumps(dataclasses.asdict(lease))


def _holder(text: str, now: float) -> LeaseInfo | None:
    lines = text.splitlines()
    if len(lines) < 4:
        return None
    try:
        phone_now, expiry = int(lines[0]), int(lines[1])
        fields = json.loads(lines[3])
        return LeaseInfo(
            identity=str(fields["identity"]),
            owner=str(fields["owner"]),
            host=str(fields["host"]),
            pid=int(fields["pid"]),
            pid_started=float(fields["pid_started"]),
            expires_at=now + (expiry - phone_now),
            reserved=bool(fields["reserved"]),
        )
    except (ValueError, KeyError, TypeError):
        return LeaseInfo("", "unreadable lease on the device", "", 0, 0.0, now, False)

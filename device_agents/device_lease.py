"""The lease kept on a device itself, so that every host and database sees it: what every agent's lease has in common.

It is three lines: expiry in seconds of the device's own clock, a token of the holder, and the lease as JSON.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from abc import ABC, abstractmethod

from harness.errors import ErrorClass, Transient
from harness.leases import is_dead
from harness.model import LeaseInfo


class DeviceLease(ABC):
    """`device_agents.base.PhoneLease`; how it is changed on the device is the agent's. `name` stands in messages."""

    def __init__(self, name: str) -> None:
        self._name = name

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
                f"{self._name}: the lease is {'gone' if holder is None else f'held by {holder.owner}'}",
                error_class=ErrorClass.DEVICE_LEASED,
                advice="wait for the holder or choose another device",
                device=self._name,
            )

    def release(self, lease: LeaseInfo, *, limit_s: float) -> None:
        self._change("release", _token(lease), "", 0, "", limit_s)

    def _take(self, lease: LeaseInfo, dead: str, limit_s: float) -> LeaseInfo:
        holder = self._change("acquire", _token(lease), dead, _seconds_left(lease), _json(lease), limit_s)
        if holder is None:
            raise Transient(
                f"{self._name}: the lease cannot be written on the device",
                error_class=ErrorClass.INTERNAL,
                advice="free some storage on the phone",
                device=self._name,
            )
        return holder

    @abstractmethod
    def _change(self, verb: str, token: str, dead: str, seconds: int, text: str, limit_s: float) -> LeaseInfo | None:
        """Do `verb` ("read", "acquire", "renew", "release") and return the holder afterwards, with its expiry on this
        host's clock. `acquire` takes a lease that is free, `token`'s own, expired, or `dead`'s; renew and release only
        `token`'s own."""


def holder_of(text: str, now: float) -> LeaseInfo | None:
    """The holder in the device's time and the three lines of the lease.

    Args:
        text: first line: seconds of the device's clock; then the lease, nothing where there is none.
        now: the same moment by this host's clock.
    """
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


def _token(lease: LeaseInfo) -> str:
    """Names the holder: the same process renewing is the same holder."""
    parts = (lease.owner, lease.host, str(lease.pid), f"{lease.pid_started:.2f}", str(lease.reserved))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _seconds_left(lease: LeaseInfo) -> int:
    return max(1, round(lease.expires_at - time.time()))


def _json(lease: LeaseInfo) -> str:
    return json.dumps(dataclasses.asdict(lease))

"""Keeps the leases of one process alive, in the store and on the devices themselves.

The store's lease makes two runs of one database wait for each other; the one on the phone does the same for runs with
different databases or hosts. Both expire by themselves when this process is gone.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace
from typing import Protocol

from device_agents.base import DeviceAgent
from harness import limits
from harness.errors import FarmError, Transient
from harness.leases import blocker, same_process
from harness.model import LeaseInfo
from harness.plan import ResolvedDevice

TTL_S = 120.0
"""Long enough for a phone that reboots, short enough that a crashed host does not block a phone for an evening."""

RENEW_S = 30.0


class LeaseStore(Protocol):
    """The database's side of leases; `acquire_lease` returns the holder afterwards."""

    def acquire_lease(self, lease: LeaseInfo) -> LeaseInfo: ...

    def renew_lease(self, lease: LeaseInfo) -> None: ...

    def release_lease(self, lease: LeaseInfo) -> None: ...


class LeaseKeeper:
    """Takes, renews and gives back the leases of one process.

    Args:
        store: the database.
        template: a lease of this process; identity and expiry are filled in.
    """

    def __init__(self, store: LeaseStore, template: LeaseInfo) -> None:
        self._store = store
        self._template = template
        self._held: dict[str, tuple[LeaseInfo, DeviceAgent]] = {}
        self._away: dict[str, float] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def owner(self) -> str:
        """Readable: who holds the leases of this process."""
        return self._template.owner

    def acquire(self, device: ResolvedDevice, agent: DeviceAgent) -> LeaseInfo | None:
        """Take the device; returns None when it is ours now, else who has it."""
        lease = replace(self._template, identity=device.facts.identity, expires_at=time.time() + TTL_S)
        holder = self._store.acquire_lease(lease)
        if not same_process(holder, lease):
            return holder
        try:
            holder = agent.lease.acquire(lease, limit_s=limits.SHELL_S)
        except FarmError:
            self._store.release_lease(lease)
            raise
        # A reservation of the same person stays on the phone beside our run: it keeps others out as well.
        if blocker(lease, holder, now=time.time()) is not None:
            self._store.release_lease(lease)
            return holder
        with self._lock:
            self._held[lease.identity] = (lease, agent)
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew_all, name="leases", daemon=True)
                self._thread.start()
        return None

    def release(self, device: ResolvedDevice, agent: DeviceAgent) -> None:
        """Give a device back; an unreachable phone's own lease simply expires."""
        with self._lock:
            held = self._held.pop(device.facts.identity, None)
        if held is None:
            return
        self._store.release_lease(held[0])
        try:
            agent.lease.release(held[0], limit_s=limits.SHELL_S)
        except Transient:
            return

    def hold(self, device: ResolvedDevice, seconds: float) -> None:
        """Make the lease on the phone last so many seconds beyond the usual time: it will be out of reach for as long.

        0: it is back, and the lease becomes as short as any. A phone that cannot be asked keeps what it has.
        """
        identity = device.facts.identity
        with self._lock:
            held = self._held.get(identity)
            self._away[identity] = time.time() + seconds if seconds else 0.0
        if held is None:
            return
        with contextlib.suppress(Transient):
            held[1].lease.renew(self._fresh(held[0]), limit_s=limits.SHELL_S)

    def _fresh(self, lease: LeaseInfo) -> LeaseInfo:
        """The lease of a phone with a new expiry."""
        with self._lock:
            away_until = self._away.get(lease.identity, 0.0)
        return replace(lease, expires_at=max(time.time(), away_until) + TTL_S)

    def close(self) -> None:
        """Stop renewing."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=limits.SHELL_S)

    def _renew_all(self) -> None:
        while not self._stop.wait(RENEW_S):
            with self._lock:
                held = list(self._held.items())
            for identity, (lease, agent) in held:
                fresh = replace(lease, expires_at=time.time() + TTL_S)
                self._store.renew_lease(fresh)
                try:
                    agent.lease.renew(self._fresh(lease), limit_s=limits.SHELL_S)
                except Transient:
                    # An unplugged phone keeps its lease until it expires, and back again it takes our next renewal
                    # even then, unless somebody else has come; the worker deals with the outage.
                    continue
                with self._lock:
                    if identity in self._held:
                        self._held[identity] = (fresh, agent)

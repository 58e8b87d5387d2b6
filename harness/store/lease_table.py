"""Leases in the store: at most one working lease and one reservation for each device."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from harness import leases as rules
from harness.model import LeaseInfo
from harness.store.rows import clean, lease_from_row
from harness.store.schema import leases

Dead = Callable[[LeaseInfo], bool]


def acquire(connection: Connection, lease: LeaseInfo, *, now: float, dead: Dead) -> LeaseInfo:
    """Grant `lease`, or return who blocks it. Must run in a writing transaction."""
    held = {found.reserved: found for found in of_device(connection, lease.identity, lock=True)}
    for other in held.values():
        blocker = rules.blocker(lease, other, now=now, dead=dead)
        if blocker is not None:
            return blocker
    values = clean(lease)
    if lease.reserved in held:
        connection.execute(sa.update(leases).where(*_row(lease)).values(values))
    else:
        connection.execute(sa.insert(leases).values(values))
    return lease


def renew(connection: Connection, lease: LeaseInfo) -> None:
    """Set a new expiry, if the lease is still this process's."""
    mine = (*_row(lease), leases.c.host == lease.host, leases.c.pid == lease.pid)
    connection.execute(sa.update(leases).where(*mine).values(expires_at=lease.expires_at))


def release(connection: Connection, lease: LeaseInfo) -> None:
    """Give back what is ours: a reservation by its person, a working lease by its process."""
    for found in of_device(connection, lease.identity, lock=True):
        if found.reserved != lease.reserved:
            continue
        if rules.person(found) == rules.person(lease) if lease.reserved else rules.same_process(found, lease):
            connection.execute(sa.delete(leases).where(*_row(found)))


def of_device(connection: Connection, identity: str, *, lock: bool = False) -> tuple[LeaseInfo, ...]:
    query = sa.select(leases).where(leases.c.identity == identity).order_by(leases.c.reserved)
    rows = connection.execute(query.with_for_update() if lock else query).mappings()
    return tuple(lease_from_row(row) for row in rows)


def everything(connection: Connection) -> tuple[LeaseInfo, ...]:
    rows = connection.execute(sa.select(leases).order_by(leases.c.identity, leases.c.reserved)).mappings()
    return tuple(lease_from_row(row) for row in rows)


def _row(lease: LeaseInfo) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return leases.c.identity == lease.identity, leases.c.reserved == sa.literal(lease.reserved)

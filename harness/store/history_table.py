"""Queries over many runs: which of them measured a tier."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from harness.model import CaseStatus
from harness.store.schema import cases


def runs_of_tier(connection: Connection, tier: str) -> frozenset[str]:
    """Ids of the runs in which anything of the tier was measured."""
    query = sa.select(cases.c.run).where(cases.c.tier == tier, cases.c.status == CaseStatus.MEASURED.value).distinct()
    return frozenset(connection.execute(query).scalars())

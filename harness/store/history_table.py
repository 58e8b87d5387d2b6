"""Queries over many runs: which of them measured a tier, and one figure of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from harness.model import CaseStatus
from harness.store.schema import cases, metrics


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric of one measured repetition, in the metric's unit."""

    run: str
    series_key: str
    repeat: int
    value: float


def runs_of_tier(connection: Connection, tier: str) -> frozenset[str]:
    """Ids of the runs in which anything of the tier was measured."""
    query = sa.select(cases.c.run).where(cases.c.tier == tier, cases.c.status == CaseStatus.MEASURED.value).distinct()
    return frozenset(connection.execute(query).scalars())


def figures(connection: Connection, runs: Sequence[str], tier: str, metric: str) -> tuple[Figure, ...]:
    """A metric of every repetition of a tier in `runs` that measured it, in no order."""
    query = (
        sa.select(cases.c.run, cases.c.series_key, cases.c.repeat, metrics.c.value)
        .join(metrics, metrics.c.key == cases.c.key)
        .where(
            cases.c.run.in_(runs),
            cases.c.status == CaseStatus.MEASURED.value,
            cases.c.tier == tier,
            metrics.c.name == metric,
            metrics.c.value.is_not(None),
        )
    )
    return tuple(Figure(*row) for row in connection.execute(query))

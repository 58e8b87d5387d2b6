"""A measurement whose telemetry was dropped by policy says when.

Revision ID: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("cases", sa.Column("telemetry_dropped_at", sa.Double))

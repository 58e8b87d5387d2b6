"""Nights, what people said of changes, and the builds that nights are compared with.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "nights",
        sa.Column("lab", sa.String(200), primary_key=True),
        sa.Column("night", sa.String(10), primary_key=True),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("until", sa.Double),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("host", sa.String(64), nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("pid_started", sa.Double, nullable=False),
        sa.Column("summary", sa.JSON(none_as_null=True)),
    )
    op.create_table(
        "acks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("lab", sa.Text, nullable=False),
        sa.Column("series", sa.Text, nullable=False),
        sa.Column("night", sa.String(10), nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "baselines",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("lab", sa.Text, nullable=False),
        sa.Column("runner", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )

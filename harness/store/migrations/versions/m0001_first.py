"""The first schema.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("tiers", sa.JSON, nullable=False),
        sa.Column("suite", sa.Text, nullable=False),
        sa.Column("selection", sa.JSON, nullable=False),
        sa.Column("inventory_name", sa.Text, nullable=False),
        sa.Column("inventory_sha256", sa.String(64), nullable=False),
        sa.Column("harness_version", sa.Text, nullable=False),
        sa.Column("git_sha", sa.String(64), nullable=False),
        sa.Column("lab", sa.Text, nullable=False),
        sa.Column("command", sa.JSON, nullable=False),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("host", sa.String(64), nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("pid_started", sa.Double, nullable=False),
        sa.Column("contract", sa.Integer, nullable=False),
    )
    op.create_index("ix_runs_started_at", "runs", ["started_at"])
    op.create_index("ix_runs_status", "runs", ["status"])
    op.create_table(
        "cases",
        sa.Column("key", sa.String(128), primary_key=True),
        sa.Column("run", sa.String(64), sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("case_id", sa.String(120), nullable=False),
        sa.Column("repeat", sa.Integer, nullable=False),
        sa.Column("series_key", sa.String(128), nullable=False),
        sa.Column("device_id", sa.Text, nullable=False),
        sa.Column("serial", sa.Text, nullable=False),
        sa.Column("identity", sa.Text, nullable=False),
        sa.Column("platform", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("tier", sa.Text, nullable=False),
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("runner_id", sa.Text, nullable=False),
        sa.Column("workload_id", sa.Text, nullable=False),
        sa.Column("model", sa.JSON, nullable=False),
        sa.Column("runner", sa.JSON, nullable=False),
        sa.Column("workload", sa.JSON, nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("runner_sha256", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("duration_s", sa.Double),
        sa.Column("error_class", sa.String(64)),
        sa.Column("error_step", sa.String(16)),
        sa.Column("error_message", sa.Text),
        sa.Column("error_advice", sa.Text),
        sa.Column("provenance", sa.JSON, nullable=False),
        sa.UniqueConstraint("run", "position"),
        sa.UniqueConstraint("case_id", "repeat"),
    )
    op.create_index("ix_cases_case_id", "cases", ["case_id"])
    op.create_index("ix_cases_series_key", "cases", ["series_key"])
    op.create_index("ix_cases_identity", "cases", ["identity"])
    op.create_index("ix_cases_tier", "cases", ["tier"])
    op.create_index("ix_cases_started_at", "cases", ["started_at"])
    op.create_index("ix_cases_run_status", "cases", ["run", "status"])
    op.create_table(
        "steps",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key", sa.String(128), sa.ForeignKey("cases.key"), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("step", sa.String(16), nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("duration_s", sa.Double, nullable=False),
        sa.Column("limit_s", sa.Double),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.Column("error_class", sa.String(64)),
        sa.Column("error_step", sa.String(16)),
        sa.Column("error_message", sa.Text),
        sa.Column("error_advice", sa.Text),
    )
    op.create_index("ix_steps_key", "steps", ["key"])
    op.create_table(
        "metrics",
        sa.Column("key", sa.String(128), sa.ForeignKey("cases.key"), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.Double),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("resolution", sa.Double),
        sa.Column("reason", sa.Text),
        sa.CheckConstraint("(value IS NULL) = (reason IS NOT NULL)", name="value_or_reason"),
    )
    op.create_table(
        "telemetry",
        sa.Column("key", sa.String(128), sa.ForeignKey("cases.key"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("resolution", sa.Double),
        sa.Column("absent", sa.Text, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("samples", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "token_times",
        sa.Column("key", sa.String(128), sa.ForeignKey("cases.key"), primary_key=True),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("itl", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "outputs",
        sa.Column("key", sa.String(128), sa.ForeignKey("cases.key"), primary_key=True),
        sa.Column("log_tail", sa.Text, nullable=False),
        sa.Column("commands", sa.JSON, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("run", sa.String(64), sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("device_id", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
    )
    op.create_index("ix_events_run", "events", ["run"])
    op.create_table(
        "leases",
        sa.Column("identity", sa.Text, primary_key=True),
        sa.Column("reserved", sa.Boolean, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("host", sa.String(64), nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("pid_started", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("the first schema has nothing below it")

"""Tables of the store, as the newest migration leaves them. Nothing here is beyond PostgreSQL.

Times are Unix seconds (double). A measured value and the reason why it is absent exclude each other.
"""

from __future__ import annotations

import sqlalchemy as sa

HEAD = "0004"
"""The newest migration in `migrations/versions`."""

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Every constraint has a name, so that a later migration can change it on any database."""

metadata = sa.MetaData(naming_convention=NAMING)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("started_at", sa.Double, nullable=False, index=True),
    sa.Column("ended_at", sa.Double),
    sa.Column("status", sa.String(16), nullable=False, index=True),
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

cases = sa.Table(
    "cases",
    metadata,
    sa.Column("key", sa.String(128), primary_key=True),
    sa.Column("run", sa.String(64), sa.ForeignKey("runs.id"), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("case_id", sa.String(120), nullable=False, index=True),
    sa.Column("repeat", sa.Integer, nullable=False),
    sa.Column("series_key", sa.String(128), nullable=False, index=True),
    sa.Column("device_id", sa.Text, nullable=False),
    sa.Column("serial", sa.Text, nullable=False),
    sa.Column("identity", sa.Text, nullable=False, index=True),
    sa.Column("platform", sa.String(16), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("tier", sa.Text, nullable=False, index=True),
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
    sa.Column("started_at", sa.Double, index=True),
    sa.Column("duration_s", sa.Double),
    sa.Column("error_class", sa.String(64)),
    sa.Column("error_step", sa.String(16)),
    sa.Column("error_message", sa.Text),
    sa.Column("error_advice", sa.Text),
    sa.Column("provenance", sa.JSON, nullable=False),
    sa.Column("telemetry_dropped_at", sa.Double),
    sa.UniqueConstraint("run", "position"),
    sa.UniqueConstraint("case_id", "repeat"),
    sa.Index("ix_cases_run_status", "run", "status"),
)

steps = sa.Table(
    "steps",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.String(128), sa.ForeignKey("cases.key"), nullable=False, index=True),
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

metrics = sa.Table(
    "metrics",
    metadata,
    sa.Column("key", sa.String(128), sa.ForeignKey("cases.key"), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Double),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("resolution", sa.Double),
    sa.Column("reason", sa.Text),
    sa.CheckConstraint("(value IS NULL) = (reason IS NOT NULL)", name="value_or_reason"),
)

telemetry = sa.Table(
    "telemetry",
    metadata,
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

token_times = sa.Table(
    "token_times",
    metadata,
    sa.Column("key", sa.String(128), sa.ForeignKey("cases.key"), primary_key=True),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("itl", sa.LargeBinary, nullable=False),
)

outputs = sa.Table(
    "outputs",
    metadata,
    sa.Column("key", sa.String(128), sa.ForeignKey("cases.key"), primary_key=True),
    sa.Column("log_tail", sa.Text, nullable=False),
    sa.Column("commands", sa.JSON, nullable=False),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run", sa.String(64), sa.ForeignKey("runs.id"), nullable=False, index=True),
    sa.Column("device_id", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
)

device_records = sa.Table(
    "device_records",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("identity", sa.Text, nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("value", sa.JSON, nullable=False),
    sa.Index("ix_device_records_identity", "identity", "kind", "key"),
)

nights = sa.Table(
    "nights",
    metadata,
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

acks = sa.Table(
    "acks",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("lab", sa.Text, nullable=False),
    sa.Column("series", sa.Text, nullable=False),
    sa.Column("night", sa.String(10), nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)

baselines = sa.Table(
    "baselines",
    metadata,
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

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("identity", sa.Text, primary_key=True),
    sa.Column("reserved", sa.Boolean, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("host", sa.String(64), nullable=False),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("pid_started", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
)

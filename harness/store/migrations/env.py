"""Alembic's entry point: migrations run inside the transaction of the connection that the store hands over."""

from __future__ import annotations

from alembic import context

from harness.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
    compare_type=True,
)
context.run_migrations()

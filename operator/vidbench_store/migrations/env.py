"""Alembic calls this; the connection comes from `schema.py`, so that no URL is written down anywhere."""

from __future__ import annotations

from alembic import context

from vidbench_store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()

"""Alembic's entry: run the migrations on the connection that `atoll.storage.migrate` gives."""

from alembic import context

from atoll.storage.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()

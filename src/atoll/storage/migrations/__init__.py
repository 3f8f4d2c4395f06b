"""Alembic environment of the store; see `atoll.storage.migrate`."""

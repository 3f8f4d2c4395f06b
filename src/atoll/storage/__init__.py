"""Records in SQLite or PostgreSQL: `SqlStore` is `atoll.core.store.Store` on SQLAlchemy."""

from atoll.storage.store import SqlStore

__all__ = ["SqlStore"]

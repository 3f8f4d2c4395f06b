"""Bring a database to the newest revision. Alembic is imported for upgrades only."""

from pathlib import Path

from sqlalchemy import Connection, insert, inspect, select, text

from atoll.core.errors import Unavailable
from atoll.storage.schema import REVISION, metadata, revisions

_LOCK = 0x61746F6C6C  # "atoll": two servers that start together upgrade one after the other


def prepare(connection: Connection, where: str) -> None:
    """Make or upgrade the tables, within the transaction of `connection`."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    if not inspect(connection).has_table(revisions.name):
        metadata.create_all(connection)
        revisions.create(connection)
        connection.execute(insert(revisions).values(version_num=REVISION))
        return
    stored = connection.execute(select(revisions.c.version_num)).scalar()
    if stored != REVISION:
        upgrade(connection, where, stored)


def upgrade(connection: Connection, where: str, stored: str | None, *, to: str = "head") -> None:
    """Run the migrations from a revision (None: from nothing) to another.

    `Unavailable` when the database is newer than they are.
    """
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option(
        "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
    )
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if stored is not None and stored not in known:
        raise Unavailable(
            f"The database {where} was written by a newer Atoll (schema revision {stored}, this "
            f"version knows {REVISION}); run that version, or restore an older backup."
        )
    config.attributes["connection"] = connection
    command.upgrade(config, to)

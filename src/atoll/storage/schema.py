"""The tables, as they are after the newest migration.

A new database is made from here; an older one by `migrations/`, and a test proves that both ways
end in the same tables. Changing a table means a new migration and a new `REVISION`.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    false,
    text,
)

from atoll.storage.columns import FaithfulText, JsonText

REVISION = "0009"

metadata = MetaData()


def _text(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, FaithfulText, nullable=nullable)


def _json(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, JsonText, nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, Double, nullable=nullable)


# `living` is false in the terminal states; `living_name` is the name while living, so that a plain
# unique constraint frees the name at the end. `label_words` is what label filters search.
sandboxes = Table(
    "sandboxes",
    metadata,
    Column("id", FaithfulText, primary_key=True),
    _text("tenant"),
    _text("name", nullable=True),
    _text("living_name", nullable=True),
    Column("living", Boolean, nullable=False),
    _text("state"),
    Column("version", BigInteger, nullable=False),
    _text("backend"),
    _text("image"),
    _text("profile"),
    _text("base", nullable=True),
    _json("limits"),
    _json("network"),
    _json("env"),
    _json("labels"),
    _text("label_words"),
    _time("created_at"),
    _time("last_used_at"),
    _time("idle_timeout_s", nullable=True),
    _time("expires_at", nullable=True),
    _json("preload", nullable=True),
    Column("read_only_root", Boolean, nullable=False, server_default=false()),
    _json("ports", nullable=True),
    _time("auto_delete_s", nullable=True),
    _json("secrets", nullable=True),
    _time("auto_archive_s", nullable=True),
    _time("archived_at", nullable=True),
    _text("archived_by", nullable=True),
    UniqueConstraint("tenant", "living_name", name="sandboxes_living_name"),
    Index("sandboxes_of_tenant", "tenant", "living", "id"),
    Index("sandboxes_living", "living", "id"),
)

# `command` is argv and cwd: strings that may not be UTF-8.
processes = Table(
    "processes",
    metadata,
    Column(
        "sandbox_id",
        FaithfulText,
        ForeignKey("sandboxes.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    _json("command"),
    Column("tty", Boolean, nullable=False),
    Column("background", Boolean, nullable=False),
    _time("started_at"),
    _time("ended_at", nullable=True),
    _json("exit", nullable=True),
    Index(
        "processes_unfinished",
        "sandbox_id",
        sqlite_where=text("exit IS NULL"),
        postgresql_where=text("exit IS NULL"),
    ),
)

# `rules` are the profile, limits and network that its sandbox had; NULL in the oldest ones.
snapshots = Table(
    "snapshots",
    metadata,
    Column("id", FaithfulText, primary_key=True),
    _text("tenant"),
    _text("name", nullable=True),
    _text("sandbox_id"),
    _text("backend"),
    _text("image"),
    _json("labels"),
    _time("created_at"),
    Column("size_bytes", BigInteger, nullable=False),
    _json("rules", nullable=True),
    UniqueConstraint("tenant", "name", name="snapshots_name"),
    Index("snapshots_of_tenant", "tenant", "id"),
)

# Post-mortems and events outlive their sandbox, so they do not refer to it.
post_mortems = Table(
    "post_mortems",
    metadata,
    Column("sandbox_id", FaithfulText, primary_key=True),
    _text("tenant"),
    _text("name", nullable=True),
    _text("ended_by"),
    _text("detail"),
    _time("at"),
    _json("limits"),
    _text("last_output"),
)

# The index by sandbox is a hash on PostgreSQL: whatever a caller gave as an id can be audited.
events = Table(
    "events",
    metadata,
    Column(
        "seq",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    _time("at"),
    _text("tenant"),
    _text("actor"),
    _text("action"),
    _text("outcome"),
    _text("sandbox_id", nullable=True),
    _json("detail"),
    _text("previous", nullable=True),
    _text("hash", nullable=True),
    Index("events_of_tenant", "tenant", "seq"),
    Index("events_of_sandbox", "sandbox_id", postgresql_using="hash"),
)

keys = Table(
    "keys",
    metadata,
    Column("id", FaithfulText, primary_key=True),
    _text("tenant"),
    _text("name"),
    _text("prefix"),
    Column("digest", FaithfulText, nullable=False, unique=True),
    Column("admin", Boolean, nullable=False),
    _time("created_at"),
    _time("expires_at", nullable=True),
    Column("max_sandboxes", BigInteger, nullable=True),
    Column("max_concurrent", BigInteger, nullable=True),
)

claims = Table(
    "claims",
    metadata,
    Column("tenant", FaithfulText, primary_key=True),
    Column("key", FaithfulText, primary_key=True),
    _text("request_digest"),
    _text("result"),
    _time("at"),
    Index("claims_at", "at"),
)

documents = Table(
    "documents",
    metadata,
    Column("space", FaithfulText, primary_key=True),
    Column("id", FaithfulText, primary_key=True),
    _text("owner"),
    _time("at"),
    _json("body"),
    Index("documents_of_owner", "space", "owner", "id"),
)

# The last `seq` of the events, and in `digest` its hash. One row that each writer updates first
# puts the writers in line, so that events become visible in the order of their numbers and there
# is one chain of hashes, however many servers write it.
counters = Table(
    "counters",
    metadata,
    Column("name", FaithfulText, primary_key=True),
    Column("value", BigInteger, nullable=False),
    _text("digest", nullable=True),
)

# Alembic's own table, made by hand for a new database so that Alembic need not be imported.
revisions = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), primary_key=True),
)

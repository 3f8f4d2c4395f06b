"""The first tables."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _text(*names: str, nullable: bool = False) -> list[sa.Column[Any]]:
    return [sa.Column(name, _TEXT, nullable=nullable) for name in names]


def _json(*names: str, nullable: bool = False) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Text, nullable=nullable) for name in names]


def _times(*names: str, nullable: bool = False) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Double, nullable=nullable) for name in names]


def upgrade() -> None:
    """Make them."""
    _sandboxes()
    _processes()
    _snapshots()
    _audit()
    _access()


def _sandboxes() -> None:
    op.create_table(
        "sandboxes",
        sa.Column("id", _TEXT, primary_key=True),
        *_text("tenant"),
        *_text("name", "living_name", nullable=True),
        sa.Column("living", sa.Boolean, nullable=False),
        *_text("state"),
        sa.Column("version", sa.BigInteger, nullable=False),
        *_text("backend", "image", "profile"),
        *_text("base", nullable=True),
        *_json("limits", "network", "env", "labels"),
        *_text("label_words"),
        *_times("created_at", "last_used_at"),
        *_times("idle_timeout_s", "expires_at", nullable=True),
        sa.UniqueConstraint("tenant", "living_name", name="sandboxes_living_name"),
    )
    op.create_index("sandboxes_of_tenant", "sandboxes", ["tenant", "living", "id"])
    op.create_index("sandboxes_living", "sandboxes", ["living", "id"])


def _processes() -> None:
    op.create_table(
        "processes",
        sa.Column(
            "sandbox_id",
            _TEXT,
            sa.ForeignKey("sandboxes.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        *_json("command"),
        sa.Column("tty", sa.Boolean, nullable=False),
        sa.Column("background", sa.Boolean, nullable=False),
        *_times("started_at"),
        *_times("ended_at", nullable=True),
        *_json("exit", nullable=True),
    )
    op.create_index(
        "processes_unfinished",
        "processes",
        ["sandbox_id"],
        sqlite_where=sa.text("exit IS NULL"),
        postgresql_where=sa.text("exit IS NULL"),
    )


def _snapshots() -> None:
    op.create_table(
        "snapshots",
        sa.Column("id", _TEXT, primary_key=True),
        *_text("tenant"),
        *_text("name", nullable=True),
        *_text("sandbox_id", "backend", "image"),
        *_json("labels"),
        *_times("created_at"),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("tenant", "name", name="snapshots_name"),
    )
    op.create_index("snapshots_of_tenant", "snapshots", ["tenant", "id"])


def _audit() -> None:
    op.create_table(
        "post_mortems",
        sa.Column("sandbox_id", _TEXT, primary_key=True),
        *_text("tenant"),
        *_text("name", nullable=True),
        *_text("ended_by", "detail"),
        *_times("at"),
        *_json("limits"),
        *_text("last_output"),
    )
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "events",
        sa.Column("seq", number, primary_key=True, autoincrement=False),
        *_times("at"),
        *_text("tenant", "actor", "action", "outcome"),
        *_text("sandbox_id", nullable=True),
        *_json("detail"),
    )
    op.create_index("events_of_tenant", "events", ["tenant", "seq"])
    op.create_index("events_of_sandbox", "events", ["sandbox_id"], postgresql_using="hash")
    op.create_table(
        "counters",
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )


def _access() -> None:
    op.create_table(
        "keys",
        sa.Column("id", _TEXT, primary_key=True),
        *_text("tenant", "name", "prefix"),
        sa.Column("digest", _TEXT, nullable=False, unique=True),
        sa.Column("admin", sa.Boolean, nullable=False),
        *_times("created_at"),
        *_times("expires_at", nullable=True),
        sa.Column("max_sandboxes", sa.BigInteger, nullable=True),
        sa.Column("max_concurrent", sa.BigInteger, nullable=True),
    )
    op.create_table(
        "claims",
        sa.Column("tenant", _TEXT, primary_key=True),
        sa.Column("key", _TEXT, primary_key=True),
        *_text("request_digest", "result"),
        *_times("at"),
    )
    op.create_index("claims_at", "claims", ["at"])

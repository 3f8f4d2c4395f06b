"""Sandboxes may be archived after a time without use."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the columns; the sandboxes there are are never archived by themselves."""
    op.add_column("sandboxes", sa.Column("auto_archive_s", sa.Double, nullable=True))
    op.add_column("sandboxes", sa.Column("archived_at", sa.Double, nullable=True))
    op.add_column("sandboxes", sa.Column("archived_by", _TEXT, nullable=True))

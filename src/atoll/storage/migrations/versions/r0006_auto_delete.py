"""Sandboxes may be destroyed after a time without use."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; the sandboxes there are stay until their lease ends."""
    op.add_column("sandboxes", sa.Column("auto_delete_s", sa.Double, nullable=True))

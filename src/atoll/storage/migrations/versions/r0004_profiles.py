"""Sandboxes keep whether their root is read-only, snapshots the rules of their sandbox."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns."""
    op.add_column(
        "sandboxes",
        sa.Column("read_only_root", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.add_column("snapshots", sa.Column("rules", sa.Text, nullable=True))

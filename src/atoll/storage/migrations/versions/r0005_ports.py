"""Sandboxes declare ports."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Those that are there already have none."""
    op.add_column("sandboxes", sa.Column("ports", sa.Text, nullable=True))

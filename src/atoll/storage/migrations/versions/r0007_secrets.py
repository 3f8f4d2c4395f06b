"""Sandboxes keep the names of their secrets."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Those that are there already have none."""
    op.add_column("sandboxes", sa.Column("secrets", sa.Text, nullable=True))

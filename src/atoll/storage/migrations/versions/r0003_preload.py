"""What a sandbox was made to find imported, for when it starts again."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add it; the sandboxes there are have none."""
    op.add_column("sandboxes", sa.Column("preload", sa.Text, nullable=True))

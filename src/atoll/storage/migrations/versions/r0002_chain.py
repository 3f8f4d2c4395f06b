"""Events carry the hash of the one before them; those that are there already get theirs."""

import sqlalchemy as sa
from alembic import op

from atoll.core.chain import GENESIS, Head, extend
from atoll.core.records import Event
from atoll.storage.columns import FaithfulText, JsonText

revision = "0002"
down_revision = "0001"

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_PAGE = 1000
_EVENTS = sa.table(
    "events",
    sa.column("seq", sa.BigInteger),
    sa.column("at", sa.Double),
    *[
        sa.column(name, FaithfulText)
        for name in ("tenant", "actor", "action", "outcome", "sandbox_id", "previous", "hash")
    ],
    sa.column("detail", JsonText),
)


def upgrade() -> None:
    """Add the columns and link what is there."""
    op.add_column("events", sa.Column("previous", _TEXT, nullable=True))
    op.add_column("events", sa.Column("hash", _TEXT, nullable=True))
    op.add_column("counters", sa.Column("digest", _TEXT, nullable=True))
    on = op.get_bind()
    head = Head()
    while page := _page(on, head.seq):
        linked = extend(head, page)
        on.execute(
            sa.update(_EVENTS)
            .where(_EVENTS.c.seq == sa.bindparam("number"))
            .values(previous=sa.bindparam("before"), hash=sa.bindparam("own")),
            [{"number": e.seq, "before": e.previous, "own": e.hash} for e in linked],
        )
        head = Head(linked[-1].seq, linked[-1].hash)
    if head.hash != GENESIS:
        counters = sa.table("counters", sa.column("name"), sa.column("digest"))
        on.execute(sa.update(counters).where(counters.c.name == "events").values(digest=head.hash))


def _page(on: sa.Connection, after: int) -> list[Event]:
    query = sa.select(_EVENTS).where(_EVENTS.c.seq > after).order_by(_EVENTS.c.seq).limit(_PAGE)
    return [
        Event(
            at=row.at,
            tenant=row.tenant,
            actor=row.actor,
            action=row.action,
            outcome=row.outcome,
            sandbox_id=row.sandbox_id,
            detail=row.detail,
        )
        for row in on.execute(query)
    ]

"""The audit log: numbers grow in the order in which events become visible."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from atoll.core.records import Event
from atoll.storage.columns import check_keys
from atoll.storage.database import MAX_INTEGER, Database, check_page
from atoll.storage.schema import counters, events

_T = events.c
_APPEND = insert(events)


def _values(event: Event) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "at": event.at,
        "tenant": event.tenant,
        "actor": event.actor,
        "action": event.action,
        "outcome": event.outcome,
        "sandbox_id": event.sandbox_id,
        "detail": dict(event.detail),
    }


def _record(row: Row[Any]) -> Event:
    return Event(
        at=row.at,
        tenant=row.tenant,
        actor=row.actor,
        action=row.action,
        outcome=row.outcome,
        sandbox_id=row.sandbox_id,
        detail=row.detail,
        seq=row.seq,
    )


class EventTable:
    """Events of every tenant, only ever appended."""

    def __init__(self, database: Database) -> None:
        self._database = database
        advance = database.insert(counters)
        self._advance = advance.on_conflict_do_update(
            index_elements=["name"], set_={"value": counters.c.value + advance.excluded.value}
        ).returning(counters.c.value)

    async def add(self, new: Sequence[Event]) -> Sequence[Event]:
        if not new:
            return []
        for event in new:
            check_keys(tenant=event.tenant)

        def append(on: Connection) -> Sequence[Event]:
            counted = {"name": "events", "value": len(new)}
            last = on.execute(self._advance, counted).scalar_one()
            numbered = [
                replace(event, seq=last - len(new) + place)
                for place, event in enumerate(new, start=1)
            ]
            on.execute(_APPEND, [_values(event) for event in numbered])
            return numbered

        return await self._database.transaction(append)

    async def list(
        self, tenant: str | None, *, sandbox_id: str | None, after_seq: int, limit: int
    ) -> Sequence[Event]:
        check_page(limit)
        after = max(0, min(after_seq, MAX_INTEGER))
        query = select(events).where(_T.seq > after).order_by(_T.seq).limit(limit)
        if tenant is not None:
            query = query.where(_T.tenant == tenant)
        if sandbox_id is not None:
            query = query.where(_T.sandbox_id == sandbox_id)
        return [_record(row) for row in await self._database.rows(query)]

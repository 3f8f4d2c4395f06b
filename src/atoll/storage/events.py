"""The audit log: numbers grow in the order in which events become visible, and hashes chain."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, or_, select, update

from atoll.core.chain import GENESIS, Head, extend
from atoll.core.records import Event
from atoll.storage.columns import check_keys
from atoll.storage.database import MAX_INTEGER, Database, check_page
from atoll.storage.schema import counters, events

PIECE = 5000

_T = events.c
_NAME = "events"
_APPEND = insert(events)
_HEAD = select(counters.c.value, counters.c.digest).where(counters.c.name == _NAME)
_NOTE_HEAD = update(counters).where(counters.c.name == _NAME)
_OLDEST = select(_T.seq, _T.at, _T.hash).order_by(_T.seq).limit(PIECE)


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
        "previous": event.previous,
        "hash": event.hash,
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
        previous=row.previous or "",
        hash=row.hash or "",
    )


class EventTable:
    """Events of every tenant, only ever appended; the oldest may be pruned."""

    def __init__(self, database: Database) -> None:
        self._database = database
        advance = database.insert(counters)
        self._advance = advance.on_conflict_do_update(
            index_elements=["name"], set_={"value": counters.c.value + advance.excluded.value}
        ).returning(counters.c.value, counters.c.digest)

    async def add(self, new: Sequence[Event]) -> Sequence[Event]:
        if not new:
            return []
        for event in new:
            check_keys(tenant=event.tenant)
        return await self._database.transaction(lambda on: self._append(on, new))

    async def list(
        self,
        tenant: str | None,
        *,
        sandbox_id: str | None,
        actions: Sequence[str],
        since: float | None,
        until: float | None,
        after_seq: int,
        limit: int,
    ) -> Sequence[Event]:
        check_page(limit)
        after = max(0, min(after_seq, MAX_INTEGER))
        query = select(events).where(_T.seq > after).order_by(_T.seq).limit(limit)
        if tenant is not None:
            query = query.where(_T.tenant == tenant)
        if sandbox_id is not None:
            query = query.where(_T.sandbox_id == sandbox_id)
        if actions:
            query = query.where(or_(*[_acts(action) for action in actions]))
        if since is not None:
            query = query.where(_T.at >= since)
        if until is not None:
            query = query.where(_T.at < until)
        return [_record(row) for row in await self._database.rows(query)]

    async def head(self) -> Head:
        row = await self._database.row(_HEAD)
        return Head() if row is None else Head(row.value, row.digest or GENESIS)

    async def prune(self, note: Event, *, before: float, at_most: int) -> int:
        def work(on: Connection) -> int:
            # The row that every writer updates first: what is counted here stays true.
            head = on.execute(_HEAD.with_for_update()).first()
            floor = (0 if head is None else head.value) - at_most
            oldest = on.execute(_OLDEST).all()
            if oldest and oldest[0].seq <= floor:
                floor += 1  # the note will be one more
            count = 0
            for row in oldest:
                if row.at >= before and row.seq > floor:
                    break
                count += 1
            if count == 0:
                return 0
            gone = oldest[count - 1]
            told = {"through": str(gone.seq), "hash": gone.hash, "events": str(count)}
            self._append(on, [replace(note, detail={**note.detail, **told})])
            on.execute(delete(events).where(_T.seq <= gone.seq))
            return count

        return await self._database.transaction(work)

    def _append(self, on: Connection, new: Sequence[Event]) -> Sequence[Event]:
        """Take the next numbers, which waits for other writers, and go on from their last hash."""
        end = on.execute(self._advance, {"name": _NAME, "value": len(new)}).one()
        sealed = extend(Head(end.value - len(new), end.digest or GENESIS), new)
        on.execute(_APPEND, [_values(event) for event in sealed])
        on.execute(_NOTE_HEAD, {"digest": sealed[-1].hash})
        return sealed


def _acts(action: str) -> ColumnElement[bool]:
    """That action, or with `.*` at its end whatever begins so: a range, which is exact."""
    if not action.endswith(".*"):
        return _T.action == action
    prefix = action[:-1]
    return (_T.action >= prefix) & (_T.action < prefix[:-1] + chr(ord(".") + 1))

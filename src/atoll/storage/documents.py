"""What dialects keep beside their sandboxes."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, bindparam, delete, select

from atoll.core.records import DocumentRecord
from atoll.storage.columns import check_keys
from atoll.storage.database import Database, check_page
from atoll.storage.schema import documents

_T = documents.c
_SPACE = _T.space == bindparam("the_space")
_ONE = select(documents).where(_SPACE, _T.id == bindparam("the_id"))
_DROP = delete(documents).where(_SPACE, _T.id == bindparam("the_id"))


def _record(row: Row[Any]) -> DocumentRecord:
    return DocumentRecord(space=row.space, id=row.id, owner=row.owner, at=row.at, body=row.body)


def _values(record: DocumentRecord) -> dict[str, Any]:
    check_keys(space=record.space, id=record.id, owner=record.owner)
    return {**asdict(record), "body": dict(record.body)}


class DocumentTable:
    """JSON objects by space and id."""

    def __init__(self, database: Database) -> None:
        self._database = database
        insert = database.insert(documents)
        self._put = insert.on_conflict_do_update(
            index_elements=["space", "id"],
            set_={name: insert.excluded[name] for name in ("owner", "at", "body")},
        )

    async def put(self, record: DocumentRecord) -> None:
        await self._database.write(self._put, _values(record))

    async def put_all(self, records: Sequence[DocumentRecord]) -> None:
        values = [_values(record) for record in records]
        if values:
            await self._database.transaction(lambda on: on.execute(self._put, values))

    async def get(self, space: str, document_id: str) -> DocumentRecord | None:
        row = await self._database.row(_ONE, {"the_space": space, "the_id": document_id})
        return None if row is None else _record(row)

    async def list(
        self, space: str, *, owner: str | None, before: str | None, limit: int
    ) -> Sequence[DocumentRecord]:
        check_page(limit)
        query = select(documents).where(_T.space == space).order_by(_T.id.desc()).limit(limit)
        if owner is not None:
            query = query.where(_T.owner == owner)
        if before is not None:
            query = query.where(_T.id < before)
        return [_record(row) for row in await self._database.rows(query)]

    async def drop(self, space: str, document_id: str) -> bool:
        found = await self._database.write(_DROP, {"the_space": space, "the_id": document_id})
        return bool(found)

    async def prune(self, space: str, *, owner: str | None, keep: int) -> int:
        some = [_T.space == space] + ([] if owner is None else [_T.owner == owner])
        statement = delete(documents).where(*some)
        if keep:
            newest = select(_T.id).where(*some).order_by(_T.id.desc()).limit(keep)
            statement = statement.where(_T.id.not_in(newest.scalar_subquery()))
        return await self._database.write(statement)

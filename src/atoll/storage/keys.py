"""API keys, found by the digest of the key."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, bindparam, delete, select

from atoll.core.errors import Conflict
from atoll.core.records import KeyRecord
from atoll.storage.columns import check_keys
from atoll.storage.database import Database
from atoll.storage.schema import keys

_T = keys.c

_BY_DIGEST = select(keys).where(_T.digest == bindparam("the_digest"))
_DROP = delete(keys).where(_T.id == bindparam("the_id"))


def _record(row: Row[Any]) -> KeyRecord:
    return KeyRecord(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        prefix=row.prefix,
        digest=row.digest,
        admin=row.admin,
        created_at=row.created_at,
        expires_at=row.expires_at,
        max_sandboxes=row.max_sandboxes,
        max_concurrent=row.max_concurrent,
    )


class KeyTable:
    """The keys of every tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = database.insert(keys).on_conflict_do_nothing()

    async def add(self, record: KeyRecord) -> None:
        check_keys(id=record.id, tenant=record.tenant, digest=record.digest)
        if not await self._database.write(self._insert, asdict(record)):
            raise Conflict(f"There is a key {record.id} (or one just like it) already.")

    async def find(self, digest: str) -> KeyRecord | None:
        row = await self._database.row(_BY_DIGEST, {"the_digest": digest})
        return None if row is None else _record(row)

    async def list(self, tenant: str | None) -> Sequence[KeyRecord]:
        query = select(keys).order_by(_T.id)
        if tenant is not None:
            query = query.where(_T.tenant == tenant)
        return [_record(row) for row in await self._database.rows(query)]

    async def drop(self, key_id: str) -> bool:
        return bool(await self._database.write(_DROP, {"the_id": key_id}))

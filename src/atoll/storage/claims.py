"""Idempotency keys: the first to claim one wins."""

from dataclasses import asdict

from sqlalchemy import bindparam, delete, select

from atoll.core.errors import Busy
from atoll.core.records import IdempotencyRecord
from atoll.storage.columns import check_keys
from atoll.storage.database import Database
from atoll.storage.schema import claims

_T = claims.c
_ATTEMPTS = 10

_ONE = select(claims).where(_T.tenant == bindparam("the_tenant"), _T.key == bindparam("the_key"))
_DROP = delete(claims).where(_T.tenant == bindparam("the_tenant"), _T.key == bindparam("the_key"))
_FORGET = delete(claims).where(_T.at < bindparam("before"))


class ClaimTable:
    """What each idempotency key of each tenant stands for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = database.insert(claims).on_conflict_do_nothing()

    async def claim(self, record: IdempotencyRecord) -> IdempotencyRecord | None:
        check_keys(tenant=record.tenant, key=record.key)
        wanted = {"the_tenant": record.tenant, "the_key": record.key}
        for _ in range(_ATTEMPTS):
            if await self._database.write(self._insert, asdict(record)):
                return None
            row = await self._database.row(_ONE, wanted)
            if row is not None:
                return IdempotencyRecord(
                    tenant=row.tenant,
                    key=row.key,
                    request_digest=row.request_digest,
                    result=row.result,
                    at=row.at,
                )
            # Given up by its holder between the two statements: try to take it.
        raise Busy("The idempotency key is being claimed and given up by others; try again.")

    async def unclaim(self, tenant: str, key: str) -> None:
        await self._database.write(_DROP, {"the_tenant": tenant, "the_key": key})

    async def forget(self, before: float) -> int:
        return await self._database.write(_FORGET, {"before": before})

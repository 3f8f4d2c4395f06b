"""Why sandboxes ended; kept after they are gone."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import bindparam, select

from atoll.core.model import Limits
from atoll.core.records import PostMortem
from atoll.storage.columns import check_keys
from atoll.storage.database import Database
from atoll.storage.schema import post_mortems

_T = post_mortems.c

_ONE = select(post_mortems).where(
    _T.sandbox_id == bindparam("the_sandbox"), _T.tenant == bindparam("the_tenant")
)


def _values(record: PostMortem) -> dict[str, Any]:
    return {
        "sandbox_id": record.sandbox_id,
        "tenant": record.tenant,
        "name": record.name,
        "ended_by": record.ended_by,
        "detail": record.detail,
        "at": record.at,
        "limits": asdict(record.limits),
        "last_output": record.last_output,
    }


class PostMortemTable:
    """One for each sandbox that has ended."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = database.insert(post_mortems).on_conflict_do_nothing()

    async def add(self, record: PostMortem) -> None:
        check_keys(sandbox_id=record.sandbox_id, tenant=record.tenant)
        await self._database.write(self._insert, _values(record))

    async def get(self, tenant: str, sandbox_id: str) -> PostMortem | None:
        values = {"the_sandbox": sandbox_id, "the_tenant": tenant}
        row = await self._database.row(_ONE, values)
        if row is None:
            return None
        return PostMortem(
            sandbox_id=row.sandbox_id,
            tenant=row.tenant,
            name=row.name,
            ended_by=row.ended_by,
            detail=row.detail,
            at=row.at,
            limits=Limits(**row.limits),
            last_output=row.last_output,
        )

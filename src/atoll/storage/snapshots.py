"""Snapshots: names are unique per tenant."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, bindparam, delete, select

from atoll.core.errors import Conflict
from atoll.core.model import Limits, NetworkPolicy
from atoll.core.records import SnapshotRecord
from atoll.storage.columns import check_keys, strings
from atoll.storage.database import Database, check_page
from atoll.storage.schema import snapshots

_T = snapshots.c

_BY_ID = select(snapshots).where(_T.id == bindparam("wanted"), _T.tenant == bindparam("the_tenant"))
_BY_NAME = select(snapshots).where(
    _T.name == bindparam("wanted"), _T.tenant == bindparam("the_tenant")
)
_EXISTS = select(_T.id).where(_T.id == bindparam("wanted"))
_DROP = delete(snapshots).where(_T.id == bindparam("wanted"))


def _values(record: SnapshotRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "tenant": record.tenant,
        "name": record.name,
        "sandbox_id": record.sandbox_id,
        "backend": record.backend,
        "image": record.image,
        "labels": dict(record.labels),
        "created_at": record.created_at,
        "size_bytes": record.size_bytes,
        "rules": {
            "profile": record.profile,
            "limits": asdict(record.limits),
            "network": asdict(record.network),
            "read_only_root": record.read_only_root,
        },
    }


def _record(row: Row[Any]) -> SnapshotRecord:
    rules: dict[str, Any] = row.rules or {}
    network = rules.get("network", {"mode": "none", "allow": (), "deny": ()})
    return SnapshotRecord(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        sandbox_id=row.sandbox_id,
        backend=row.backend,
        image=row.image,
        created_at=row.created_at,
        size_bytes=row.size_bytes,
        labels=row.labels,
        profile=rules.get("profile", ""),
        limits=Limits(**rules.get("limits", {})),
        network=NetworkPolicy(network["mode"], strings(network["allow"]), strings(network["deny"])),
        read_only_root=rules.get("read_only_root", False),
    )


class SnapshotTable:
    """The snapshots of every tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = database.insert(snapshots).on_conflict_do_nothing()

    async def add(self, record: SnapshotRecord) -> None:
        check_keys(id=record.id, tenant=record.tenant, name=record.name)
        if not await self._database.write(self._insert, _values(record)):
            if await self._database.row(_EXISTS, {"wanted": record.id}) is not None:
                raise Conflict(f"There is a snapshot {record.id} already.")
            raise Conflict(f"There is a snapshot named {record.name!r} already.")

    async def get(self, tenant: str, id_or_name: str) -> SnapshotRecord | None:
        values = {"wanted": id_or_name, "the_tenant": tenant}
        row = await self._database.row(_BY_ID, values)
        if row is None:
            row = await self._database.row(_BY_NAME, values)
        return None if row is None else _record(row)

    async def list(
        self, tenant: str | None, *, after: str | None, limit: int
    ) -> Sequence[SnapshotRecord]:
        check_page(limit)
        query = select(snapshots).order_by(_T.id).limit(limit)
        if tenant is not None:
            query = query.where(_T.tenant == tenant)
        if after is not None:
            query = query.where(_T.id > after)
        return [_record(row) for row in await self._database.rows(query)]

    async def drop(self, snapshot_id: str) -> None:
        await self._database.write(_DROP, {"wanted": snapshot_id})

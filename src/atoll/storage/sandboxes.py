"""Sandboxes: names are unique among the living, writes are compare-and-set."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, Double, Row, bindparam, case, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from atoll.core.errors import (
    AtollError,
    Conflict,
    NotFound,
    PreconditionFailed,
    QuotaExceeded,
)
from atoll.core.model import Limits, NetworkPolicy
from atoll.core.records import SandboxRecord
from atoll.core.states import TERMINAL, State
from atoll.storage.columns import check_keys, label_pair, label_words, strings
from atoll.storage.database import MAX_INTEGER, Database, check_page
from atoll.storage.schema import post_mortems, sandboxes

_T = sandboxes.c
_PRUNED_AT_ONCE = 200

_BY_ID = select(sandboxes).where(_T.id == bindparam("wanted"), _T.tenant == bindparam("the_tenant"))
_BY_NAME = select(sandboxes).where(
    _T.living_name == bindparam("wanted"), _T.tenant == bindparam("the_tenant")
)
_VERSION = select(_T.version).where(
    _T.id == bindparam("wanted"), _T.tenant == bindparam("the_tenant")
)
_EXISTS = select(_T.id).where(_T.id == bindparam("wanted"))
_COUNT = (
    select(func.count())
    .select_from(sandboxes)
    .where(_T.tenant == bindparam("the_tenant"), _T.living.is_(True))
)
_TOUCH = (
    update(sandboxes)
    .where(_T.id == bindparam("the_id"), _T.last_used_at < bindparam("at"))
    .values(last_used_at=bindparam("at"))
)
_SAVED = [column for column in _T if column.name not in {"id", "tenant", "version", "last_used_at"}]
# A touch makes no new version, so a save may carry an older `last_used_at`; the later one stays.
_SAVE = (
    update(sandboxes)
    .where(
        _T.id == bindparam("the_id"),
        _T.tenant == bindparam("the_tenant"),
        _T.version == bindparam("the_version"),
    )
    .values(
        {column: bindparam(f"new_{column.name}", type_=column.type) for column in _SAVED}
        | {
            _T.version: _T.version + 1,
            _T.last_used_at: case(
                (_T.last_used_at > bindparam("at"), _T.last_used_at),
                else_=bindparam("at", type_=Double),
            ),
        }
    )
    .returning(_T.version, _T.last_used_at)
)
_ENDED = (
    select(_T.id)
    .outerjoin(post_mortems, post_mortems.c.sandbox_id == _T.id)
    .where(
        _T.living.is_(False),
        func.coalesce(post_mortems.c.at, _T.last_used_at) < bindparam("before"),
    )
    .limit(_PRUNED_AT_ONCE)
)
_PRUNE = delete(sandboxes).where(_T.id.in_(_ENDED))


def _values(record: SandboxRecord) -> dict[str, Any]:
    living = record.state not in TERMINAL
    labels = dict(record.labels)
    network = record.network
    return {
        "name": record.name,
        "living_name": record.name if living else None,
        "living": living,
        "state": record.state.value,
        "backend": record.backend,
        "image": record.image,
        "profile": record.profile,
        "base": record.base,
        "limits": asdict(record.limits),
        "network": {"mode": network.mode, "allow": network.allow, "deny": network.deny},
        "env": dict(record.env),
        "labels": labels,
        "label_words": label_words(labels),
        "created_at": record.created_at,
        "idle_timeout_s": record.idle_timeout_s,
        "expires_at": record.expires_at,
        "preload": list(record.preload) or None,
        "read_only_root": record.read_only_root,
        "auto_delete_s": record.auto_delete_s,
        "secrets": list(record.secrets) or None,
        "auto_archive_s": record.auto_archive_s,
        "archived_at": record.archived_at,
        "archived_by": record.archived_by,
        "ports": list(record.ports) or None,
    }


def _record(row: Row[Any]) -> SandboxRecord:
    network = row.network
    return SandboxRecord(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        backend=row.backend,
        image=row.image,
        profile=row.profile,
        limits=Limits(**row.limits),
        network=NetworkPolicy(network["mode"], strings(network["allow"]), strings(network["deny"])),
        state=State(row.state),
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        env=row.env,
        labels=row.labels,
        base=row.base,
        idle_timeout_s=row.idle_timeout_s,
        expires_at=row.expires_at,
        preload=strings(row.preload or ()),
        read_only_root=row.read_only_root,
        auto_delete_s=row.auto_delete_s,
        secrets=strings(row.secrets or ()),
        auto_archive_s=row.auto_archive_s,
        archived_at=row.archived_at,
        archived_by=row.archived_by,
        ports=tuple(int(port) for port in row.ports or ()),
        version=row.version,
    )


class SandboxTable:
    """The sandboxes of every tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = database.insert(sandboxes).on_conflict_do_nothing()

    async def add(self, record: SandboxRecord, most: int | None) -> None:
        check_keys(id=record.id, tenant=record.tenant, name=record.name)
        values = _values(record) | {
            "id": record.id,
            "tenant": record.tenant,
            "version": record.version,
            "last_used_at": record.last_used_at,
        }
        if most is None:
            added = await self._database.write(self._insert, values)
        else:
            added = await self._database.transaction(lambda on: self._counted(on, values, most))
        if not added:
            if await self._database.row(_EXISTS, {"wanted": record.id}) is not None:
                raise Conflict(f"There is a sandbox {record.id} already.")
            raise _name_taken(record)

    def _counted(self, on: Connection, values: Mapping[str, Any], most: int) -> int:
        """Counting and adding are one visit to the database, and nobody comes in between."""
        count = on.execute(_COUNT, {"the_tenant": values["tenant"]}).scalar_one()
        if count >= most:
            raise QuotaExceeded(
                f"Tenant {values['tenant']!r} has {count} sandboxes, and may have {most}; "
                "destroy one first."
            )
        options = {"preserve_rowcount": True}
        return on.execute(self._insert, values, execution_options=options).rowcount

    async def get(self, tenant: str, id_or_name: str) -> SandboxRecord | None:
        values = {"wanted": id_or_name, "the_tenant": tenant}
        row = await self._database.row(_BY_ID, values)
        if row is None:
            row = await self._database.row(_BY_NAME, values)
        return None if row is None else _record(row)

    async def save(self, record: SandboxRecord) -> SandboxRecord:
        check_keys(name=record.name)
        if not 0 <= record.version <= MAX_INTEGER:
            raise await self._stale(record)
        values = {f"new_{name}": value for name, value in _values(record).items()} | {
            "the_id": record.id,
            "the_tenant": record.tenant,
            "the_version": record.version,
            "at": record.last_used_at,
        }
        try:
            row = await self._database.write_returning(_SAVE, values)
        except IntegrityError as error:
            raise _name_taken(record) from error
        if row is None:
            raise await self._stale(record)
        return replace(record, version=row.version, last_used_at=row.last_used_at)

    async def _stale(self, record: SandboxRecord) -> AtollError:
        values = {"wanted": record.id, "the_tenant": record.tenant}
        row = await self._database.row(_VERSION, values)
        if row is None:
            return NotFound("sandbox", record.id)
        return PreconditionFailed(
            f"Sandbox {record.id} was changed by somebody else: "
            f"it is at version {row.version}, not {record.version}."
        )

    async def touch(self, sandbox_id: str, at: float) -> None:
        await self._database.write(_TOUCH, {"the_id": sandbox_id, "at": at})

    async def list(
        self,
        tenant: str | None,
        *,
        states: Sequence[State] | None,
        labels: Mapping[str, str] | None,
        after: str | None,
        limit: int,
    ) -> Sequence[SandboxRecord]:
        check_page(limit)
        query = select(sandboxes).order_by(_T.id).limit(limit)
        if tenant is not None:
            query = query.where(_T.tenant == tenant)
        if states is None:
            query = query.where(_T.living.is_(True))
        else:
            living = {state not in TERMINAL for state in states}
            query = query.where(_T.living.in_(living), _T.state.in_([s.value for s in states]))
        if after is not None:
            query = query.where(_T.id > after)
        for key, value in (labels or {}).items():
            query = query.where(_T.label_words.contains(label_pair(key, value)))
        return [_record(row) for row in await self._database.rows(query)]

    async def count(self, tenant: str) -> int:
        row = await self._database.row(_COUNT, {"the_tenant": tenant})
        return 0 if row is None else int(row[0])

    async def prune(self, before: float) -> int:
        """A few at a time, so that other writers need not wait for all of it."""
        total = 0
        while pruned := await self._database.write(_PRUNE, {"before": before}):
            total += pruned
        return total


def _name_taken(record: SandboxRecord) -> Conflict:
    return Conflict(f"There is a living sandbox named {record.name!r} already.")

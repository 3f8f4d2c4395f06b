"""`SqlStore`: the seam's methods, each handed to the table that it concerns."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Self

from atoll.core.chain import Head
from atoll.core.records import (
    DocumentRecord,
    Event,
    IdempotencyRecord,
    KeyRecord,
    PostMortem,
    ProcessRecord,
    SandboxRecord,
    SnapshotRecord,
)
from atoll.core.states import State
from atoll.storage.address import parse
from atoll.storage.claims import ClaimTable
from atoll.storage.database import Database
from atoll.storage.documents import DocumentTable
from atoll.storage.events import EventTable
from atoll.storage.keys import KeyTable
from atoll.storage.opening import open_database
from atoll.storage.post_mortems import PostMortemTable
from atoll.storage.processes import ProcessTable
from atoll.storage.sandboxes import SandboxTable
from atoll.storage.snapshots import SnapshotTable


class SqlStore:
    """Records in SQLite or PostgreSQL. Implements `atoll.core.store.Store`."""

    def __init__(self, database: Database) -> None:
        self._sandboxes = SandboxTable(database)
        self._processes = ProcessTable(database)
        self._snapshots = SnapshotTable(database)
        self._post_mortems = PostMortemTable(database)
        self._events = EventTable(database)
        self._keys = KeyTable(database)
        self._claims = ClaimTable(database)
        self._documents = DocumentTable(database)

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncGenerator[Self]:
        """Open the database of a URL, its tables made or brought up to date.

        `sqlite://` without a file is a database that goes with the block. Raises `Unavailable`
        when the database cannot be used or is of a newer version, `InvalidRequest` for a URL
        that is none.
        """
        async with open_database(parse(url)) as database:
            yield cls(database)

    async def add_sandbox(self, record: SandboxRecord, *, most: int | None = None) -> None:
        await self._sandboxes.add(record, most)

    async def get_sandbox(self, tenant: str, id_or_name: str) -> SandboxRecord | None:
        return await self._sandboxes.get(tenant, id_or_name)

    async def save_sandbox(self, record: SandboxRecord) -> SandboxRecord:
        return await self._sandboxes.save(record)

    async def touch_sandbox(self, sandbox_id: str, at: float) -> None:
        await self._sandboxes.touch(sandbox_id, at)

    async def list_sandboxes(
        self,
        tenant: str | None = None,
        *,
        states: Sequence[State] | None = None,
        labels: Mapping[str, str] | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Sequence[SandboxRecord]:
        return await self._sandboxes.list(
            tenant, states=states, labels=labels, after=after, limit=limit
        )

    async def count_sandboxes(self, tenant: str) -> int:
        return await self._sandboxes.count(tenant)

    async def add_process(self, record: ProcessRecord) -> None:
        await self._processes.add(record)

    async def save_process(self, record: ProcessRecord) -> None:
        await self._processes.save(record)

    async def get_process(self, sandbox_id: str, number: int) -> ProcessRecord | None:
        return await self._processes.get(sandbox_id, number)

    async def list_processes(self, sandbox_id: str) -> Sequence[ProcessRecord]:
        return await self._processes.list(sandbox_id)

    async def unfinished_processes(self) -> Sequence[ProcessRecord]:
        return await self._processes.unfinished()

    async def add_snapshot(self, record: SnapshotRecord) -> None:
        await self._snapshots.add(record)

    async def get_snapshot(self, tenant: str, id_or_name: str) -> SnapshotRecord | None:
        return await self._snapshots.get(tenant, id_or_name)

    async def list_snapshots(
        self, tenant: str | None = None, *, after: str | None = None, limit: int = 100
    ) -> Sequence[SnapshotRecord]:
        return await self._snapshots.list(tenant, after=after, limit=limit)

    async def drop_snapshot(self, snapshot_id: str) -> None:
        await self._snapshots.drop(snapshot_id)

    async def add_post_mortem(self, record: PostMortem) -> None:
        await self._post_mortems.add(record)

    async def get_post_mortem(self, tenant: str, sandbox_id: str) -> PostMortem | None:
        return await self._post_mortems.get(tenant, sandbox_id)

    async def add_events(self, events: Sequence[Event]) -> Sequence[Event]:
        return await self._events.add(events)

    async def list_events(
        self,
        tenant: str | None = None,
        *,
        sandbox_id: str | None = None,
        actions: Sequence[str] = (),
        since: float | None = None,
        until: float | None = None,
        after_seq: int = 0,
        limit: int = 100,
    ) -> Sequence[Event]:
        return await self._events.list(
            tenant,
            sandbox_id=sandbox_id,
            actions=actions,
            since=since,
            until=until,
            after_seq=after_seq,
            limit=limit,
        )

    async def events_head(self) -> Head:
        return await self._events.head()

    async def prune_events(self, note: Event, *, before: float, at_most: int) -> int:
        return await self._events.prune(note, before=before, at_most=at_most)

    async def add_key(self, record: KeyRecord) -> None:
        await self._keys.add(record)

    async def find_key(self, digest: str) -> KeyRecord | None:
        return await self._keys.find(digest)

    async def list_keys(self, tenant: str | None = None) -> Sequence[KeyRecord]:
        return await self._keys.list(tenant)

    async def drop_key(self, key_id: str) -> bool:
        return await self._keys.drop(key_id)

    async def claim(self, record: IdempotencyRecord) -> IdempotencyRecord | None:
        return await self._claims.claim(record)

    async def forget_claims(self, before: float) -> int:
        return await self._claims.forget(before)

    async def unclaim(self, tenant: str, key: str) -> None:
        await self._claims.unclaim(tenant, key)

    async def put_document(self, record: DocumentRecord) -> None:
        await self._documents.put(record)

    async def put_documents(self, records: Sequence[DocumentRecord]) -> None:
        await self._documents.put_all(records)

    async def get_document(self, space: str, document_id: str) -> DocumentRecord | None:
        return await self._documents.get(space, document_id)

    async def list_documents(
        self, space: str, *, owner: str | None = None, before: str | None = None, limit: int = 100
    ) -> Sequence[DocumentRecord]:
        return await self._documents.list(space, owner=owner, before=before, limit=limit)

    async def drop_document(self, space: str, document_id: str) -> bool:
        return await self._documents.drop(space, document_id)

    async def prune_documents(self, space: str, *, owner: str | None = None, keep: int = 0) -> int:
        return await self._documents.prune(space, owner=owner, keep=keep)

    async def prune(self, before: float) -> int:
        return await self._sandboxes.prune(before)

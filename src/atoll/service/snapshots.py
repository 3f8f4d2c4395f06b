"""Snapshots: frozen sandboxes, to begin new ones from (`CreateSandbox.base`)."""

from collections.abc import Mapping, Sequence

import anyio

from atoll.core.errors import Conflict, NotFound
from atoll.core.records import SandboxRecord, SnapshotRecord
from atoll.core.store import Store
from atoll.service.audit import Audit
from atoll.service.backends import Backends
from atoll.service.caller import Caller
from atoll.service.checks import check_labels, check_name
from atoll.service.claims import Claims, Create, digest
from atoll.service.clock import Clock
from atoll.service.endings import Endings
from atoll.service.freezing import Freezer
from atoll.service.keeper import Keeper
from atoll.service.sandboxes import Sandboxes


class Snapshots:
    """The use cases of snapshots."""

    def __init__(
        self,
        *,
        store: Store,
        keeper: Keeper,
        backends: Backends,
        endings: Endings,
        sandboxes: Sandboxes,
        audit: Audit,
        clock: Clock,
    ) -> None:
        self._store = store
        self._sandboxes = sandboxes
        self._audit = audit
        self._clock = clock
        self._claims = Claims(store=store, clock=clock)
        self._freezer = Freezer(store=store, keeper=keeper, backends=backends, endings=endings)

    async def take(
        self,
        caller: Caller,
        sandbox: str,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        force: bool = False,
        idempotency_key: str | None = None,
    ) -> SnapshotRecord:
        """Freeze its files. It is stopped for that, and starts again on the next use.

        `Conflict` while processes run in it (unless `force`, which ends them) or when the name is
        taken. `Unsupported` when its backend cannot. The same key gives the same snapshot.
        """
        check_name(name)
        check_labels(labels or {})
        record = await self._sandboxes.get(caller, sandbox)

        async def make(snapshot_id: str) -> SnapshotRecord:
            if name is not None and await self._store.get_snapshot(caller.tenant, name) is not None:
                raise Conflict(f"There is a snapshot named {name!r} already.")
            taken = await self._frozen(record, snapshot_id, name, labels or {}, force=force)
            self._audit.record("snapshot.take", caller, "ok", record.id, snapshot=snapshot_id)
            return taken

        async def find(snapshot_id: str) -> SnapshotRecord | None:
            return await self._store.get_snapshot(caller.tenant, snapshot_id)

        said = digest(snapshot=record.id, name=name, labels=dict(labels or {}), force=force)
        return await self._claims.once(
            Create(caller.tenant, idempotency_key, said, "snap"), make, find
        )

    async def _frozen(
        self,
        record: SandboxRecord,
        snapshot_id: str,
        name: str | None,
        labels: Mapping[str, str],
        *,
        force: bool,
    ) -> SnapshotRecord:
        backend = await self._freezer.freeze(record, snapshot_id, force=force)
        stored = False
        try:
            taken = SnapshotRecord(
                id=snapshot_id,
                tenant=record.tenant,
                name=name,
                sandbox_id=record.id,
                backend=record.backend,
                image=record.image,
                created_at=self._clock.now(),
                size_bytes=await backend.snapshot_size(snapshot_id),
                labels=dict(labels),
                profile=record.profile,
                limits=record.limits,
                network=record.network,
                read_only_root=record.read_only_root,
            )
            with anyio.CancelScope(shield=True):
                await self._store.add_snapshot(taken)
                stored = True
        finally:
            if not stored:
                with anyio.CancelScope(shield=True):
                    await backend.drop_snapshot(snapshot_id)
        return taken

    async def list(
        self, caller: Caller, *, after: str | None = None, limit: int = 100
    ) -> Sequence[SnapshotRecord]:
        """A page of the tenant's, ordered by id."""
        return await self._store.list_snapshots(caller.tenant, after=after, limit=limit)

    async def get(self, caller: Caller, snapshot: str) -> SnapshotRecord:
        """By id or name. `NotFound`."""
        found = await self._store.get_snapshot(caller.tenant, snapshot)
        if found is None:
            raise NotFound("snapshot", snapshot)
        return found

    async def drop(self, caller: Caller, snapshot: str) -> None:
        """Forget it; sandboxes made from it stay. `NotFound`."""
        found = await self.get(caller, snapshot)
        with anyio.CancelScope(shield=True):
            await self._store.drop_snapshot(found.id)
            await self._freezer.able(found.backend).drop_snapshot(found.id)
        self._audit.record("snapshot.drop", caller, "ok", found.sandbox_id, snapshot=found.id)

"""The seam to whatever keeps the records. Proved by `atoll.testing.StoreContract`.

Every method is one transaction: when it has returned, what it wrote survives `kill -9`.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

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


class Store(Protocol):
    """Records of everything that outlives a request. Tenants never see each other's."""

    # sandboxes
    async def add_sandbox(self, record: SandboxRecord, *, most: int | None = None) -> None:
        """`Conflict` when a living sandbox of the tenant has that name, or the id exists.

        `QuotaExceeded` when `most` sandboxes of the tenant live already.
        """
        ...

    async def get_sandbox(self, tenant: str, id_or_name: str) -> SandboxRecord | None:
        """By id, else the living one of that name. Destroyed ones are found by id only."""
        ...

    async def save_sandbox(self, record: SandboxRecord) -> SandboxRecord:
        """Write all fields if `version` is still the stored one; returns it with the next version.

        `PreconditionFailed` when somebody else wrote first, `NotFound` when it is not there.
        """
        ...

    async def touch_sandbox(self, sandbox_id: str, at: float) -> None:
        """Raise `last_used_at` (never lowers it); no new version; unknown ids are ignored."""
        ...

    async def list_sandboxes(
        self,
        tenant: str | None = None,
        *,
        states: Sequence[State] | None = None,
        labels: Mapping[str, str] | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Sequence[SandboxRecord]:
        """Ordered by id (ids sort by time of creation); `tenant` None is every tenant's.

        `states` None is all but the terminal ones. `after` is the last id of the page before.
        """
        ...

    async def count_sandboxes(self, tenant: str) -> int:
        """How many living ones (not in a terminal state) the tenant has."""
        ...

    # processes
    async def add_process(self, record: ProcessRecord) -> None: ...

    async def save_process(self, record: ProcessRecord) -> None: ...

    async def get_process(self, sandbox_id: str, number: int) -> ProcessRecord | None: ...

    async def list_processes(self, sandbox_id: str) -> Sequence[ProcessRecord]: ...

    async def unfinished_processes(self) -> Sequence[ProcessRecord]:
        """All without an exit, of every sandbox; for the reconcile at start."""
        ...

    # snapshots
    async def add_snapshot(self, record: SnapshotRecord) -> None:
        """`Conflict` when the tenant has one of that name."""
        ...

    async def get_snapshot(self, tenant: str, id_or_name: str) -> SnapshotRecord | None: ...

    async def list_snapshots(
        self, tenant: str | None = None, *, after: str | None = None, limit: int = 100
    ) -> Sequence[SnapshotRecord]: ...

    async def drop_snapshot(self, snapshot_id: str) -> None: ...

    # what remains
    async def add_post_mortem(self, record: PostMortem) -> None:
        """Keeps the first; a second for the same sandbox is ignored."""
        ...

    async def get_post_mortem(self, tenant: str, sandbox_id: str) -> PostMortem | None: ...

    async def add_events(self, events: Sequence[Event]) -> Sequence[Event]:
        """Append in order; returns them with their `seq` and their place in the chain."""
        ...

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
        """By `seq`. `actions` are whole ones, or `sandbox.*`; `until` itself is left out."""
        ...

    async def events_head(self) -> Head:
        """The end of the chain, as it was noted when the last event was written."""
        ...

    async def prune_events(self, note: Event, *, before: float, at_most: int) -> int:
        """Delete the oldest that are older, or more than so many; how many were deleted.

        A piece at a time: call again until it is 0. If any is deleted, `note` is appended and says
        in its detail up to which event, with which hash, so that the chain stays whole.
        """
        ...

    # keys
    async def add_key(self, record: KeyRecord) -> None: ...

    async def find_key(self, digest: str) -> KeyRecord | None: ...

    async def list_keys(self, tenant: str | None = None) -> Sequence[KeyRecord]: ...

    async def drop_key(self, key_id: str) -> bool:
        """False when it was not there."""
        ...

    # retries
    async def claim(self, record: IdempotencyRecord) -> IdempotencyRecord | None:
        """Store it, or return the one that the same tenant stored with the same key before."""
        ...

    async def forget_claims(self, before: float) -> int:
        """Delete older ones; how many."""
        ...

    async def unclaim(self, tenant: str, key: str) -> None:
        """Delete one, after the create that claimed it has failed. Idempotent."""
        ...

    # documents
    async def put_document(self, record: DocumentRecord) -> None:
        """Write it, in the place of the one with that space and id if there is one."""
        ...

    async def put_documents(self, records: Sequence[DocumentRecord]) -> None:
        """The same with many, all or none."""
        ...

    async def get_document(self, space: str, document_id: str) -> DocumentRecord | None: ...

    async def list_documents(
        self, space: str, *, owner: str | None = None, before: str | None = None, limit: int = 100
    ) -> Sequence[DocumentRecord]:
        """The newest first, by id; `before` is the last id of the page before."""
        ...

    async def drop_document(self, space: str, document_id: str) -> bool:
        """False when it was not there."""
        ...

    async def prune_documents(self, space: str, *, owner: str | None = None, keep: int = 0) -> int:
        """Delete all but the newest of a space, or of an owner in it; how many."""
        ...

    # upkeep
    async def prune(self, before: float) -> int:
        """Delete terminal sandboxes with their processes that ended before; how many."""
        ...

"""Archiving: the files of a sandbox that nobody uses are packed, and unpacked on the next use.

| killed while | stored | next start |
|---|---|---|
| packing | stopped | stopped; the backend forgets the pack |
| putting away | archived | archived; restoring what is not packed is nothing |
| restoring | archived | archived; the backend forgets what was half unpacked |
"""

from dataclasses import replace

import anyio

from atoll.core.errors import Conflict, Gone, Unsupported
from atoll.core.ports import Archives
from atoll.core.records import SandboxRecord
from atoll.core.states import TERMINAL, State
from atoll.core.store import Store
from atoll.service.backends import Backends
from atoll.service.clock import Clock
from atoll.service.keeper import Keeper
from atoll.service.lives import fresh, turn
from atoll.service.locks import Locks

ARCHIVE = "archive"


class Archiver:
    """Puts sandboxes away. `Keeper` and `Freezer` bring them back."""

    def __init__(self, *, store: Store, keeper: Keeper, backends: Backends, clock: Clock) -> None:
        self._store = store
        self._keeper = keeper
        self._backends = backends
        self._clock = clock
        self._turning = Locks()

    async def archive(
        self, record: SandboxRecord, by: str, *, unused_since: float | None = None
    ) -> SandboxRecord:
        """Stop it if it runs, and put its files away. Idempotent.

        `Conflict` when it is used meanwhile, `Unsupported`. With `unused_since` one that is open
        and was used later than that is left alone, which is a `Conflict` too, as is one that is
        archived already.
        """
        backend = self._backends.named(record.backend)
        if not isinstance(backend, Archives) or not await self._backends.can(
            record.backend, ARCHIVE
        ):
            raise Unsupported(f"Backend {record.backend} cannot archive sandboxes.")
        async with self._turning.hold(record.id):
            await self._keeper.stop(record.id, by, unused_since=unused_since)
            record = await fresh(self._store, record)
            if record.state is State.ARCHIVED and unused_since is None:
                return record
            self._check_still(record, record.version)
            pack = await backend.pack(record.id)
            try:
                # Whoever wants to use it waits from here on, which is brief.
                async with self._keeper.closed(record, by):
                    now = await fresh(self._store, record)
                    self._check_still(now, record.version)
                    with anyio.CancelScope(shield=True):
                        record = await self._put_away(backend, now, pack, by)
            finally:
                with anyio.CancelScope(shield=True):
                    await backend.drop_pack(pack)
            return record

    def _check_still(self, record: SandboxRecord, version: int) -> None:
        """Every opening is a new version: the files are what they were at that one."""
        if record.state in TERMINAL:
            raise Gone(f"Sandbox {record.id} is {record.state}.")
        if record.state is not State.STOPPED or record.version != version:
            raise Conflict(f"Sandbox {record.id} is in use; it is not archived.")

    async def _put_away(
        self, backend: Archives, record: SandboxRecord, pack: str, by: str
    ) -> SandboxRecord:
        about = replace(record, archived_at=self._clock.now(), archived_by=by)
        archived = await turn(self._store, about, State.ARCHIVED)
        try:
            await backend.put_away(record.id, pack)
        except BaseException:
            await turn(self._store, archived, State.STOPPED)
            raise
        self._keeper.expiries.track(archived)
        return archived

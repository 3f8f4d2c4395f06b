"""Freezing a sandbox's files: for a snapshot that is kept, or for a fork."""

from atoll.core import ports
from atoll.core.errors import Conflict, Unsupported
from atoll.core.records import SandboxRecord
from atoll.core.states import TERMINAL, State
from atoll.core.store import Store
from atoll.service.backends import Backends
from atoll.service.endings import Endings
from atoll.service.keeper import Keeper
from atoll.service.lives import fresh, turn


class Freezer:
    """Closes a sandbox, lets its backend freeze the files, and lets it be opened again."""

    def __init__(
        self, *, store: Store, keeper: Keeper, backends: Backends, endings: Endings
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._backends = backends
        self._endings = endings

    async def freeze(
        self, record: SandboxRecord, snapshot_id: str, *, force: bool
    ) -> ports.Snapshots:
        """Make the snapshot; the backend that has it. It is opened again on its next use.

        `Conflict` while processes run, unless `force`. Killed after the snapshot is made, the
        janitor drops it: nothing in the store names it.
        """
        if record.state in TERMINAL:
            raise await self._endings.gone(record)
        if record.state is State.CREATING:
            raise Conflict(f"Sandbox {record.id} is still being made.")
        backend = self.able(record.backend)
        async with self._keeper.closed(record, "snapshot", force=force):
            record = await fresh(self._store, record)
            if record.state in TERMINAL:
                raise await self._endings.gone(record)
            if record.state is State.ARCHIVED and isinstance(backend, ports.Archives):
                await backend.restore(record.id)
                await turn(self._store, record, State.STOPPED)
            await backend.snapshot(record.id, snapshot_id)
        return backend

    def able(self, backend_name: str) -> ports.Snapshots:
        """The backend, if it can freeze. `Unsupported`."""
        backend = self._backends.named(backend_name)
        if not isinstance(backend, ports.Snapshots):
            raise Unsupported(f"Backend {backend_name} has no snapshots.")
        return backend

"""Pausing: the processes of a sandbox stand still, and keep their memory.

| killed while | stored | next start |
|---|---|---|
| freezing | running | stopped, as any that was open |
| storing `paused` | running or paused | the same |
| paused | paused | the same: what was frozen is gone with the server |
"""

import anyio

from atoll.core.errors import AtollError, Conflict, Unsupported
from atoll.core.ports import Pausable
from atoll.core.records import SandboxRecord
from atoll.core.states import State
from atoll.core.store import Store
from atoll.service.backends import Backends
from atoll.service.held import Held
from atoll.service.keeper import Keeper
from atoll.service.lives import turn
from atoll.service.locks import Locks

PAUSE = "pause"


def check_awake(held: Held) -> None:
    """`Conflict` for who wants something of the processes of a paused one."""
    if held.record.state is State.PAUSED:
        raise Conflict(f"Sandbox {held.record.id} is paused; resume it first.")


class Pauser:
    """Freezes open sandboxes and lets them go on."""

    def __init__(self, *, store: Store, keeper: Keeper, backends: Backends) -> None:
        self._store = store
        self._keeper = keeper
        self._backends = backends
        self._turning = Locks()

    async def pause(self, record: SandboxRecord) -> SandboxRecord:
        """Idempotent. `Conflict` when it is not open, `Unsupported`."""
        if not await self._backends.can(record.backend, PAUSE):
            raise Unsupported(
                f"Backend {record.backend} cannot pause sandboxes on this host; "
                "GET /v1/backends lists what it can."
            )
        async with self._turning.hold(record.id):
            held, box = self._open(record)
            if held.record.state is State.PAUSED:
                return held.record
            await box.pause()
            with anyio.CancelScope(shield=True):
                try:
                    held.record = await turn(self._store, held.record, State.PAUSED)
                except BaseException:
                    await box.resume()
                    raise
            self._keeper.expiries.track(held.record)
            return held.record

    async def resume(self, record: SandboxRecord) -> SandboxRecord:
        """Idempotent, and counts as use. `Conflict` when it is not open."""
        async with self._turning.hold(record.id):
            held, box = self._open(record)
            if held.record.state is not State.PAUSED:
                return held.record
            with anyio.CancelScope(shield=True):
                # Stored first: what runs unbeknown would neither be stopped nor be paused again.
                held.record = await turn(self._store, held.record, State.RUNNING)
                try:
                    await box.resume()
                except AtollError:
                    held.record = await turn(self._store, held.record, State.PAUSED)
                    raise
            self._keeper.touches.touch(record.id)
            used = self._keeper.touches.last(record.id, held.record.last_used_at)
            self._keeper.expiries.track(held.record, used)
            return held.record

    def _open(self, record: SandboxRecord) -> tuple[Held, Pausable]:
        held = self._keeper.held(record.id)
        if held is None:
            raise Conflict(f"Sandbox {record.id} is {record.state}: nothing runs in it.")
        if not isinstance(held.box, Pausable):
            raise Unsupported(f"Backend {record.backend} cannot pause sandboxes.")
        return held, held.box

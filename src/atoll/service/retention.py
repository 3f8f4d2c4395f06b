"""How long events are kept. The oldest go first, and the chain says up to which they went."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Self

import anyio
import structlog

from atoll.core.chain import PRUNE
from atoll.core.errors import AtollError
from atoll.core.records import Event
from atoll.core.store import Store
from atoll.service.caller import DEFAULT_TENANT
from atoll.service.clock import Clock

INTERVAL_S = 3600.0
# Some more than needed, so that a full log is not pruned for each event that comes.
SLACK = 0.01
_PIECES = 10_000

_log = structlog.stdlib.get_logger(__name__)


class Retention(anyio.AsyncContextManagerMixin):
    """Prunes at the start and then every hour; None is no bound."""

    def __init__(
        self, *, store: Store, clock: Clock, keep_s: float | None, at_most: int | None
    ) -> None:
        self._store = store
        self._clock = clock
        self._keep_s = keep_s
        self._at_most = at_most

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        async with anyio.create_task_group() as group:
            group.start_soon(self._run)
            try:
                yield self
            finally:
                group.cancel_scope.cancel()

    async def prune(self) -> int:
        """Delete what is too old or too many, piece by piece; how many events that was."""
        now = self._clock.now()
        before = float("-inf") if self._keep_s is None else now - self._keep_s
        at_most = 2**62
        if self._at_most is not None:
            oldest = await self._store.list_events(limit=1)
            head = await self._store.events_head()
            if oldest and head.seq - oldest[0].seq >= self._at_most:
                at_most = self._at_most - int(self._at_most * SLACK)
        note = Event(at=now, tenant=DEFAULT_TENANT, actor="janitor", action=PRUNE, outcome="ok")
        total = 0
        for _ in range(_PIECES):
            count = await self._store.prune_events(note, before=before, at_most=at_most)
            total += count
            if not count:
                break
        return total

    async def _run(self) -> None:
        while True:
            try:
                await self.prune()
            except (AtollError, OSError) as error:
                _log.warning("events not pruned", error=str(error))
            await anyio.sleep(INTERVAL_S)

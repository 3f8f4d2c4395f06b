"""When sandboxes were last used: kept in memory, written now and then."""

import anyio

from atoll.core.store import Store
from atoll.service.clock import Clock


class Touches:
    """Batches `last_used_at`: one write per sandbox and `interval_s`, however often it is used.

    A crash loses at most that interval, so that a sandbox may be idle a little earlier.
    """

    def __init__(self, *, store: Store, clock: Clock, interval_s: float = 5.0) -> None:
        self._store = store
        self._clock = clock
        self._interval_s = interval_s
        self._used: dict[str, float] = {}
        self._unwritten: set[str] = set()
        self._news = anyio.Event()

    def touch(self, sandbox_id: str) -> None:
        """It is being used now."""
        self._used[sandbox_id] = self._clock.now()
        if not self._unwritten:
            self._news.set()
        self._unwritten.add(sandbox_id)

    def last(self, sandbox_id: str, stored: float) -> float:
        """When it was last used, as far as anybody knows."""
        return max(stored, self._used.get(sandbox_id, stored))

    def forget(self, sandbox_id: str) -> None:
        """Its record was just written, or it has ended."""
        self._used.pop(sandbox_id, None)
        self._unwritten.discard(sandbox_id)

    async def flush(self) -> None:
        """Write what is not yet written."""
        while self._unwritten:
            sandbox_id = self._unwritten.pop()
            at = self._used.get(sandbox_id)
            if at is not None:
                await self._store.touch_sandbox(sandbox_id, at)

    async def due(self) -> None:
        """Wait until something is to be written and the interval has passed."""
        await self._news.wait()
        self._news = anyio.Event()
        await anyio.sleep(self._interval_s)

"""Writes the records of foreground processes a little late, off the path of who waits for them.

A foreground process that its caller has seen end may be missing after `kill -9` within 50 ms:
its result was in the answer. Background processes never go through here.
"""

import anyio
import structlog

from atoll.core.errors import AtollError, Unavailable
from atoll.core.store import Store
from atoll.service.keeper import Keeper
from atoll.service.live import LiveProcess
from atoll.service.outputs import OutputLogs

LATENESS_S = 0.05
_WAITING = 1000

_log = structlog.stdlib.get_logger(__name__)


class Ledger:
    """What is to be written, at most once per process and batch."""

    def __init__(self, *, store: Store, logs: OutputLogs, keeper: Keeper) -> None:
        self._store = store
        self._logs = logs
        self._keeper = keeper
        self._waiting: dict[tuple[str, int], LiveProcess] = {}
        self._writing = anyio.Lock(fast_acquire=True)
        self._planned = False
        keeper.at_exit(self.flush)

    async def note(self, live: LiveProcess) -> None:
        """Have the process as it will be then written soon; at once when too much waits."""
        self._waiting[live.record.sandbox_id, live.record.number] = live
        if len(self._waiting) > _WAITING:
            await self.flush()
        elif not self._planned:
            try:
                self._keeper.spawn(self._flush_soon)
            except Unavailable:
                return
            self._planned = True

    def drop(self, live: LiveProcess) -> None:
        """It never ran, or nobody will ask."""
        self._waiting.pop((live.record.sandbox_id, live.record.number), None)
        self._logs.abandon(live.record.sandbox_id, live.record.number)

    async def forget(self, sandbox_id: str) -> None:
        """Its sandbox is gone; nobody will ask."""
        for key in [key for key in self._waiting if key[0] == sandbox_id]:
            del self._waiting[key]

    async def flush(self) -> None:
        """Write what waits."""
        with anyio.CancelScope(shield=True):
            async with self._writing:
                while self._waiting:
                    await self._write(self._waiting.pop(next(iter(self._waiting))))

    async def _write(self, live: LiveProcess) -> None:
        record = live.record
        try:
            if record.exit is not None:
                await self._logs.finish(record.sandbox_id, record.number)
            if live.stored:
                await self._store.save_process(record)
            else:
                await self._store.add_process(record)
                live.stored = True
        except AtollError as error:
            _log.warning("process not stored", sandbox_id=record.sandbox_id, error=error.detail)

    async def _flush_soon(self) -> None:
        await anyio.sleep(LATENESS_S)
        self._planned = False
        await self.flush()

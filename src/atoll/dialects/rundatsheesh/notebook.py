"""Documents on their way to the store: many are written in one transaction, soon."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Self

import anyio
import structlog

from atoll.core.errors import AtollError
from atoll.core.records import DocumentRecord
from atoll.core.store import Store

LATENESS_S = 0.05
_RETRY_S = 1.0
_BATCH = 500
_WAITING_MAX = 20_000
_log = structlog.stdlib.get_logger(__name__)


class Notebook(anyio.AsyncContextManagerMixin):
    """Takes notes that nobody waits for. A server that is killed loses those of the last 50 ms.

    Whoever reads flushes first, so that what was noted is always seen.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pending: list[DocumentRecord] = []
        self._news = anyio.Event()
        self._one = anyio.Lock()

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        async with anyio.create_task_group() as group:
            group.start_soon(self._flush_forever)
            try:
                yield self
            finally:
                group.cancel_scope.cancel()
                with anyio.move_on_after(5.0, shield=True):
                    await self._try_flush()

    def note(self, record: DocumentRecord) -> None:
        """Have it written. Notes that the store has not taken for long are given up."""
        if len(self._pending) >= _WAITING_MAX:
            _log.warning("a note is lost: the store takes none", space=record.space)
            return
        self._pending.append(record)
        self._news.set()

    async def flush(self) -> None:
        """Write all that was noted."""
        async with self._one:
            while self._pending:
                batch = self._pending[:_BATCH]
                with anyio.CancelScope(shield=True):
                    await self._store.put_documents(batch)
                    del self._pending[: len(batch)]

    async def _flush_forever(self) -> None:
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            await anyio.sleep(LATENESS_S)
            if not await self._try_flush():
                await anyio.sleep(_RETRY_S)
                self._news.set()

    async def _try_flush(self) -> bool:
        try:
            await self.flush()
        except AtollError as error:
            _log.warning("notes are not written yet", error=error.detail)
            return False
        return True

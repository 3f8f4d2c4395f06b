"""A lock per name, kept only while somebody wants it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from atoll.core.errors import Busy


class Locks:
    """Locks of this process by name; waiting has a deadline (`Busy`)."""

    def __init__(self, *, timeout_s: float = 60.0) -> None:
        self._timeout_s = timeout_s
        self._locks: dict[str, tuple[anyio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncGenerator[None, None]:
        """One at a time for each name."""
        lock, wanted = self._locks.get(name, (anyio.Lock(fast_acquire=True), 0))
        self._locks[name] = (lock, wanted + 1)
        try:
            with anyio.move_on_after(self._timeout_s) as waited:
                await lock.acquire()
            if waited.cancelled_caught:
                raise Busy("An earlier request of this kind is still under way.")
            try:
                yield
            finally:
                lock.release()
        finally:
            lock, wanted = self._locks[name]
            if wanted == 1:
                del self._locks[name]
            else:
                self._locks[name] = (lock, wanted - 1)

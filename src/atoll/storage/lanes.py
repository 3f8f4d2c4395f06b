"""How to come by a connection: one kept open (SQLite), or one out of a pool (PostgreSQL).

SQLite has one lane for reads and one for writes, each a single connection that tasks take in
turns: writers wait here, in order, and never meet SQLITE_BUSY. What has begun on a connection is
finished although its caller is cancelled, within the deadline.
"""

import math
import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import anyio
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

WAIT_S = 30.0
CLOSE_S = 5.0
STEPS_BETWEEN_CHECKS = 20_000


class Lane(Protocol):
    """A way to the database."""

    def use(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection on which each statement is a transaction of its own."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection in a transaction that is committed at the end, or else rolled back."""
        ...

    async def aclose(self) -> None: ...


class KeptConnection:
    """One SQLite connection in autocommit mode, opened anew when it broke."""

    def __init__(self, engine: AsyncEngine, pragmas: tuple[str, ...]) -> None:
        self._engine = engine
        self._pragmas = pragmas
        self._lock = anyio.Lock(fast_acquire=True)
        self._connection: AsyncConnection | None = None
        self._deadline = math.inf

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[AsyncConnection]:
        with anyio.fail_after(WAIT_S):
            await self._lock.acquire()
        try:
            # SQLite stops the statement by itself; the scope is for a disk that never answers.
            with anyio.fail_after(WAIT_S + CLOSE_S, shield=True):
                connection = await self._ready()
                self._deadline = time.monotonic() + WAIT_S
                yield connection
        finally:
            self._lock.release()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncConnection]:
        async with self.use() as connection:
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
            done = False
            try:
                yield connection
                await connection.exec_driver_sql("COMMIT")
                done = True
            finally:
                if not done:
                    # Closing rolls back, whatever state the connection is in.
                    await self.aclose()

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + CLOSE_S):
                await connection.close()

    async def _ready(self) -> AsyncConnection:
        connection = self._connection
        if connection is not None and not connection.invalidated and not connection.closed:
            return connection
        await self.aclose()
        connection = await self._engine.connect()
        self._connection = connection
        for pragma in self._pragmas:
            await connection.exec_driver_sql(f"PRAGMA {pragma}")
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.set_progress_handler(self._overdue, STEPS_BETWEEN_CHECKS)
        return connection

    def _overdue(self) -> bool:
        """Asked by SQLite in its own thread, while it works on a statement."""
        return time.monotonic() > self._deadline


class Pooled:
    """A connection of the engine's pool for each use."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[AsyncConnection]:
        with anyio.fail_after(WAIT_S, shield=True):
            async with self._autocommit.connect() as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncConnection]:
        with anyio.fail_after(WAIT_S, shield=True):
            async with self._engine.begin() as connection:
                yield connection

    async def aclose(self) -> None:
        """Nothing is kept here; the engine's pool is disposed of with the engine."""

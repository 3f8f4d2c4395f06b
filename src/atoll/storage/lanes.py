"""How to come by a connection: one kept open (SQLite), or one out of a pool (PostgreSQL).

SQLite has one lane for reads and one for writes, each a single connection that tasks take in
turns: writers wait here, in order, and never meet SQLITE_BUSY. A statement with its rows, or a
whole transaction, is one visit to a thread: the way there costs more than most statements. What
has begun on a connection is finished although its caller is cancelled, within the deadline.
"""

import math
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import anyio
from anyio import to_thread
from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncEngine

WAIT_S = 30.0
CLOSE_S = 5.0
STEPS_BETWEEN_CHECKS = 20_000

T = TypeVar("T")


class Lane(Protocol):
    """A way to the database. What is done there fetches all that it wants of the rows."""

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Do it on a connection on which each statement is a transaction of its own."""
        ...

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """Do it in a transaction that is committed at the end, or else rolled back."""
        ...

    async def aclose(self) -> None: ...


class KeptConnection:
    """One SQLite connection in autocommit mode, opened anew when it broke.

    The engine's connections may be used by any thread, one at a time.
    """

    def __init__(self, engine: Engine, pragmas: tuple[str, ...]) -> None:
        self._engine = engine
        self._pragmas = pragmas
        self._lock = anyio.Lock(fast_acquire=True)
        self._limiter = anyio.CapacityLimiter(math.inf)  # of its own: others' may be used up
        self._open = _Open(engine, pragmas)

    async def run(self, work: Callable[[Connection], T]) -> T:
        return await self._visit(self._open.run, work)

    async def transact(self, work: Callable[[Connection], T]) -> T:
        return await self._visit(self._open.transact, work)

    async def aclose(self) -> None:
        last, self._open = self._open, _Open(self._engine, self._pragmas)
        with anyio.move_on_after(CLOSE_S, shield=True):
            await to_thread.run_sync(last.close, abandon_on_cancel=True, limiter=self._limiter)

    async def _visit(
        self,
        visit: Callable[[Callable[[Connection], T]], T],
        work: Callable[[Connection], T],
    ) -> T:
        with anyio.fail_after(WAIT_S):
            await self._lock.acquire()
        try:
            # SQLite stops the statement by itself; the scope is for a disk that never answers.
            with anyio.move_on_after(WAIT_S + CLOSE_S, shield=True):
                return await to_thread.run_sync(
                    visit, work, abandon_on_cancel=True, limiter=self._limiter
                )
            # Its thread may still be in it: leave it there.
            self._open = _Open(self._engine, self._pragmas)
            raise TimeoutError
        finally:
            self._lock.release()


class _Open:
    """A connection, in the threads. It is opened when it is first used."""

    def __init__(self, engine: Engine, pragmas: tuple[str, ...]) -> None:
        self._engine = engine
        self._pragmas = pragmas
        # Only a task cut off without regard for shields leaves its thread behind in here.
        self._one = threading.Lock()
        self._connection: Connection | None = None
        self._deadline = math.inf

    def run(self, work: Callable[[Connection], T]) -> T:
        with self._one:
            return work(self._ready())

    def transact(self, work: Callable[[Connection], T]) -> T:
        with self._one:
            connection = self._ready()
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            done = False
            try:
                result = work(connection)
                connection.exec_driver_sql("COMMIT")
                done = True
            finally:
                if not done:
                    # Closing rolls back, whatever state the connection is in.
                    self._close()
            return result

    def close(self) -> None:
        with self._one:
            self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _ready(self) -> Connection:
        connection = self._connection
        if connection is None or connection.invalidated or connection.closed:
            self._close()
            connection = self._engine.connect()
            self._connection = connection
            for pragma in self._pragmas:
                connection.exec_driver_sql(f"PRAGMA {pragma}")
            driver: Any = connection.connection.driver_connection
            driver.set_progress_handler(self._overdue, STEPS_BETWEEN_CHECKS)
        self._deadline = time.monotonic() + WAIT_S
        return connection

    def _overdue(self) -> bool:
        """Asked by SQLite while it works on a statement."""
        return time.monotonic() > self._deadline


class Pooled:
    """A connection of the engine's pool for each use."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def run(self, work: Callable[[Connection], T]) -> T:
        with anyio.fail_after(WAIT_S, shield=True):
            async with self._autocommit.connect() as connection:
                return await connection.run_sync(work)

    async def transact(self, work: Callable[[Connection], T]) -> T:
        with anyio.fail_after(WAIT_S, shield=True):
            async with self._engine.begin() as connection:
                return await connection.run_sync(work)

    async def aclose(self) -> None:
        """Nothing is kept here; the engine's pool is disposed of with the engine."""

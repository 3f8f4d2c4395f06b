"""From an address to a `Database` whose tables are there."""

import importlib.util
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from atoll.core.errors import Unavailable
from atoll.storage.address import Address, parse
from atoll.storage.database import Database
from atoll.storage.lanes import CLOSE_S, KeptConnection, Pooled
from atoll.storage.migrate import prepare

BUSY_S = 10
POOL_SIZE = 10
CONNECT_S = 10
STATEMENT_S = 30

# With WAL and NORMAL, a commit is a write to the operating system without waiting for the disk:
# it survives the end of this process in any manner, `kill -9` included. A power failure may take
# the last commits, never the consistency of the file.
_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON")


@asynccontextmanager
async def open_database(address: Address) -> AsyncGenerator[Database]:
    """Connect, check that writing is possible, make or upgrade the tables; close at the end."""
    if address.path is None:
        async with _open_postgres(address) as database:
            yield database
    elif address.path == "":
        async with _scratch() as path, _open_sqlite(parse(f"sqlite:///{path}")) as database:
            yield database
    else:
        async with _open_sqlite(address) as database:
            yield database


@asynccontextmanager
async def _open_sqlite(address: Address) -> AsyncGenerator[Database]:
    engine = create_engine(
        address.url,
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"timeout": BUSY_S, "check_same_thread": False},
    )
    reads, writes = KeptConnection(engine, _PRAGMAS), KeptConnection(engine, _PRAGMAS)
    database = Database(address, reads=reads, writes=writes)
    try:
        with database.translating():
            await anyio.to_thread.run_sync(_make_private, Path(str(address.path)))
        await _prepare(database)
        yield database
    finally:
        await reads.aclose()
        await writes.aclose()


@asynccontextmanager
async def _open_postgres(address: Address) -> AsyncGenerator[Database]:
    if importlib.util.find_spec("asyncpg") is None:
        raise Unavailable("PostgreSQL needs a driver: pip install 'atoll[postgres]'.")
    engine = create_async_engine(
        address.url,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_pre_ping=True,
        connect_args={"timeout": CONNECT_S, "command_timeout": STATEMENT_S},
    )
    lane = Pooled(engine)
    database = Database(address, reads=lane, writes=lane)
    try:
        await _prepare(database)
        yield database
    finally:
        with anyio.move_on_after(CLOSE_S, shield=True):
            await engine.dispose()


async def _prepare(database: Database) -> None:
    await database.transaction(partial(prepare, where=str(database.address)))


def _make_private(path: Path) -> None:
    """The database holds digests of keys and the sandboxes' environments."""
    path.touch(mode=0o600)


@asynccontextmanager
async def _scratch() -> AsyncGenerator[Path]:
    folder = await anyio.to_thread.run_sync(lambda: tempfile.mkdtemp(prefix="atoll-store-"))
    try:
        yield Path(folder) / "atoll.db"
    finally:
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + CLOSE_S):
            await anyio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))

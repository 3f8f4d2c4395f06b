"""What becomes of a connection whose user is cancelled, fails or takes too long."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from atoll.storage import lanes
from atoll.storage.lanes import KeptConnection

pytestmark = pytest.mark.anyio

SLOW = text(
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000000) "
    "SELECT max(n) FROM c"
)


@pytest.fixture
async def lane(tmp_path: Path) -> AsyncGenerator[KeptConnection]:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///file:{tmp_path}/a.db?uri=true",
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
    )
    lane = KeptConnection(engine, ("foreign_keys=ON",))
    async with lane.use() as connection:
        await connection.execute(text("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
    yield lane
    await lane.aclose()
    await engine.dispose()


async def count(lane: KeptConnection) -> int:
    async with lane.use() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM t"))).scalar_one())


async def test_it_is_one_connection(lane: KeptConnection) -> None:
    async with lane.use() as one:
        pass
    async with lane.use() as two:
        assert one is two


async def test_a_transaction_is_all_or_nothing(lane: KeptConnection) -> None:
    async with lane.transaction() as connection:
        await connection.execute(text("INSERT INTO t VALUES (1), (2)"))
    with pytest.raises(ZeroDivisionError):
        async with lane.transaction() as connection:
            await connection.execute(text("INSERT INTO t VALUES (3)"))
            raise ZeroDivisionError
    assert await count(lane) == 2


async def test_pragmas_hold_after_a_new_connection(lane: KeptConnection) -> None:
    await lane.aclose()
    async with lane.use() as connection:
        value = (await connection.execute(text("PRAGMA foreign_keys"))).scalar_one()
    assert value == 1


async def test_what_has_begun_is_finished_although_cancelled(lane: KeptConnection) -> None:
    with anyio.CancelScope() as scope:
        async with lane.transaction() as connection:
            await connection.execute(text("INSERT INTO t VALUES (1)"))
            scope.cancel()
            await connection.execute(text("INSERT INTO t VALUES (2)"))
    assert await count(lane) == 2


async def test_waiting_for_a_turn_can_be_cancelled(lane: KeptConnection) -> None:
    async with lane.use():
        with anyio.move_on_after(0.01) as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(count, lane)
        assert scope.cancelled_caught
    assert await count(lane) == 0


async def test_a_task_cut_off_leaves_no_half_and_no_lock(lane: KeptConnection) -> None:
    begun = anyio.Event()

    async def write() -> None:
        async with lane.transaction() as connection:
            await connection.execute(text("INSERT INTO t VALUES (-1)"))
            begun.set()
            await connection.execute(text(f"INSERT INTO t {SLOW}"))

    task = asyncio.ensure_future(write())
    await begun.wait()
    await anyio.lowlevel.checkpoint()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await count(lane) == 0
    async with lane.transaction() as connection:
        await connection.execute(text("INSERT INTO t VALUES (1)"))
    assert await count(lane) == 1


async def test_a_statement_has_a_deadline(
    lane: KeptConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "WAIT_S", 0.02)
    with pytest.raises(OperationalError, match="interrupted"):
        async with lane.use() as connection:
            await connection.execute(SLOW)
    monkeypatch.undo()
    assert await count(lane) == 0


async def test_an_error_does_not_break_the_connection(lane: KeptConnection) -> None:
    async with lane.use() as one:
        pass
    with pytest.raises(OperationalError):
        async with lane.use() as connection:
            await connection.execute(text("SELECT * FROM nowhere"))
    async with lane.use() as two:
        assert one is two
    assert await count(lane) == 0

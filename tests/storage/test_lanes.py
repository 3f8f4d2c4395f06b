"""What becomes of a connection whose user is cancelled, fails or takes too long."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import anyio
import anyio.from_thread
import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError
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
    engine = create_engine(
        f"sqlite:///file:{tmp_path}/a.db?uri=true",
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"check_same_thread": False},
    )
    lane = KeptConnection(engine, ("foreign_keys=ON",))
    await lane.run(doing("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
    yield lane
    await lane.aclose()


def doing(*statements: str) -> Callable[[Connection], None]:
    def work(on: Connection) -> None:
        for statement in statements:
            on.execute(text(statement))

    return work


def itself(on: Connection) -> Connection:
    return on


async def count(lane: KeptConnection) -> int:
    return await lane.run(lambda on: int(on.execute(text("SELECT count(*) FROM t")).scalar_one()))


async def test_it_is_one_connection(lane: KeptConnection) -> None:
    assert await lane.run(itself) is await lane.run(itself)


async def test_a_transaction_is_all_or_nothing(lane: KeptConnection) -> None:
    await lane.transact(doing("INSERT INTO t VALUES (1), (2)"))

    def broken(on: Connection) -> None:
        on.execute(text("INSERT INTO t VALUES (3)"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await lane.transact(broken)
    assert await count(lane) == 2


async def test_pragmas_hold_after_a_new_connection(lane: KeptConnection) -> None:
    await lane.aclose()
    assert await lane.run(lambda on: on.execute(text("PRAGMA foreign_keys")).scalar_one()) == 1


async def test_what_has_begun_is_finished_although_cancelled(lane: KeptConnection) -> None:
    begun, go_on = anyio.Event(), threading.Event()

    def work(on: Connection) -> None:
        on.execute(text("INSERT INTO t VALUES (1)"))
        anyio.from_thread.run_sync(begun.set)
        assert go_on.wait(10)
        on.execute(text("INSERT INTO t VALUES (2)"))

    async with anyio.create_task_group() as group:
        group.start_soon(lane.transact, work)
        await begun.wait()
        group.cancel_scope.cancel()
        go_on.set()
    assert await count(lane) == 2


async def test_waiting_for_a_turn_can_be_cancelled(lane: KeptConnection) -> None:
    begun, go_on = anyio.Event(), threading.Event()

    def hold(_on: Connection) -> None:
        anyio.from_thread.run_sync(begun.set)
        assert go_on.wait(10)

    async with anyio.create_task_group() as group:
        group.start_soon(lane.run, hold)
        await begun.wait()
        with anyio.move_on_after(0.01) as scope:
            await count(lane)
        assert scope.cancelled_caught
        go_on.set()
    assert await count(lane) == 0


async def test_a_task_cut_off_leaves_no_half_and_no_lock(lane: KeptConnection) -> None:
    """What asyncio cancels without regard for shields: the next waits until its thread is out."""
    begun, go_on = anyio.Event(), threading.Event()

    def work(on: Connection) -> None:
        on.execute(text("INSERT INTO t VALUES (-1)"))
        anyio.from_thread.run_sync(begun.set)
        assert go_on.wait(10)
        on.execute(text("INSERT INTO t VALUES (-2)"))

    task = asyncio.ensure_future(lane.transact(work))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with anyio.create_task_group() as group:
        group.start_soon(lane.transact, doing("INSERT INTO t VALUES (1)"))
        await anyio.wait_all_tasks_blocked()
        go_on.set()
    assert await count(lane) == 3


async def test_a_statement_has_a_deadline(
    lane: KeptConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "WAIT_S", 0.02)
    with pytest.raises(OperationalError, match="interrupted"):
        await lane.run(lambda on: on.execute(SLOW).scalar_one())
    monkeypatch.undo()
    assert await count(lane) == 0


async def test_a_disk_that_never_answers_is_left_alone(
    lane: KeptConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    before = await lane.run(itself)
    monkeypatch.setattr(lanes, "WAIT_S", 0.02)
    monkeypatch.setattr(lanes, "CLOSE_S", 0.02)
    with pytest.raises(TimeoutError):
        await lane.run(lambda _on: go_on.wait(10))
    monkeypatch.undo()
    assert await count(lane) == 0
    assert await lane.run(itself) is not before
    go_on.set()


async def test_an_error_does_not_break_the_connection(lane: KeptConnection) -> None:
    one = await lane.run(itself)
    with pytest.raises(OperationalError):
        await lane.run(doing("SELECT * FROM nowhere"))
    assert await lane.run(itself) is one
    assert await count(lane) == 0

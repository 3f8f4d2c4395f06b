"""How long events are kept."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from atoll.core.chain import PRUNE
from atoll.core.records import Event
from atoll.core.store import Store
from atoll.service.audit_check import check_store
from atoll.service.retention import Retention
from atoll.storage import SqlStore
from tests.service.rig import TurnedClock

pytestmark = pytest.mark.anyio

BLANK = Event(at=1.0, tenant="reef", actor="key k", action="run", outcome="ok")


@asynccontextmanager
async def log(count: int, *, every_s: float = 1.0) -> AsyncGenerator[Store]:
    async with SqlStore.open("sqlite://") as store:
        await store.add_events([replace(BLANK, at=n * every_s) for n in range(count)])
        yield store


async def test_what_is_too_old_goes_and_the_chain_says_so() -> None:
    async with log(100) as store:
        keeping = Retention(store=store, clock=TurnedClock(150.0), keep_s=100.0, at_most=None)
        assert await keeping.prune() == 50
        assert await keeping.prune() == 0
        found = await store.list_events()
        assert (found[0].at, found[-1].action, len(found)) == (50.0, PRUNE, 51)
        verdict = await check_store(store, [])
        assert (verdict.fault, verdict.notes) == (None, ("Events 1 to 50 were pruned.",))


async def test_what_is_too_much_goes_with_some_slack() -> None:
    async with log(1000) as store:
        keeping = Retention(store=store, clock=TurnedClock(1.0), keep_s=None, at_most=1000)
        assert await keeping.prune() == 0
        await store.add_events([BLANK])
        assert await keeping.prune() == 12
        assert len(await store.list_events(limit=2000)) == 990
        assert await keeping.prune() == 0
        assert (await check_store(store, [])).fault is None


async def test_many_go_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.storage.events._OLDEST", _oldest(30))
    async with log(100) as store:
        keeping = Retention(store=store, clock=TurnedClock(1000.0), keep_s=1.0, at_most=None)
        assert await keeping.prune() == 100
        assert [e.action for e in await store.list_events()] == [PRUNE] * 4
        assert (await check_store(store, [])).fault is None


def _oldest(piece: int) -> object:
    from atoll.storage import events

    return events._OLDEST.limit(piece)

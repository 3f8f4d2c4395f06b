from contextlib import aclosing

import anyio
import pytest
from anyio.lowlevel import checkpoint

from atoll.core.errors import BackendFault
from atoll.service import audit as module
from atoll.service.audit import Audit, Wanted
from tests.service.rig import ALICE, BOB, EventStore, TurnedClock

pytestmark = pytest.mark.anyio


def audit_of(store: EventStore, *, capacity: int = 100) -> Audit:
    return Audit(store=store.as_store(), clock=TurnedClock(7.0), capacity=capacity)


async def test_an_event_says_who_what_which_and_when() -> None:
    store = EventStore()
    audit = audit_of(store)
    audit.record("sandbox.create", ALICE, "ok", "sb_1", image="host", number=3, none=None)
    await audit.flush()
    (event,) = store.written
    assert (event.at, event.tenant, event.actor) == (7.0, "alice", "alice")
    assert (event.action, event.outcome, event.sandbox_id) == ("sandbox.create", "ok", "sb_1")
    assert event.detail == {"image": "host", "number": "3"}


async def test_events_are_written_by_themselves_and_together() -> None:
    store = EventStore()
    async with audit_of(store) as audit:
        for number in range(5):
            audit.record("act", ALICE, str(number))
        with anyio.fail_after(1):
            await store.wrote.wait()
        assert store.batches == [5]
        assert [event.outcome for event in store.written] == list("01234")


async def test_they_are_at_most_50_ms_late() -> None:
    assert module.LATENESS_S <= 0.05
    store = EventStore()
    async with audit_of(store) as audit:
        began = anyio.current_time()
        audit.record("act", ALICE, "ok")
        await store.wrote.wait()
        assert anyio.current_time() - began < 0.05


async def test_what_is_pending_is_written_at_shutdown() -> None:
    store = EventStore()
    with anyio.CancelScope() as scope:
        async with audit_of(store) as audit:
            audit.record("act", ALICE, "ok")
            scope.cancel()
            await checkpoint()
    assert len(store.written) == 1


async def test_a_store_that_fails_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    store = EventStore(failure=BackendFault("disk full"))
    async with audit_of(store) as audit:
        audit.record("act", ALICE, "1")
        await store.tried.wait()
        audit.record("act", ALICE, "2")
        store.failure = None
    assert [event.outcome for event in store.written] == ["1", "2"]
    assert "disk full" in caplog.text


async def test_it_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    store = EventStore(failure=BackendFault("disk full"))
    async with audit_of(store) as audit:
        audit.record("act", ALICE, "1")
        await store.tried.wait()
        store.failure = None
        with anyio.fail_after(1):
            await store.wrote.wait()


async def test_its_memory_has_a_bound() -> None:
    store = EventStore()
    audit = audit_of(store, capacity=3)
    for number in range(5):
        audit.record("act", ALICE, str(number))
    assert audit.dropped == 2
    await audit.flush()
    assert [event.outcome for event in store.written] == ["2", "3", "4"]


async def test_many_are_written_in_several_batches_and_in_order() -> None:
    store = EventStore()
    audit = audit_of(store, capacity=2000)
    for number in range(1200):
        audit.record("act", ALICE, str(number))
    async with anyio.create_task_group() as group:
        group.start_soon(audit.flush)
        group.start_soon(audit.flush)
    assert [event.seq for event in store.written] == list(range(1, 1201))
    assert [event.outcome for event in store.written] == [str(n) for n in range(1200)]


async def test_subscribers_get_what_they_may_see() -> None:
    audit = audit_of(EventStore())
    everything = audit.subscribe()
    hers = audit.subscribe(Wanted(tenant="alice"))
    one = audit.subscribe(Wanted(sandbox_id="sb_2"))
    audit.record("act", ALICE, "a", "sb_1")
    audit.record("act", BOB, "b", "sb_2")
    await audit.flush()
    for subscription in (everything, hers, one):
        subscription.close()
    assert [event.outcome async for event in everything] == ["a", "b"]
    assert [event.seq async for event in hers] == [1]
    assert [event.outcome async for event in one] == ["b"]


async def test_a_subscriber_waits_for_news() -> None:
    audit = audit_of(EventStore())
    async with aclosing(audit.subscribe()) as events:
        heard: list[str] = []

        async def listen() -> None:
            heard.append((await anext(events)).outcome)

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            await checkpoint()
            audit.record("act", ALICE, "ok")
            await audit.flush()
        assert heard == ["ok"]
    with pytest.raises(StopAsyncIteration):
        await anext(events)


async def test_a_subscriber_that_falls_behind_is_cut_off() -> None:
    audit = audit_of(EventStore())
    slow = audit.subscribe(capacity=2)
    for number in range(4):
        audit.record("act", ALICE, str(number))
    await audit.flush()
    assert [event.outcome async for event in slow] == ["0", "1"]


async def test_subscriptions_end_with_the_server() -> None:
    async with audit_of(EventStore()) as audit:
        events = audit.subscribe()
        audit.record("act", ALICE, "last")
    assert [event.outcome async for event in events] == ["last"]

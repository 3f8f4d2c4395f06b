"""Cases: many writers at the same time."""

from collections import Counter
from dataclasses import replace

import anyio
import anyio.lowlevel

from atoll.core.errors import Conflict, PreconditionFailed
from atoll.core.records import Event, SandboxRecord
from atoll.core.states import State
from atoll.core.store import Store
from atoll.testing.store.cases import StoreCases, outcomes
from atoll.testing.store.samples import (
    TENANT,
    claim,
    ended,
    event,
    post_mortem,
    process,
    sandbox,
)

WRITERS = 24


class RaceCases(StoreCases):
    """What holds while others write."""

    async def test_one_of_many_stale_writers_wins(self, store: Store) -> None:
        record = sandbox(1)
        await store.add_sandbox(record)
        results = await outcomes(
            store.save_sandbox(replace(record, image=f"i{n}")) for n in range(WRITERS)
        )
        won = [r for r in results if isinstance(r, SandboxRecord)]
        assert len(won) == 1
        assert sum(isinstance(r, PreconditionFailed) for r in results) == WRITERS - 1
        assert await store.get_sandbox(TENANT, record.id) == won[0]

    async def test_no_increment_is_lost(self, store: Store) -> None:
        record = sandbox(1, labels={"n": "0"})
        await store.add_sandbox(record)

        async def increment() -> None:
            while True:
                now = await store.get_sandbox(TENANT, record.id)
                assert now is not None
                labels = {"n": str(int(now.labels["n"]) + 1)}
                try:
                    await store.save_sandbox(replace(now, labels=labels))
                except PreconditionFailed:
                    continue
                return

        async with anyio.create_task_group() as group:
            for _ in range(WRITERS):
                group.start_soon(increment)
        now = await store.get_sandbox(TENANT, record.id)
        assert now is not None
        assert now.labels == {"n": str(WRITERS)}
        assert now.version == WRITERS + 1

    async def test_touches_and_saves_do_not_hinder_each_other(self, store: Store) -> None:
        record = sandbox(1, last_used_at=0.0)
        await store.add_sandbox(record)
        results = await outcomes(
            [
                store.save_sandbox(replace(record, state=State.RUNNING)),
                *(store.touch_sandbox(record.id, float(n)) for n in range(WRITERS)),
            ]
        )
        assert isinstance(results[0], SandboxRecord)
        now = await store.get_sandbox(TENANT, record.id)
        assert now is not None
        assert (now.version, now.last_used_at) == (2, float(WRITERS - 1))

    async def test_one_of_many_gets_the_name(self, store: Store) -> None:
        results = await outcomes(store.add_sandbox(sandbox(n, name="n")) for n in range(WRITERS))
        assert results.count(None) == 1
        assert sum(isinstance(r, Conflict) for r in results) == WRITERS - 1
        winner = await store.get_sandbox(TENANT, "n")
        assert list(await store.list_sandboxes(TENANT)) == [winner]
        assert winner == sandbox(results.index(None), name="n")

    async def test_one_of_many_renames_gets_the_name(self, store: Store) -> None:
        records = [sandbox(n) for n in range(WRITERS)]
        for record in records:
            await store.add_sandbox(record)
        results = await outcomes(store.save_sandbox(replace(r, name="n")) for r in records)
        assert sum(isinstance(r, SandboxRecord) for r in results) == 1
        assert sum(isinstance(r, Conflict) for r in results) == WRITERS - 1

    async def test_one_of_many_claims_wins(self, store: Store) -> None:
        claims = [claim(result=f"sb_{n}") for n in range(WRITERS)]
        results = await outcomes(store.claim(c) for c in claims)
        assert results.count(None) == 1
        winner = claims[results.index(None)]
        assert all(r == winner for r in results if r is not None)

    async def test_a_claim_that_is_given_up_goes_to_another(self, store: Store) -> None:
        holders: list[int] = []

        async def hold(n: int) -> None:
            while await store.claim(claim(result=str(n))) is not None:
                await anyio.lowlevel.checkpoint()
            holders.append(n)
            assert len(holders) == 1
            holders.remove(n)
            await store.unclaim(TENANT, "k")

        async with anyio.create_task_group() as group:
            for n in range(6):
                group.start_soon(hold, n)
        assert await store.claim(claim()) is None

    async def test_the_first_post_mortem_stays(self, store: Store) -> None:
        records = [post_mortem("sb_1", detail=str(n)) for n in range(WRITERS)]
        assert await outcomes(store.add_post_mortem(r) for r in records) == [None] * WRITERS
        first = await store.get_post_mortem(TENANT, "sb_1")
        assert first in records
        await store.add_post_mortem(post_mortem("sb_1", detail="later"))
        assert await store.get_post_mortem(TENANT, "sb_1") == first

    async def test_a_process_number_is_given_once(self, store: Store) -> None:
        await store.add_sandbox(sandbox(1))
        records = [process(sandbox(1).id, 1, cwd=f"/{n}") for n in range(WRITERS)]
        results = await outcomes(store.add_process(r) for r in records)
        assert results.count(None) == 1
        stored = await store.get_process(sandbox(1).id, 1)
        assert stored == records[results.index(None)]

    async def test_events_have_numbers_of_their_own_in_order(self, store: Store) -> None:
        batches = [[event(f"{b}.{n}") for n in range(5)] for b in range(WRITERS)]
        results = await outcomes(store.add_events(batch) for batch in batches)
        for batch, written in zip(batches, results, strict=True):
            assert [e.action for e in written] == [e.action for e in batch]
            assert [e.seq for e in written] == sorted({e.seq for e in written})
        stored = list(await store.list_events(limit=1000))
        assert sorted((e for r in results for e in r), key=lambda e: e.seq) == stored
        assert len({e.seq for e in stored}) == 5 * WRITERS

    async def test_who_follows_the_events_misses_none(self, store: Store) -> None:
        followed: list[Event] = []
        total = 5 * WRITERS

        async def follow() -> None:
            last = 0
            while len(followed) < total:
                page = await store.list_events(TENANT, after_seq=last, limit=7)
                followed.extend(page)
                last = page[-1].seq if page else last

        with anyio.fail_after(15):
            async with anyio.create_task_group() as group:
                group.start_soon(follow)
                for n in range(WRITERS):
                    group.start_soon(store.add_events, [event(f"{n}")] * 5)
        assert Counter(e.action for e in followed) == {str(n): 5 for n in range(WRITERS)}

    async def test_readers_and_writers_together(self, store: Store) -> None:
        """A mix of everything, in which each one reads what it has written."""

        async def live(n: int) -> None:
            record = sandbox(n, name=f"n{n}")
            await store.add_sandbox(record)
            assert await store.get_sandbox(TENANT, f"n{n}") == record
            running = await store.save_sandbox(replace(record, state=State.RUNNING))
            assert await store.get_sandbox(TENANT, record.id) == running
            await store.add_process(process(record.id, 1))
            await store.add_events([event(sandbox_id=record.id)])
            await store.save_process(ended(process(record.id, 1)))
            assert await store.get_process(record.id, 1) == ended(process(record.id, 1))
            assert len(await store.list_events(sandbox_id=record.id)) == 1
            await store.save_sandbox(replace(running, state=State.DESTROYED))
            assert await store.get_sandbox(TENANT, f"n{n}") is None

        async with anyio.create_task_group() as group:
            for n in range(WRITERS):
                group.start_soon(live, n)
        assert await store.count_sandboxes(TENANT) == 0

    async def test_cancelled_callers_do_no_harm(self, store: Store) -> None:
        for n in range(40):
            with anyio.move_on_after(n * 0.0001):
                await store.add_sandbox(sandbox(n, name=f"n{n}"))
                await store.add_events([event(), event()])
        for n in range(40):
            by_id = await store.get_sandbox(TENANT, sandbox(n).id)
            assert by_id == await store.get_sandbox(TENANT, f"n{n}")
            assert by_id is None or by_id == sandbox(n, name=f"n{n}")
        assert len(await store.list_events()) % 2 == 0
        await store.add_sandbox(sandbox(100))

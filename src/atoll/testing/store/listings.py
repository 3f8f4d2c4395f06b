"""Cases: lists of sandboxes, their pages and filters; pruning."""

from dataclasses import replace

import pytest

from atoll.core.errors import InvalidRequest
from atoll.core.records import SandboxRecord
from atoll.core.states import TERMINAL, State
from atoll.core.store import Store
from atoll.testing.store.cases import StoreCases
from atoll.testing.store.samples import (
    ODD_TEXTS,
    OTHER,
    TENANT,
    event,
    post_mortem,
    process,
    sandbox,
)


async def _pages(store: Store, limit: int, after: str | None = None) -> list[SandboxRecord]:
    found: list[SandboxRecord] = []
    while page := await store.list_sandboxes(TENANT, after=after, limit=limit):
        assert len(page) <= limit
        found += page
        after = page[-1].id
    return found


class ListingCases(StoreCases):
    """list_sandboxes and prune."""

    async def test_ordered_by_id_and_of_one_tenant(self, store: Store) -> None:
        records = [sandbox(n, tenant=TENANT if n % 3 else OTHER) for n in range(10)]
        for record in reversed(records):
            await store.add_sandbox(record)
        assert list(await store.list_sandboxes()) == records
        assert list(await store.list_sandboxes(TENANT)) == [
            r for r in records if r.tenant == TENANT
        ]
        assert list(await store.list_sandboxes(OTHER)) == [r for r in records if r.tenant == OTHER]

    async def test_ids_are_ordered_by_code_point(self, store: Store) -> None:
        ids = ["sb_A", "sb_B", "sb__", "sb_a", "sb_b", "sb_é", "sb_日"]
        for name in sorted(ids, reverse=True):
            await store.add_sandbox(replace(sandbox(0), id=name))
        assert [r.id for r in await store.list_sandboxes(TENANT)] == sorted(ids)
        assert [r.id for r in await store.list_sandboxes(TENANT, after="sb_B")] == sorted(ids)[2:]

    async def test_pages_are_complete(self, store: Store) -> None:
        records = [sandbox(n) for n in range(23)]
        for record in records:
            await store.add_sandbox(record)
        for limit in (1, 7, 23, 100):
            assert await _pages(store, limit) == records
        assert len(await store.list_sandboxes(TENANT, limit=5)) == 5

    async def test_pages_are_stable_while_others_write(self, store: Store) -> None:
        before = [sandbox(n) for n in range(0, 40, 2)]
        for record in before:
            await store.add_sandbox(record)
        first = list(await store.list_sandboxes(TENANT, limit=10))
        await store.add_sandbox(sandbox(1))
        await store.add_sandbox(sandbox(41))
        await store.save_sandbox(replace(first[-1], state=State.DESTROYED))
        rest = await _pages(store, 10, after=first[-1].id)
        assert [r.id for r in [*first, *rest]] == [r.id for r in [*before, sandbox(41)]]

    async def test_a_page_after_an_id_that_is_gone_or_never_was(self, store: Store) -> None:
        await store.add_sandbox(sandbox(5))
        assert [r.id for r in await store.list_sandboxes(TENANT, after="sb_00000004")] == [
            sandbox(5).id
        ]
        assert list(await store.list_sandboxes(TENANT, after="zzz")) == []
        assert len(await store.list_sandboxes(TENANT, after="\0")) == 1

    async def test_a_limit_out_of_range_is_refused(self, store: Store) -> None:
        for limit in (0, -1, 2**70):
            with pytest.raises(InvalidRequest):
                await store.list_sandboxes(TENANT, limit=limit)

    async def test_states(self, store: Store) -> None:
        for number, state in enumerate(State):
            await store.add_sandbox(sandbox(number, state=state))
        living = {r.state for r in await store.list_sandboxes(TENANT)}
        assert living == set(State) - TERMINAL
        for states in ([State.RUNNING], [State.LOST], [State.PAUSED, State.DESTROYED]):
            found = await store.list_sandboxes(TENANT, states=states)
            assert sorted(r.state for r in found) == sorted(states)
        assert list(await store.list_sandboxes(TENANT, states=[])) == []

    async def test_all_labels_must_match(self, store: Store) -> None:
        await store.add_sandbox(sandbox(1, labels={"a": "1", "b": "2"}))
        await store.add_sandbox(sandbox(2, labels={"a": "1"}))
        await store.add_sandbox(sandbox(3, labels={"a": "2", "1": "a"}))
        await store.add_sandbox(sandbox(4))

        async def matching(**labels: str) -> list[int]:
            found = await store.list_sandboxes(TENANT, labels=labels)
            return [int(r.id.removeprefix("sb_")) for r in found]

        assert await matching() == [1, 2, 3, 4]
        assert await matching(a="1") == [1, 2]
        assert await matching(a="1", b="2") == [1]
        assert await matching(a="1", b="1") == []
        assert await matching(a="") == []
        assert await matching(a="12") == []

    async def test_odd_labels_match_exactly(self, store: Store) -> None:
        for number, text in enumerate(ODD_TEXTS):
            await store.add_sandbox(sandbox(number, labels={text: text, "n": text}))
        for number, text in enumerate(ODD_TEXTS):
            for labels in ({text: text}, {"n": text}, {text: text, "n": text}):
                found = await store.list_sandboxes(TENANT, labels=labels)
                assert [r.id for r in found] == [sandbox(number).id], repr(text)

    async def test_labels_run_into_each_other_in_no_way(self, store: Store) -> None:
        await store.add_sandbox(sandbox(1, labels={"ab": "c", "x": 'y","k":"v'}))
        for labels in ({"a": "bc"}, {"abc": ""}, {"k": "v"}, {"x": "y"}):
            assert list(await store.list_sandboxes(TENANT, labels=labels)) == []

    async def test_new_labels_replace_the_old(self, store: Store) -> None:
        record = sandbox(1, labels={"a": "1"})
        await store.add_sandbox(record)
        saved = await store.save_sandbox(replace(record, labels={"b": "2"}))
        assert list(await store.list_sandboxes(TENANT, labels={"a": "1"})) == []
        assert list(await store.list_sandboxes(TENANT, labels={"b": "2"})) == [saved]

    async def test_filters_and_pages_together(self, store: Store) -> None:
        for n in range(30):
            await store.add_sandbox(sandbox(n, labels={"odd": str(n % 2)}))
        page = await store.list_sandboxes(
            TENANT, states=[State.CREATING], labels={"odd": "1"}, after=sandbox(10).id, limit=3
        )
        assert [r.id for r in page] == [sandbox(n).id for n in (11, 13, 15)]

    async def test_prune_takes_what_ended_before(self, store: Store) -> None:
        old = sandbox(1, state=State.DESTROYED, last_used_at=10.0)
        used_long_ago_ended_late = sandbox(2, state=State.DESTROYED, last_used_at=10.0)
        failed = sandbox(3, state=State.FAILED, last_used_at=20.0)
        later = sandbox(4, state=State.LOST, last_used_at=200.0)
        living = sandbox(5, state=State.STOPPED, last_used_at=1.0)
        for record in (old, used_long_ago_ended_late, failed, later, living):
            await store.add_sandbox(record)
            await store.add_process(process(record.id, 1))
        await store.add_post_mortem(post_mortem(old.id, at=50.0))
        await store.add_post_mortem(post_mortem(used_long_ago_ended_late.id, at=150.0))
        await store.add_events([event(sandbox_id=old.id)])
        assert await store.prune(100.0) == 2
        for record in (old, failed):
            assert await store.get_sandbox(TENANT, record.id) is None
            assert list(await store.list_processes(record.id)) == []
        for record in (used_long_ago_ended_late, later, living):
            assert await store.get_sandbox(TENANT, record.id) == record
            assert len(await store.list_processes(record.id)) == 1
        assert await store.get_post_mortem(TENANT, old.id) is not None
        assert len(await store.list_events(sandbox_id=old.id)) == 1
        assert await store.prune(100.0) == 0

    async def test_prune_of_many(self, store: Store) -> None:
        for n in range(450):
            await store.add_sandbox(sandbox(n, state=State.DESTROYED, last_used_at=1.0))
        assert await store.prune(2.0) == 450

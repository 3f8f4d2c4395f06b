"""Cases: the events' chain of hashes, what a search for events finds, and pruning."""

from dataclasses import replace

from atoll.core.chain import GENESIS, PRUNE, Check, Head, digest
from atoll.core.store import Store
from atoll.testing.store.cases import StoreCases
from atoll.testing.store.samples import ODD_TEXTS, OTHER, event

NEVER = float("-inf")
MANY = 2**60


async def checked(store: Store, *heads: Head) -> Check:
    """All that is there, gone through in pages."""
    check = Check(await store.events_head(), *heads)
    after = 0
    while page := await store.list_events(after_seq=after, limit=7):
        for each in page:
            check.see(each)
        after = page[-1].seq
    check.finish()
    return check


class ChainCases(StoreCases):
    """What makes the audit log more than a table."""

    async def test_each_event_has_the_hash_of_the_one_before(self, store: Store) -> None:
        assert await store.events_head() == Head()
        first = list(await store.add_events([event("1"), event("2")]))
        then = list(await store.add_events([event("3", at=7)]))
        written = first + then
        assert [e.seq for e in written] == [1, 2, 3]
        assert [e.previous for e in written] == [GENESIS, written[0].hash, written[1].hash]
        assert [digest(e) for e in written] == [e.hash for e in written]
        assert await store.events_head() == Head(3, written[2].hash)
        assert (await checked(store)).fault is None

    async def test_the_hash_is_of_all_that_an_event_says(self, store: Store) -> None:
        (one,) = await store.add_events([event("a", sandbox_id="sb_1", detail={"k": "v"})])
        others = [
            replace(one, seq=2),
            replace(one, at=one.at + 1e-6),
            replace(one, tenant="x"),
            replace(one, actor="x"),
            replace(one, action="x"),
            replace(one, outcome="x"),
            replace(one, sandbox_id=None),
            replace(one, detail={}),
            replace(one, detail={"kv": ""}),
            replace(one, previous=one.hash),
        ]
        assert len({one.hash, *map(digest, others)}) == 1 + len(others)

    async def test_odd_texts_are_in_the_chain_as_they_are(self, store: Store) -> None:
        await store.add_events([event(text, actor=text, detail={text: text}) for text in ODD_TEXTS])
        check = await checked(store)
        assert check.fault is None
        assert check.count == len(ODD_TEXTS)

    async def test_a_search_for_actions_and_times(self, store: Store) -> None:
        names = ["sandbox.create", "sandbox.stop", "sandboxes", "run", "Sandbox.create", "sandbox/"]
        await store.add_events([event(name, at=float(n)) for n, name in enumerate(names)])

        async def found(
            *actions: str, since: float | None = None, until: float | None = None
        ) -> list[str]:
            page = await store.list_events(actions=actions, since=since, until=until)
            return [e.action for e in page]

        assert await found("sandbox.*") == ["sandbox.create", "sandbox.stop"]
        assert await found("run", "sandbox.stop") == ["sandbox.stop", "run"]
        assert await found("sand%") == await found("sandbox_create") == []
        assert await found(since=1.0, until=3.0) == ["sandbox.stop", "sandboxes"]
        assert await found("sandbox.*", since=1.0) == ["sandbox.stop"]
        assert await found() == names

    async def test_pruning_by_age_keeps_the_chain_whole(self, store: Store) -> None:
        written = list(await store.add_events([event(f"{n}", at=float(n)) for n in range(10)]))
        note = event(PRUNE, tenant=OTHER, at=99.0)
        assert await store.prune_events(note, before=NEVER, at_most=MANY) == 0
        assert await store.prune_events(note, before=4.0, at_most=MANY) == 4
        assert await store.prune_events(note, before=4.0, at_most=MANY) == 0
        left = list(await store.list_events())
        assert left[:-1] == written[4:]
        assert left[-1].action == PRUNE
        assert left[-1].detail == {"through": "4", "hash": written[3].hash, "events": "4"}
        check = await checked(store)
        assert (check.fault, check.count) == (None, 7)

    async def test_pruning_by_number(self, store: Store) -> None:
        await store.add_events([event(f"{n}") for n in range(10)])
        note = event(PRUNE)
        assert await store.prune_events(note, before=NEVER, at_most=10) == 0
        assert await store.prune_events(note, before=NEVER, at_most=3) == 8
        assert [e.action for e in await store.list_events()] == ["8", "9", PRUNE]
        assert await store.prune_events(note, before=NEVER, at_most=3) == 0
        assert await store.prune_events(note, before=NEVER, at_most=1) == 3
        assert (await checked(store)).fault is None

    async def test_an_old_event_behind_a_new_one_waits_for_it(self, store: Store) -> None:
        await store.add_events([event("new", at=9.0), event("old", at=1.0)])
        assert await store.prune_events(event(PRUNE), before=5.0, at_most=MANY) == 0

    async def test_all_may_be_pruned(self, store: Store) -> None:
        await store.add_events([event("1"), event("2")])
        assert await store.prune_events(event(PRUNE), before=2.0**40, at_most=MANY) == 2
        (last,) = await store.list_events()
        assert (last.seq, last.detail["through"]) == (3, "2")
        assert (await checked(store)).fault is None

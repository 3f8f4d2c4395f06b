"""Cases: events, keys, claims."""

import pytest

from atoll.core.errors import Conflict, InvalidRequest
from atoll.core.store import Store
from atoll.testing.store.cases import StoreCases
from atoll.testing.store.samples import ODD_TEXTS, OTHER, TENANT, claim, event, key


class EventCases(StoreCases):
    """The audit log."""

    async def test_events_come_back_in_order_with_numbers(self, store: Store) -> None:
        given = [event(f"{n}", sandbox_id="sb_1", detail={"n": str(n)}, seq=77) for n in range(5)]
        written = list(await store.add_events(given[:3])) + list(await store.add_events(given[3:]))
        assert [e.action for e in written] == [e.action for e in given]
        numbers = [e.seq for e in written]
        assert numbers == sorted(set(numbers))
        assert numbers[0] > 0
        assert list(await store.list_events()) == written
        assert list(await store.add_events([])) == []

    async def test_events_after_a_number(self, store: Store) -> None:
        written = list(await store.add_events([event(f"{n}") for n in range(10)]))
        page = list(await store.list_events(after_seq=written[3].seq, limit=4))
        assert page == written[4:8]
        assert list(await store.list_events(after_seq=-(2**70))) == written
        for beyond in (written[-1].seq, 2**63, 2**80):
            assert list(await store.list_events(after_seq=beyond)) == []
        for limit in (0, -1):
            with pytest.raises(InvalidRequest):
                await store.list_events(limit=limit)

    async def test_events_of_a_tenant_and_of_a_sandbox(self, store: Store) -> None:
        given = [
            event("1", sandbox_id="sb_1"),
            event("2", sandbox_id="sb_2"),
            event("3", tenant=OTHER, sandbox_id="sb_1"),
            event("4"),
        ]
        await store.add_events(given)

        async def actions(tenant: str | None = None, sandbox_id: str | None = None) -> list[str]:
            found = await store.list_events(tenant, sandbox_id=sandbox_id)
            return [e.action for e in found]

        assert await actions() == ["1", "2", "3", "4"]
        assert await actions(TENANT) == ["1", "2", "4"]
        assert await actions(TENANT, "sb_1") == ["1"]
        assert await actions(sandbox_id="sb_1") == ["1", "3"]
        assert await actions("nobody") == []

    async def test_whatever_a_caller_sent_can_be_audited(self, store: Store) -> None:
        texts = [*ODD_TEXTS, "x" * 100_000]
        given = [
            event(text, actor=text, outcome=text, sandbox_id=text, detail={text: text})
            for text in texts
        ]
        written = list(await store.add_events(given))
        assert list(await store.list_events()) == written
        for text, one in zip(texts, written, strict=True):
            assert one.sandbox_id == text
            assert list(await store.list_events(sandbox_id=text)) == [one]


class KeyCases(StoreCases):
    """API keys."""

    async def test_a_key_is_found_by_its_digest(self, store: Store) -> None:
        plain = key(1)
        full = key(2, admin=True, expires_at=5.5, max_sandboxes=3, max_concurrent=2**40)
        for record in (plain, full):
            await store.add_key(record)
            assert await store.find_key(record.digest) == record
        assert await store.find_key("0") is None
        assert await store.find_key("\0") is None

    async def test_keys_are_listed_per_tenant(self, store: Store) -> None:
        records = [key(1), key(2, tenant=OTHER), key(3)]
        for record in reversed(records):
            await store.add_key(record)
        assert list(await store.list_keys()) == records
        assert list(await store.list_keys(TENANT)) == [records[0], records[2]]
        assert list(await store.list_keys("nobody")) == []

    async def test_ids_and_digests_are_unique(self, store: Store) -> None:
        await store.add_key(key(1))
        for taken in (key(1, digest="other"), key(2, digest=key(1).digest, tenant=OTHER)):
            with pytest.raises(Conflict):
                await store.add_key(taken)
        assert list(await store.list_keys()) == [key(1)]

    async def test_a_dropped_key_is_gone(self, store: Store) -> None:
        await store.add_key(key(1))
        assert await store.drop_key(key(1).id) is True
        assert await store.drop_key(key(1).id) is False
        assert await store.find_key(key(1).digest) is None

    async def test_odd_key_names_come_back_exactly(self, store: Store) -> None:
        for number, text in enumerate(ODD_TEXTS):
            await store.add_key(key(number, name=text))
        assert [k.name for k in await store.list_keys()] == list(ODD_TEXTS)


class ClaimCases(StoreCases):
    """Idempotency keys."""

    async def test_the_first_claim_stays(self, store: Store) -> None:
        first = claim(result="sb_1")
        assert await store.claim(first) is None
        assert await store.claim(claim(result="sb_2", request_digest="e", at=9.0)) == first
        assert await store.claim(first) == first

    async def test_claims_are_per_tenant_and_key(self, store: Store) -> None:
        assert await store.claim(claim()) is None
        assert await store.claim(claim(tenant=OTHER)) is None
        assert await store.claim(claim("K")) is None

    async def test_odd_keys_are_exact_or_refused(self, store: Store) -> None:
        for text in [*ODD_TEXTS, "k" * 100_000]:
            try:
                assert await store.claim(claim(text, result=text)) is None
            except InvalidRequest:
                continue
            assert await store.claim(claim(text)) == claim(text, result=text)

    async def test_a_huge_result(self, store: Store) -> None:
        huge = claim(result="r" * 1_000_000)
        assert await store.claim(huge) is None
        assert await store.claim(claim()) == huge

    async def test_an_unclaimed_key_is_free(self, store: Store) -> None:
        await store.claim(claim())
        await store.claim(claim(tenant=OTHER))
        await store.unclaim(TENANT, "k")
        await store.unclaim(TENANT, "k")
        assert await store.claim(claim(result="new")) is None
        assert await store.claim(claim(tenant=OTHER)) == claim(tenant=OTHER)

    async def test_old_claims_are_forgotten(self, store: Store) -> None:
        for n in range(5):
            await store.claim(claim(f"k{n}", at=float(n)))
        assert await store.forget_claims(3.0) == 3
        assert await store.forget_claims(3.0) == 0
        assert await store.claim(claim("k2", at=9.0)) is None
        assert await store.claim(claim("k3", at=9.0)) == claim("k3", at=3.0)

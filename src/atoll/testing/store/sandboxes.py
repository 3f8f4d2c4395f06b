"""Cases: one sandbox at a time."""

from dataclasses import replace

import pytest

from atoll.core.errors import Conflict, InvalidRequest, NotFound, PreconditionFailed, QuotaExceeded
from atoll.core.model import Limits, NetworkPolicy
from atoll.core.records import SandboxRecord
from atoll.core.states import TERMINAL, State
from atoll.core.store import Store
from atoll.testing.store.cases import StoreCases
from atoll.testing.store.samples import ODD_TEXTS, OTHER, TENANT, full_sandbox, sandbox


class SandboxCases(StoreCases):
    """add, get, save, touch, count."""

    async def test_every_field_comes_back(self, store: Store) -> None:
        for record in (sandbox(1), full_sandbox(2)):
            await store.add_sandbox(record)
            assert await store.get_sandbox(TENANT, record.id) == record

    async def test_a_living_sandbox_is_found_by_its_name(self, store: Store) -> None:
        record = sandbox(1, name="n")
        await store.add_sandbox(record)
        assert await store.get_sandbox(TENANT, "n") == record
        assert await store.get_sandbox(TENANT, "N") is None
        assert await store.get_sandbox(TENANT, "") is None

    async def test_an_id_goes_before_a_name(self, store: Store) -> None:
        first, second = sandbox(1), sandbox(2, name="sb_00000001")
        await store.add_sandbox(first)
        await store.add_sandbox(second)
        assert await store.get_sandbox(TENANT, "sb_00000001") == first

    async def test_tenants_never_see_each_others(self, store: Store) -> None:
        record = sandbox(1, name="n")
        await store.add_sandbox(record)
        assert await store.get_sandbox(OTHER, record.id) is None
        assert await store.get_sandbox(OTHER, "n") is None
        assert await store.list_sandboxes(OTHER) == []
        assert await store.count_sandboxes(OTHER) == 0
        with pytest.raises(NotFound):
            await store.save_sandbox(replace(record, tenant=OTHER))
        assert await store.get_sandbox(TENANT, "n") == record

    async def test_an_id_exists_once(self, store: Store) -> None:
        record = sandbox(1)
        await store.add_sandbox(record)
        for tenant in (TENANT, OTHER):
            with pytest.raises(Conflict):
                await store.add_sandbox(replace(record, tenant=tenant, image="x"))
        assert await store.get_sandbox(TENANT, record.id) == record

    async def test_a_name_is_taken_while_its_sandbox_lives(self, store: Store) -> None:
        await store.add_sandbox(sandbox(1, name="n", state=State.STOPPED))
        with pytest.raises(Conflict):
            await store.add_sandbox(sandbox(2, name="n"))
        assert await store.get_sandbox(TENANT, sandbox(2).id) is None
        await store.add_sandbox(sandbox(3, name="n", tenant=OTHER))
        await store.add_sandbox(sandbox(4))
        await store.add_sandbox(sandbox(5))

    async def test_a_name_is_free_after_the_end(self, store: Store) -> None:
        for number, state in enumerate(sorted(TERMINAL), start=1):
            old = sandbox(number, name="n")
            await store.add_sandbox(old)
            gone = await store.save_sandbox(replace(old, state=state))
            assert await store.get_sandbox(TENANT, "n") is None
            assert await store.get_sandbox(TENANT, old.id) == gone
            assert gone.name == "n"
        new = sandbox(100, name="n")
        await store.add_sandbox(new)
        assert await store.get_sandbox(TENANT, "n") == new

    async def test_save_writes_every_field(self, store: Store) -> None:
        await store.add_sandbox(sandbox(1))
        wanted = replace(full_sandbox(1), version=1)
        saved = await store.save_sandbox(wanted)
        assert saved == replace(wanted, version=2)
        assert await store.get_sandbox(TENANT, wanted.id) == saved
        plain = replace(
            saved,
            name=None,
            env={},
            labels={},
            base=None,
            idle_timeout_s=None,
            expires_at=None,
            limits=Limits(),
            network=NetworkPolicy(),
        )
        assert await store.save_sandbox(plain) == replace(plain, version=3)
        assert await store.get_sandbox(TENANT, wanted.id) == replace(plain, version=3)

    async def test_a_stale_version_changes_nothing(self, store: Store) -> None:
        record = sandbox(1)
        await store.add_sandbox(record)
        saved = await store.save_sandbox(replace(record, state=State.RUNNING))
        for version in (1, 0, -1, 3, 2**63 - 1, 2**70):
            with pytest.raises(PreconditionFailed):
                await store.save_sandbox(replace(record, image="x", version=version))
        assert await store.get_sandbox(TENANT, record.id) == saved

    async def test_save_of_an_unknown_one(self, store: Store) -> None:
        with pytest.raises(NotFound):
            await store.save_sandbox(sandbox(1))
        assert await store.get_sandbox(TENANT, sandbox(1).id) is None

    async def test_renaming(self, store: Store) -> None:
        one, two = sandbox(1, name="one"), sandbox(2, name="two")
        await store.add_sandbox(one)
        await store.add_sandbox(two)
        with pytest.raises(Conflict):
            await store.save_sandbox(replace(two, name="one", image="x"))
        assert await store.get_sandbox(TENANT, two.id) == two
        await store.save_sandbox(replace(one, name="uno"))
        await store.save_sandbox(replace(two, name="one"))
        found = await store.get_sandbox(TENANT, "one")
        assert found is not None
        assert found.id == two.id

    async def test_touch_only_raises(self, store: Store) -> None:
        record = sandbox(1, last_used_at=100.0)
        await store.add_sandbox(record)
        for at, expected in ((200.5, 200.5), (150.0, 200.5), (201.0, 201.0)):
            await store.touch_sandbox(record.id, at)
            assert await store.get_sandbox(TENANT, record.id) == replace(
                record, last_used_at=expected
            )
        await store.touch_sandbox("sb_unknown", 1.0)

    async def test_a_save_does_not_take_a_touch_back(self, store: Store) -> None:
        record = sandbox(1, last_used_at=100.0)
        await store.add_sandbox(record)
        await store.touch_sandbox(record.id, 200.0)
        saved = await store.save_sandbox(replace(record, state=State.RUNNING))
        assert saved.last_used_at == 200.0
        saved = await store.save_sandbox(replace(saved, last_used_at=300.0))
        assert await store.get_sandbox(TENANT, record.id) == saved
        assert saved.last_used_at == 300.0

    async def test_count_is_of_the_living(self, store: Store) -> None:
        for number, state in enumerate(State, start=1):
            await store.add_sandbox(sandbox(number, state=state))
        await store.add_sandbox(sandbox(50, tenant=OTHER))
        assert await store.count_sandboxes(TENANT) == len(State) - len(TERMINAL)
        assert await store.count_sandboxes("nobody") == 0

    async def test_a_tenant_has_a_bound(self, store: Store) -> None:
        await store.add_sandbox(sandbox(1, state=State.DESTROYED), most=1)
        await store.add_sandbox(sandbox(2), most=1)
        with pytest.raises(QuotaExceeded, match="has 1 sandboxes, and may have 1"):
            await store.add_sandbox(sandbox(3), most=1)
        assert await store.get_sandbox(TENANT, sandbox(3).id) is None
        await store.add_sandbox(sandbox(3), most=2)
        await store.add_sandbox(sandbox(4, tenant=OTHER), most=1)
        with pytest.raises(Conflict):
            await store.add_sandbox(sandbox(3), most=3)

    async def test_odd_strings_come_back_exactly(self, store: Store) -> None:
        both = dict(zip(ODD_TEXTS, reversed(ODD_TEXTS), strict=True))
        record = sandbox(1, env=both, labels=both)
        await store.add_sandbox(record)
        assert await store.get_sandbox(TENANT, record.id) == record

    async def test_odd_names_are_exact_or_refused(self, store: Store) -> None:
        added: list[SandboxRecord] = []
        for number, name in enumerate(ODD_TEXTS):
            record = sandbox(number, name=name)
            try:
                await store.add_sandbox(record)
            except InvalidRequest:
                assert await store.get_sandbox(TENANT, record.id) is None
                assert await store.get_sandbox(TENANT, name) is None
            else:
                added.append(record)
        for record in added:
            assert record.name is not None
            assert await store.get_sandbox(TENANT, record.name) == record

    async def test_huge_values(self, store: Store) -> None:
        huge = "é" * 500_000
        record = sandbox(1, env={"HUGE": huge}, labels={huge: huge})
        await store.add_sandbox(record)
        assert await store.get_sandbox(TENANT, record.id) == record
        assert await store.list_sandboxes(TENANT, labels={huge: huge}) == [record]
        assert await store.get_sandbox(TENANT, huge) is None

    async def test_a_huge_name_is_exact_or_refused(self, store: Store) -> None:
        record = sandbox(1, name="n" * 100_000)
        try:
            await store.add_sandbox(record)
        except InvalidRequest as error:
            assert error.field == "name"
        else:
            assert await store.get_sandbox(TENANT, "n" * 100_000) == record
        await store.add_sandbox(sandbox(2))
        with_it = replace(sandbox(2), name="m" * 100_000)
        try:
            await store.save_sandbox(with_it)
        except InvalidRequest:
            assert await store.get_sandbox(TENANT, with_it.id) == sandbox(2)

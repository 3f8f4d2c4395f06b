"""Cases: processes, snapshots, post-mortems."""

from dataclasses import replace

import pytest

from atoll.core.errors import Conflict, InvalidRequest, NotFound
from atoll.core.model import Exit, ExitReason
from atoll.core.store import Store
from atoll.testing.store.cases import StoreCases
from atoll.testing.store.samples import (
    ODD_TEXTS,
    OTHER,
    TENANT,
    ended,
    post_mortem,
    process,
    sandbox,
    snapshot,
)

ID = sandbox(1).id


class ProcessCases(StoreCases):
    """Processes of persistent sandboxes."""

    async def test_every_field_of_a_process_comes_back(self, store: Store) -> None:
        await store.add_sandbox(sandbox(1))
        running = process(ID, 1, argv=("a", "", "b c"), cwd="/x", tty=True, background=True)
        done = ended(process(ID, 2))
        for record in (running, done):
            await store.add_process(record)
            assert await store.get_process(ID, record.number) == record
        await store.save_process(ended(running))
        assert await store.get_process(ID, 1) == ended(running)

    async def test_every_reason_and_code(self, store: Store) -> None:
        await store.add_sandbox(sandbox(1))
        for number, reason in enumerate(ExitReason, start=1):
            for code in (None, 0, 255):
                record = process(ID, number, exit=Exit(code, reason), ended_at=2.0)
                if code is None:
                    await store.add_process(record)
                else:
                    await store.save_process(record)
                assert await store.get_process(ID, number) == record

    async def test_processes_are_ordered_by_number(self, store: Store) -> None:
        await store.add_sandbox(sandbox(1))
        await store.add_sandbox(sandbox(2))
        for number in (10, 2, 1, 9):
            await store.add_process(process(ID, number))
        await store.add_process(process(sandbox(2).id, 1))
        assert [p.number for p in await store.list_processes(ID)] == [1, 2, 9, 10]
        assert list(await store.list_processes("sb_unknown")) == []

    async def test_a_number_is_taken_once_per_sandbox(self, store: Store) -> None:
        await store.add_sandbox(sandbox(1))
        await store.add_process(process(ID, 1))
        with pytest.raises(Conflict):
            await store.add_process(process(ID, 1, cwd="/other"))
        assert await store.get_process(ID, 1) == process(ID, 1)

    async def test_unknown_processes(self, store: Store) -> None:
        with pytest.raises(NotFound):
            await store.add_process(process(ID, 1))
        await store.add_sandbox(sandbox(1))
        with pytest.raises(NotFound):
            await store.save_process(process(ID, 1))
        for number in (1, 0, -1, 2**31, 2**63, 2**80):
            assert await store.get_process(ID, number) is None
        assert await store.get_process("sb_\0", 1) is None

    async def test_unfinished_are_those_without_an_exit(self, store: Store) -> None:
        for n in (1, 2):
            await store.add_sandbox(sandbox(n))
            await store.add_process(process(sandbox(n).id, 1))
            await store.add_process(ended(process(sandbox(n).id, 2)))
            await store.add_process(process(sandbox(n).id, 3))
        await store.save_process(ended(process(ID, 3)))
        found = {(p.sandbox_id, p.number) for p in await store.unfinished_processes()}
        assert found == {(ID, 1), (sandbox(2).id, 1), (sandbox(2).id, 3)}

    async def test_odd_arguments_come_back_exactly(self, store: Store) -> None:
        await store.add_sandbox(sandbox(1))
        for number, text in enumerate(ODD_TEXTS, start=1):
            await store.add_process(process(ID, number, argv=ODD_TEXTS, cwd=text))
            assert await store.get_process(ID, number) == process(
                ID, number, argv=ODD_TEXTS, cwd=text
            )

    async def test_a_huge_command_line(self, store: Store) -> None:
        await store.add_sandbox(sandbox(1))
        record = process(ID, 1, argv=("sh", "-c", "x" * 2_000_000), cwd="/" + "d" * 5000)
        await store.add_process(record)
        assert await store.get_process(ID, 1) == record


class SnapshotCases(StoreCases):
    """Frozen sandboxes."""

    async def test_a_snapshot_comes_back_by_id_and_by_name(self, store: Store) -> None:
        record = snapshot(1, name="n")
        await store.add_snapshot(record)
        assert await store.get_snapshot(TENANT, record.id) == record
        assert await store.get_snapshot(TENANT, "n") == record
        for wanted in (record.id, "n"):
            assert await store.get_snapshot(OTHER, wanted) is None
        assert await store.get_snapshot(TENANT, "\0") is None

    async def test_snapshot_names_are_unique_per_tenant(self, store: Store) -> None:
        await store.add_snapshot(snapshot(1, name="n"))
        for taken in (snapshot(2, name="n"), snapshot(1, name="m"), snapshot(1, tenant=OTHER)):
            with pytest.raises(Conflict):
                await store.add_snapshot(taken)
        await store.add_snapshot(snapshot(3, name="n", tenant=OTHER))
        await store.add_snapshot(snapshot(4))
        await store.add_snapshot(snapshot(5))
        assert [s.id for s in await store.list_snapshots()] == [
            snapshot(n).id for n in (1, 3, 4, 5)
        ]

    async def test_dropping_frees_the_name(self, store: Store) -> None:
        await store.add_snapshot(snapshot(1, name="n"))
        await store.drop_snapshot(snapshot(1).id)
        await store.drop_snapshot(snapshot(1).id)
        assert await store.get_snapshot(TENANT, "n") is None
        await store.add_snapshot(snapshot(2, name="n"))

    async def test_snapshots_in_pages(self, store: Store) -> None:
        for n in reversed(range(10)):
            await store.add_snapshot(snapshot(n, tenant=TENANT if n % 2 else OTHER))
        page = await store.list_snapshots(TENANT, limit=2)
        assert [s.id for s in page] == [snapshot(n).id for n in (1, 3)]
        page = await store.list_snapshots(TENANT, after=page[-1].id)
        assert [s.id for s in page] == [snapshot(n).id for n in (5, 7, 9)]
        with pytest.raises(InvalidRequest):
            await store.list_snapshots(TENANT, limit=0)


class PostMortemCases(StoreCases):
    """What remains of a sandbox."""

    async def test_a_post_mortem_comes_back_to_its_tenant(self, store: Store) -> None:
        for record in (post_mortem("sb_1"), post_mortem("sb_2", name=None)):
            await store.add_post_mortem(record)
            assert await store.get_post_mortem(TENANT, record.sandbox_id) == record
            assert await store.get_post_mortem(OTHER, record.sandbox_id) is None
        assert await store.get_post_mortem(TENANT, "sb_3") is None

    async def test_the_first_one_stays(self, store: Store) -> None:
        first = post_mortem("sb_1", ended_by="memory")
        await store.add_post_mortem(first)
        await store.add_post_mortem(replace(first, ended_by="client", at=9.0))
        assert await store.get_post_mortem(TENANT, "sb_1") == first

    async def test_last_output_is_exact(self, store: Store) -> None:
        output = "".join(ODD_TEXTS) + "é\0\udcff\\" * 100_000
        record = post_mortem("sb_1", last_output=output, detail=output)
        await store.add_post_mortem(record)
        assert await store.get_post_mortem(TENANT, "sb_1") == record

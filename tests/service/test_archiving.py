from pathlib import Path

import anyio
import pytest

from atoll.backends.fake import FakeBackend
from atoll.backends.fake.backend import CAPABILITIES
from atoll.core.errors import BackendFault, Conflict, NotFound, Unsupported
from atoll.core.states import State
from atoll.service.requests import ChangeSandbox
from tests.service.island import ALICE, BOB, Island, island

pytestmark = pytest.mark.anyio


async def kept(world: Island, name: str) -> bytes:
    content = b""
    async for piece in world.files.read(ALICE, name, "kept"):
        content += piece
    return content


async def test_one_that_is_archived_comes_back_on_its_next_use(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create("box")
        await world.files.write(ALICE, made.id, "kept", b"1")
        for _ in range(2):
            away = await world.sandboxes.archive(ALICE, "box")
            assert (away.state, away.archived_by) == (State.ARCHIVED, "client")
            assert away.archived_at == world.clock.at
        assert made.id in world.backend.packed
        assert [each.id for each in await world.sandboxes.list(ALICE)] == [made.id]
        assert (await world.sandboxes.stop(ALICE, "box")).state is State.ARCHIVED
        assert await kept(world, "box") == b"1"
        assert await world.state(made.id) is State.RUNNING
        assert not world.backend.packed
        await world.sandboxes.archive(ALICE, "box")
        assert (await world.sandboxes.start(ALICE, "box")).state is State.RUNNING
        assert (await world.actions()).count("sandbox.archive") == 3
        with pytest.raises(NotFound):
            await world.sandboxes.archive(BOB, made.id)


async def test_those_that_rest_are_archived_and_then_destroyed(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create(idle_timeout_s=10, auto_archive_s=20, auto_delete_s=50)
        open_ = await world.create(idle_timeout_s=None, auto_archive_s=20)
        never = await world.create(idle_timeout_s=10)
        used = await world.create(auto_archive_s=20)
        world.clock.at += 10
        await world.janitor.expire()
        assert await world.state(made.id) is State.STOPPED
        async with world.sandboxes.using(ALICE, used.id):
            world.clock.at += 10
            await world.janitor.expire()
            assert await world.state(used.id) is State.RUNNING, "a request uses it"
        for each in (made, open_):
            assert await world.state(each.id) is State.ARCHIVED
        assert await world.state(never.id) is State.STOPPED
        found = await world.sandboxes.get(ALICE, made.id)
        assert found.archived_by == "idle"
        await world.audit.flush()
        told = await world.store.list_events(actions=["sandbox.archived"], limit=100)
        assert sorted(str(event.sandbox_id) for event in told) == sorted([made.id, open_.id])
        world.clock.at += 30
        await world.janitor.expire()
        assert await world.state(made.id) is State.DESTROYED
        assert made.id not in world.backend.packed
        assert await world.state(used.id) is State.ARCHIVED


async def test_one_that_is_used_while_it_is_packed_stays(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create("box")
        await world.files.write(ALICE, made.id, "kept", b"1")
        hang = world.backend.faults.hang("pack", times=1)
        refused: list[Conflict] = []

        async def archive() -> None:
            try:
                await world.sandboxes.archive(ALICE, "box")
            except Conflict as error:
                refused.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(archive)
            with anyio.fail_after(5):
                await hang.reached.wait()
            assert await kept(world, "box") == b"1"
            await world.sandboxes.stop(ALICE, "box")
            hang.release()
        assert len(refused) == 1
        assert not world.backend.packed
        assert await world.state(made.id) is State.STOPPED
        assert (await world.sandboxes.archive(ALICE, "box")).state is State.ARCHIVED


async def test_what_goes_wrong_leaves_it_as_it_was(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create("box", auto_archive_s=20)
        await world.files.write(ALICE, made.id, "kept", b"1")
        for step in ("pack", "put_away"):
            world.backend.faults.fail(step, BackendFault("No room."), times=1)
            with pytest.raises(BackendFault, match="No room"):
                await world.sandboxes.archive(ALICE, "box")
            assert await world.state(made.id) is State.STOPPED
            assert await kept(world, "box") == b"1"
        world.backend.faults.fail("pack", BackendFault("No room."), times=1)
        world.clock.at += 20
        await world.janitor.expire()
        assert await world.state(made.id) is State.STOPPED
        await world.janitor.expire()
        assert await world.state(made.id) is State.STOPPED, "not again at once"
        world.clock.at += 20
        await world.janitor.expire()
        assert await world.state(made.id) is State.ARCHIVED
        world.backend.faults.fail("restore", BackendFault("No room."), times=1)
        with pytest.raises(BackendFault, match="No room"):
            await world.sandboxes.start(ALICE, "box")
        assert await world.state(made.id) is State.ARCHIVED
        assert await kept(world, "box") == b"1"


async def test_forks_and_snapshots_of_one_that_is_archived(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create("box")
        await world.files.write(ALICE, made.id, "kept", b"1")
        await world.sandboxes.archive(ALICE, "box")
        fork = await world.sandboxes.fork(ALICE, "box", name="fork")
        assert await kept(world, "fork") == b"1"
        assert await world.state(made.id) is State.STOPPED
        await world.sandboxes.archive(ALICE, "box")
        await world.snapshots.take(ALICE, "box")
        assert await world.state(made.id) is State.STOPPED
        assert fork.id != made.id


async def test_archived_ones_survive_the_server(tmp_path: Path) -> None:
    backend = FakeBackend()
    async with island(tmp_path, backend) as world:
        made = await world.create("box")
        await world.files.write(ALICE, made.id, "kept", b"1")
        await world.sandboxes.archive(ALICE, "box")
    async with island(tmp_path, backend) as world:
        assert await world.state(made.id) is State.ARCHIVED
        assert await kept(world, "box") == b"1"


async def test_where_nothing_can_be_archived(tmp_path: Path) -> None:
    backend = FakeBackend(capabilities=CAPABILITIES - {"archive"})
    async with island(tmp_path, backend) as world:
        made = await world.create()
        with pytest.raises(Unsupported):
            await world.sandboxes.archive(ALICE, made.id)
        with pytest.raises(Unsupported):
            await world.create(auto_archive_s=20)
        with pytest.raises(Unsupported):
            await world.sandboxes.update(ALICE, made.id, ChangeSandbox(auto_archive_s=20))
        assert await world.state(made.id) is State.RUNNING

from pathlib import Path

import pytest

from atoll.backends.fake import FakeBackend
from atoll.core.errors import BackendFault, Conflict, InvalidRequest, NotFound, Unsupported
from atoll.core.states import State
from tests.service.island import ALICE, BOB, Island, Script, argv, island

pytestmark = pytest.mark.anyio


async def test_fork(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create("one", labels={"a": "b"}, env={"X": "1"}, lifetime_s=100)
        await world.files.write(ALICE, made.id, "f", b"before")
        fork = await world.sandboxes.fork(ALICE, made.id, name="two")
        assert (fork.state, fork.labels, fork.env) == (State.RUNNING, {"a": "b"}, {"X": "1"})
        await world.files.write(ALICE, "one", "f", b"after")
        assert await _content(world, "two") == b"before"
        assert await _content(world, "one") == b"after"
        assert await world.backend.snapshots() == []
        await world.sandboxes.stop(ALICE, "two")
        assert await _content(world, "two") == b"before", "it has its files without the snapshot"
        await world.check()


async def _content(world: Island, sandbox: str) -> bytes:
    return b"".join([data async for data in world.files.read(ALICE, sandbox, "f")])


async def test_fork_does_not_end_processes_unless_forced(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        Script(world.backend, "serve")
        made = await world.create()
        started = await world.processes.start(ALICE, made.id, argv("serve"))
        with pytest.raises(Conflict, match="force"):
            await world.sandboxes.fork(ALICE, made.id)
        with pytest.raises(Conflict):
            await world.snapshots.take(ALICE, made.id)
        assert (await world.processes.get(ALICE, made.id, started.number)).exit is None
        await world.sandboxes.fork(ALICE, made.id, force=True)
        ended = await world.processes.get(ALICE, made.id, started.number)
        assert ended.exit is not None
        assert ended.exit.signal == 15
        await world.check()


@pytest.mark.parametrize("step", ["snapshot", "open", "open.files", "open.ready"])
async def test_a_fork_that_fails_leaves_nothing(tmp_path: Path, step: str) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        world.backend.faults.fail(step, BackendFault("no"))
        with pytest.raises(BackendFault):
            await world.sandboxes.fork(ALICE, made.id, name="n")
        assert await world.backend.snapshots() == []
        await world.check()
        await world.sandboxes.fork(ALICE, made.id, name="n")


async def test_snapshots(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        await world.files.write(ALICE, made.id, "f", b"frozen")
        taken = await world.snapshots.take(ALICE, made.id, name="base", labels={"l": "v"})
        assert taken.size_bytes >= 6
        with pytest.raises(Conflict):
            await world.snapshots.take(ALICE, made.id, name="base")
        assert [s.id for s in await world.snapshots.list(ALICE)] == [taken.id]
        assert await world.snapshots.list(BOB) == []
        with pytest.raises(NotFound):
            await world.snapshots.drop(BOB, "base")
        await world.sandboxes.destroy(ALICE, made.id)
        again = await world.create("again", base="base")
        assert again.base == taken.id
        assert await _content(world, "again") == b"frozen"
        await world.snapshots.drop(ALICE, "base")
        assert await world.backend.snapshots() == []
        await world.sandboxes.stop(ALICE, "again")
        assert await _content(world, "again") == b"frozen"
        with pytest.raises(NotFound):
            await world.create(base="base")
        await world.check()


async def test_a_backend_without_snapshots_says_so(tmp_path: Path) -> None:
    class Plain:
        """The fake, but for what it can do beyond a backend."""

        def __init__(self) -> None:
            fake = FakeBackend()
            self.name, self.probe, self.open = fake.name, fake.probe, fake.open
            self.owned, self.destroy = fake.owned, fake.destroy

    async with island(tmp_path, Plain()) as world:  # type: ignore[arg-type]
        made = await world.create()
        with pytest.raises(Unsupported):
            await world.sandboxes.fork(ALICE, made.id)
        with pytest.raises(Unsupported):
            await world.snapshots.take(ALICE, made.id)
        assert await world.state(made.id) is State.RUNNING


async def test_the_same_key_makes_one_fork_and_one_snapshot(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        fork = await world.sandboxes.fork(ALICE, made.id, name="two", idempotency_key="k1")
        again = await world.sandboxes.fork(ALICE, made.id, name="two", idempotency_key="k1")
        assert again.id == fork.id
        taken = await world.snapshots.take(ALICE, made.id, name="s", idempotency_key="k2")
        assert await world.snapshots.take(ALICE, made.id, name="s", idempotency_key="k2") == taken
        assert len(await world.snapshots.list(ALICE)) == 1
        with pytest.raises(InvalidRequest) as wrong:
            await world.snapshots.take(ALICE, made.id, name="other", idempotency_key="k2")
        assert wrong.value.field == "Idempotency-Key"
        other = await world.sandboxes.fork(ALICE, made.id, idempotency_key="k3")
        assert other.id != fork.id
        await world.check()


async def test_a_fork_that_failed_frees_its_key(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        world.backend.faults.fail("open", BackendFault("no"))
        with pytest.raises(BackendFault):
            await world.sandboxes.fork(ALICE, made.id, idempotency_key="k")
        fork = await world.sandboxes.fork(ALICE, made.id, idempotency_key="k")
        assert fork.state is State.RUNNING
        await world.snapshots.drop(ALICE, (await world.snapshots.take(ALICE, fork.id)).id)
        gone = await world.snapshots.take(ALICE, made.id, idempotency_key="s")
        await world.snapshots.drop(ALICE, gone.id)
        assert (await world.snapshots.take(ALICE, made.id, idempotency_key="s")).id != gone.id
        await world.check()

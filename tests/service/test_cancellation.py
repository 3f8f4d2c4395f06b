"""Cancellation at every await of every operation: nothing half done stays, nobody is stuck."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio
import pytest

from atoll.backends.fake import FakeBackend
from atoll.core.errors import AtollError
from atoll.core.states import TERMINAL, State
from atoll.service.requests import ChangeSandbox, CreateSandbox
from tests.service.island import ALICE, Island, Script, Watched, argv, island

pytestmark = pytest.mark.anyio

Operation = Callable[[Island], Awaitable[object]]


class Countdown:
    """Cancels when it has been told of that many moments."""

    def __init__(self, moments: int) -> None:
        self.scope = anyio.CancelScope()
        self.armed = False
        self.fired = False
        self._left = moments

    def tell(self, _moment: str) -> None:
        if not self.armed:
            return
        if self._left == 0:
            self.fired = True
            self.scope.cancel()
        self._left -= 1

    def watch(self, backend: FakeBackend) -> None:
        """Be told of the backend's steps too."""
        passed = backend.faults.at

        async def at(step: str, kill: Callable[[str], None] | None = None) -> None:
            self.tell(step)
            await passed(step, kill)

        backend.faults.at = at  # type: ignore[method-assign]


async def settled(world: Island) -> None:
    """Wait for what goes on in the background."""
    with anyio.fail_after(5):
        while any(r.state is State.CREATING for r in await world.stored()) or any(
            world.keeper.held(name) is None for name in world.keeper.open_ids()
        ):
            await anyio.sleep(0.001)  # waits on purpose: what is in the background has no event


async def cancelled_everywhere(
    tmp_path: Path, prepare: Operation, operation: Operation, verify: Callable[..., Awaitable[None]]
) -> None:
    """Run the operation again and again, cancelled one moment later each time."""
    for moments in range(200):
        data_dir = tmp_path / str(moments)
        data_dir.mkdir()
        backend = FakeBackend()
        countdown = Countdown(moments)
        countdown.watch(backend)
        watched = partial(Watched, tell=countdown.tell)
        async with island(data_dir, backend, through=watched) as world:
            await prepare(world)
            returned = False
            with countdown.scope:
                countdown.armed = True
                await operation(world)
                returned = True
            countdown.armed = False
            await settled(world)
            await world.check()
            await verify(world, returned)
            await world.check()
        if not countdown.fired:
            assert moments > 3
            return
    pytest.fail("the operation has no end")


async def nothing(_world: Island) -> None:
    return


async def make_one(world: Island) -> None:
    made = await world.create("n", labels={"a": "b"})
    await world.files.write(ALICE, made.id, "f", b"kept")


async def make_stopped(world: Island) -> None:
    await make_one(world)
    await world.sandboxes.stop(ALICE, "n")


async def make_busy(world: Island) -> None:
    await make_one(world)
    Script(world.backend, "serve")
    await world.processes.start(ALICE, "n", argv("serve"))


async def works(world: Island, _returned: bool) -> None:
    """The sandbox is as good as before."""
    assert [d async for d in world.files.read(ALICE, "n", "f")] == [b"kept"]


async def test_create(tmp_path: Path) -> None:
    async def operation(world: Island) -> None:
        await world.sandboxes.create(CreateSandbox(name="n"), ALICE)

    async def verify(world: Island, returned: bool) -> None:
        assert len(await world.sandboxes.list(ALICE)) == int(returned)
        if not returned:
            await operation(world)

    await cancelled_everywhere(tmp_path, nothing, operation, verify)


async def test_create_with_a_key(tmp_path: Path) -> None:
    async def operation(world: Island) -> None:
        await world.sandboxes.create(CreateSandbox(name="n"), ALICE, "key")

    async def verify(world: Island, _returned: bool) -> None:
        living = await world.sandboxes.list(ALICE)
        made = await world.sandboxes.create(CreateSandbox(name="n"), ALICE, "key")
        assert made.state is State.RUNNING
        assert {r.id for r in living} <= {made.id}

    await cancelled_everywhere(tmp_path, nothing, operation, verify)


async def test_start(tmp_path: Path) -> None:
    await cancelled_everywhere(
        tmp_path, make_stopped, lambda world: world.sandboxes.start(ALICE, "n"), works
    )


async def test_stop(tmp_path: Path) -> None:
    await cancelled_everywhere(
        tmp_path, make_busy, lambda world: world.sandboxes.stop(ALICE, "n"), works
    )


async def test_update(tmp_path: Path) -> None:
    change = ChangeSandbox(labels={"x": "y"}, lifetime_s=5)

    async def verify(world: Island, returned: bool) -> None:
        await works(world, returned)
        record = await world.sandboxes.get(ALICE, "n")
        assert (record.labels == {"x": "y"}) == (record.expires_at is not None)
        assert not returned or record.labels == {"x": "y"}

    await cancelled_everywhere(
        tmp_path, make_one, lambda world: world.sandboxes.update(ALICE, "n", change), verify
    )


async def test_destroy(tmp_path: Path) -> None:
    async def verify(world: Island, returned: bool) -> None:
        [record] = await world.stored()
        if record.state in TERMINAL:
            assert await world.backend.owned() == []
        else:
            assert not returned
            await works(world, returned)

    await cancelled_everywhere(
        tmp_path, make_busy, lambda world: world.sandboxes.destroy(ALICE, "n"), verify
    )


async def test_fork(tmp_path: Path) -> None:
    async def verify(world: Island, returned: bool) -> None:
        await works(world, returned)
        assert {r.name for r in await world.sandboxes.list(ALICE)} == (
            {"n", "m"} if returned else {"n"}
        )
        assert await world.backend.snapshots() == []

    await cancelled_everywhere(
        tmp_path, make_one, lambda world: world.sandboxes.fork(ALICE, "n", name="m"), verify
    )


async def test_take_a_snapshot(tmp_path: Path) -> None:
    async def verify(world: Island, returned: bool) -> None:
        await works(world, returned)
        assert [s.id for s in await world.snapshots.list(ALICE)] == list(
            await world.backend.snapshots()
        )

    await cancelled_everywhere(
        tmp_path, make_one, lambda world: world.snapshots.take(ALICE, "n", name="s"), verify
    )


async def test_run(tmp_path: Path) -> None:
    async def verify(world: Island, returned: bool) -> None:
        await works(world, returned)
        for process in await world.processes.list(ALICE, "n"):
            assert process.exit is not None

    await cancelled_everywhere(
        tmp_path,
        make_one,
        lambda world: world.processes.run(ALICE, "n", argv("cat"), b"input"),
        verify,
    )


async def test_start_in_the_background(tmp_path: Path) -> None:
    async def prepare(world: Island) -> None:
        await make_one(world)
        Script(world.backend, "serve")

    async def verify(world: Island, returned: bool) -> None:
        started = await world.processes.list(ALICE, "n")
        assert not returned or len(started) == 1
        for process in started:
            ended = await world.processes.kill(ALICE, "n", process.number)
            assert ended.exit is not None
        await works(world, returned)

    await cancelled_everywhere(
        tmp_path, prepare, lambda world: world.processes.start(ALICE, "n", argv("serve")), verify
    )


async def test_a_waiter_that_leaves_does_not_harm_the_others(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        await make_stopped(world)
        hang = world.backend.faults.hang("open", times=1)
        opened: list[str] = []

        async def use() -> None:
            try:
                opened.append((await world.sandboxes.open(ALICE, "n")).id)
            except AtollError as error:
                opened.append(error.code)

        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as leaving:
                async with anyio.create_task_group() as first:
                    first.start_soon(use)
                    await hang.reached.wait()
                    group.start_soon(use)
                    leaving.cancel()
            hang.release()
        assert len(opened) == 1
        assert opened[0].startswith("sb_")
        await world.check()

import signal
from pathlib import Path

import anyio
import pytest

from atoll.backends.fake import FakeBackend
from atoll.backends.fake.backend import CAPABILITIES
from atoll.core.errors import AtollError, BackendFault, Conflict, NotFound, Unsupported
from atoll.core.model import ExitReason
from atoll.core.states import State
from atoll.service.requests import ChangeSandbox
from tests.service.island import ALICE, BOB, argv, island

pytestmark = pytest.mark.anyio

TICKING = argv("sh", "-c", "echo on; sleep 0.2; echo over")


async def test_a_paused_one_stands_still_and_goes_on(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create("box")
        process = await world.processes.start(ALICE, made.id, TICKING)
        for _ in range(2):
            assert (await world.sandboxes.pause(ALICE, "box")).state is State.PAUSED
        assert await world.processes.wait(ALICE, made.id, process.number, 0.5) is None
        stored = await world.store.get_sandbox("alice", made.id)
        assert stored is not None
        assert stored.state is State.PAUSED
        for _ in range(2):
            assert (await world.sandboxes.resume(ALICE, "box")).state is State.RUNNING
        ended = await world.processes.wait(ALICE, made.id, process.number, 10)
        assert ended is not None
        assert ended.reason is ExitReason.EXITED
        actions = await world.actions()
        assert (actions.count("sandbox.pause"), actions.count("sandbox.resume")) == (2, 2)
        for act in (world.sandboxes.pause, world.sandboxes.resume):
            with pytest.raises(NotFound):
                await act(BOB, made.id)


async def test_what_needs_its_processes_is_refused(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        process = await world.processes.start(ALICE, made.id, argv("sleep", "60"))
        await world.sandboxes.pause(ALICE, made.id)
        asked = (
            lambda: world.processes.run(ALICE, made.id, argv("true")),
            lambda: world.processes.start(ALICE, made.id, argv("true")),
            lambda: world.processes.kill(ALICE, made.id, process.number),
            lambda: world.processes.signal(ALICE, made.id, process.number, signal.SIGTERM),
            lambda: world.files.stat(ALICE, made.id, "/workspace"),
            lambda: world.sandboxes.start(ALICE, made.id),
            lambda: world.snapshots.take(ALICE, made.id),
        )
        for ask in asked[:-1]:
            with pytest.raises(Conflict, match="resume it first"):
                await ask()
        with pytest.raises(Conflict, match="processes run"):
            await asked[-1]()
        assert [p.number for p in await world.processes.list(ALICE, made.id)] == [1]
        named = await world.sandboxes.update(ALICE, made.id, ChangeSandbox(name="still"))
        assert (named.state, named.name) == (State.PAUSED, "still")
        await world.sandboxes.resume(ALICE, made.id)
        assert (await world.processes.run(ALICE, made.id, argv("true"))).exit.code == 0
        assert (await world.processes.kill(ALICE, made.id, process.number)).exit is not None


async def test_it_is_not_idle_but_its_lease_ends(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create(idle_timeout_s=10, lifetime_s=100)
        await world.sandboxes.pause(ALICE, made.id)
        world.clock.at += 50
        await world.janitor.expire()
        assert await world.state(made.id) is State.PAUSED
        await world.sandboxes.resume(ALICE, made.id)
        world.clock.at += 9
        await world.janitor.expire()
        assert await world.state(made.id) is State.RUNNING, "idle anew since the resume"
        world.clock.at += 1
        await world.janitor.expire()
        assert await world.state(made.id) is State.STOPPED
        await world.sandboxes.start(ALICE, made.id)
        await world.sandboxes.pause(ALICE, made.id)
        world.clock.at += 40
        await world.janitor.expire()
        assert await world.state(made.id) is State.DESTROYED


async def test_it_can_be_stopped_frozen_and_destroyed(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        await world.processes.start(ALICE, made.id, argv("sleep", "60"))
        await world.sandboxes.pause(ALICE, made.id)
        assert (await world.sandboxes.stop(ALICE, made.id)).state is State.STOPPED
        for act in (world.sandboxes.pause, world.sandboxes.resume):
            with pytest.raises(Conflict, match="stopped"):
                await act(ALICE, made.id)
        await world.sandboxes.start(ALICE, made.id)
        await world.sandboxes.pause(ALICE, made.id)
        await world.snapshots.take(ALICE, made.id)
        assert await world.state(made.id) is State.STOPPED
        await world.sandboxes.start(ALICE, made.id)
        await world.processes.start(ALICE, made.id, argv("sleep", "60"))
        await world.sandboxes.pause(ALICE, made.id)
        with anyio.fail_after(10):
            assert (await world.sandboxes.destroy(ALICE, made.id)).state is State.DESTROYED
        await world.check()


async def test_a_restart_finds_it_stopped(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        await world.sandboxes.pause(ALICE, made.id)
        backend = world.backend
    async with island(tmp_path, backend=backend) as world:
        assert await world.state(made.id) is State.STOPPED
        assert (await world.processes.run(ALICE, made.id, argv("true"))).exit.code == 0


async def test_where_it_cannot_be_it_is_refused(tmp_path: Path) -> None:
    backend = FakeBackend(capabilities=CAPABILITIES - {"pause"})
    async with island(tmp_path, backend=backend) as world:
        made = await world.create()
        with pytest.raises(Unsupported, match="cannot pause"):
            await world.sandboxes.pause(ALICE, made.id)
        assert (await world.processes.run(ALICE, made.id, argv("true"))).exit.code == 0


async def test_one_that_does_not_stand_still_goes_on(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        failure: AtollError = BackendFault("It moves.")
        world.backend.faults.fail("pause", failure)
        with pytest.raises(BackendFault):
            await world.sandboxes.pause(ALICE, made.id)
        assert await world.state(made.id) is State.RUNNING
        assert (await world.processes.run(ALICE, made.id, argv("true"))).exit.code == 0

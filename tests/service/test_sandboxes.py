from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from atoll.backends.fake import OPEN_STEPS, FakeBackend
from atoll.core.errors import (
    AtollError,
    BackendFault,
    Conflict,
    Gone,
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    QuotaExceeded,
    Unsupported,
)
from atoll.core.model import Isolation
from atoll.core.records import SandboxRecord
from atoll.core.states import State
from atoll.service import keeper as keeper_module
from atoll.service.requests import ChangeSandbox, CreateSandbox
from tests.service.island import ALICE, BOB, Island, argv, island, until

pytestmark = pytest.mark.anyio


async def test_life_of_a_sandbox(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create("one", labels={"a": "b"}, env={"X": "1"})
        assert made.state is State.RUNNING
        assert (await world.sandboxes.get(ALICE, "one")).id == made.id
        await world.files.write(ALICE, "one", "f", b"kept")
        stopped = await world.sandboxes.stop(ALICE, "one")
        assert stopped.state is State.STOPPED
        assert await world.sandboxes.stop(ALICE, "one") == stopped
        assert (await world.sandboxes.start(ALICE, "one")).state is State.RUNNING
        assert b"".join([d async for d in world.files.read(ALICE, made.id, "f")]) == b"kept"
        await world.check()
        gone = await world.sandboxes.destroy(ALICE, "one")
        assert gone.state is State.DESTROYED
        assert await world.sandboxes.destroy(ALICE, made.id) == gone
        with pytest.raises(NotFound):
            await world.sandboxes.destroy(ALICE, "one")
        with pytest.raises(Gone, match=r"client.*alice"):
            await world.sandboxes.open(ALICE, made.id)
        assert (await world.sandboxes.post_mortem(ALICE, made.id)).ended_by == "client"
        await world.check()
        assert await world.actions() == [
            "sandbox.create",
            "file.write",
            "sandbox.stopped",
            "sandbox.stop",
            "sandbox.stop",
            "sandbox.start",
            "file.read",
            "sandbox.destroy",
            "sandbox.destroy",
        ]


async def test_use_starts_a_stopped_one_once(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        await world.sandboxes.stop(ALICE, made.id)
        world.backend.faults.reached.clear()
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(world.sandboxes.open, ALICE, made.id)
        assert world.backend.faults.reached.count("open") == 1
        await world.check()


async def test_tenants_do_not_see_each_other(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create("mine")
        await world.sandboxes.create(CreateSandbox(name="mine"), BOB)
        for sandbox in (made.id, "other"):
            with pytest.raises(NotFound):
                await world.sandboxes.open(BOB, sandbox)
            with pytest.raises(NotFound):
                await world.sandboxes.destroy(BOB, sandbox)
            with pytest.raises(NotFound):
                await world.sandboxes.update(BOB, sandbox, ChangeSandbox(name="x"))
        assert [r.tenant for r in await world.sandboxes.list(BOB)] == ["bob"]
        assert await world.state(made.id) is State.RUNNING


async def test_a_name_is_given_once(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        outcomes: list[SandboxRecord | AtollError] = []

        async def make() -> None:
            try:
                outcomes.append(await world.create("same"))
            except AtollError as error:
                outcomes.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(make)
            group.start_soon(make)
        assert sorted(type(o).__name__ for o in outcomes) == ["Conflict", "SandboxRecord"]
        await world.sandboxes.destroy(ALICE, "same")
        await world.create("same")
        await world.check()


@pytest.mark.parametrize(
    "request_",
    [
        CreateSandbox(name="sb_00000000000000000000000000"),
        CreateSandbox(name="a/b"),
        CreateSandbox(name=""),
        CreateSandbox(labels={"": "x"}),
        CreateSandbox(labels={str(n): "x" for n in range(65)}),
        CreateSandbox(env={"A=B": "x"}),
        CreateSandbox(env={"A": "x\0"}),
        CreateSandbox(idle_timeout_s=0),
        CreateSandbox(lifetime_s=float("inf")),
        CreateSandbox(lifetime_s=float("nan")),
        CreateSandbox(profile="none such"),
        CreateSandbox(backend="none such"),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_is_made(
    tmp_path: Path, request_: CreateSandbox
) -> None:
    async with island(tmp_path) as world:
        with pytest.raises(InvalidRequest):
            await world.sandboxes.create(request_, ALICE, "key")
        assert await world.stored() == []
        await world.sandboxes.create(CreateSandbox(), ALICE, "key")


async def test_isolation_is_never_weakened(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        with pytest.raises(Unsupported):
            await world.create(min_isolation=Isolation.VIRTUAL_MACHINE)
        assert (await world.create(min_isolation=Isolation.SHARED_KERNEL)).backend == "fake"


async def test_quota_holds_under_concurrency(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        few = replace(ALICE, max_sandboxes=3)
        refused = 0

        async def make() -> None:
            nonlocal refused
            try:
                await world.sandboxes.create(CreateSandbox(), few)
            except QuotaExceeded:
                refused += 1

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(make)
        assert refused == 5
        assert len(await world.sandboxes.list(ALICE)) == 3


async def test_the_same_key_makes_one_sandbox(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        hang = world.backend.faults.hang("open", times=1)
        made: list[SandboxRecord] = []

        async def make() -> None:
            made.append(await world.sandboxes.create(CreateSandbox(), ALICE, "key"))

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(make)
            await hang.reached.wait()
            for _ in range(20):
                await checkpoint()
            assert made == []
            hang.release()
        assert {r.id for r in made} == {made[0].id}
        assert len(made) == 5
        again = await world.sandboxes.create(CreateSandbox(), ALICE, "key")
        assert again.id == made[0].id
        with pytest.raises(InvalidRequest) as wrong:
            await world.sandboxes.create(CreateSandbox(image="other"), ALICE, "key")
        assert wrong.value.field == "Idempotency-Key"
        other = await world.sandboxes.create(CreateSandbox(), BOB, "key")
        assert other.id != made[0].id
        await world.sandboxes.destroy(ALICE, again.id)
        kept = await world.sandboxes.create(CreateSandbox(), ALICE, "key")
        assert (kept.id, kept.state) == (again.id, State.DESTROYED)


async def test_a_failed_create_frees_key_and_name(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        for step in OPEN_STEPS:
            world.backend.faults.fail(step, BackendFault("broken"))
            with pytest.raises(BackendFault):
                await world.sandboxes.create(CreateSandbox(name="n"), ALICE, "key")
            await world.check()
        made = await world.sandboxes.create(CreateSandbox(name="n"), ALICE, "key")
        assert made.state is State.RUNNING
        failed = [r for r in await world.stored() if r.state is State.FAILED]
        assert len(failed) == len(OPEN_STEPS)
        assert "broken" in (await world.sandboxes.post_mortem(ALICE, failed[0].id)).detail


async def test_an_error_of_opening_reaches_all_who_wait(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        stopped = await world.sandboxes.stop(ALICE, made.id)
        world.backend.faults.fail("open.files", BackendFault("no files"))
        errors: list[str] = []

        async def use() -> None:
            with pytest.raises(BackendFault) as caught:
                await world.keeper.use(stopped)
            errors.append(caught.value.detail)

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(use)
        assert errors == ["no files"] * 4
        assert await world.state(made.id) is State.STOPPED
        await world.sandboxes.open(ALICE, made.id)
        await world.check()


async def test_an_unexpected_error_breaks_one_sandbox_only(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        other = await world.create()
        world.backend.faults.fail("open.ready", RuntimeError("a bug"))
        with pytest.raises(BackendFault, match="RuntimeError"):
            await world.create()
        assert (await world.processes.run(ALICE, other.id, argv("echo", "x"))).stdout == b"x\n"
        await world.check()


async def test_two_destroys_return_when_it_is_gone(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        done: list[bool] = []

        async def destroy() -> None:
            await world.sandboxes.destroy(ALICE, made.id)
            done.append(world.keeper.is_open(made.id))

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(destroy)
        assert done == [False] * 3
        await world.check()


@pytest.mark.parametrize("step", OPEN_STEPS)
async def test_destroy_while_opening(tmp_path: Path, step: str) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        await world.sandboxes.stop(ALICE, made.id)
        hang = world.backend.faults.hang(step)

        async def use() -> None:
            with pytest.raises(Gone):
                await world.sandboxes.open(ALICE, made.id)

        async with anyio.create_task_group() as group:
            group.start_soon(use)
            group.start_soon(use)
            await hang.reached.wait()
            await world.sandboxes.destroy(ALICE, made.id)
        await world.check()


@pytest.mark.parametrize("step", OPEN_STEPS)
async def test_destroy_while_creating(tmp_path: Path, step: str) -> None:
    async with island(tmp_path) as world:
        hang = world.backend.faults.hang(step)

        async def make() -> None:
            with pytest.raises(Gone):
                await world.create("n")

        async with anyio.create_task_group() as group:
            group.start_soon(make)
            await hang.reached.wait()
            await world.sandboxes.destroy(ALICE, "n")
        await world.check()
        assert [r.state for r in await world.stored()] == [State.DESTROYED]


async def test_a_stale_record_does_not_bring_a_destroyed_one_back(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        stopped = replace(made, state=State.STOPPED)
        await world.sandboxes.destroy(ALICE, made.id)
        for stale in (made, stopped):
            with pytest.raises(Gone):
                await world.keeper.use(stale)
            await world.check()


async def test_opening_has_a_deadline(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        await world.sandboxes.stop(ALICE, made.id)
        world.keeper._open_timeout_s = 0.02
        world.backend.faults.hang("open.files")
        with pytest.raises(BackendFault, match="did not start"):
            await world.sandboxes.open(ALICE, made.id)
        await world.check()


async def test_use_during_a_stop_waits_and_starts_again(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        hang = world.backend.faults.hang("close", times=1)
        async with anyio.create_task_group() as group:
            group.start_soon(world.sandboxes.stop, ALICE, made.id)
            await until(lambda: world.keeper.held(made.id) is None)
            group.start_soon(world.sandboxes.open, ALICE, made.id)
            for _ in range(10):
                await checkpoint()
            hang.release()
        assert await world.state(made.id) is State.RUNNING
        await world.check()


async def test_update(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create("a", lifetime_s=100, labels={"x": "1"})
        await world.create("b")
        assert made.expires_at == world.clock.at + 100
        world.clock.at += 50
        async with world.sandboxes.using(ALICE, "a"):
            pass
        await world.sandboxes.stop(ALICE, "a")
        await world.sandboxes.start(ALICE, "a")
        kept = await world.sandboxes.get(ALICE, "a")
        assert kept.expires_at == made.expires_at, "use never changes a lease"
        assert kept.last_used_at == world.clock.at
        changed = await world.sandboxes.update(
            ALICE, "a", ChangeSandbox(name="c", lifetime_s=500, if_version=kept.version)
        )
        assert (changed.name, changed.expires_at) == ("c", world.clock.at + 500)
        assert changed.labels == {"x": "1"}
        with pytest.raises(PreconditionFailed):
            await world.sandboxes.update(
                ALICE, "c", ChangeSandbox(labels={}, if_version=kept.version)
            )
        with pytest.raises(Conflict):
            await world.sandboxes.update(ALICE, "c", ChangeSandbox(name="b"))
        never = await world.sandboxes.update(
            ALICE, "c", ChangeSandbox(lifetime_s=None, idle_timeout_s=7, name=None)
        )
        assert (never.expires_at, never.idle_timeout_s, never.name) == (None, 7, None)
        await world.sandboxes.destroy(ALICE, made.id)
        with pytest.raises(Gone):
            await world.sandboxes.update(ALICE, made.id, ChangeSandbox(labels={}))


async def test_concurrent_updates_are_all_kept(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        async with anyio.create_task_group() as group:
            for change in (
                ChangeSandbox(name="n"),
                ChangeSandbox(labels={"l": "v"}),
                ChangeSandbox(idle_timeout_s=9),
                ChangeSandbox(lifetime_s=99),
            ):
                group.start_soon(world.sandboxes.update, ALICE, made.id, change)
            group.start_soon(world.sandboxes.stop, ALICE, made.id)
        now = await world.sandboxes.get(ALICE, made.id)
        assert (now.name, now.labels, now.idle_timeout_s) == ("n", {"l": "v"}, 9)
        assert now.expires_at == world.clock.at + 99
        assert now.state is State.STOPPED


async def test_leaving_stops_all(tmp_path: Path) -> None:
    backend = FakeBackend()
    async with island(tmp_path, backend) as world:
        made = [await world.create() for _ in range(3)]
        hang = backend.faults.hang("open.files")
        async with anyio.create_task_group() as group:

            async def refused() -> None:
                with pytest.raises((Conflict, AtollError)):
                    await world.create("half")

            group.start_soon(refused)
            await hang.reached.wait()
            group.start_soon(_leave, world)
    backend.faults.clear()
    async with island(tmp_path, backend) as world:
        states = {r.id: r.state for r in await world.stored()}
        assert [states.pop(r.id) for r in made] == [State.STOPPED] * 3
        assert list(states.values()) == [State.FAILED]
        assert "sandbox.stopped" in await world.actions()
        await world.check()


async def _leave(world: Island) -> None:
    await world.keeper._drain()


async def test_a_sandbox_that_does_not_close_holds_nobody_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with island(tmp_path) as world:
        monkeypatch.setattr(keeper_module, "_CLOSE_S", 0.05)
        made = await world.create()
        other = await world.create()
        hang = world.backend.faults.hang("close", times=1)
        with pytest.raises(BackendFault, match="does not close"):
            await world.sandboxes.stop(ALICE, made.id)
        with pytest.raises(BackendFault, match="does not close"):
            await world.sandboxes.open(ALICE, made.id)
        await world.sandboxes.stop(ALICE, other.id)
        hang.release()
        await until(lambda: not world.keeper.is_open(made.id))
        await world.sandboxes.open(ALICE, made.id)
        await world.check()


async def test_after_a_crash_and_a_destroy_both_are_told(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        world.backend.die(made.id, "memory")
        await until(lambda: not world.keeper.is_open(made.id))
        await world.sandboxes.destroy(ALICE, made.id)
        with pytest.raises(Gone, match=r"is destroyed\. Before that: .*memory"):
            await world.sandboxes.open(ALICE, made.id)

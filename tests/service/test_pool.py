import asyncio
import logging
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint

from atoll.backends.fake import FakeBackend
from atoll.backends.fake.sandbox import FakeSandbox
from atoll.core.errors import AtollError, BackendFault, Busy, NotFound, Unavailable
from atoll.core.model import MIB, Limits, ProcessSpec, SandboxSpec
from atoll.service.backends import Backends
from atoll.service.clock import SystemClock
from atoll.service.pool import Pool, Shape, Tuning, Warm
from tests.service.rig import ALICE, BOB, pool_of, until_ready

pytestmark = pytest.mark.anyio

USUAL = Shape()
SMALL = Shape(limits=Limits(memory_bytes=64 * MIB))


async def settled(backend: FakeBackend, pool: Pool, count: int) -> None:
    """Wait until the backend and the pool agree that just so many sandboxes are open."""
    with anyio.fail_after(5):
        while len(await backend.owned()) != count or pool.stats()["held"] != count:
            await checkpoint()


async def test_it_keeps_so_many_ready() -> None:
    backend = FakeBackend()
    async with pool_of(backend, size=3) as pool:
        await until_ready(pool, 3)
        assert set(await backend.owned()) == pool.held_ids()
        assert len(pool.held_ids()) == 3
    assert await backend.owned() == []


async def test_a_ready_one_is_leased_without_waiting_then_closed_and_replaced() -> None:
    backend = FakeBackend()
    async with pool_of(backend, size=2) as pool:
        await until_ready(pool, 2)
        before = await backend.owned()
        opened = backend.faults.reached.count("open")
        async with pool.lease(USUAL, ALICE, backend) as lease:
            assert lease.sandbox.id in before
            assert backend.faults.reached.count("open") == opened
            used = lease.sandbox.id
        await settled(backend, pool, 2)
        assert used not in await backend.owned()
        assert pool.stats()["warm_total"] == 1


async def test_no_sandbox_is_leased_twice() -> None:
    backend = FakeBackend()
    seen: list[str] = []

    async def use(pool: Pool) -> None:
        async with pool.lease(USUAL, ALICE, backend) as lease:
            seen.append(lease.sandbox.id)
            await checkpoint()

    async with pool_of(backend, size=2, max_running=3, max_queued=100) as pool:
        async with anyio.create_task_group() as group:
            for _ in range(40):
                group.start_soon(use, pool)
        await settled(backend, pool, 2)
    assert len(set(seen)) == 40
    assert await backend.owned() == []


async def test_another_kind_is_opened_cold_and_not_kept() -> None:
    backend = FakeBackend()
    async with pool_of(backend, size=1) as pool:
        await until_ready(pool, 1)
        async with pool.lease(SMALL, ALICE, backend) as lease:
            assert backend.sandbox(lease.sandbox.id).spec.limits == SMALL.limits
            assert pool.stats()["cold_total"] == 1
        await settled(backend, pool, 1)
        assert backend.sandbox((await backend.owned())[0]).spec.limits == USUAL.limits
        assert len(pool._shelves) == 1


async def test_kinds_named_beforehand_are_kept_too() -> None:
    backend = FakeBackend()
    warm = [Warm(), Warm(SMALL, size=1)]
    async with pool_of(backend, size=2, warm=warm) as pool:
        await until_ready(pool, 3)
        async with pool.lease(SMALL, ALICE, backend):
            assert pool.stats()["warm_total"] == 1


async def test_with_size_zero_everything_is_cold() -> None:
    backend = FakeBackend()
    async with pool_of(backend, size=0) as pool:
        async with pool.lease(USUAL, ALICE, backend):
            pass
        await settled(backend, pool, 0)


async def test_one_that_died_while_it_waited_is_discarded_and_replaced() -> None:
    backend = FakeBackend()
    async with pool_of(backend, size=1) as pool:
        await until_ready(pool, 1)
        (first,) = await backend.owned()
        backend.die(first)
        while not pool.stats()["died_total"]:
            await checkpoint()
        async with pool.lease(USUAL, ALICE, backend) as lease:
            assert lease.sandbox.id != first


async def test_one_that_dies_while_leased_stays_until_the_lease_ends() -> None:
    backend = FakeBackend()
    async with pool_of(backend, size=1) as pool:
        async with pool.lease(USUAL, ALICE, backend) as lease:
            backend.die(lease.sandbox.id, "memory")
            for _ in range(10):
                await checkpoint()
            assert lease.sandbox.id in await backend.owned()
        await settled(backend, pool, 1)


async def test_what_the_backend_raises_reaches_the_caller() -> None:
    backend = FakeBackend()
    async with pool_of(backend, size=1) as pool:
        with pytest.raises(NotFound):
            async with pool.lease(Shape(image="none"), ALICE, backend):
                pytest.fail("was leased")
        assert pool.stats()["running"] == 0


async def test_an_error_that_is_not_ours_becomes_a_fault_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = FakeBackend()
    async with pool_of(backend, size=0) as pool:
        backend.faults.fail("open", OSError("EMFILE"))
        with pytest.raises(BackendFault, match="OSError"):
            async with pool.lease(USUAL, ALICE, backend):
                pytest.fail("was leased")
        async with pool.lease(USUAL, ALICE, backend):
            pass
    assert "EMFILE" in caplog.text


async def test_an_error_on_closing_does_not_end_the_pool() -> None:
    backend = FakeBackend()
    async with pool_of(backend, size=1) as pool:
        await until_ready(pool, 1)
        backend.faults.fail("close", BackendFault("stuck"))
        async with pool.lease(USUAL, ALICE, backend):
            pass
        async with pool.lease(USUAL, ALICE, backend):
            pass
        await settled(backend, pool, 1)


async def test_a_failing_backend_is_left_in_peace_but_callers_are_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    backend = FakeBackend()
    backend.faults.fail("open", BackendFault("no luck"), times=None)
    async with pool_of(backend, size=4) as pool:
        while not caplog.records:
            await checkpoint()
        tries = backend.faults.reached.count("open")
        for _ in range(200):
            await checkpoint()
        assert backend.faults.reached.count("open") - tries <= 2
        with pytest.raises(BackendFault, match="no luck"):
            async with pool.lease(USUAL, ALICE, backend):
                pytest.fail("was leased")
        backend.faults.clear()
        async with pool.lease(USUAL, ALICE, backend):
            pass
        with anyio.fail_after(5):
            await until_ready(pool, 4)


async def test_an_opening_that_hangs_is_given_up() -> None:
    backend = FakeBackend()
    hang = backend.faults.hang("open")
    tuning = Tuning(open_timeout_s=0.02)
    async with pool_of(backend, size=0, tuning=tuning) as pool:
        with pytest.raises(BackendFault, match=r"0\.02 s"):
            async with pool.lease(USUAL, ALICE, backend):
                pytest.fail("was leased")
        hang.release()
        await settled(backend, pool, 0)
        assert pool.stats()["opening"] == 0


async def test_a_backend_that_does_not_work_leaves_the_pool_empty() -> None:
    backend = FakeBackend(why_not="There is no sea here.")
    async with pool_of(backend) as pool:
        assert pool.stats()["ready"] == 0
        with pytest.raises(Unavailable):
            async with pool.lease(USUAL, ALICE, backend):
                pytest.fail("was leased")


async def test_the_queue_is_fair_over_tenants() -> None:
    backend = FakeBackend()
    order: list[str] = []

    async def use(pool: Pool, tenant: str) -> None:
        async with pool.lease(USUAL, ALICE if tenant == "alice" else BOB, backend):
            order.append(tenant)

    async with (
        pool_of(backend, max_running=1) as pool,
        anyio.create_task_group() as group,
        pool.lease(USUAL, ALICE, backend),
    ):
        for tenant in ["alice", "alice", "alice", "bob"]:
            group.start_soon(use, pool, tenant)
        while pool.stats()["queued"] < 4:
            await checkpoint()
    assert order == ["alice", "bob", "alice", "alice"]


async def test_too_many_are_refused() -> None:
    backend = FakeBackend()
    async with (
        pool_of(backend, max_running=1, max_queued=0) as pool,
        pool.lease(USUAL, ALICE, backend),
    ):
        with pytest.raises(Busy):
            async with pool.lease(USUAL, ALICE, backend):
                pytest.fail("was leased")


async def test_shutdown_refuses_who_waits_and_drains_who_is_served() -> None:
    backend = FakeBackend()
    told: list[str] = []
    inside, leave = anyio.Event(), anyio.Event()

    async def serve(pool: Pool) -> None:
        async with pool.lease(USUAL, ALICE, backend) as lease:
            inside.set()
            await leave.wait()
            process = await lease.sandbox.start(ProcessSpec(argv=("echo", "hi")))
            told.append(f"{[data async for _, data in process.output()]}")

    async def wait(pool: Pool) -> None:
        try:
            async with pool.lease(USUAL, ALICE, backend):
                pytest.fail("was leased")
        except Busy as error:
            told.append(error.detail)
            leave.set()

    async with anyio.create_task_group() as group:
        async with pool_of(backend, max_running=1) as pool:
            group.start_soon(serve, pool)
            await inside.wait()
            group.start_soon(wait, pool)
            while not pool.stats()["queued"]:
                await checkpoint()
        assert told == ["The server is shutting down.", "[b'hi\\n']"]
    assert await backend.owned() == []
    with pytest.raises(Busy):
        async with pool.lease(USUAL, ALICE, backend):
            pytest.fail("was leased")


async def test_shutdown_does_not_wait_for_ever() -> None:
    backend = FakeBackend()
    tuning = Tuning(drain_s=0.02)
    closed = anyio.Event()
    leased = anyio.Event()

    async def use(pool: Pool) -> None:
        async with pool.lease(USUAL, ALICE, backend):
            leased.set()
            await closed.wait()

    async with anyio.create_task_group() as group:
        async with pool_of(backend, tuning=tuning) as pool:
            group.start_soon(use, pool)
            await leased.wait()
        assert await backend.owned() == []
        closed.set()


async def test_a_pool_that_does_not_run_leases_nothing() -> None:
    backend = FakeBackend()
    clock = SystemClock()
    pool = Pool(backends=Backends([backend], clock=clock), clock=clock)
    with pytest.raises(RuntimeError):
        async with pool.lease(USUAL, ALICE, backend):
            pytest.fail("was leased")


@pytest.mark.parametrize("step", ["open", "open.files", "open.ready", "close"])
@pytest.mark.parametrize("shape", [USUAL, SMALL], ids=["warm", "cold"])
async def test_cancelling_a_lease_at_any_step_leaks_nothing(step: str, shape: Shape) -> None:
    backend = FakeBackend()
    async with pool_of(backend, size=1) as pool:
        await until_ready(pool, 1)
        hang = backend.faults.hang(step)

        async def use() -> None:
            async with pool.lease(shape, ALICE, backend):
                pass
            async with pool.lease(shape, ALICE, backend):
                pass

        async with anyio.create_task_group() as group:
            group.start_soon(use)
            await hang.reached.wait()
            group.cancel_scope.cancel()
        assert pool.stats()["running"] == 0
        hang.release()
        await settled(backend, pool, 1)
        async with pool.lease(shape, ALICE, backend):
            pass
    assert await backend.owned() == []


async def test_a_lease_cancelled_after_so_many_steps_leaks_nothing() -> None:
    backend = FakeBackend()
    async with pool_of(backend, size=1, max_running=1) as pool:

        async def use() -> None:
            for shape in (USUAL, SMALL):
                async with pool.lease(shape, ALICE, backend):
                    await checkpoint()

        for steps in range(40):
            async with anyio.create_task_group() as group:
                group.start_soon(use)
                group.start_soon(use)
                for _ in range(steps):
                    await checkpoint()
                group.cancel_scope.cancel()
            assert (pool.stats()["running"], pool.stats()["queued"]) == (0, 0)
            await settled(backend, pool, 1)
    assert await backend.owned() == []


async def test_one_handed_over_to_somebody_just_cancelled_is_kept_for_the_next() -> None:
    backend = FakeBackend()
    async with pool_of(backend, size=1) as pool:
        await until_ready(pool, 1)
        hang = backend.faults.hang("open.ready")
        callers: list[asyncio.Task[None]] = []

        async def use() -> None:
            task = asyncio.current_task()
            assert task is not None
            async with pool.lease(USUAL, ALICE, backend):
                callers.append(task)
                async with pool.lease(USUAL, ALICE, backend):
                    pytest.fail("was leased though cancelled")

        async with anyio.create_task_group() as group:
            group.start_soon(use)
            await hang.reached.wait()
            hang.release()
            (shelf,) = pool._shelves.values()
            while shelf.waiting:
                await checkpoint()
            callers[0].cancel()
        await settled(backend, pool, 1)


async def test_work_alongside_ends_with_the_lease() -> None:
    backend = FakeBackend()
    begun, ended = anyio.Event(), anyio.Event()

    async def work() -> None:
        begun.set()
        try:
            await anyio.sleep(math.inf)
        finally:
            ended.set()

    async with pool_of(backend) as pool:
        async with pool.lease(USUAL, ALICE, backend) as lease:
            lease.alongside(work)
            await begun.wait()
        with anyio.fail_after(1):
            await ended.wait()


async def test_work_alongside_may_fail() -> None:
    backend = FakeBackend()
    failed = anyio.Event()

    async def work() -> None:
        failed.set()
        raise AtollError("it happens")

    async with pool_of(backend) as pool:
        async with pool.lease(USUAL, ALICE, backend) as lease:
            lease.alongside(work)
            await failed.wait()
        async with pool.lease(USUAL, ALICE, backend):
            pass


async def test_one_that_died_on_its_way_to_a_caller_is_not_leased() -> None:
    backend = FakeBackend()
    got: list[str] = []

    async def use() -> None:
        async with pool.lease(USUAL, ALICE, backend) as lease:
            got.append(lease.sandbox.id)

    async with pool_of(backend, size=0) as pool:
        hang = backend.faults.hang("open.ready", times=1)
        async with anyio.create_task_group() as group:
            group.start_soon(use)
            await hang.reached.wait()
            (shelf,) = pool._shelves.values()
            (waiter,) = shelf.waiting
            hang.release()
            while waiter.held is None:
                await checkpoint()
            shelf.died(waiter.held)
            first = waiter.held.sandbox.id
        assert got
        assert got[0] != first
        await settled(backend, pool, 0)


async def test_an_opening_that_is_done_just_too_late_is_closed() -> None:
    class Late(FakeBackend):
        """Opens behind a shield, past every deadline."""

        @asynccontextmanager
        async def _opened(self, spec: SandboxSpec) -> AsyncGenerator[FakeSandbox, None]:
            with anyio.CancelScope(shield=True):
                await due.wait()
            async with super()._opened(spec) as sandbox:
                yield sandbox

    due = anyio.Event()
    backend = Late()
    async with pool_of(backend, size=0, tuning=Tuning(open_timeout_s=0.01)) as pool:
        with pytest.raises(BackendFault, match="no sandbox opened"):
            async with pool.lease(USUAL, ALICE, backend):
                pytest.fail("was leased")
        due.set()
        await settled(backend, pool, 0)
        assert pool.stats()["failed_total"] == 1

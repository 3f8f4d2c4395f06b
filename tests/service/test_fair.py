import asyncio
from collections import defaultdict

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from atoll.core.errors import Busy
from atoll.service.fair import FairQueue, Gate

TENANTS = st.sampled_from(["a", "b", "c", "d"])
STEPS = st.lists(st.one_of(TENANTS, st.none()), max_size=80)


@given(STEPS)
def test_nobody_is_served_twice_while_another_waits(steps: list[str | None]) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    waiting: dict[str, list[int]] = defaultdict(list)
    passed: dict[str, set[str]] = {}
    for number, tenant in enumerate(steps):
        if tenant is not None:
            queue.push(tenant, (tenant, number))
            if not waiting[tenant]:
                passed[tenant] = set()
            waiting[tenant].append(number)
            continue
        if not any(waiting.values()):
            with pytest.raises(IndexError):
                queue.pop()
            continue
        served, item = queue.pop()
        assert item == waiting[served].pop(0), "first in, first out within a tenant"
        for other, line in waiting.items():
            if other != served and line:
                assert served not in passed[other], f"{served} twice while {other} waited"
                passed[other].add(served)
        passed[served] = set()
    assert len(queue) == sum(map(len, waiting.values()))


@given(st.lists(TENANTS, min_size=1, max_size=30), st.data())
def test_discarding_removes_just_that_one(tenants: list[str], data: st.DataObject) -> None:
    queue: FairQueue[int] = FairQueue()
    for number, tenant in enumerate(tenants):
        queue.push(tenant, number)
    gone = data.draw(st.integers(0, len(tenants) - 1))
    queue.discard(tenants[gone], gone)
    queue.discard(tenants[gone], gone)
    queue.discard("nobody", 1)
    assert sorted(queue.pop() for _ in range(len(queue))) == [
        number for number in range(len(tenants)) if number != gone
    ]


def test_the_greediest_loses_the_newest() -> None:
    queue: FairQueue[int] = FairQueue()
    assert queue.pop_greediest(above=0) is None
    for number in range(3):
        queue.push("a", number)
    queue.push("b", 9)
    assert queue.pop_greediest(above=3) is None
    assert queue.pop_greediest(above=2) == 2
    assert [queue.pop() for _ in range(3)] == [0, 9, 1]


pytestmark = pytest.mark.anyio


def gate(*, running: int = 1, queued: int = 3, timeout_s: float = 5.0) -> Gate:
    return Gate(max_running=running, max_queued=queued, timeout_s=timeout_s)


async def test_at_most_so_many_are_inside() -> None:
    one = gate(running=2, queued=20)
    most = 0

    async def visit() -> None:
        nonlocal most
        await one.enter("a")
        most = max(most, one.running)
        await checkpoint()
        one.leave(0.1)

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(visit)
    assert most == 2
    assert one.running == 0


async def test_tenants_take_turns() -> None:
    one = gate(queued=20)
    order: list[str] = []

    async def visit(tenant: str) -> None:
        await one.enter(tenant)
        order.append(tenant)
        one.leave(0.0)

    await one.enter("x")
    async with anyio.create_task_group() as group:
        for tenant in ["a", "a", "a", "b", "c"]:
            group.start_soon(visit, tenant)
        while one.queued < 5:
            await checkpoint()
        one.leave(0.0)
    assert order == ["a", "b", "c", "a", "a"]


async def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    one = gate(queued=0)
    await one.enter("a")
    with pytest.raises(Busy) as caught:
        await one.enter("a")
    assert caught.value.retry_after_s > 0


async def test_the_guess_grows_with_the_queue() -> None:
    one = gate(queued=10)
    await one.enter("a")
    one.leave(4.0)
    assert one.retry_after_s() == pytest.approx(4.0)
    await one.enter("a")
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(one.enter, "a")
        while one.queued < 2:
            await checkpoint()
        assert one.retry_after_s() == pytest.approx(12.0)
        group.cancel_scope.cancel()


async def test_waiting_too_long_is_busy_and_leaves_the_queue() -> None:
    one = gate(timeout_s=0.01)
    await one.enter("a")
    with pytest.raises(Busy, match=r"0\.01 s"):
        await one.enter("a")
    assert one.queued == 0
    one.leave(0.0)
    await one.enter("a")


async def test_a_flood_is_refused_at_its_own_expense() -> None:
    one = gate(queued=3)
    outcome: list[str] = []

    async def visit(tenant: str) -> None:
        try:
            await one.enter(tenant)
        except Busy:
            outcome.append(f"{tenant} refused")
        else:
            outcome.append(tenant)
            one.leave(0.0)

    await one.enter("x")
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(visit, "flood")
        while one.queued < 3:
            await checkpoint()
        group.start_soon(visit, "other")
        while not outcome:
            await checkpoint()
        one.leave(0.0)
    assert outcome == ["flood refused", "flood", "other", "flood"]


async def test_a_visitor_cancelled_as_the_turn_comes_passes_it_on() -> None:
    one = gate()
    visitors: list[asyncio.Task[None]] = []

    async def visit() -> None:
        task = asyncio.current_task()
        assert task is not None
        visitors.append(task)
        await one.enter("a")
        pytest.fail("was let in though cancelled")

    await one.enter("a")
    async with anyio.create_task_group() as group:
        group.start_soon(visit)
        while not one.queued:
            await checkpoint()
        one.leave(0.0)
        visitors[0].cancel()
    assert one.running == 0


async def test_a_visitor_cancelled_while_waiting_leaves_no_trace() -> None:
    one = gate()
    await one.enter("a")
    with anyio.move_on_after(0.01):
        await one.enter("a")
    assert (one.running, one.queued) == (1, 0)


async def test_closing_refuses_those_who_wait_and_those_who_come() -> None:
    one = gate()
    refused: list[str] = []

    async def visit() -> None:
        with pytest.raises(Busy, match="over"):
            await one.enter("a")
        refused.append("waited")

    await one.enter("a")
    async with anyio.create_task_group() as group:
        group.start_soon(visit)
        while not one.queued:
            await checkpoint()
        one.close("It is over.")
    with pytest.raises(Busy, match="over"):
        await one.enter("b")
    assert refused == ["waited"]
    async with anyio.create_task_group() as group:
        group.start_soon(one.emptied)
        await checkpoint()
        one.leave(0.0)


def test_a_line_that_has_lost_its_last_is_no_line() -> None:
    queue: FairQueue[int] = FairQueue()
    queue.push("a", 1)
    assert queue.pop_greediest(above=0) == 1
    assert len(queue) == 0
    with pytest.raises(IndexError):
        queue.pop()

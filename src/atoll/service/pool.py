"""Fresh sandboxes for one-shots: opened ahead where the kind is known, served fairly, used once."""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

import anyio
from anyio.abc import TaskGroup

from atoll.core.errors import AtollError, BackendFault
from atoll.core.ports import Backend, Ended
from atoll.service.backends import Backends, needs_of
from atoll.service.caller import Caller
from atoll.service.clock import Clock
from atoll.service.fair import Gate
from atoll.service.ids import new_id
from atoll.service.lease import Lease
from atoll.service.shelf import Held, Shape, Shelf, Waiter

__all__ = ["Lease", "Pool", "Shape", "Tuning", "Warm"]

AFTER_S = 0.001


@dataclass(frozen=True, slots=True)
class Warm:
    """A kind of sandbox to keep ready. None is the default: the pool's size, the first backend."""

    shape: Shape = field(default_factory=Shape)
    size: int | None = None
    backend: str | None = None


@dataclass(frozen=True, slots=True)
class Tuning:
    """Bounds that seldom need changing."""

    openings: int = 4
    open_timeout_s: float = 60.0
    drain_s: float = 10.0


class Pool(anyio.AsyncContextManagerMixin):
    """Leases fresh sandboxes. Each is held open by a task of the pool and is never used twice.

    Fillers, closings and replacements run in the pool's own task group, off the path of the
    caller: a lease of a ready sandbox waits for nothing at all, and neither does its end.
    """

    def __init__(
        self,
        *,
        backends: Backends,
        clock: Clock,
        size: int = 8,
        max_running: int = 32,
        max_queued: int = 1000,
        queue_timeout_s: float = 30.0,
        warm: Sequence[Warm] = (Warm(),),
        tuning: Tuning = Tuning(),
    ) -> None:
        self._backends = backends
        self._clock = clock
        self._size = size
        self._warm = tuple(warm)
        self._tuning = tuning
        self._gate = Gate(max_running=max_running, max_queued=max_queued, timeout_s=queue_timeout_s)
        self._max_running = max_running
        self._shelves: dict[tuple[str, Shape], Shelf] = {}
        self._ids: set[str] = set()
        self._group: TaskGroup | None = None
        self._counts = {"warm": 0, "cold": 0, "died": 0, "failed": 0}

    def held_ids(self) -> frozenset[str]:
        """Ids of all sandboxes that the pool opens, keeps ready, has leased or closes now."""
        return frozenset(self._ids)

    def stats(self) -> Mapping[str, int]:
        """Gauges and counters, for metrics."""
        shelves = self._shelves.values()
        return {
            "running": self._gate.running,
            "max_running": self._max_running,
            "queued": self._gate.queued,
            "ready": sum(len(shelf.ready) for shelf in shelves),
            "opening": sum(shelf.opening for shelf in shelves),
            "held": len(self._ids),
            **{f"{name}_total": count for name, count in self._counts.items()},
        }

    @asynccontextmanager
    async def lease(
        self, shape: Shape, caller: Caller, backend: Backend
    ) -> AsyncGenerator[Lease, None]:
        """A fresh sandbox for the length of the block, when it is the caller's turn.

        `Busy` when too many wait; else raises what the backend raised on opening it. No cancel
        scope is held across the block, so an asynchronous generator may hold a lease.
        """
        if self._group is None:
            raise RuntimeError("the pool is not running")
        came = self._clock.monotonic()
        await self._gate.enter(caller.tenant)
        entered = self._clock.monotonic()
        shelf: Shelf | None = None
        try:
            shelf = self._shelf(backend, shape)
            held = await self._obtain(shelf)
            lease = Lease(held.sandbox, backend.name, self._group)
            lease.queue_s = entered - came
            lease.open_s = self._clock.monotonic() - entered
            try:
                yield lease
            finally:
                lease.end()
                self._soon(held.end)
        finally:
            self._gate.leave(self._clock.monotonic() - entered)
            if shelf is not None:
                self._soon(self._top_up, shelf)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        async with anyio.create_task_group() as group:
            self._group = group
            await self._stock()
            try:
                yield self
            finally:
                self._gate.close("The server is shutting down.")
                for shelf in self._shelves.values():
                    shelf.close()
                with anyio.CancelScope(
                    shield=True, deadline=anyio.current_time() + self._tuning.drain_s
                ):
                    await self._gate.emptied()
                group.cancel_scope.cancel()

    async def _stock(self) -> None:
        """Begin to fill the shelves that are kept warm."""
        for warm in self._warm:
            size = self._size if warm.size is None else warm.size
            try:
                backend = await self._backends.choose(
                    warm.backend, needs=needs_of(warm.shape.network)
                )
            except AtollError as error:
                logging.getLogger(__name__).warning("pool: nothing kept ready: %s", error)
                continue
            shelf = Shelf(backend, warm.shape, size=size, openings=self._tuning.openings)
            self._shelves[backend.name, warm.shape] = shelf
            self._top_up(shelf)

    def _soon(self, work: Callable[..., None], *args: object) -> None:
        """After the answer, which would have to wait for what closing and opening cost."""
        asyncio.get_running_loop().call_later(AFTER_S, work, *args)

    def _shelf(self, backend: Backend, shape: Shape) -> Shelf:
        key = (backend.name, shape)
        shelf = self._shelves.get(key)
        if shelf is None:
            shelf = Shelf(backend, shape, size=0, openings=self._tuning.openings)
            self._shelves[key] = shelf
        return shelf

    async def _obtain(self, shelf: Shelf) -> Held:
        held = shelf.take()
        if held is not None:
            self._counts["warm"] += 1
            if shelf.low:
                self._top_up(shelf)
            return held
        while True:
            held = await self._wait(shelf)
            if not held.dead:
                self._counts["cold"] += 1
                return held
            held.end()

    async def _wait(self, shelf: Shelf) -> Held:
        waiter = Waiter()
        shelf.waiting.append(waiter)
        self._top_up(shelf)
        taken = False
        try:
            with anyio.move_on_after(self._tuning.open_timeout_s):
                await waiter.answered.wait()
            if waiter.error is not None:
                raise waiter.error
            if waiter.held is None:
                raise self._too_slow(shelf)
            taken = True
            return waiter.held
        finally:
            if not taken:
                shelf.leave(waiter)

    def _top_up(self, shelf: Shelf) -> None:
        if self._group is not None:
            for _ in range(shelf.wanted()):
                shelf.opening += 1
                self._group.start_soon(self._hold, shelf)
        if shelf.unused:
            self._shelves.pop((shelf.backend.name, shelf.shape), None)

    async def _hold(self, shelf: Shelf) -> None:
        """Open one, hand it over, keep it open until it is given up, close it."""
        sandbox_id = new_id("ex")
        self._ids.add(sandbox_id)
        held: Held | None = None
        fault: AtollError | None = None
        try:
            deadline = anyio.current_time() + self._tuning.open_timeout_s
            with anyio.CancelScope(deadline=deadline) as opening:
                async with shelf.backend.open(shelf.shape.spec(sandbox_id)) as sandbox:
                    if opening.cancel_called:
                        await anyio.sleep_forever()
                    opening.deadline = math.inf
                    held = Held(sandbox)
                    shelf.opening -= 1
                    shelf.offer(held)
                    self._top_up(shelf)
                    await self._keep(shelf, held)
            fault = self._too_slow(shelf)
        except Exception as error:  # noqa: BLE001  a keeper: one sandbox must not end the others
            fault = _as_fault(error, shelf, sandbox_id)
        finally:
            self._ids.discard(sandbox_id)
            if held is None:
                shelf.opening -= 1
        if held is None:
            self._counts["failed"] += 1
            shelf.failed(fault)
            await self._rest(shelf, fault.detail)
        elif held.dead_unused:
            self._counts["died"] += 1
            await self._rest(shelf, f"{sandbox_id} died while it waited")

    async def _keep(self, shelf: Shelf, held: Held) -> None:
        """Wait until it is given up, or has died with nobody to give it up."""
        with held.scope:
            if isinstance(held.sandbox, Ended):
                await held.sandbox.ended()
                if shelf.died(held):
                    return
            await anyio.sleep_forever()

    async def _rest(self, shelf: Shelf, why: str) -> None:
        """Open nothing ahead for a while, the longer the more often it failed."""
        if shelf.size and not shelf.resting:
            rest_s = shelf.rest_s()
            logging.getLogger(__name__).warning("pool: rests %.1f s: %s", rest_s, why)
            shelf.resting = True
            await anyio.sleep(rest_s)
            shelf.resting = False
        self._top_up(shelf)

    def _too_slow(self, shelf: Shelf) -> BackendFault:
        return BackendFault(
            f"{shelf.backend.name}: no sandbox opened within {self._tuning.open_timeout_s:g} s."
        )


def _as_fault(error: Exception, shelf: Shelf, sandbox_id: str) -> AtollError:
    """The same error if it is one of ours; else it is logged whole and told in short."""
    if isinstance(error, AtollError):
        return error
    logging.getLogger(__name__).error("sandbox %s of the pool failed", sandbox_id, exc_info=error)
    fault = BackendFault(
        f"{shelf.backend.name}: {type(error).__name__} in a sandbox of the pool.",
        sandbox_id=sandbox_id,
    )
    fault.__cause__ = error
    return fault

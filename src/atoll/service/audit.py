"""The audit log: who did what to which sandbox, when, and what came of it."""

import logging
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Self
from weakref import WeakSet

import anyio

from atoll.core.errors import AtollError
from atoll.core.records import Event
from atoll.core.store import Store
from atoll.service.caller import Caller
from atoll.service.clock import Clock

LATENESS_S = 0.05
RETRY_S = 1.0
_BATCH = 500


class Subscription:
    """Events from the moment it was made, as an async iterator.

    Ends when closed, at shutdown, or when its reader has fallen `capacity` events behind; the
    reader can then go on from the store, after the last `seq` it saw.
    """

    def __init__(self, *, tenant: str | None, sandbox_id: str | None, capacity: int) -> None:
        self._tenant = tenant
        self._sandbox_id = sandbox_id
        self._capacity = capacity
        self._events: deque[Event] = deque()
        self._news = anyio.Event()
        self._closed = False

    def offer(self, event: Event) -> None:
        """Hand over an event if it is wanted. Never waits."""
        if self._closed:
            return
        if self._tenant is not None and event.tenant != self._tenant:
            return
        if self._sandbox_id is not None and event.sandbox_id != self._sandbox_id:
            return
        if len(self._events) >= self._capacity:
            self.close()
            return
        self._events.append(event)
        self._news.set()

    def close(self) -> None:
        """End the iteration once what has come already is read."""
        self._closed = True
        self._news.set()

    async def aclose(self) -> None:
        """Close, and forget what was not read."""
        self._events.clear()
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._closed:
                raise StopAsyncIteration
            self._news = anyio.Event()
            await self._news.wait()
        return self._events.popleft()


class Audit(anyio.AsyncContextManagerMixin):
    """Takes events without waiting and writes them in batches, at most 50 ms late.

    While the store fails, events are kept and tried again; past `capacity` the oldest are dropped
    and counted in `dropped`.
    """

    def __init__(self, *, store: Store, clock: Clock, capacity: int = 20_000) -> None:
        self._store = store
        self._clock = clock
        self._pending: deque[Event] = deque(maxlen=capacity)
        self._capacity = capacity
        self._news = anyio.Event()
        self._one = anyio.Lock()
        self._subscriptions: WeakSet[Subscription] = WeakSet()
        self.dropped = 0

    def record(
        self,
        action: str,
        caller: Caller,
        outcome: str,
        sandbox_id: str | None = None,
        **detail: object,
    ) -> None:
        """Note what happened. Never waits and never fails; details of None are left out."""
        if len(self._pending) == self._capacity:
            self.dropped += 1
        self._pending.append(
            Event(
                at=self._clock.now(),
                tenant=caller.tenant,
                actor=caller.actor,
                action=action,
                outcome=outcome,
                sandbox_id=sandbox_id,
                detail={k: str(v) for k, v in detail.items() if v is not None},
            )
        )
        self._news.set()

    def subscribe(
        self, *, tenant: str | None = None, sandbox_id: str | None = None, capacity: int = 1000
    ) -> Subscription:
        """Follow events from now on; `tenant` None is every tenant's. Close it when done."""
        subscription = Subscription(tenant=tenant, sandbox_id=sandbox_id, capacity=capacity)
        self._subscriptions.add(subscription)
        return subscription

    async def flush(self) -> None:
        """Write all that is pending. Raises what the store raises; nothing is lost then.

        A write that has begun is not cut short, so that no event is written twice.
        """
        async with self._one:
            while self._pending:
                batch = list(islice(self._pending, _BATCH))
                written: Sequence[Event] = ()
                with anyio.CancelScope(shield=True):
                    written = await self._store.add_events(batch)
                self._forget(batch)
                for subscription in tuple(self._subscriptions):
                    for event in written:
                        subscription.offer(event)

    def _forget(self, batch: Sequence[Event]) -> None:
        """Remove what was written; some of it may have been dropped meanwhile."""
        for event in batch:
            if self._pending and self._pending[0] is event:
                self._pending.popleft()

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        async with anyio.create_task_group() as group:
            group.start_soon(self._flush_forever)
            try:
                yield self
            finally:
                group.cancel_scope.cancel()
                with anyio.CancelScope(shield=True, deadline=anyio.current_time() + 5.0):
                    await self._try_flush()
                for subscription in tuple(self._subscriptions):
                    subscription.close()

    async def _flush_forever(self) -> None:
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            await anyio.sleep(LATENESS_S * 0.6)
            if not await self._try_flush():
                await anyio.sleep(RETRY_S)
                self._news.set()

    async def _try_flush(self) -> bool:
        try:
            await self.flush()
        except (AtollError, OSError):
            logging.getLogger(__name__).exception("audit: %d events wait", len(self._pending))
            return False
        return True

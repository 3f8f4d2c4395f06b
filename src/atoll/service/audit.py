"""The audit log: who did what to which sandbox, when, and what came of it."""

import json
import logging
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Self
from weakref import WeakSet

import anyio

from atoll.core.errors import AtollError
from atoll.core.records import Event
from atoll.core.store import Store
from atoll.service.caller import Caller
from atoll.service.clock import Clock
from atoll.service.journal import Journal

LATENESS_S = 0.05
RETRY_S = 1.0
COMMAND_MAX = 2000
_BATCH = 500


def command_line(argv: Sequence[str]) -> str:
    """A command as an event has it: JSON, cut where it gets long."""
    words, left = list[str](), COMMAND_MAX
    for word in argv:
        if len(word) > left:
            words.append(f"{word[:left]}\N{HORIZONTAL ELLIPSIS}")
            break
        words.append(word)
        left -= len(word)
    return json.dumps(words)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events somebody asks for; `tenant` None is every tenant's, times are `at`'s.

    `actions` are whole ones, or what they begin with: `sandbox.*`.
    """

    tenant: str | None = None
    sandbox_id: str | None = None
    actions: tuple[str, ...] = ()
    since: float | None = None
    until: float | None = None

    def has(self, event: Event) -> bool:
        """Whether it is one of them."""
        return (
            self.tenant in {None, event.tenant}
            and self.sandbox_id in {None, event.sandbox_id}
            and (not self.actions or any(_acts(event.action, each) for each in self.actions))
            and (self.since is None or event.at >= self.since)
            and (self.until is None or event.at < self.until)
        )


def _acts(action: str, wanted: str) -> bool:
    return action.startswith(wanted[:-1]) if wanted.endswith(".*") else action == wanted


class Subscription:
    """Events from the moment it was made, as an async iterator.

    Ends when closed, at shutdown, or when its reader has fallen `capacity` events behind; the
    reader can then go on from the store, after the last `seq` it saw.
    """

    def __init__(self, wanted: Wanted, capacity: int) -> None:
        self._wanted = wanted
        self._capacity = capacity
        self._events: deque[Event] = deque()
        self._news = anyio.Event()
        self._closed = False

    def offer(self, event: Event) -> None:
        """Hand over an event if it is wanted. Never waits."""
        if self._closed:
            return
        if not self._wanted.has(event):
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
    and counted in `dropped`. What is stored is then handed to the `journal`, if there is one.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        capacity: int = 20_000,
        journal: Journal | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._pending: deque[Event] = deque(maxlen=capacity)
        self._capacity = capacity
        self._news = anyio.Event()
        self._one = anyio.Lock()
        self._subscriptions: WeakSet[Subscription] = WeakSet()
        self.dropped = 0
        self.journal = journal

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

    def subscribe(self, wanted: Wanted = Wanted(), *, capacity: int = 1000) -> Subscription:
        """Follow events from now on. Close it when done."""
        subscription = Subscription(wanted, capacity)
        self._subscriptions.add(subscription)
        return subscription

    async def page(self, wanted: Wanted, *, after_seq: int, limit: int) -> Sequence[Event]:
        """What is stored of them behind a number, in order."""
        return await self._store.list_events(
            wanted.tenant,
            sandbox_id=wanted.sandbox_id,
            actions=wanted.actions,
            since=wanted.since,
            until=wanted.until,
            after_seq=after_seq,
            limit=limit,
        )

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
                if self.journal is not None:
                    self.journal.offer(written)
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

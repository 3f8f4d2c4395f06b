"""Who is next: a bound on what runs at once, and a queue that is fair between tenants."""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

import anyio

from atoll.core.errors import Busy

T = TypeVar("T")

_SHORTEST_RETRY_S = 0.1
_LONGEST_RETRY_S = 60.0
_WEIGHT = 0.1


class FairQueue(Generic[T]):
    """First in, first out within a tenant; between tenants one each in turn."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[T]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def waiting(self, tenant: str) -> int:
        """How many of that tenant's wait."""
        return len(self._lines.get(tenant, ()))

    def push(self, tenant: str, item: T) -> None:
        """Add at the end of the tenant's line."""
        line = self._lines.get(tenant)
        if line is None:
            line = self._lines[tenant] = deque()
        line.append(item)
        self._length += 1

    def pop(self) -> T:
        """Take the first of the tenant whose turn it is. `IndexError` when nobody waits."""
        if not self._lines:
            raise IndexError("nobody waits")
        tenant, line = next(iter(self._lines.items()))
        item = line.popleft()
        self._length -= 1
        if line:
            self._lines.move_to_end(tenant)
        else:
            del self._lines[tenant]
        return item

    def discard(self, tenant: str, item: T) -> None:
        """Remove one that waits no more; nothing when it is not there."""
        line = self._lines.get(tenant)
        if line is None or item not in line:
            return
        line.remove(item)
        self._length -= 1
        if not line:
            del self._lines[tenant]

    def pop_greediest(self, *, above: int) -> T | None:
        """Take the newest of the longest line, if that line is longer than `above`."""
        if not self._lines:
            return None
        tenant, line = max(self._lines.items(), key=lambda entry: len(entry[1]))
        if len(line) <= above:
            return None
        item = line.pop()
        self._length -= 1
        if not line:
            del self._lines[tenant]
        return item


class Turn:
    """A place in the queue."""

    __slots__ = ("called", "refusal", "tenant")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.called = anyio.Event()
        self.refusal: str | None = None


class Gate:
    """Lets at most `max_running` in at once; the others wait, at most `max_queued` of them.

    When the queue is full, a tenant with a shorter line takes the place of the newest in the
    longest line: a flood is refused at its own expense.
    """

    def __init__(self, *, max_running: int, max_queued: int, timeout_s: float) -> None:
        self._max_running = max_running
        self._max_queued = max_queued
        self._timeout_s = timeout_s
        self._queue: FairQueue[Turn] = FairQueue()
        self._closed: str | None = None
        self._held_s = 0.0
        self._emptied = anyio.Event()
        self.running = 0

    @property
    def queued(self) -> int:
        """How many wait."""
        return len(self._queue)

    async def enter(self, tenant: str) -> None:
        """Return when it is this caller's turn; then `leave` must be called, once.

        `Busy` when the queue is full, when the wait was too long, or after `close`.
        """
        if self._closed is not None:
            raise Busy(self._closed)
        if self.running < self._max_running and not self._queue:
            self.running += 1
            return
        turn = Turn(tenant)
        self._line_up(turn)
        entered = False
        try:
            with anyio.move_on_after(self._timeout_s):
                await turn.called.wait()
            if turn.refusal is not None:
                raise self._busy(turn.refusal)
            if not turn.called.is_set():
                raise self._busy(f"No place became free within {self._timeout_s:g} s.")
            entered = True
        finally:
            if not entered:
                self._step_out(turn)

    def leave(self, held_s: float) -> None:
        """Give the place to whoever is next. `held_s` is how long it was taken."""
        self._held_s += (held_s - self._held_s) * _WEIGHT if self._held_s else held_s
        self._free_one()

    def close(self, why: str) -> None:
        """Refuse everybody who waits or comes from now on."""
        self._closed = why
        while self._queue:
            self._refuse(self._queue.pop(), why)

    async def emptied(self) -> None:
        """Wait until nobody is inside. Call after `close`."""
        while self.running:
            self._emptied = anyio.Event()
            await self._emptied.wait()

    def retry_after_s(self) -> float:
        """When a place is likely: the length of the queue by the mean time that a place is held."""
        guess = (len(self._queue) + 1) * self._held_s / self._max_running
        return min(max(guess, _SHORTEST_RETRY_S), _LONGEST_RETRY_S)

    def _line_up(self, turn: Turn) -> None:
        if len(self._queue) >= self._max_queued:
            mine = self._queue.waiting(turn.tenant)
            last = self._queue.pop_greediest(above=mine + 1)
            if last is None:
                raise self._busy(f"{len(self._queue)} requests wait already, which is the most.")
            self._refuse(last, "The queue is full, and others wait who have fewer requests in it.")
        self._queue.push(turn.tenant, turn)

    def _step_out(self, turn: Turn) -> None:
        if turn.refusal is not None:
            return
        if turn.called.is_set():
            self._free_one()
        else:
            self._queue.discard(turn.tenant, turn)

    def _free_one(self) -> None:
        if self._queue:
            self._queue.pop().called.set()
            return
        self.running -= 1
        if not self.running:
            self._emptied.set()

    def _busy(self, detail: str) -> Busy:
        return Busy(detail, retry_after_s=self.retry_after_s())

    @staticmethod
    def _refuse(turn: Turn, why: str) -> None:
        turn.refusal = why
        turn.called.set()

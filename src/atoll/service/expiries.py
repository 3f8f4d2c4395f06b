"""What is due when: one ordered heap for idle timeouts and leases."""

import heapq
from collections.abc import Sequence

import anyio

from atoll.core.records import SandboxRecord
from atoll.core.states import TERMINAL, State


class Expiries:
    """The next moment at which each sandbox must be looked at. Times are the clock's `now`.

    Changing a moment leaves the old entry in the heap, where it is skipped when its time comes.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._due: dict[str, tuple[float, str]] = {}
        self.changed = anyio.Event()

    def track(self, record: SandboxRecord, last_used_at: float | None = None) -> None:
        """Take note of a record as it is now."""
        due = due_at(record, last_used_at)
        if due is None:
            self._due.pop(record.id, None)
            return
        if self._due.get(record.id) == (due, record.tenant):
            return
        self._due[record.id] = (due, record.tenant)
        heapq.heappush(self._heap, (due, record.id))
        if self._heap[0][1] == record.id:
            self.changed.set()
        if len(self._heap) > 64 + 4 * len(self._due):
            self._heap = [(due, sandbox_id) for sandbox_id, (due, _) in self._due.items()]
            heapq.heapify(self._heap)

    def forget(self, sandbox_id: str) -> None:
        """It has ended."""
        self._due.pop(sandbox_id, None)

    def next_at(self) -> float | None:
        """When the next one is due."""
        self._skip()
        return self._heap[0][0] if self._heap else None

    def pop(self, now: float) -> Sequence[tuple[str, str]]:
        """Tenant and id of all that are due, the earliest first; they are forgotten here."""
        found: list[tuple[str, str]] = []
        self._skip()
        while self._heap and self._heap[0][0] <= now:
            _, sandbox_id = heapq.heappop(self._heap)
            found.append((self._due.pop(sandbox_id)[1], sandbox_id))
            self._skip()
        return found

    def _skip(self) -> None:
        while self._heap and self._due.get(self._heap[0][1], (None, ""))[0] != self._heap[0][0]:
            heapq.heappop(self._heap)


_AT_REST = {State.RUNNING, State.STOPPED, State.ARCHIVED}


def due_at(record: SandboxRecord, last_used_at: float | None = None) -> float | None:
    """When its lease ends, or when it will have been idle for long enough to do something.

    One that is paused is not idle.
    """
    if record.state in TERMINAL:
        return None
    moments: list[float] = []
    if record.expires_at is not None:
        moments.append(record.expires_at)
    used = max(record.last_used_at, last_used_at or 0.0)
    if record.idle_timeout_s is not None and record.state is State.RUNNING:
        moments.append(used + record.idle_timeout_s)
    if record.auto_delete_s is not None and record.state in _AT_REST:
        moments.append(used + record.auto_delete_s)
    if record.auto_archive_s is not None and record.state in {State.RUNNING, State.STOPPED}:
        moments.append(used + record.auto_archive_s)
    return min(moments, default=None)

"""The audit log as a file of JSON lines, for whoever collects logs. A copy: the store leads.

Appends only, whole lines only, one server at a time (flock), to wherever the name points now: a
file that was renamed or removed is left and a new one begun, one that was emptied is gone on with.
Each line carries what the line before it was (`follows`) and a `link`, the hash of that and the
event's own hash: so a file can be checked by itself, also where several servers write to one
database and each to a file of its own.
"""

import errno
import fcntl
import hashlib
import json
import logging
import os
import stat
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Self

import anyio
from anyio import to_thread

from atoll.core.chain import GENESIS
from atoll.core.records import Event

RETRY_S = 1.0
STALL_S = 30.0
LAST_S = 5.0
_BATCH = 500
_TAIL = 4 * 1024 * 1024


def link(follows: str, own: str) -> str:
    """What the next line follows."""
    return hashlib.sha256(f"{follows} {own}".encode()).hexdigest()


def line(event: Event, follows: str) -> tuple[bytes, str]:
    """An event as a line, and its link."""
    mine = link(follows, event.hash)
    said = {
        "seq": event.seq,
        "at": float(event.at),
        "tenant": event.tenant,
        "actor": event.actor,
        "action": event.action,
        "outcome": event.outcome,
        "sandbox_id": event.sandbox_id,
        "detail": dict(event.detail),
        "previous": event.previous,
        "hash": event.hash,
        "follows": follows,
        "link": mine,
    }
    return json.dumps(said, separators=(",", ":")).encode() + b"\n", mine


class Journal(anyio.AsyncContextManagerMixin):
    """Takes events without waiting; a task of its own appends them, in batches.

    While the file cannot be written, events wait and are tried again; past `capacity` the oldest
    are left out of the file and counted. With `sync` each batch is on the disk before the next.
    """

    def __init__(self, path: Path, *, sync: bool = True, capacity: int = 20_000) -> None:
        self._file = _File(path, sync=sync)
        self._pending: deque[Event] = deque(maxlen=capacity)
        self._capacity = capacity
        self._first = 0  # the number of the first that is pending, counted from the start
        self._one = anyio.CapacityLimiter(1)  # held by a thread that does not come back, too
        self._news = anyio.Event()
        self.lost = 0
        self.failure: str | None = None

    def offer(self, events: Sequence[Event]) -> None:
        """Have these written, when there is time for it."""
        for event in events:
            if len(self._pending) == self._capacity:
                self.lost += 1
                self._first += 1
            self._pending.append(event)
        self._news.set()

    def stats(self) -> Mapping[str, int]:
        """Numbers for whoever watches."""
        return {
            "lost": self.lost,
            "waiting": len(self._pending),
            "failing": int(self.failure is not None),
        }

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        async with anyio.create_task_group() as group:
            group.start_soon(self._write_forever)
            try:
                yield self
            finally:
                group.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    if await self._try_write(LAST_S):
                        self._file.close()

    async def _write_forever(self) -> None:
        await self._try_write()  # finds out at the start whether the file can be written
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            if not await self._try_write():
                await anyio.sleep(RETRY_S)
                self._news.set()

    async def _try_write(self, patience_s: float = STALL_S) -> bool:
        try:
            while True:
                batch = list(islice(self._pending, _BATCH))
                with anyio.fail_after(patience_s, shield=True):
                    await to_thread.run_sync(
                        self._file.append,
                        batch,
                        self._first,
                        abandon_on_cancel=True,
                        limiter=self._one,
                    )
                while self._pending and self._first < self._file.done:
                    self._pending.popleft()
                    self._first += 1
                self.failure = None
                if not self._pending:
                    return True
        except OSError as error:
            if self.failure is None:
                logging.getLogger(__name__).exception("audit file: events wait")
            self.failure = error.strerror or "it does not answer"
            return False


class _File:
    """The file, in the threads."""

    def __init__(self, path: Path, *, sync: bool) -> None:
        self._path = path
        self._sync = sync
        self._fd = -1
        self._last: str | None = None
        self.done = 0

    def append(self, batch: Sequence[Event], first: int) -> None:
        """Write all or, after an error, nothing. `first` is the number of the first of them.

        Those that a call wrote whose caller did not wait for it are not written twice.
        """
        batch = batch[max(0, self.done - first) :]
        first = max(first, self.done)
        fd = self._current()
        begins = self._last or GENESIS
        follows, lines = begins, list[bytes]()
        for event in batch:
            text, follows = line(event, follows)
            lines.append(text)
        size = os.fstat(fd).st_size
        rest = memoryview(b"".join(lines))
        try:
            while rest:
                rest = rest[os.write(fd, rest) :]
            if self._sync and batch:
                os.fdatasync(fd)
        except OSError:
            with suppress(OSError):
                os.ftruncate(fd, size)
            raise
        self._last = follows if batch else self._last
        self.done = first + len(batch)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _current(self) -> int:
        """The file that has the name now."""
        if self._fd >= 0:
            try:
                named, held = self._path.lstat(), os.fstat(self._fd)
            except FileNotFoundError:
                self.close()
            else:
                if (named.st_ino, named.st_dev) != (held.st_ino, held.st_dev):
                    self.close()
        if self._fd < 0:
            self._fd = self._open()
        return self._fd

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(self._path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file")
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OSError(errno.EBUSY, "another server writes to it") from None
            self._last = _last_link(fd) or self._last
        except BaseException:
            os.close(fd)
            raise
        return fd


def _last_link(fd: int) -> str | None:
    """How the file ends; half a line, which a crash has left, is cut off."""
    size = os.fstat(fd).st_size
    begin = max(0, size - _TAIL)
    tail = os.pread(fd, _TAIL, begin)
    whole = tail.rfind(b"\n") + 1
    if whole < len(tail):
        os.ftruncate(fd, begin + whole)
    last = tail[:whole].rstrip(b"\n").rpartition(b"\n")[2]
    try:
        found = json.loads(last)["link"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None

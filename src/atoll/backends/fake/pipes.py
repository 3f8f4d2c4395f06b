"""Pipes in memory, with the bound that a real one has."""

from collections import deque
from typing import Generic, TypeVar

import anyio
from anyio.lowlevel import checkpoint

CHUNK = 64 * 1024
T = TypeVar("T")


class Pipe(Generic[T]):
    """A queue of items with a size each; writers wait while more than `bound` is in it."""

    def __init__(self, bound: int = CHUNK) -> None:
        self._bound = bound
        self._items: deque[tuple[T, int]] = deque()
        self._held = 0
        self._changed = anyio.Event()
        self.closed = False

    async def put(self, item: T, size: int) -> None:
        """Add an item; `BrokenPipeError` when the pipe is closed, also while waiting."""
        await checkpoint()
        while self._held > 0 and self._held + size > self._bound and not self.closed:
            await self._changed.wait()
        if self.closed:
            raise BrokenPipeError
        self._items.append((item, size))
        self._held += size
        self._wake()

    async def get(self) -> T | None:
        """Take the oldest item; None when the pipe is closed and empty."""
        await checkpoint()
        while not self._items:
            if self.closed:
                return None
            await self._changed.wait()
        item, size = self._items.popleft()
        self._held -= size
        self._wake()
        return item

    def close(self) -> None:
        """End it. What is in it can still be taken."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class Stdin:
    """What a program reads: a pipe of bytes, by block or by line."""

    def __init__(self, pipe: Pipe[bytes] | None = None) -> None:
        self._pipe = pipe
        self._held = b""

    async def read(self, size: int = CHUNK) -> bytes:
        """Up to `size` bytes as soon as there are any; empty at the end."""
        if not self._held:
            await self._fill()
        data, self._held = self._held[:size], self._held[size:]
        return data

    async def line(self) -> bytes:
        """One line with its newline; less at the end of the input."""
        while b"\n" not in self._held:
            if not await self._fill():
                break
        head, newline, self._held = self._held.partition(b"\n")
        return head + newline

    async def _fill(self) -> bool:
        more = None if self._pipe is None else await self._pipe.get()
        self._held += more or b""
        return bool(more)

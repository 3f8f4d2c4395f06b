"""Read a program's pipes while it runs: byte for byte, at once, and never more than a bound."""

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping

from atoll.core.model import Channel

CHUNK = 64 * 1024
_HELD_MAX = 1024 * 1024
_TAIL = 512


class Output:
    """Buffers what the pipes deliver; stops reading while a slow reader is a mebibyte behind.

    Driven by the event loop's reader callbacks, so it costs no task. Owns its descriptors.
    """

    def __init__(
        self, pipes: Mapping[int, Channel], limit: int, on_limit: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._pipes = dict(pipes)
        self._left = limit
        self._on_limit = on_limit
        self._chunks: deque[tuple[Channel, bytes]] = deque()
        self._held = 0
        self._paused = False
        self._over = False
        self._waiter: asyncio.Future[None] | None = None
        self.truncated = False
        self.tail = b""
        for fd in self._pipes:
            self._loop.add_reader(fd, self._readable, fd)

    def _readable(self, fd: int) -> None:
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # a terminal whose last user has gone
        if not data:
            self._close(fd)
            return
        self._take(self._pipes[fd], data)

    def _take(self, channel: Channel, data: bytes) -> None:
        if self._over:
            return
        if len(data) > self._left:
            data = data[: self._left]
            if not self.truncated:
                self.truncated = True
                self._on_limit()
        self._left -= len(data)
        if data:
            if channel is Channel.STDERR:
                self.tail = (self.tail + data)[-_TAIL:]
            self._chunks.append((channel, data))
            self._held += len(data)
            if self._held > _HELD_MAX and not self._paused:
                self._paused = True
                for fd in self._pipes:
                    self._loop.remove_reader(fd)
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _close(self, fd: int) -> None:
        if fd in self._pipes:
            del self._pipes[fd]
            self._loop.remove_reader(fd)
            os.close(fd)
        if not self._pipes:
            self._wake()

    @property
    def open(self) -> bool:
        """Whether some process still holds a pipe's other end."""
        return bool(self._pipes)

    def drain(self) -> None:
        """Take what is in the pipes now; called when the program has ended."""
        for fd, channel in list(self._pipes.items()):
            while True:
                try:
                    data = os.read(fd, CHUNK)
                except BlockingIOError:
                    break
                except OSError:
                    data = b""
                if not data:
                    self._close(fd)
                    break
                self._take(channel, data)

    def finish(self) -> None:
        """End the stream for the reader. Pipes that something still writes to are emptied on."""
        self._over = True
        self._resume()
        self._wake()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            for fd in self._pipes:
                self._loop.add_reader(fd, self._readable, fd)

    def close(self) -> None:
        """Let go of the pipes."""
        for fd in list(self._pipes):
            self._close(fd)
        self.finish()

    async def chunks(self) -> AsyncGenerator[tuple[Channel, bytes], None]:
        """What has come and what comes, until the end."""
        while True:
            while self._chunks:
                channel, data = self._chunks.popleft()
                self._held -= len(data)
                if self._paused and self._held < _HELD_MAX // 2:
                    self._resume()
                yield channel, data
            if self._over or not self._pipes:
                return
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

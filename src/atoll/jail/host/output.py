"""Read a program's pipes while it runs: byte for byte, at once, and never more than a bound."""

import asyncio
import os
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping

from atoll.core.model import Channel

CHUNK = 64 * 1024
_HELD_MAX = 1024 * 1024
_TAIL = 512
# A program that does not buffer writes a line in pieces: how long the first waits for the rest.
_LINE_S = 0.001
# What a warm program says when it has ended well: guest.python.
_FAREWELL = re.compile(rb"(\d{1,18}):(\d{1,18})\n")
_FAREWELL_MAX = 72


class Output:
    """Buffers what the pipes deliver; stops reading while a slow reader is a mebibyte behind.

    Driven by the event loop's reader callbacks, so it costs no task. Owns its descriptors.
    """

    def __init__(
        self,
        pipes: Mapping[int, Channel],
        limit: int,
        on_limit: Callable[[], None],
        keep: int | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._pipes = dict(pipes)
        self._left = limit
        self._kept = {} if keep is None else dict.fromkeys(self._pipes.values(), keep)
        self._on_limit = on_limit
        self._chunks: deque[tuple[Channel, bytes]] = deque()
        self._held = 0
        self._paused = False
        self._over = False
        self._waiter: asyncio.Future[None] | None = None
        self._rest_timer: asyncio.TimerHandle | None = None
        self.truncated = False
        self.tail = b""
        self._mark = b""
        self._held_back = b""
        self._on_farewell: Callable[[float, int], None] = _nobody
        for fd in self._pipes:
            self._loop.add_reader(fd, self._readable, fd)

    def await_farewell(self, nonce: str, told: Callable[[float, int], None]) -> None:
        """Have it told, with seconds of CPU time and bytes of memory, and not read as output."""
        self._mark = f"\0atoll:{nonce}:".encode()
        self._on_farewell = told

    def allow(self, limit: int) -> None:
        """Let it deliver so many bytes from now on."""
        self._left = limit

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
        if self._mark and channel is Channel.STDOUT:
            data = self._parted(data)
        data = self._keep(channel, data) if self._kept else self._cut(data)
        if data:
            if channel is Channel.STDERR:
                self.tail = (self.tail + data)[-_TAIL:]
            self._chunks.append((channel, data))
            self._held += len(data)
            if self._held > _HELD_MAX and not self._paused:
                self._paused = True
                for fd in self._pipes:
                    self._loop.remove_reader(fd)
            if data.endswith(b"\n") or self._held >= CHUNK:
                self._wake()
            elif self._rest_timer is None:
                self._rest_timer = self._loop.call_later(_LINE_S, self._wake)

    def _parted(self, data: bytes) -> bytes:
        """Without the farewell at its end. A pipe is read to its end, or a whole chunk."""
        cut = len(data) == CHUNK
        data, self._held_back = self._held_back + data, b""
        at = data.rfind(b"\0", max(0, len(data) - _FAREWELL_MAX))
        if at < 0:
            return data
        tail = data[at:]
        if tail.startswith(self._mark):
            said = _FAREWELL.fullmatch(tail[len(self._mark) :])
            if said is not None:
                used, peak = int(said[1]) / 1e6, int(said[2]) * 1024
                self._loop.call_soon(self._on_farewell, used, peak)
                return data[:at]
        elif not self._mark.startswith(tail):
            return data
        if cut:
            self._held_back = tail
            return data[:at]
        return data

    def _cut(self, data: bytes) -> bytes:
        """As much of it as may still come. At the first that may not, the program is ended."""
        cut = data[: self._left]
        if len(cut) < len(data) and not self.truncated:
            self.truncated = True
            self._on_limit()
        self._left -= len(cut)
        return cut

    def _keep(self, channel: Channel, data: bytes) -> bytes:
        """As much of it as there is still room for in its channel."""
        kept = data[: self._kept[channel]]
        self._kept[channel] -= len(kept)
        self.truncated = self.truncated or len(kept) < len(data)
        return kept

    def _wake(self) -> None:
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _close(self, fd: int) -> None:
        if self._held_back and self._pipes.get(fd) is Channel.STDOUT:
            self._mark = b""
            self._take(Channel.STDOUT, self._held_back)
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

    def rest(self) -> list[tuple[Channel, bytes]]:
        """What has come and was not read. The stream ends with it."""
        found = list(self._chunks)
        self._chunks.clear()
        self._held = 0
        self.finish()
        return found

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

    def _next(self) -> tuple[Channel, bytes]:
        """What one channel wrote before the other spoke, up to the largest chunk."""
        channel, data = self._chunks.popleft()
        parts, size = [data], len(data)
        while self._chunks and self._chunks[0][0] is channel:
            size += len(self._chunks[0][1])
            if size > CHUNK:
                break
            parts.append(self._chunks.popleft()[1])
        whole = b"".join(parts)
        self._held -= len(whole)
        return channel, whole

    async def chunks(self) -> AsyncGenerator[tuple[Channel, bytes], None]:
        """What has come and what comes, until the end."""
        while True:
            while self._chunks and self._rest_timer is None:
                channel, data = self._next()
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


def _nobody(cpu_s: float, peak_bytes: int) -> None:
    """Nobody waits for a farewell."""

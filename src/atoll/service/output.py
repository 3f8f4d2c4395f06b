"""The output of one process: a byte-exact log that can be replayed from any position.

Followers are served from memory at once; a file receives the same bytes at most 50 ms later, and
all of them before the log is finished. Memory holds what is not yet written and a short tail, so
it stays bounded when nobody reads. Past `limit_bytes` the middle is cut: the first segment (an
eighth of the limit) and the newest ones stay, and a reader is told how much was skipped.

What `kill -9` leaves, by the moment it strikes:

| moment | after the next start |
|---|---|
| before a batch is written | the log ends at most 50 ms early, and is finished |
| while a batch is being written | its torn last frame is cut off, the log is finished |
| after `finish` | the log is complete |
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable
from functools import partial
from pathlib import Path

import anyio
import structlog
from anyio import to_thread

from atoll.core.model import MIB, Channel
from atoll.service import frames
from atoll.service.frames import Kept
from atoll.service.requests import OutputChunk

LOG_BYTES = 16 * MIB
TAIL_BYTES = 4 * 1024

_FOLLOWED_TAIL_BYTES = 256 * 1024
_UNWRITTEN_BYTES = MIB
_READ_BYTES = 256 * 1024
_SEGMENTS = 8

_log = structlog.stdlib.get_logger(__name__)


class OutputLog:
    """The log of a process that runs. One writer, any number of readers."""

    def __init__(
        self,
        *,
        folder: Path,
        number: int,
        limit_bytes: int = LOG_BYTES,
        on_unwritten: Callable[["OutputLog"], None] | None = None,
    ) -> None:
        self.number = number
        self.end = 0
        self.finished = False
        self._folder = folder
        self._on_unwritten = on_unwritten
        self._segment_bytes = max(1, limit_bytes // _SEGMENTS)
        self._segments: deque[Path] = deque()
        self._segment_size = 0
        self._stdout_end = 0
        self._written: deque[Kept] = deque()
        self._written_bytes = 0
        self._unwritten: list[Kept] = []
        self._unwritten_bytes = 0
        self._writing = anyio.Lock()
        self._grown = anyio.Event()
        self._followers = 0

    async def append(self, channel: Channel, data: bytes) -> None:
        """Add bytes. Waits only while more than a mebibyte is still to be written."""
        self._unwritten.append(Kept(self.end, self._stdout_end, channel, data))
        self.end += len(data)
        if channel is Channel.STDOUT:
            self._stdout_end += len(data)
        if not self._unwritten_bytes and self._on_unwritten is not None:
            self._on_unwritten(self)
        self._unwritten_bytes += len(data)
        self._wake()
        if self._unwritten_bytes > _UNWRITTEN_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Write what is not yet written."""
        await self._write(end=False)

    async def finish(self) -> None:
        """Make it complete on disk, then let its readers end. Idempotent."""
        await self._write(end=True)

    def abandon(self) -> None:
        """Let its readers end without writing any more: its files are about to go."""
        self.finished = True
        self._wake()

    def tail(self, size: int = TAIL_BYTES) -> bytes:
        """The last bytes, of both channels together."""
        parts: list[bytes] = []
        for kept in (*reversed(self._unwritten), *reversed(self._written)):
            if size <= 0:
                break
            parts.append(kept.data[-size:])
            size -= len(kept.data)
        return b"".join(reversed(parts))

    async def read(
        self, *, position: int = 0, channel: Channel | None = None, follow: bool = True
    ) -> AsyncGenerator[OutputChunk, None]:
        """The bytes from a position on; with `follow`, until the log is finished."""
        at = position
        self._followers += 1
        try:
            while True:
                done, grown = self.finished, self._grown
                for chunk in await self._pieces(at, channel):
                    at = chunk.position_after
                    yield chunk
                if at < self._end_of(channel):
                    continue
                if done or not follow:
                    return
                await grown.wait()
        finally:
            self._followers -= 1

    def _end_of(self, channel: Channel | None) -> int:
        return Kept(self.end, self._stdout_end, Channel.STDOUT, b"").starts_at(channel)

    async def _pieces(self, at: int, channel: Channel | None) -> list[OutputChunk]:
        """What there is now from a position on: from disk when memory has it no longer."""
        if at >= self._end_of(channel):
            return []
        oldest = next(iter(self._written or self._unwritten)).starts_at(channel)
        if at < oldest:
            reading = partial(
                frames.read,
                self._folder,
                self.number,
                position=at,
                channel=channel,
                budget=_READ_BYTES,
            )
            piece = await to_thread.run_sync(reading)
            if piece.chunks:
                return list(piece.chunks)
        chunks: list[OutputChunk] = []
        for kept in (*self._written, *self._unwritten):
            chunk = frames.cut(kept, at, channel)
            if chunk is not None:
                chunks.append(chunk)
                at = chunk.position_after
        return chunks

    def _wake(self) -> None:
        self._grown.set()
        self._grown = anyio.Event()

    async def _write(self, *, end: bool) -> None:
        with anyio.CancelScope(shield=True):
            async with self._writing:
                if self.finished:
                    return
                batch, self._unwritten = self._unwritten, []
                # Readers find the batch among the written: it stays in memory until it is.
                self._written.extend(batch)
                self._written_bytes += self._unwritten_bytes
                self._unwritten_bytes = 0
                if batch or end:
                    await self._write_batch(batch, end=end)
                self._forget()
                if end:
                    self.finished = True
                    self._wake()

    async def _write_batch(self, batch: list[Kept], *, end: bool) -> None:
        first = batch[0] if batch else Kept(self.end, self._stdout_end, Channel.STDOUT, b"")
        dropped: list[Path] = []
        if not self._segments or (batch and self._segment_size >= self._segment_bytes):
            self._segments.append(frames.segment_path(self._folder, self.number, first.before))
            if len(self._segments) > _SEGMENTS:
                dropped.append(self._segments[1])
                del self._segments[1]
        path = self._segments[-1]

        def work() -> int:
            size = frames.append(
                path, batch, before=first.before, stdout_before=first.stdout_before, end=end
            )
            for old in dropped:
                old.unlink(missing_ok=True)
            return size

        try:
            self._segment_size = await to_thread.run_sync(work)
        except OSError as error:
            # The process goes on; its readers will see that these bytes were skipped.
            if not self.finished:
                _log.warning("output not written", path=str(path), error=str(error))

    def _forget(self) -> None:
        """Let go of written bytes, but for a tail (longer while somebody follows)."""
        keep = _FOLLOWED_TAIL_BYTES if self._followers else TAIL_BYTES
        while self._written and self._written_bytes - len(self._written[0].data) >= keep:
            self._written_bytes -= len(self._written.popleft().data)

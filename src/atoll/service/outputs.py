"""All output logs of this server: the running ones in memory, the others on disk."""

import shutil
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Self

import anyio
from anyio import AsyncContextManagerMixin, to_thread

from atoll.core.model import Channel
from atoll.service import frames
from atoll.service.output import LOG_BYTES, TAIL_BYTES, OutputLog
from atoll.service.requests import OutputChunk

LATENESS_S = 0.025
_MARK = ".secret"
_READ_BYTES = 256 * 1024


class OutputLogs(AsyncContextManagerMixin):
    """Opens, reads, repairs and removes logs. Inside its block a task writes them in batches.

    Files are opened for one batch at a time, so many logs hold no file descriptors.
    """

    def __init__(self, *, root: Path, limit_bytes: int = LOG_BYTES) -> None:
        self._root = root
        self._limit_bytes = limit_bytes
        self._live: dict[tuple[str, int], OutputLog] = {}
        self._unwritten: set[OutputLog] = set()
        self._secret: set[str] = set()
        self._born: set[str] = set()
        self._news = anyio.Event()

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        async with anyio.create_task_group() as group:
            group.start_soon(self._flush_forever)
            try:
                yield self
            finally:
                group.cancel_scope.cancel()
                with anyio.move_on_after(5.0, shield=True):
                    await self.flush()

    def begin(self, sandbox_id: str, number: int) -> OutputLog:
        """The log of a process about to start."""
        if number == 1:
            self._born.add(sandbox_id)
        log = OutputLog(
            folder=self._root / sandbox_id,
            number=number,
            limit_bytes=self._limit_bytes,
            on_unwritten=self._note,
        )
        self._live[sandbox_id, number] = log
        return log

    async def finish(self, sandbox_id: str, number: int) -> None:
        """Make one complete on disk. Idempotent."""
        log = self._live.get((sandbox_id, number))
        if log is not None:
            await log.finish()
            self._live.pop((sandbox_id, number), None)
            self._unwritten.discard(log)

    def abandon(self, sandbox_id: str, number: int) -> None:
        """Nobody will read it again; those who do now come to its end. Idempotent."""
        log = self._live.pop((sandbox_id, number), None)
        if log is not None:
            log.abandon()
            self._unwritten.discard(log)

    async def read(
        self,
        sandbox_id: str,
        number: int,
        *,
        position: int = 0,
        channel: Channel | None = None,
        follow: bool = True,
    ) -> AsyncGenerator[OutputChunk, None]:
        """The bytes from a position on, of a running process or of one long ended."""
        log = self._live.get((sandbox_id, number))
        if log is not None:
            reading = log.read(position=position, channel=channel, follow=follow)
            async with aclosing(reading) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        at = position
        while True:
            from_disk = partial(
                frames.read,
                self._root / sandbox_id,
                number,
                position=at,
                channel=channel,
                budget=_READ_BYTES,
            )
            piece = await to_thread.run_sync(from_disk)
            for chunk in piece.chunks:
                at = chunk.position_after
                yield chunk
            if piece.finished or not piece.chunks:
                return

    async def mark_secret(self, sandbox_id: str) -> None:
        """What its programs print may hold secrets, which only this process knows. Idempotent."""
        if sandbox_id not in self._secret:
            await to_thread.run_sync(_mark, self._root / sandbox_id / _MARK)
            self._secret.add(sandbox_id)

    async def tail(self, sandbox_id: str, size: int = TAIL_BYTES) -> bytes:
        """The last bytes of the newest log of a sandbox, for its post-mortem.

        Nothing where secrets were used before this process began: nobody knows what to leave out.
        """
        marked = self._root / sandbox_id / _MARK
        if sandbox_id not in self._born and await to_thread.run_sync(marked.exists):
            return b""
        return await to_thread.run_sync(_newest_tail, self._root / sandbox_id, size)

    async def repair(self, sandbox_id: str, number: int) -> None:
        """Make readable and complete what a crash left. Idempotent."""
        await to_thread.run_sync(frames.repair, self._root / sandbox_id, number)

    async def drop(self, sandbox_id: str) -> None:
        """Remove all logs of a sandbox. Idempotent."""
        for key in [key for key in self._live if key[0] == sandbox_id]:
            self.abandon(*key)
        self._secret.discard(sandbox_id)
        self._born.discard(sandbox_id)
        remove = partial(_remove, self._root / sandbox_id)
        await to_thread.run_sync(remove)

    async def owned(self) -> list[str]:
        """Ids of the sandboxes that have logs on disk."""
        return await to_thread.run_sync(_folders, self._root)

    async def flush(self) -> None:
        """Write what is not yet written."""
        while self._unwritten:
            await self._unwritten.pop().flush()

    def _note(self, log: OutputLog) -> None:
        self._unwritten.add(log)
        self._news.set()

    async def _flush_forever(self) -> None:
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            await anyio.sleep(LATENESS_S)
            await self.flush()


def _folders(root: Path) -> list[str]:
    return sorted(p.name for p in root.iterdir()) if root.is_dir() else []


def _newest_tail(folder: Path, size: int) -> bytes:
    paths = list(folder.glob("*.log"))
    if not paths:
        return b""
    newest = max(paths, key=lambda path: path.stat().st_mtime_ns)
    number = int(newest.stem.partition("-")[0])
    last = frames.segments(folder, number)[-1:]
    at, tail = (last[0].before if last else 0), b""
    while True:
        piece = frames.read(folder, number, position=at, channel=None, budget=_READ_BYTES)
        for chunk in piece.chunks:
            at, tail = chunk.position_after, (tail + chunk.data)[-size:]
        if piece.finished or not piece.chunks:
            return tail


def _mark(place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()


def _remove(folder: Path) -> None:
    """Remove it if it is there. Python 3.13.0 fails an assertion when somebody else was quicker."""
    with suppress(AssertionError):
        shutil.rmtree(folder, ignore_errors=True)

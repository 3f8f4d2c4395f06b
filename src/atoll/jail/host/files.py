"""A jailed sandbox's files: each operation is a worker inside it, and a stream to it."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any, Protocol

import anyio

from atoll.core.errors import (
    AtollError,
    BackendFault,
    Conflict,
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    QuotaExceeded,
    TooLarge,
)
from atoll.core.model import WORKSPACE, Change, FileKind, SandboxSpec, Stat
from atoll.wire import paths, stream

# The longest a worker may be silent, or a client slow, before the operation is given up.
SILENCE_S = 120.0
_GATHERED = 256 * 1024
# What may be on the way in each direction: enough for both sides to work at the same time.
_BUFFER = 1024 * 1024


class Home(Protocol):
    """What files need of their sandbox."""

    spec: SandboxSpec

    @property
    def id(self) -> str: ...

    def work(self, header: dict[str, Any], sock: int | None = None) -> None: ...


def absolute(path: str) -> str:
    """A client's path as a clean absolute one; `InvalidRequest` says what is wrong with it."""
    try:
        return paths.clean(path, WORKSPACE)
    except paths.BadPath as error:
        raise InvalidRequest(f"The path is not usable: {error}.", field="path") from error


class _Worker:
    """One running operation."""

    def __init__(self, sock: socket.socket, home: Home, path: str) -> None:
        self._sock = sock
        self._home = home
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._queue: list[bytes] = []
        self._queued = 0

    async def send(self, data: bytes) -> None:
        """Send data; small pieces are gathered first."""
        self._queue.append(data)
        self._queued += len(data)
        if self._queued >= _GATHERED:
            await self._flush()

    async def _flush(self) -> None:
        view = memoryview(b"".join(self._queue))
        self._queue.clear()
        self._queued = 0
        while view:
            part = view[: stream.DATA_MAX]
            view = view[len(part) :]
            await self._send_frame(stream.DATA, part)

    async def finish_sending(self) -> None:
        await self._flush()
        await self._send_frame(stream.END, memoryview(b"{}"))

    async def _send_frame(self, kind: bytes, body: memoryview) -> None:
        head = stream.header(kind, len(body))
        try:
            sent = self._sock.sendmsg([head, body])
        except BlockingIOError:
            sent = 0
        with anyio.fail_after(SILENCE_S):
            if sent < len(head):
                await self._loop.sock_sendall(self._sock, head[sent:])
                sent = len(head)
            if sent < len(head) + len(body):
                await self._loop.sock_sendall(self._sock, body[sent - len(head) :])

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """The data frames; then `result` holds what the last frame said."""
        while length := await self._begin():
            yield await self._exactly(length)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The same data as it comes, whatever its frames."""
        while length := await self._begin():
            while length:
                piece = await self._some(length)
                length -= len(piece)
                yield piece

    async def _begin(self) -> int:
        """The length of the next data frame, 0 after the last."""
        while True:
            kind, length = stream.parse(await self._exactly(stream.HEADER.size))
            if kind != stream.DATA:
                value = stream.body(await self._exactly(length))
                if kind == stream.ERROR:
                    raise self._failure(value)
                self.result = value
                return 0
            if length:
                return length

    async def _exactly(self, size: int) -> bytes:
        data = await self._some(size) if size else b""
        while len(data) < size:
            data += await self._some(size - len(data))
        return data

    async def _some(self, most: int) -> bytes:
        """What has come, or the next that comes."""
        try:
            data = self._sock.recv(most)
        except BlockingIOError:
            with anyio.fail_after(SILENCE_S):
                data = await self._loop.sock_recv(self._sock, most)
        if not data:
            raise BackendFault(
                "A file operation was interrupted inside the sandbox.", sandbox_id=self._home.id
            )
        return data

    def _failure(self, value: dict[str, Any]) -> AtollError:
        detail = str(value.get("detail"))[:500]
        text = f"{self._path}: {detail[:1].lower()}{detail[1:]}."
        kind = value.get("kind")
        if kind == "not_found":
            return NotFound("file", self._path)
        if kind == "conflict":
            return Conflict(text)
        if kind == "precondition":
            return PreconditionFailed(text)
        if kind == "quota":
            return QuotaExceeded(text)
        if kind == "too_large":
            return TooLarge(text)
        if kind == "invalid":
            return InvalidRequest(text, field="path")
        return BackendFault(text, sandbox_id=self._home.id)


class JailedFiles:
    """Implements `core.ports.Files`."""

    def __init__(self, home: Home) -> None:
        self._home = home
        # A write's last step (is it still as it was? then replace it) is one at a time.
        self._publishing = anyio.Lock()

    @contextlib.asynccontextmanager
    async def _worker(self, op: str, path: str, **more: Any) -> AsyncGenerator[_Worker, None]:
        """Start a worker; leaving the block early ends it, since its socket closes."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours:
            with theirs:
                ours.setblocking(False)  # noqa: FBT003
                for each in (ours, theirs):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
                bound = self._home.spec.limits.disk_bytes
                header = {"work": "file", "file": op, "path": path, "disk_bytes": bound, **more}
                self._home.work(header, theirs.fileno())
            try:
                yield _Worker(ours, self._home, path)
            except (stream.BadFrame, TimeoutError, OSError) as error:
                raise BackendFault(
                    f"A file operation failed: {error}", sandbox_id=self._home.id
                ) from error

    async def _simple(self, op: str, path: str, **more: Any) -> dict[str, Any]:
        async with self._worker(op, path, **more) as worker:
            async for _ in worker.frames():
                pass
            return worker.result

    async def stat(self, path: str) -> Stat:
        return _stat(await self._simple("stat", absolute(path)))

    async def list(self, path: str, *, depth: int = 1) -> AsyncGenerator[Stat, None]:
        async with self._worker("list", absolute(path), depth=depth) as worker:
            async for raw in worker.frames():
                for entry in json.loads(raw):
                    yield _stat(entry)

    async def read(
        self, path: str, *, offset: int = 0, length: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        place = absolute(path)
        if offset < 0 or (length is not None and length < 0):
            raise InvalidRequest("Offset and length cannot be negative.", field="offset")
        async with self._worker("read", place, offset=offset, length=length) as worker:
            async for data in worker.pieces():
                yield data

    async def write(
        self,
        path: str,
        data: bytes | AsyncIterable[bytes],
        *,
        mode: int = 0o644,
        if_match: str | None = None,
    ) -> Stat:
        place = absolute(path)
        async with self._worker("write", place, mode=mode, if_match=if_match) as worker:
            await self._send(worker, data)
            async with self._publishing:
                return _stat(await self._finish(worker))

    async def _send(self, worker: _Worker, data: bytes | AsyncIterable[bytes]) -> None:
        """Send all; a worker that has failed meanwhile stops listening, and says why at the end."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if isinstance(data, bytes):
                await worker.send(data)
            else:
                async for part in data:
                    await worker.send(part)

    async def _finish(self, worker: _Worker) -> dict[str, Any]:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await worker.finish_sending()
        async for _ in worker.frames():
            pass
        return worker.result

    async def mkdir(self, path: str, *, mode: int = 0o755, parents: bool = True) -> Stat:
        return _stat(await self._simple("mkdir", absolute(path), mode=mode, parents=parents))

    async def move(self, source: str, target: str, *, overwrite: bool = False) -> Stat:
        found = await self._simple(
            "move", absolute(source), target=absolute(target), overwrite=overwrite
        )
        return _stat(found)

    async def remove(self, path: str, *, recursive: bool = False) -> None:
        await self._simple("remove", absolute(path), recursive=recursive)

    async def pack(self, path: str, *, dotted: bool = False) -> AsyncGenerator[bytes, None]:
        async with self._worker("pack", absolute(path), dotted=dotted) as worker:
            async for data in worker.pieces():
                yield data

    async def unpack(self, path: str, data: AsyncIterable[bytes], *, whole: bool = False) -> int:
        async with self._worker("unpack", absolute(path), whole=whole) as worker:
            await self._send(worker, data)
            return int((await self._finish(worker))["count"])

    async def settle(self) -> int:
        return int((await self._simple("settle", "/"))["count"])

    async def watch(self, path: str) -> AsyncGenerator[Change, None]:
        async with self._worker("watch", absolute(path)) as worker:
            async for raw in worker.frames():
                for kind, place in json.loads(raw):
                    yield Change(str(kind), str(place))


def _stat(value: dict[str, Any]) -> Stat:
    return Stat(
        path=str(value["path"]),
        kind=FileKind(value["kind"]),
        size=int(value["size"]),
        mode=int(value["mode"]),
        mtime_ns=int(value["mtime_ns"]),
        inode=int(value["inode"]),
        target=value["target"],
    )

"""One sandbox, and the sandboxes of a server."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self, Unpack

from atoll.client import bodies, model, readers
from atoll.client.aio.files import AsyncFiles
from atoll.client.aio.lines import AsyncConnection, open_connection
from atoll.client.aio.processes import AsyncProcesses
from atoll.client.aio.transport import AsyncTransport
from atoll.client.document import Document
from atoll.client.errors import Gone, NotFound
from atoll.client.options import ExecOptions, SandboxChanges, SandboxOptions
from atoll.client.request import Request, create, delete, get, post, segment

_OPEN_S = 120.0
_ROOT = "/v1/sandboxes"


class AsyncSandbox:
    """A sandbox. As a context manager it is destroyed at the end of the block."""

    def __init__(self, transport: AsyncTransport, info: model.SandboxInfo) -> None:
        self._transport = transport
        self._path = f"{_ROOT}/{segment(info.id)}"
        self.info = info
        self.files = AsyncFiles(transport, self._path)
        self.processes = AsyncProcesses(transport, self._path)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.destroy()

    @property
    def id(self) -> str:
        """Its id, which no other sandbox ever has."""
        return self.info.id

    @property
    def name(self) -> str | None:
        """Its name, unique while it lives."""
        return self.info.name

    async def exec(
        self, command: str | Sequence[str] | None = None, **options: Unpack[ExecOptions]
    ) -> model.Result:
        """Run to the end: a command (a string is a line for the shell), or `language=`, `code=`."""
        body = bodies.command(command, options)
        request = post(f"{self._path}/exec", body, read_s=bodies.read_s(options))
        return readers.result(await self._transport.json(request))

    def stream(
        self, command: str | Sequence[str] | None = None, **options: Unpack[ExecOptions]
    ) -> AsyncGenerator[model.Event, None]:
        """The same as events while it runs. Closing the generator ends the program."""
        request = post(f"{self._path}/exec/stream", bodies.command(command, options))
        return self._transport.program(request)

    def url(self, port: int) -> str:
        """Where the program at a declared port is: for HTTP and, with `ws`, WebSockets.

        Who asks there needs the same key as for the rest of the API.
        """
        return f"{self._transport.url}{self._path}/ports/{port}/"

    def connect(self, port: int) -> AbstractAsyncContextManager[AsyncConnection]:
        """A bare connection to the program at a declared port."""
        path = f"{self._path}/connect/{port}"
        return open_connection(self._transport.url, self._transport.headers, path)

    async def refresh(self) -> model.SandboxInfo:
        """Ask how it is now."""
        return await self._set(get(self._path))

    async def update(self, **changes: Unpack[SandboxChanges]) -> model.SandboxInfo:
        """Rename, relabel, set the idle timeout or the lease."""
        return await self._set(Request("PATCH", self._path, json=dict(changes), repeatable=True))

    async def stop(self) -> model.SandboxInfo:
        """End its processes and keep its files; the next use starts it again."""
        return await self._set(post(f"{self._path}/stop", repeatable=True))

    async def start(self) -> model.SandboxInfo:
        """Start it now rather than at the next use."""
        return await self._set(post(f"{self._path}/start", repeatable=True, read_s=_OPEN_S))

    async def archive(self) -> model.SandboxInfo:
        """Stop it and pack its files, so that they take less room; the next use unpacks them."""
        return await self._set(post(f"{self._path}/archive", repeatable=True, read_s=_OPEN_S))

    async def pause(self) -> model.SandboxInfo:
        """Let its processes stand still, with their memory. `Conflict` when it is stopped."""
        return await self._set(post(f"{self._path}/pause", repeatable=True))

    async def resume(self) -> model.SandboxInfo:
        """Let the processes of a paused one go on."""
        return await self._set(post(f"{self._path}/resume", repeatable=True))

    async def fork(
        self,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        force: bool = False,
    ) -> "AsyncSandbox":
        """Another sandbox with the same files, in constant time.

        `Conflict` while processes run in it, unless `force`, which ends them.
        """
        body = _copy(name, labels, force=force)
        document = await self._transport.json(create(f"{self._path}/fork", body, read_s=_OPEN_S))
        return AsyncSandbox(self._transport, readers.sandbox(document))

    async def snapshot(
        self,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        force: bool = False,
    ) -> model.SnapshotInfo:
        """Freeze its files, to begin others from (`sandboxes.create(base=…)`)."""
        body = _copy(name, labels, force=force)
        request = create(f"{self._path}/snapshots", body, read_s=_OPEN_S)
        return readers.snapshot(await self._transport.json(request))

    async def events(self, *, limit: int = 100) -> list[model.AuditEvent]:
        """What happened to it, oldest first."""
        page = await self._transport.json(get(f"{self._path}/events", limit=limit))
        return [readers.audit_event(each) for each in page.items("items")]

    async def post_mortem(self) -> model.PostMortem:
        """Why it ended; `NotFound` while it lives."""
        return readers.post_mortem(await self._transport.json(get(f"{self._path}/post-mortem")))

    async def destroy(self) -> None:
        """End it and remove its files; nothing when that is done already."""
        try:
            await self._transport.send(delete(self._path))
        except (NotFound, Gone):
            return

    async def _set(self, request: Request) -> model.SandboxInfo:
        self.info = readers.sandbox(await self._transport.json(request))
        return self.info


def _copy(name: str | None, labels: Mapping[str, str] | None, *, force: bool) -> dict[str, object]:
    body: dict[str, object] = {"labels": dict(labels or {}), "force": force}
    return body if name is None else {"name": name, **body}


class AsyncSandboxes:
    """The sandboxes of a server that the key may see."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(self, **options: Unpack[SandboxOptions]) -> AsyncSandbox:
        """Make one and start it. However often the request must be sent, it makes one."""
        request = create(_ROOT, bodies.plain(options), read_s=_OPEN_S)
        return self._sandbox(await self._transport.json(request))

    async def get(self, sandbox: str) -> AsyncSandbox:
        """One of them, by id or name."""
        return self._sandbox(await self._transport.json(get(f"{_ROOT}/{segment(sandbox)}")))

    async def list(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        states: Sequence[str] = (),
        page: int = 100,
    ) -> AsyncGenerator[model.SandboxInfo, None]:
        """All that match, oldest first; without `states` the living ones."""
        label = [f"{name}={value}" for name, value in (labels or {}).items()]
        cursor: str | None = None
        while True:
            request = get(_ROOT, label=label, state=list(states), limit=page, cursor=cursor)
            document = await self._transport.json(request)
            for each in document.items("items"):
                yield readers.sandbox(each)
            cursor = document.maybe_text("next_cursor")
            if cursor is None:
                return

    def _sandbox(self, document: Document) -> AsyncSandbox:
        return AsyncSandbox(self._transport, readers.sandbox(document))

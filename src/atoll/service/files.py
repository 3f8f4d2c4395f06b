"""Files in persistent sandboxes: opens the sandbox, forwards, and writes the audit log."""

from collections.abc import AsyncGenerator, AsyncIterable, Generator
from contextlib import aclosing, contextmanager

from atoll.core.errors import AtollError, BackendFault, Conflict, Gone, Unsupported
from atoll.core.model import Change, Stat
from atoll.core.ports import Settles, Watches
from atoll.service.audit import Audit
from atoll.service.caller import Caller
from atoll.service.sandboxes import Sandboxes


class FilesOf:
    """`core.ports.Files` with a caller and a sandbox before each path.

    A stopped sandbox is started. While an operation or an iteration lasts it is not idle
    (a watch is neither). What reads or changes their content is written to the audit log.
    """

    def __init__(self, *, sandboxes: Sandboxes, audit: Audit) -> None:
        self._sandboxes = sandboxes
        self._audit = audit

    async def stat(self, caller: Caller, sandbox: str, path: str) -> Stat:
        """One path, links not followed."""
        async with self._sandboxes.using(caller, sandbox) as box:
            return await box.files.stat(path)

    async def list(
        self, caller: Caller, sandbox: str, path: str, *, depth: int = 1
    ) -> AsyncGenerator[Stat, None]:
        """What is beneath a directory."""
        async with (
            self._sandboxes.using(caller, sandbox) as box,
            aclosing(box.files.list(path, depth=depth)) as entries,
        ):
            async for entry in entries:
                yield entry

    async def read(
        self,
        caller: Caller,
        sandbox: str,
        path: str,
        *,
        offset: int = 0,
        length: int | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of a file."""
        async with self._sandboxes.holding(caller, sandbox) as held:
            with self._audited("file.read", caller, held.record.id, path):
                reading = held.box.files.read(path, offset=offset, length=length)
                async with aclosing(reading) as chunks:
                    async for chunk in chunks:
                        yield chunk

    async def write(
        self,
        caller: Caller,
        sandbox: str,
        path: str,
        data: bytes | AsyncIterable[bytes],
        *,
        mode: int = 0o644,
        if_match: str | None = None,
    ) -> Stat:
        """Create or replace a file whole."""
        async with self._sandboxes.holding(caller, sandbox) as held:
            with self._audited("file.write", caller, held.record.id, path):
                return await held.box.files.write(path, data, mode=mode, if_match=if_match)

    async def mkdir(
        self, caller: Caller, sandbox: str, path: str, *, mode: int = 0o755, parents: bool = True
    ) -> Stat:
        """Make a directory."""
        async with self._sandboxes.holding(caller, sandbox) as held:
            with self._audited("file.mkdir", caller, held.record.id, path):
                return await held.box.files.mkdir(path, mode=mode, parents=parents)

    async def move(
        self, caller: Caller, sandbox: str, source: str, target: str, *, overwrite: bool = False
    ) -> Stat:
        """Rename."""
        async with self._sandboxes.holding(caller, sandbox) as held:
            with self._audited("file.move", caller, held.record.id, target):
                return await held.box.files.move(source, target, overwrite=overwrite)

    async def remove(
        self, caller: Caller, sandbox: str, path: str, *, recursive: bool = False
    ) -> None:
        """Delete."""
        async with self._sandboxes.holding(caller, sandbox) as held:
            with self._audited("file.remove", caller, held.record.id, path):
                await held.box.files.remove(path, recursive=recursive)

    async def pack(
        self, caller: Caller, sandbox: str, path: str, *, dotted: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """A tar stream."""
        async with self._sandboxes.holding(caller, sandbox) as held:
            with self._audited("file.pack", caller, held.record.id, path):
                async with aclosing(held.box.files.pack(path, dotted=dotted)) as chunks:
                    async for chunk in chunks:
                        yield chunk

    async def unpack(
        self,
        caller: Caller,
        sandbox: str,
        path: str,
        data: AsyncIterable[bytes],
        *,
        whole: bool = False,
    ) -> int:
        """Unpack a tar or tar.gz stream; how many entries."""
        async with self._sandboxes.holding(caller, sandbox) as held:
            with self._audited("file.unpack", caller, held.record.id, path):
                return await held.box.files.unpack(path, data, whole=whole)

    async def settle(self, caller: Caller, sandbox: str) -> int:
        """Bring to an end what a server that was killed had begun to unpack whole."""
        async with self._sandboxes.using(caller, sandbox) as box:
            return await box.files.settle() if isinstance(box.files, Settles) else 0

    async def watch(self, caller: Caller, sandbox: str, path: str) -> AsyncGenerator[Change, None]:
        """Changes in a directory from now on, until the sandbox closes. `Unsupported`.

        To watch is no use: it starts a stopped sandbox, and hinders none from being closed.
        """
        async with self._sandboxes.holding(caller, sandbox) as held:
            box = held.box
        if not isinstance(box, Watches):
            raise Unsupported("The backend of this sandbox cannot watch files.")
        try:
            async with aclosing(box.watch(path)) as changes:
                async for change in changes:
                    yield change
        except BackendFault:
            if not held.closing.is_set():
                raise
        if held.closing.is_set():
            ended = Gone if held.destroyed else Conflict
            raise ended(f"Sandbox {held.record.id} was closed, and with it the watch.")

    @contextmanager
    def _audited(
        self, action: str, caller: Caller, sandbox_id: str, path: str
    ) -> Generator[None, None, None]:
        outcome = "cancelled"
        try:
            yield
            outcome = "ok"
        except AtollError as error:
            outcome = error.code
            raise
        finally:
            self._audit.record(action, caller, outcome, sandbox_id, path=path)

"""Files in persistent sandboxes: opens the sandbox, forwards, and writes the audit log."""

from collections.abc import AsyncGenerator, AsyncIterable

from atoll.core.model import Change, Stat
from atoll.service.caller import Caller


class FilesOf:
    """`core.ports.Files` with a caller and a sandbox before each path."""

    async def stat(self, caller: Caller, sandbox: str, path: str) -> Stat:
        """One path, links not followed."""
        raise NotImplementedError

    def list(
        self, caller: Caller, sandbox: str, path: str, *, depth: int = 1
    ) -> AsyncGenerator[Stat]:
        """What is beneath a directory."""
        raise NotImplementedError

    def read(
        self,
        caller: Caller,
        sandbox: str,
        path: str,
        *,
        offset: int = 0,
        length: int | None = None,
    ) -> AsyncGenerator[bytes]:
        """The bytes of a file."""
        raise NotImplementedError

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
        raise NotImplementedError

    async def mkdir(
        self, caller: Caller, sandbox: str, path: str, *, mode: int = 0o755, parents: bool = True
    ) -> Stat:
        """Make a directory."""
        raise NotImplementedError

    async def move(
        self, caller: Caller, sandbox: str, source: str, target: str, *, overwrite: bool = False
    ) -> Stat:
        """Rename."""
        raise NotImplementedError

    async def remove(
        self, caller: Caller, sandbox: str, path: str, *, recursive: bool = False
    ) -> None:
        """Delete."""
        raise NotImplementedError

    def pack(self, caller: Caller, sandbox: str, path: str) -> AsyncGenerator[bytes]:
        """A tar stream."""
        raise NotImplementedError

    async def unpack(
        self, caller: Caller, sandbox: str, path: str, data: AsyncIterable[bytes]
    ) -> int:
        """Unpack a tar or tar.gz stream; how many entries."""
        raise NotImplementedError

    def watch(self, caller: Caller, sandbox: str, path: str) -> AsyncGenerator[Change]:
        """Changes in a directory from now on. `Unsupported`."""
        raise NotImplementedError

"""Keeps persistent sandboxes open: one task each, in the server's own task group."""

from collections.abc import Collection

from anyio import AsyncContextManagerMixin

from atoll.core.ports import Sandbox
from atoll.core.records import SandboxRecord


class Keeper(AsyncContextManagerMixin):
    """Holds each open sandbox's `async with`. Leaving the keeper stops them all."""

    async def use(self, record: SandboxRecord) -> Sandbox:
        """The open sandbox; opens it when it is not. Concurrent callers share one opening."""
        raise NotImplementedError

    async def stop(self, sandbox_id: str, by: str) -> None:
        """Close it if it is open, after a grace for its processes; returns when it is closed."""
        raise NotImplementedError

    def is_open(self, sandbox_id: str) -> bool:
        """Whether this server holds it, be it still opening or already closing."""
        raise NotImplementedError

    def open_ids(self) -> Collection[str]:
        """All that this server holds."""
        raise NotImplementedError

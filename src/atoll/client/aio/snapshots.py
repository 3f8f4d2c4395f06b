"""Frozen sandboxes. They are made by `Sandbox.snapshot` and used by `sandboxes.create(base=…)`."""

from collections.abc import AsyncGenerator

from atoll.client import model, readers
from atoll.client.aio.transport import AsyncTransport
from atoll.client.request import delete, get, segment

_ROOT = "/v1/snapshots"


class AsyncSnapshots:
    """The snapshots that the key may see."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def get(self, snapshot: str) -> model.SnapshotInfo:
        """One of them, by id or name."""
        return readers.snapshot(await self._transport.json(get(f"{_ROOT}/{segment(snapshot)}")))

    async def list(self, *, page: int = 100) -> AsyncGenerator[model.SnapshotInfo, None]:
        """All, oldest first."""
        cursor: str | None = None
        while True:
            document = await self._transport.json(get(_ROOT, limit=page, cursor=cursor))
            for each in document.items("items"):
                yield readers.snapshot(each)
            cursor = document.maybe_text("next_cursor")
            if cursor is None:
                return

    async def drop(self, snapshot: str) -> None:
        """Forget one; sandboxes that began from it keep their files."""
        await self._transport.send(delete(f"{_ROOT}/{segment(snapshot)}"))

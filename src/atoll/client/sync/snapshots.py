# Generated from atoll/client/aio by scripts/sync_client.py. Change it there.
# fmt: off
# ruff: noqa: C416, I001, RUF100, UP028
"""Frozen sandboxes. They are made by `Sandbox.snapshot` and used by `sandboxes.create(base=…)`."""

from collections.abc import Generator

from atoll.client import model, readers
from atoll.client.sync.transport import Transport
from atoll.client.request import delete, get, segment

_ROOT = "/v1/snapshots"


class Snapshots:
    """The snapshots that the key may see."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, snapshot: str) -> model.SnapshotInfo:
        """One of them, by id or name."""
        return readers.snapshot(self._transport.json(get(f"{_ROOT}/{segment(snapshot)}")))

    def list(self, *, page: int = 100) -> Generator[model.SnapshotInfo, None]:
        """All, oldest first."""
        cursor: str | None = None
        while True:
            document = self._transport.json(get(_ROOT, limit=page, cursor=cursor))
            for each in document.items("items"):
                yield readers.snapshot(each)
            cursor = document.maybe_text("next_cursor")
            if cursor is None:
                return

    def drop(self, snapshot: str) -> None:
        """Forget one; sandboxes that began from it keep their files."""
        self._transport.send(delete(f"{_ROOT}/{segment(snapshot)}"))

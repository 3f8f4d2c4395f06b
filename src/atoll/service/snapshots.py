"""Snapshots: frozen sandboxes, to begin new ones from (`CreateSandbox.base`)."""

from collections.abc import Mapping, Sequence

from atoll.core.records import SnapshotRecord
from atoll.service.caller import Caller


class Snapshots:
    """The use cases of snapshots."""

    async def take(
        self,
        caller: Caller,
        sandbox: str,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        force: bool = False,
    ) -> SnapshotRecord:
        """Freeze its files. It is stopped for that, and starts again on the next use.

        `Conflict` while processes run in it (unless `force`, which ends them) or when the name is
        taken. `Unsupported` when its backend cannot.
        """
        raise NotImplementedError

    async def list(
        self, caller: Caller, *, after: str | None = None, limit: int = 100
    ) -> Sequence[SnapshotRecord]:
        """A page of the tenant's, ordered by id."""
        raise NotImplementedError

    async def get(self, caller: Caller, snapshot: str) -> SnapshotRecord:
        """By id or name. `NotFound`."""
        raise NotImplementedError

    async def drop(self, caller: Caller, snapshot: str) -> None:
        """Forget it; sandboxes made from it stay. `NotFound`."""
        raise NotImplementedError

"""The log of commands and programs: what was asked, and what came of it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from atoll.core.records import DocumentRecord
from atoll.core.store import Store
from atoll.dialects.rundatsheesh.names import moment
from atoll.dialects.rundatsheesh.notebook import Notebook
from atoll.service.clock import Clock
from atoll.service.ids import new_id

SPACE = "run-dat-sheesh.runs"
KEPT = 500
_PRUNED_EACH = 50
_TEXT_MAX = 64 * 1024
_HIDDEN = "***"
Entry = dict[str, Any]


class Runs:
    """Keeps the newest of each VM. Values of secrets are not written down."""

    def __init__(self, store: Store, clock: Clock, notebook: Notebook) -> None:
        self._store = store
        self._notebook = notebook
        self._clock = clock
        self._noted: dict[str, int] = {}

    async def note(
        self,
        sandbox_id: str,
        kind: str,
        given: Mapping[str, Any],
        result: Mapping[str, Any],
        *,
        began: float,
        secrets: Iterable[str] = (),
    ) -> None:
        """Keep one. `began` is of the monotonic clock."""
        now, hidden = self._clock.now(), [each for each in secrets if each]
        entry: Entry = {
            "id": new_id("run", at=now),
            "timestamp": moment(now),
            "type": kind,
            "input": _without(given, hidden),
            "result": _without(result, hidden),
            "durationMs": round((self._clock.monotonic() - began) * 1000),
        }
        self._notebook.note(DocumentRecord(SPACE, entry["id"], sandbox_id, now, entry))
        noted = self._noted[sandbox_id] = self._noted.get(sandbox_id, 0) + 1
        if noted % _PRUNED_EACH == 0:
            await self._store.prune_documents(SPACE, owner=sandbox_id, keep=KEPT)

    async def list(self, sandbox_id: str, kind: str, limit: int) -> tuple[Sequence[Entry], bool]:
        """The newest first, and whether there are more."""
        await self._notebook.flush()
        found: list[Entry] = []
        before: str | None = None
        while len(found) <= limit:
            page = await self._store.list_documents(
                SPACE, owner=sandbox_id, before=before, limit=limit + 1
            )
            found += [dict(each.body) for each in page if kind in {"all", each.body["type"]}]
            if len(page) <= limit:
                break
            before = page[-1].id
        return found[:limit], len(found) > limit

    async def forget(self, sandbox_id: str) -> None:
        """The VM is gone, and its log with it."""
        self._noted.pop(sandbox_id, None)
        await self._notebook.flush()
        await self._store.prune_documents(SPACE, owner=sandbox_id)


def _without(value: Any, hidden: Sequence[str]) -> Any:  # noqa: ANN401 - JSON
    """The same without secrets, and no text longer than the log is for."""
    if isinstance(value, str):
        for secret in hidden:
            value = value.replace(secret, _HIDDEN)
        return value[:_TEXT_MAX]
    if isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value)
        return {key: _without(each, hidden) for key, each in members.items()}
    if isinstance(value, list | tuple):
        return [_without(each, hidden) for each in cast("Sequence[object]", value)]
    return value

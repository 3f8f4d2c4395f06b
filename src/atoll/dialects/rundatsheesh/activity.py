"""What has happened, newest first: kept, streamed, and handed to webhooks."""

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import anyio

from atoll.core.records import DocumentRecord
from atoll.core.store import Store
from atoll.dialects.rundatsheesh.names import moment
from atoll.dialects.rundatsheesh.notebook import Notebook
from atoll.service.clock import Clock
from atoll.service.ids import new_id

SPACE = "run-dat-sheesh.activity"
KEPT = 10_000
_PRUNED_EACH = 500
_BEHIND_MAX = 256
_PING_S = 15.0
Event = dict[str, Any]


class Activity:
    """Notes events."""

    def __init__(self, store: Store, clock: Clock, notebook: Notebook) -> None:
        self._store = store
        self._notebook = notebook
        self._clock = clock
        self._noted = 0
        self._followers: set[Callable[[Event], None]] = set()

    async def note(
        self,
        kind: str,
        message: str,
        *,
        entity: tuple[str, str] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep one event and tell those who follow."""
        now = self._clock.now()
        event: Event = {
            "id": new_id("act", at=now),
            "createdAt": moment(now),
            "type": kind,
            "message": message,
        }
        if entity is not None:
            event |= {"entityType": entity[0], "entityId": entity[1]}
        if meta:
            event["metaJson"] = json.dumps(meta, separators=(",", ":"))
        record = DocumentRecord(SPACE, event["id"], entity[1] if entity else "", now, event)
        self._notebook.note(record)
        for tell in tuple(self._followers):
            tell(event)
        self._noted += 1
        if self._noted % _PRUNED_EACH == 0:
            await self._store.prune_documents(SPACE, keep=KEPT)

    async def list(self, limit: int) -> list[Event]:
        """The newest ones."""
        await self._notebook.flush()
        found = await self._store.list_documents(SPACE, limit=limit)
        return [dict(each.body) for each in found]

    def on_event(self, tell: Callable[[Event], None]) -> Callable[[], None]:
        """Have every event told from now on, until what this returns is called.

        `tell` returns at once.
        """
        self._followers.add(tell)
        return lambda: self._followers.discard(tell)

    async def follow(self) -> AsyncGenerator[Event | None, None]:
        """Events from now on; None where for a quarter of a minute there was none.

        Ends for a follower who is far behind.
        """
        writer, reader = anyio.create_memory_object_stream[Event](_BEHIND_MAX)

        def tell(event: Event) -> None:
            try:
                writer.send_nowait(event)
            except anyio.WouldBlock:
                writer.close()
                self._followers.discard(tell)

        self._followers.add(tell)
        try:
            with reader:
                while True:
                    event = None
                    with anyio.move_on_after(_PING_S):
                        try:
                            event = await reader.receive()
                        except anyio.EndOfStream:
                            return
                    yield event
        finally:
            self._followers.discard(tell)
            writer.close()


def meta_of(event: Event) -> Any:  # noqa: ANN401 - JSON
    """What an event says besides, as JSON."""
    return json.loads(event["metaJson"]) if "metaJson" in event else None

"""Webhooks: events are posted to them once each, and whoever is slow misses some."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

import anyio
import httpx
import structlog

from atoll.core.records import DocumentRecord
from atoll.core.store import Store
from atoll.dialects.rundatsheesh.activity import Activity, Event, meta_of
from atoll.dialects.rundatsheesh.errors import bad
from atoll.dialects.rundatsheesh.names import moment
from atoll.service.clock import Clock
from atoll.service.ids import new_id

SPACE = "run-dat-sheesh.webhooks"
TYPES = frozenset({
    "vm.created", "vm.started", "vm.stopped", "vm.deleted", "exec.command", "runTs.executed",
    "runJs.executed", "snapshot.created", "snapshot.seed_ready", "image.created",
    "image.default_set", "image.kernel_uploaded", "image.rootfs_uploaded",
    "image.bundle_uploaded", "image.deleted", "apikey.created", "apikey.revoked",
})  # fmt: skip
_SERVICE = {"service": "run-dat-sheesh-manager"}
_ANSWER_S = 5.0
_WAITING_MAX = 1000
_AT_ONCE = 8
_MOST = 100
_log = structlog.stdlib.get_logger(__name__)


class Webhooks(anyio.AsyncContextManagerMixin):
    """Keeps them, and posts to them while it is entered."""

    def __init__(self, store: Store, clock: Clock, activity: Activity) -> None:
        self._store = store
        self._clock = clock
        self._activity = activity
        self._known: list[Mapping[str, Any]] | None = None

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        writer, reader = anyio.create_memory_object_stream[Event](_WAITING_MAX)

        def tell(event: Event) -> None:
            try:
                writer.send_nowait(event)
            except anyio.WouldBlock:
                _log.warning("webhooks are behind: an event is not posted", event_id=event["id"])

        forget = self._activity.on_event(tell)
        client = httpx.AsyncClient(timeout=_ANSWER_S, trust_env=False)
        async with client, anyio.create_task_group() as group:
            for _ in range(_AT_ONCE):
                group.start_soon(self._deliver, reader.clone(), client)
            try:
                yield self
            finally:
                forget()
                group.cancel_scope.cancel()
                writer.close()
                reader.close()

    async def list(self) -> list[Mapping[str, Any]]:
        """All of them, the oldest first."""
        if self._known is None:
            found = await self._store.list_documents(SPACE, limit=_MOST)
            self._known = [each.body for each in reversed(found)]
        return list(self._known)

    async def create(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Add one. 400 for what is no address, or no event."""
        if len(await self.list()) >= _MOST:
            raise bad(f"Too many webhooks (max={_MOST})")
        now = moment(self._clock.now())
        body = {"id": new_id("wh"), "enabled": True, **given, "createdAt": now, "updatedAt": now}
        return await self._put(body)

    async def change(self, webhook_id: str, given: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Change what is given. None when there is no such webhook."""
        found = next((each for each in await self.list() if each["id"] == webhook_id), None)
        if found is None:
            return None
        return await self._put({**found, **given, "updatedAt": moment(self._clock.now())})

    async def drop(self, webhook_id: str) -> bool:
        """Forget one; False when there is no such webhook."""
        self._known = None
        return await self._store.drop_document(SPACE, webhook_id)

    async def _put(self, body: dict[str, Any]) -> Mapping[str, Any]:
        try:
            url = httpx.URL(body["url"])
        except httpx.InvalidURL:
            url = httpx.URL("")
        if url.scheme not in {"http", "https"} or not url.host:
            raise bad("Invalid webhook url")
        for each in body["eventTypes"]:
            if each not in TYPES:
                raise bad(f"Invalid event type: {each}")
        self._known = None
        now = self._clock.now()
        await self._store.put_document(DocumentRecord(SPACE, body["id"], "", now, body))
        return body

    async def _deliver(
        self, events: anyio.abc.ObjectReceiveStream[Event], client: httpx.AsyncClient
    ) -> None:
        async with events:
            async for event in events:
                for hook in await self.list():
                    if hook["enabled"] and event["type"] in hook["eventTypes"]:
                        await _post(client, hook, event)


async def _post(client: httpx.AsyncClient, hook: Mapping[str, Any], event: Event) -> None:
    body = {
        "id": event["id"],
        "type": event["type"],
        "createdAt": event["createdAt"],
        "entityType": event.get("entityType"),
        "entityId": event.get("entityId"),
        "message": event["message"],
        "meta": meta_of(event),
        "source": _SERVICE,
    }
    try:
        async with client.stream("POST", hook["url"], json=body) as response:
            status = response.status_code
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        _log.warning("webhook failed", webhook=hook["id"], error=type(error).__name__)
        return
    if status >= httpx.codes.BAD_REQUEST:
        _log.warning("webhook refused", webhook=hook["id"], status=status)

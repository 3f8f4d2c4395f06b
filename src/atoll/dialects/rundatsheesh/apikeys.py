"""Keys that the admin gives out: `rds_<12 hex>_<secret>`. Revoked ones stay in the list."""

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

from atoll.core.records import DocumentRecord
from atoll.core.store import Store
from atoll.dialects.rundatsheesh.names import moment
from atoll.service.clock import Clock
from atoll.service.ids import new_id

MARK = "rds_"
SPACE = "run-dat-sheesh.keys"
_LONGEST = 128
_USE_NOTED_S = 60.0
_SHOWN = ("id", "name", "prefix", "createdAt", "expiresAt", "revokedAt", "lastUsedAt")


class ApiKeys:
    """Gives keys out once and knows them again by their digest, which is all that is kept."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def create(self, name: str, expires_at: float | None) -> dict[str, Any]:
        """The record, with the key itself: only here."""
        prefix = MARK + secrets.token_hex(6)
        key = f"{prefix}_{secrets.token_urlsafe(32)}"
        now = self._clock.now()
        body = {
            "id": new_id("key"),
            "name": name,
            "prefix": prefix,
            "createdAt": moment(now),
            "expiresAt": None if expires_at is None else moment(expires_at),
            "revokedAt": None,
            "lastUsedAt": None,
            "until": expires_at,
            "used": 0.0,
        }
        await self._store.put_document(
            DocumentRecord(SPACE, str(body["id"]), _digest(key), now, body)
        )
        return {**_shown(body), "apiKey": key}

    async def authenticate(self, key: str) -> str | None:
        """The name of a key that counts; None."""
        if len(key) > _LONGEST:
            return None
        found = await self._store.list_documents(SPACE, owner=_digest(key), limit=1)
        if not found:
            return None
        record, body, now = found[0], found[0].body, self._clock.now()
        if body["revokedAt"] is not None or (body["until"] is not None and now >= body["until"]):
            return None
        if now - body["used"] > _USE_NOTED_S:
            used = {**body, "used": now, "lastUsedAt": moment(now)}
            await self._store.put_document(
                DocumentRecord(SPACE, record.id, record.owner, record.at, used)
            )
        return str(body["name"])

    async def list(self) -> list[dict[str, Any]]:
        """All of them, the newest first."""
        found = await self._store.list_documents(SPACE, limit=1000)
        return [_shown(each.body) for each in found]

    async def revoke(self, key_id: str) -> dict[str, Any] | None:
        """From now on it is refused. Idempotent. None when there is no such key."""
        found = await self._store.get_document(SPACE, key_id)
        if found is None:
            return None
        body = dict(found.body)
        if body["revokedAt"] is None:
            body["revokedAt"] = moment(self._clock.now())
            await self._store.put_document(
                DocumentRecord(SPACE, found.id, found.owner, found.at, body)
            )
        return _shown(body)


def _shown(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in _SHOWN}


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()

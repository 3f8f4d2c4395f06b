"""Creates that may be repeated: an `Idempotency-Key` and what it made."""

import hashlib
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

from atoll.core.errors import InvalidRequest
from atoll.core.records import IdempotencyRecord
from atoll.core.store import Store
from atoll.service.clock import Clock
from atoll.service.locks import Locks
from atoll.service.requests import CreateSandbox

MAX_KEY_CHARS = 256
FIELD = "Idempotency-Key"


@dataclass(slots=True)
class Claim:
    """Who holds a key: `result` is the id it stands for, `first` whether it is new."""

    result: str
    first: bool


class Claims:
    """One create at a time for each key, here; across servers the store decides."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._locks = Locks()

    @asynccontextmanager
    async def of(self, tenant: str, key: str) -> AsyncGenerator[None, None]:
        """Wait until an earlier create with that key is over. `Busy` past a deadline."""
        if not 0 < len(key) <= MAX_KEY_CHARS or not key.isprintable():
            raise InvalidRequest(
                f"{FIELD} has 1 to {MAX_KEY_CHARS} printable characters.", field=FIELD
            )
        async with self._locks.hold(f"{tenant}\0{key}"):
            yield

    async def make(self, tenant: str, key: str, digest: str, result: str) -> Claim:
        """Claim a key for an id, or learn for which it was claimed before."""
        before = await self._store.claim(
            IdempotencyRecord(tenant, key, digest, result, self._clock.now())
        )
        if before is None:
            return Claim(result, first=True)
        if before.request_digest != digest:
            raise InvalidRequest(
                "This key was used for another request; take a new one.", field=FIELD
            )
        return Claim(before.result, first=False)

    async def free(self, tenant: str, key: str) -> None:
        """The create has failed; the key may be used again."""
        await self._store.unclaim(tenant, key)


def digest_of(request: CreateSandbox) -> str:
    """Equal for equal requests."""
    text = json.dumps(asdict(request), sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

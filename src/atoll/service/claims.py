"""Creates that may be repeated: an `Idempotency-Key` and what it made."""

import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

import anyio

from atoll.core.errors import AtollError, InvalidRequest
from atoll.core.records import IdempotencyRecord
from atoll.core.store import Store
from atoll.service.clock import Clock
from atoll.service.ids import new_id
from atoll.service.locks import Locks
from atoll.service.requests import CreateSandbox

MAX_KEY_CHARS = 256
FIELD = "Idempotency-Key"
T = TypeVar("T")


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

    async def once(
        self,
        claimed: "Create",
        make: Callable[[str], Awaitable[T]],
        find: Callable[[str], Awaitable[T | None]],
    ) -> T:
        """Make it under a new id, or find what an earlier request with that key has made.

        A claim that leads to nothing is of a server that was killed, or of a client that left: the
        id is given up and another one made.
        """
        tenant, key, prefix = claimed.tenant, claimed.key, claimed.prefix
        if key is None:
            return await make(new_id(prefix))
        async with self.of(tenant, key):
            claim = await self.make(tenant, key, claimed.digest, new_id(prefix))
            if not claim.first:
                known = await find(claim.result)
                if known is not None:
                    return known
                await self.free(tenant, key)
                claim = await self.make(tenant, key, claimed.digest, new_id(prefix))
            try:
                return await make(claim.result)
            except AtollError:
                with anyio.CancelScope(shield=True):
                    await self.free(tenant, key)
                raise

    async def free(self, tenant: str, key: str) -> None:
        """The create has failed; the key may be used again."""
        await self._store.unclaim(tenant, key)


@dataclass(frozen=True, slots=True)
class Create:
    """A create that may be repeated with the same `key`; `digest` tells a repetition from another.

    `prefix` is that of the ids that it makes. Without a key it is made each time.
    """

    tenant: str
    key: str | None
    digest: str
    prefix: str


def digest_of(request: CreateSandbox) -> str:
    """Equal for equal requests. Of secrets the names count: what is stored tells no value."""
    return digest(**asdict(replace(request, secrets=dict.fromkeys(request.secrets, ""))))


def digest(**fields: object) -> str:
    """The same for what has no class of its own."""
    text = json.dumps(fields, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

"""API keys: made, checked, listed, revoked."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from atoll.core.errors import Forbidden, InvalidRequest, NotFound, Unauthenticated
from atoll.core.records import KeyRecord
from atoll.core.store import Store
from atoll.service.audit import Audit
from atoll.service.caller import DEFAULT_TENANT, Caller
from atoll.service.clock import Clock
from atoll.service.ids import new_id

_MARK = "atoll_"
_SECRET_BYTES = 32
_PREFIX_BYTES = 4
_LONGEST_KEY = 128
_LONGEST_NAME = 100
_CACHED_S = 30.0
_MOST_CACHED = 10_000
_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class KeyQuotas:
    """What a key's tenant may have at once; None is the server's default."""

    max_sandboxes: int | None = None
    max_concurrent: int | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    caller: Caller
    until: float
    expires_at: float | None


class Keys:
    """Gives keys out once, and knows them again by their digest.

    A key that was checked is trusted for 30 s without asking the store; a revocation on this
    server counts at once, one on another server that shares the store within those 30 s.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        audit: Audit,
        defaults: KeyQuotas | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._audit = audit
        given = defaults or KeyQuotas()
        self._max_sandboxes = 100 if given.max_sandboxes is None else given.max_sandboxes
        self._max_concurrent = 100 if given.max_concurrent is None else given.max_concurrent
        self._known: dict[str, _Known] = {}

    def anonymous(self) -> Caller:
        """Who comes from the loopback without a key: the owner of the machine."""
        return self._caller(DEFAULT_TENANT, "anonymous", admin=True)

    def administrator(self) -> Caller:
        """Who has logged in with the admin password."""
        return self._caller(DEFAULT_TENANT, "admin", admin=True)

    async def create(
        self,
        caller: Caller,
        *,
        name: str,
        tenant: str = DEFAULT_TENANT,
        admin: bool = False,
        expires_at: float | None = None,
        quotas: KeyQuotas | None = None,
    ) -> tuple[KeyRecord, str]:
        """Make a key; the plaintext is told here and never again. For admins only."""
        _must_be_admin(caller)
        self._check(name, tenant, expires_at, quotas or KeyQuotas())
        prefix = f"{_MARK}{secrets.token_hex(_PREFIX_BYTES)}"
        plaintext = f"{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}"
        record = KeyRecord(
            id=new_id("key"),
            tenant=tenant,
            name=name,
            prefix=prefix,
            digest=_digest(plaintext),
            admin=admin,
            created_at=self._clock.now(),
            expires_at=expires_at,
            max_sandboxes=quotas.max_sandboxes if quotas else None,
            max_concurrent=quotas.max_concurrent if quotas else None,
        )
        await self._store.add_key(record)
        self._audit.record("key.create", caller, "ok", key=record.id, tenant=tenant, name=name)
        return record, plaintext

    async def authenticate(self, plaintext: str) -> Caller:
        """Whose key it is; `Unauthenticated` when it is nobody's, or has expired."""
        if not plaintext.startswith(_MARK) or len(plaintext) > _LONGEST_KEY:
            raise _unknown()
        digest = _digest(plaintext)
        known = self._known.get(digest)
        if known is None or self._clock.monotonic() >= known.until:
            known = await self._ask(digest)
        if known.expires_at is not None and self._clock.now() >= known.expires_at:
            raise Unauthenticated("That API key has expired.")
        return known.caller

    async def list(self, caller: Caller) -> Sequence[KeyRecord]:
        """Every key of every tenant. For admins only."""
        _must_be_admin(caller)
        return await self._store.list_keys()

    async def revoke(self, caller: Caller, key_id: str) -> None:
        """Forget a key; from now on it is refused. For admins only."""
        _must_be_admin(caller)
        if not await self._store.drop_key(key_id):
            raise NotFound("key", key_id)
        self._known.clear()
        self._audit.record("key.revoke", caller, "ok", key=key_id)

    async def _ask(self, digest: str) -> _Known:
        record = await self._store.find_key(digest)
        if record is None or not hmac.compare_digest(record.digest, digest):
            self._known.pop(digest, None)
            raise _unknown()
        known = _Known(
            self._caller(record.tenant, record.name, admin=record.admin, record=record),
            self._clock.monotonic() + _CACHED_S,
            record.expires_at,
        )
        if len(self._known) >= _MOST_CACHED:
            self._known.clear()
        self._known[digest] = known
        return known

    def _caller(
        self, tenant: str, actor: str, *, admin: bool, record: KeyRecord | None = None
    ) -> Caller:
        sandboxes = record.max_sandboxes if record else None
        concurrent = record.max_concurrent if record else None
        return Caller(
            tenant=tenant,
            actor=actor,
            admin=admin,
            key_id=record.id if record else None,
            max_sandboxes=self._max_sandboxes if sandboxes is None else sandboxes,
            max_concurrent=self._max_concurrent if concurrent is None else concurrent,
        )

    def _check(self, name: str, tenant: str, expires_at: float | None, quotas: KeyQuotas) -> None:
        if not name.isprintable() or not 1 <= len(name) <= _LONGEST_NAME:
            raise InvalidRequest(
                f"A key's name has 1 to {_LONGEST_NAME} printable characters.", field="name"
            )
        if not _TENANT.fullmatch(tenant):
            raise InvalidRequest(
                "A tenant is 1 to 63 of a-z, 0-9, '.', '_' and '-', first a letter or a digit.",
                field="tenant",
            )
        if expires_at is not None and not expires_at > self._clock.now():
            raise InvalidRequest("expires_at must be in the future.", field="expires_at")
        for field in ("max_sandboxes", "max_concurrent"):
            value = getattr(quotas, field)
            if value is not None and value < 0:
                raise InvalidRequest(f"{field} must not be negative.", field=field)


def _digest(plaintext: str) -> str:
    return hashlib.sha256(plaintext.encode("utf-8", "replace")).hexdigest()


def _must_be_admin(caller: Caller) -> None:
    if not caller.admin:
        raise Forbidden("Only an admin may manage API keys.")


def _unknown() -> Unauthenticated:
    return Unauthenticated("That API key is not known here.")

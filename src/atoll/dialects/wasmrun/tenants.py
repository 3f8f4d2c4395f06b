"""The tenants file: who owns which key, with what limits. Read again when it has changed."""

import hashlib
import hmac
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from atoll.core.errors import Unauthenticated, Unavailable
from atoll.dialects.wasmrun.errors import TooMany
from atoll.dialects.wasmrun.schemas import LimitsIn
from atoll.service.caller import Caller
from atoll.service.clock import Clock

LARGEST = 4 * 1024 * 1024
LONGEST_KEY = 4096
UNLIMITED = 1_000_000
LOOK_S = 1.0
_MINUTE = 60.0
_ID = r"[a-z0-9][a-z0-9._-]{0,62}"

_log = structlog.stdlib.get_logger(__name__)


class Rate(BaseModel):
    """What a tenant may do at once, and in a minute; 0 is any."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_sessions: Annotated[int, Field(ge=0, le=UNLIMITED)] = 0
    max_concurrent_exec: Annotated[int, Field(ge=0, le=UNLIMITED)] = 0
    max_requests_per_min: Annotated[int, Field(ge=0, le=UNLIMITED)] = 0


class Ceiling(LimitsIn):
    """The loosest limits that a session of the tenant may have."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Tenant(BaseModel):
    """One `[[tenants]]`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=f"^{_ID}$")]
    key_sha256: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")]
    limits: Ceiling | None = None
    rate: Rate = Rate()


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    tenants: tuple[Tenant, ...]


@dataclass
class _Bucket:
    """Requests that are left; fills up again within a minute."""

    left: float
    at: float


class Tenants:
    """Tells whose key it is. `load` first."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._tenants: Sequence[Tenant] = ()
        self._stamp: tuple[int, int, int] | None = None
        self._looked_at = float("-inf")
        self._buckets: dict[str, _Bucket] = {}

    async def load(self) -> None:
        """Read it; `Unavailable` when it cannot be used."""
        self._tenants, self._stamp = await anyio.to_thread.run_sync(_read, self._path)
        self._looked_at = self._clock.monotonic()

    async def authenticate(self, authorization: str | None) -> tuple[Caller, Tenant]:
        """Whose key it is; `Unauthenticated`, or `TooMany` past its requests in a minute."""
        await self._look_again()
        scheme, _, key = (authorization or "").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key or len(key) > LONGEST_KEY:
            raise Unauthenticated("There is no bearer key.")
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        found = None
        for tenant in self._tenants:
            # All are compared, so that the time does not tell how many there are before.
            if hmac.compare_digest(tenant.key_sha256.lower(), digest):
                found = tenant
        if found is None:
            raise Unauthenticated("That key is nobody's.")
        self._count(found)
        return _caller(found), found

    def _count(self, tenant: Tenant) -> None:
        most = tenant.rate.max_requests_per_min
        if not most:
            return
        now = self._clock.monotonic()
        bucket = self._buckets.setdefault(tenant.id, _Bucket(float(most), now))
        bucket.left = min(float(most), bucket.left + (now - bucket.at) * most / _MINUTE)
        bucket.at = now
        if bucket.left < 1.0:
            raise TooMany("Rate limit exceeded: requests-per-minute exceeded", "rate")
        bucket.left -= 1.0

    async def _look_again(self) -> None:
        """Take in a changed file; one that cannot be used is left alone, and logged."""
        now = self._clock.monotonic()
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        stamp = await anyio.to_thread.run_sync(_stamp, self._path)
        if stamp is None or stamp == self._stamp:
            return
        try:
            await self.load()
        except Unavailable as error:
            self._stamp = stamp
            _log.error("tenants not read again", error=error.detail)


def _caller(tenant: Tenant) -> Caller:
    return Caller(
        tenant=tenant.id,
        actor=f"wasmrun:{tenant.id}",
        admin=False,
        key_id=None,
        max_sandboxes=tenant.rate.max_sessions or UNLIMITED,
        max_concurrent=tenant.rate.max_concurrent_exec or UNLIMITED,
    )


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(path: Path) -> tuple[Sequence[Tenant], tuple[int, int, int] | None]:
    stamp = _stamp(path)
    try:
        if stamp is not None and stamp[2] > LARGEST:
            raise ValueError(f"it is over {LARGEST} bytes")
        parsed: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
        found = _File.model_validate(parsed).tenants
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Unavailable(f"The tenants file {path}: {where}: {first['msg']}.") from None
    except (OSError, ValueError) as error:
        raise Unavailable(f"The tenants file {path} cannot be read: {error}.") from error
    ids = [tenant.id for tenant in found]
    if len(set(ids)) < len(ids):
        raise Unavailable(f"The tenants file {path} names a tenant twice.")
    return found, stamp

"""Sessions: each is one persistent sandbox, named after it, and what only this API knows of it."""

import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Self

import anyio
import structlog
from anyio import AsyncContextManagerMixin

from atoll.core.errors import AtollError, Gone, NotFound, QuotaExceeded
from atoll.core.model import Limits
from atoll.core.records import SandboxRecord
from atoll.core.states import TERMINAL
from atoll.dialects.wasmrun import kept
from atoll.dialects.wasmrun.errors import Expired, NoSession, TooMany
from atoll.dialects.wasmrun.limits import SessionLimits
from atoll.dialects.wasmrun.options import Options
from atoll.http.services import Services
from atoll.service.caller import Caller
from atoll.service.requests import ChangeSandbox, CreateSandbox

SWEEP_S = 30.0
MOST_LISTED = 1000
UNLIMITED = 1_000_000
_ID_BYTES = 16

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Code:
    """A module that is slow to compile, its digest, and the name of its code; empty for none."""

    etag: str
    module: str
    name: str


@dataclass
class Session:
    """One session. Its files are those of its sandbox; `used_at` is of the monotonic clock.

    `kept_env` are the variables that its sandbox keeps; None before they are read. `slow` are its
    modules that took long, with None for code that is not made yet.
    """

    id: str
    owner: Caller
    sandbox_id: str
    limits: SessionLimits
    created_at: float
    made_at: float
    used_at: float
    env: dict[str, str] = field(default_factory=dict[str, str])
    kept_env: Mapping[str, str] | None = field(default_factory=dict[str, str])
    busy: int = 0
    disk_bytes: int | None = None
    installed: Mapping[str, object] | None = None
    leased_until: float = 0.0
    slow: dict[str, Code | None] = field(default_factory=dict[str, Code | None])
    turn: anyio.Lock = field(default_factory=anyio.Lock)


class Sessions(AsyncContextManagerMixin):
    """All sessions of this server. Within its block a task sweeps away those that have expired."""

    def __init__(self, services: Services, options: Options, most: Limits) -> None:
        self._services = services
        self._clock = services.clock
        self._timeout_s = options.timeout_s
        self._max = options.max_sessions
        self._most = most
        self._usual = SessionLimits.of(options)
        self._looked: set[str] = set()
        self._all: dict[str, Session] = {}
        self._making = 0
        self.created = 0

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        async with anyio.create_task_group() as group:
            group.start_soon(self._sweep)
            yield self
            group.cancel_scope.cancel()

    async def create(self, caller: Caller, limits: SessionLimits) -> Session:
        """Make one, with an empty directory."""
        if self._max and self.active + self._making >= self._max:
            raise TooMany(f"Maximum sessions reached: {self._max}")
        session_id = secrets.token_hex(_ID_BYTES)
        lease = self._lease_s
        confined = self._services.backends.named("namespace") is not None
        wanted = CreateSandbox(
            name=f"{kept.PREFIX}{session_id}",
            limits=limits.sandbox(Limits(), self._most),
            labels=kept.labels(limits),
            backend="namespace" if confined else None,
            preload=kept.PRELOAD if confined else (),
            lifetime_s=lease,
        )
        self._making += 1
        try:
            record = await self._services.sandboxes.create(wanted, self._creator(caller))
        except QuotaExceeded:
            raise TooMany(
                f"Rate limit exceeded: tenant session limit reached ({caller.max_sandboxes})",
                "rate",
            ) from None
        finally:
            self._making -= 1
        now = self._clock.monotonic()
        session = Session(
            id=session_id,
            owner=caller,
            sandbox_id=record.id,
            limits=limits,
            created_at=record.created_at,
            made_at=now,
            used_at=now,
            disk_bytes=0,
            leased_until=now + (lease or 0.0),
        )
        self._all[session_id] = session
        self.created += 1
        return session

    async def get(self, caller: Caller, session_id: str) -> Session:
        """One that is alive; counts as use. `NoSession`, `Expired`."""
        session = await self._mine(caller, session_id)
        if self.is_expired(session):
            raise Expired(session_id)
        session.used_at = self._clock.monotonic()
        await self._renew(session, 0.0)
        return session

    @asynccontextmanager
    async def using(
        self, caller: Caller, session_id: str, *, for_s: float = 0.0
    ) -> AsyncGenerator[Session, None]:
        """The same for the length of a block of at most `for_s`, in which it does not expire."""
        session = await self.get(caller, session_id)
        await self._renew(session, for_s)
        session.busy += 1
        try:
            await self._know_env(session)
            yield session
        except (Gone, NotFound) as error:
            if isinstance(error, Gone) or error.kind == "sandbox":
                # It was ended behind our back, through the native API.
                self._all.pop(session_id, None)
                raise NoSession(session_id) from error
            raise
        finally:
            session.busy -= 1
            session.used_at = self._clock.monotonic()

    async def list(self, caller: Caller) -> Sequence[Session]:
        """The caller's that are alive, the newest first."""
        if caller.tenant not in self._looked:
            self._looked.add(caller.tenant)
            found = await self._services.sandboxes.list(
                caller, labels=kept.DIALECT, limit=MOST_LISTED
            )
            for record in found:
                self._adopted(caller, record)
        return sorted(
            (
                each
                for each in self._all.values()
                if each.owner.tenant == caller.tenant and not self.is_expired(each)
            ),
            key=lambda each: (each.made_at, each.id),
            reverse=True,
        )

    async def destroy(self, caller: Caller, session_id: str) -> None:
        """End it and remove its files, also when it has expired."""
        session = await self._mine(caller, session_id)
        self._all.pop(session_id, None)
        await self._end(session)

    def everyone(self) -> Sequence[Session]:
        """All, of all tenants, for metrics."""
        return tuple(self._all.values())

    @property
    def active(self) -> int:
        """How many are alive."""
        return sum(not self.is_expired(each) for each in self._all.values())

    def is_full(self) -> bool:
        """Whether another would be refused."""
        return bool(self._max) and self.active >= self._max

    def is_expired(self, session: Session) -> bool:
        """Whether it has been idle for too long; one that executes is not idle."""
        if not self._timeout_s or session.busy:
            return False
        return self.idle_s(session) >= self._timeout_s

    def idle_s(self, session: Session) -> float:
        """Since its last use."""
        return self._clock.monotonic() - session.used_at

    def age_s(self, session: Session) -> float:
        """Since it was made."""
        return self._clock.monotonic() - session.made_at

    async def sweep(self) -> None:
        """End what has expired."""
        for session in [each for each in self._all.values() if self.is_expired(each)]:
            if self._all.pop(session.id, None) is not None:
                await self._end(session)

    @property
    def _lease_s(self) -> float | None:
        """How long a sandbox may outlive a server that forgets it."""
        return 2.0 * self._timeout_s + 2 * SWEEP_S if self._timeout_s else None

    def _creator(self, caller: Caller) -> Caller:
        """The owner of this machine may have all sessions that there may be, beside the rest."""
        if not caller.admin or caller.key_id is not None:
            return caller
        return replace(caller, max_sandboxes=caller.max_sandboxes + (self._max or UNLIMITED))

    async def keep_env(self, session: Session) -> None:
        """Keep its variables with its sandbox, if they have changed."""
        if session.env != session.kept_env:
            await kept.write_env(
                self._services.files, session.owner, session.sandbox_id, session.env
            )
            session.kept_env = dict(session.env)

    async def _know_env(self, session: Session) -> None:
        """Read what was kept of a session's variables, once."""
        if session.kept_env is None:
            found = await kept.read_env(self._services.files, session.owner, session.sandbox_id)
            if session.kept_env is None:
                session.env, session.kept_env = found, dict(found)

    async def _mine(self, caller: Caller, session_id: str) -> Session:
        session = self._all.get(session_id)
        if session is None and kept.is_id(session_id):
            with suppress(NotFound):
                record = await self._services.sandboxes.get(caller, kept.PREFIX + session_id)
                session = self._adopted(caller, record)
        if session is None or session.owner.tenant != caller.tenant:
            raise NoSession(session_id)
        return session

    def _adopted(self, caller: Caller, record: SandboxRecord) -> Session | None:
        """A session of an earlier server, as its sandbox tells of it."""
        session_id = kept.session_id(record)
        if session_id is None or record.state in TERMINAL:
            return None
        now, mono = self._clock.now(), self._clock.monotonic()
        session = Session(
            id=session_id,
            owner=caller,
            sandbox_id=record.id,
            limits=kept.limits_of(record, self._usual),
            created_at=record.created_at,
            made_at=mono - (now - record.created_at),
            used_at=mono - (now - record.last_used_at),
            kept_env=None,
            leased_until=mono + ((record.expires_at or now) - now),
        )
        return self._all.setdefault(session_id, session)

    async def _renew(self, session: Session, for_s: float) -> None:
        lease, now = self._lease_s, self._clock.monotonic()
        if lease is None or session.leased_until - now > for_s + lease / 2:
            return
        session.leased_until = now + for_s + lease
        change = ChangeSandbox(lifetime_s=for_s + lease)
        try:
            await self._services.sandboxes.update(session.owner, session.sandbox_id, change)
        except (Gone, NotFound):
            self._all.pop(session.id, None)
            raise NoSession(session.id) from None

    async def _end(self, session: Session) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await self._services.sandboxes.destroy(session.owner, session.sandbox_id)
        except AtollError as error:
            _log.warning("session not ended", session_id=session.id, error=error.detail)

    async def _sweep(self) -> None:
        while True:
            await anyio.sleep(SWEEP_S)
            await self.sweep()

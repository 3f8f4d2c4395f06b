"""Looks after what nobody asks for: expiries, leftovers, old records."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

import anyio

from atoll.core.errors import AtollError, Conflict
from atoll.core.records import SandboxRecord
from atoll.core.states import TERMINAL, State
from atoll.core.store import Store
from atoll.service.archiving import Archiver
from atoll.service.audit import Audit
from atoll.service.clock import Clock
from atoll.service.endings import Endings
from atoll.service.keeper import Keeper
from atoll.service.lives import on_behalf_of
from atoll.service.reconcile import Reconciler, unharmed

_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Upkeep:
    """How often, and how patiently."""

    interval_s: float = 60.0
    grace_s: float = 120.0
    keep_ended_s: float = 30 * 86_400.0
    keep_claims_s: float = 86_400.0


class Janitor(anyio.AsyncContextManagerMixin):
    """`async with janitor` reconciles once, then runs until the block is left."""

    def __init__(
        self,
        *,
        store: Store,
        keeper: Keeper,
        endings: Endings,
        reconciler: Reconciler,
        archiver: Archiver,
        audit: Audit,
        clock: Clock,
        upkeep: Upkeep = Upkeep(),
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._endings = endings
        self._reconciler = reconciler
        self._archiver = archiver
        self._audit = audit
        self._clock = clock
        self._upkeep = upkeep

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        await self.reconcile(at_start=True)
        async with anyio.create_task_group() as group:
            group.start_soon(self._run)
            try:
                yield self
            finally:
                group.cancel_scope.cancel()

    async def reconcile(self, *, at_start: bool = False) -> None:
        """Compare what the backends hold with what the store knows."""
        with unharmed("reconcile"):
            await self._reconciler.run(at_start=at_start)

    async def expire(self) -> None:
        """Stop and archive what is idle, destroy what has outlived its lease."""
        limiter = anyio.CapacityLimiter(_AT_ONCE)
        async with anyio.create_task_group() as group:
            for tenant, sandbox_id in self._keeper.expiries.pop(self._clock.now()):
                group.start_soon(self._expire, limiter, tenant, sandbox_id)

    async def tidy(self) -> None:
        """Forget what has been kept for long enough."""
        now = self._clock.now()
        with unharmed("prune"):
            await self._store.prune(now - self._upkeep.keep_ended_s)
        with unharmed("claims"):
            await self._store.forget_claims(now - self._upkeep.keep_claims_s)

    async def _expire(self, limiter: anyio.CapacityLimiter, tenant: str, sandbox_id: str) -> None:
        async with limiter:
            with unharmed("expire", sandbox_id=sandbox_id):
                await self._look(tenant, sandbox_id)

    async def _look(self, tenant: str, sandbox_id: str) -> None:
        record = await self._store.get_sandbox(tenant, sandbox_id)
        now = self._clock.now()
        if record is None or record.state in TERMINAL:
            return
        if record.expires_at is not None and record.expires_at <= now:
            detail = f"Its lease ended at {record.expires_at:.0f} s since the epoch."
            await self._endings.end(record, by="lifetime", detail=detail)
            return
        used = self._keeper.touches.last(record.id, record.last_used_at)
        held = self._keeper.held(record.id)
        if held is not None and not held.idle:
            # A request is using it, which is as good as having used it just now.
            used = now
        rested = record.auto_delete_s is not None and used + record.auto_delete_s <= now
        if rested and record.state in {State.RUNNING, State.STOPPED, State.ARCHIVED}:
            detail = f"It was not used for {record.auto_delete_s:g} s."
            await self._endings.end(record, by="idle", detail=detail)
            return
        if record.auto_archive_s is not None and record.state in {State.RUNNING, State.STOPPED}:
            since = now - record.auto_archive_s
            if used <= since:
                await self._archive(record, since)
                return
        if record.state is State.RUNNING and record.idle_timeout_s is not None:
            since = now - record.idle_timeout_s
            if used <= since:
                if await self._keeper.stop(record.id, "idle", unused_since=since):
                    return
                # A request is using it, which is as good as having used it just now.
                used = now
        self._keeper.expiries.track(record, used)

    async def _archive(self, record: SandboxRecord, since: float) -> None:
        """Put it away; what cannot be is looked at again after as long as it was idle now."""
        self._keeper.expiries.track(record, self._clock.now())
        caller, outcome, detail = on_behalf_of(record, "janitor"), "ok", None
        try:
            await self._archiver.archive(record, "idle", unused_since=since)
        except Conflict:
            return
        except AtollError as error:
            outcome, detail = error.code, error.detail
        self._audit.record("sandbox.archived", caller, outcome, record.id, by="idle", detail=detail)

    async def _run(self) -> None:
        look_at = self._clock.monotonic() + self._upkeep.interval_s
        while True:
            wait_s = look_at - self._clock.monotonic()
            due = self._keeper.expiries.next_at()
            if due is not None:
                wait_s = min(wait_s, due - self._clock.now())
            with anyio.move_on_after(max(wait_s, 0.01)):
                await self._keeper.expiries.changed.wait()
            self._keeper.expiries.changed = anyio.Event()
            with unharmed("expire"):
                await self.expire()
            if self._clock.monotonic() >= look_at:
                await self.reconcile()
                await self.tidy()
                look_at = self._clock.monotonic() + self._upkeep.interval_s

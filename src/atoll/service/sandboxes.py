"""Persistent sandboxes: made, found, changed, stopped, forked, destroyed."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import anyio

from atoll.core.errors import AtollError, Gone, NotFound, PreconditionFailed
from atoll.core.ports import ImageNames, Sandbox
from atoll.core.profiles import Profiles
from atoll.core.records import PostMortem, SandboxRecord
from atoll.core.states import TERMINAL, State
from atoll.core.store import Store
from atoll.service.archiving import ARCHIVE, Archiver
from atoll.service.audit import Audit
from atoll.service.backends import Backends
from atoll.service.caller import Caller
from atoll.service.checks import check_change, check_labels, check_name
from atoll.service.claims import Claims, Create, digest
from atoll.service.clock import Clock
from atoll.service.creation import Creation
from atoll.service.endings import Endings
from atoll.service.freezing import Freezer
from atoll.service.held import Held
from atoll.service.ids import new_id
from atoll.service.keeper import Keeper
from atoll.service.lives import fresh, turn
from atoll.service.pausing import Pauser, check_awake
from atoll.service.requests import UNSET, ChangeSandbox, CreateSandbox
from atoll.service.vault import SECRET_FILES

_TRIES = 16


class Sandboxes:
    """The use cases of sandboxes. Everywhere `sandbox` is an id or a living one's name.

    Every method raises `NotFound` for what another tenant owns, exactly as for what never was.
    """

    def __init__(
        self,
        *,
        store: Store,
        keeper: Keeper,
        backends: Backends,
        endings: Endings,
        audit: Audit,
        clock: Clock,
        profiles: Profiles | None = None,
        images: ImageNames | None = None,
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._backends = backends
        self._endings = endings
        self._audit = audit
        self._clock = clock
        self._creation = Creation(
            store=store,
            keeper=keeper,
            backends=backends,
            endings=endings,
            clock=clock,
            profiles=profiles or Profiles(),
            images=images,
        )
        self._claims = Claims(store=store, clock=clock)
        self.archiver = Archiver(store=store, keeper=keeper, backends=backends, clock=clock)
        self._pauser = Pauser(store=store, keeper=keeper, backends=backends)
        self._freezer = Freezer(store=store, keeper=keeper, backends=backends, endings=endings)

    async def create(
        self, request: CreateSandbox, caller: Caller, idempotency_key: str | None = None
    ) -> SandboxRecord:
        """Make one and start it; its record in state `running`.

        The same key and request give the same record back, also while the first is under way.
        The same key with another request is `InvalidRequest` on the field `Idempotency-Key`.
        """
        with self._audited("sandbox.create", caller) as about:
            record = await self._creation.create(request, caller, idempotency_key)
            about.update(_made(record))
        return record

    async def get(self, caller: Caller, sandbox: str) -> SandboxRecord:
        """The record, also of a destroyed one (by id). `NotFound`.

        Of one that is open here it is the keeper's own, which every change goes through.
        """
        held = self._keeper.held(sandbox)
        if held is not None and held.record.tenant == caller.tenant:
            return self._as_known(held.record)
        return await self._read(caller, sandbox)

    async def list(
        self,
        caller: Caller,
        *,
        labels: Mapping[str, str] | None = None,
        states: Sequence[State] | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Sequence[SandboxRecord]:
        """A page of the tenant's, ordered by id; without `states` only the living ones."""
        found = await self._store.list_sandboxes(
            caller.tenant, states=states, labels=labels, after=after, limit=limit
        )
        return [self._as_known(record) for record in found]

    async def update(self, caller: Caller, sandbox: str, change: ChangeSandbox) -> SandboxRecord:
        """Rename, relabel, set the idle timeout or the lease. `Conflict`, `PreconditionFailed`."""
        check_change(change)
        record = await self._read(caller, sandbox)
        if change.auto_archive_s is not UNSET and change.auto_archive_s is not None:
            await self._backends.choose(record.backend, needs=frozenset({ARCHIVE}))
        if change.secrets is not UNSET and any(name[0] == "/" for name in change.secrets):
            await self._backends.choose(record.backend, needs=frozenset({SECRET_FILES}))
        with self._audited("sandbox.update", caller, record.id):
            for _ in range(_TRIES):
                if record.state in TERMINAL:
                    raise await self._endings.gone(record)
                if change.if_version not in {None, record.version}:
                    raise PreconditionFailed(
                        f"Sandbox {record.id} is at version {record.version}, "
                        f"not {change.if_version}."
                    )
                try:
                    changed = await self._store.save_sandbox(self._changed(record, change))
                except PreconditionFailed:
                    record = await self._read(caller, record.id)
                    continue
                if change.secrets is not UNSET:
                    self._keeper.vault.put(changed.id, change.secrets)
                self._keeper.renew(changed)
                self._keeper.expiries.track(changed, self._keeper.touches.last(changed.id, 0.0))
                return changed
            raise PreconditionFailed(f"Sandbox {record.id} is being changed by too many at once.")

    async def destroy(self, caller: Caller, sandbox: str) -> SandboxRecord:
        """End it and remove its files. Idempotent: a second call returns the same record."""
        record = await self.get(caller, sandbox)
        with self._audited("sandbox.destroy", caller, record.id):
            return await self._endings.end(
                record, by="client", detail=f"Destroyed by {caller.actor}."
            )

    async def stop(self, caller: Caller, sandbox: str) -> SandboxRecord:
        """End its processes (SIGTERM, a grace, SIGKILL) and keep its files. Idempotent."""
        record = await self._living(caller, sandbox)
        with self._audited("sandbox.stop", caller, record.id):
            if not await self._keeper.stop(record.id, "client") and record.state in {
                State.RUNNING,
                State.PAUSED,
            }:
                return await turn(self._store, record, State.STOPPED)
            return await fresh(self._store, record)

    async def archive(self, caller: Caller, sandbox: str) -> SandboxRecord:
        """Stop it and put its files away, packed, until the next use. Idempotent.

        `Conflict` when it is used meanwhile, `Unsupported`.
        """
        record = await self._living(caller, sandbox)
        with self._audited("sandbox.archive", caller, record.id):
            return self._as_known(await self.archiver.archive(record, "client"))

    async def start(self, caller: Caller, sandbox: str) -> SandboxRecord:
        """Open it if it is stopped. Idempotent. `Gone` when it has ended."""
        record = await self._living(caller, sandbox)
        with self._audited("sandbox.start", caller, record.id):
            async with self.holding(caller, record.id) as held:
                return held.record

    async def fork(
        self,
        caller: Caller,
        sandbox: str,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        force: bool = False,
        idempotency_key: str | None = None,
    ) -> SandboxRecord:
        """Make another with a copy of its files, in constant time.

        `Conflict` while processes run in it, unless `force`, which ends them. `Unsupported`.
        The same key gives the same fork, as `create` does.
        """
        check_name(name)
        check_labels(labels or {})
        record = await self._living(caller, sandbox)

        async def make(fork_id: str) -> SandboxRecord:
            with self._audited("sandbox.fork", caller, record.id) as about:
                snapshot_id = new_id("fork")
                backend = await self._freezer.freeze(record, snapshot_id, force=force)
                try:
                    fork = await self._creation.fork_of(
                        record, snapshot_id, caller, sandbox_id=fork_id, name=name, labels=labels
                    )
                finally:
                    with anyio.CancelScope(shield=True):
                        await backend.drop_snapshot(snapshot_id)
                about["fork"] = fork.id
            self._audit.record("sandbox.create", caller, "ok", **_made(fork), source=record.id)
            return fork

        async def find(fork_id: str) -> SandboxRecord | None:
            known = await self._store.get_sandbox(caller.tenant, fork_id)
            return None if known is None or known.state is State.FAILED else known

        said = digest(fork=record.id, name=name, labels=dict(labels or {}), force=force)
        return await self._claims.once(
            Create(caller.tenant, idempotency_key, said, "sb"), make, find
        )

    async def pause(self, caller: Caller, sandbox: str) -> SandboxRecord:
        """Let its processes stand still. Idempotent. `Conflict` when stopped, `Unsupported`."""
        record = await self._living(caller, sandbox)
        with self._audited("sandbox.pause", caller, record.id):
            return self._as_known(await self._pauser.pause(record))

    async def resume(self, caller: Caller, sandbox: str) -> SandboxRecord:
        """Let them go on. Idempotent. `Conflict` when stopped."""
        record = await self._living(caller, sandbox)
        with self._audited("sandbox.resume", caller, record.id):
            return self._as_known(await self._pauser.resume(record))

    async def open(self, caller: Caller, sandbox: str) -> Sandbox:
        """The open sandbox, started when it was stopped; counts as use. `Gone`."""
        async with self.holding(caller, sandbox) as held:
            return held.box

    @asynccontextmanager
    async def using(self, caller: Caller, sandbox: str) -> AsyncGenerator[Sandbox, None]:
        """The same for the length of a block, in which it is never idle."""
        async with self.holding(caller, sandbox) as held:
            yield held.box

    @asynccontextmanager
    async def holding(self, caller: Caller, sandbox: str) -> AsyncGenerator[Held, None]:
        """The same with all that the keeper knows about it. `Conflict` while it is paused."""
        held = self._keeper.held(sandbox)
        if held is None or held.record.tenant != caller.tenant:
            held = await self._opened(await self._living(caller, sandbox))
        check_awake(held)
        held.users += 1
        self._keeper.touches.touch(held.record.id)
        try:
            yield held
        finally:
            held.unuse()
            if not held.closing.is_set():
                self._keeper.touches.touch(held.record.id)

    async def post_mortem(self, caller: Caller, sandbox: str) -> PostMortem:
        """Why it ended. `NotFound` when it has not."""
        found = await self._endings.post_mortem(await self.get(caller, sandbox))
        if found is None:
            raise NotFound("post-mortem", sandbox)
        return found

    def on_destroyed(self, act: Callable[[str], Awaitable[None]]) -> None:
        """Have something done with the id of each sandbox that is destroyed."""
        self._endings.on_destroyed(act)

    async def _read(self, caller: Caller, sandbox: str) -> SandboxRecord:
        record = await self._store.get_sandbox(caller.tenant, sandbox)
        if record is None:
            raise NotFound("sandbox", sandbox)
        return self._as_known(record)

    async def _opened(self, record: SandboxRecord) -> Held:
        try:
            return await self._keeper.hold(record)
        except Gone:
            raise await self._endings.gone(await fresh(self._store, record)) from None

    async def _living(self, caller: Caller, sandbox: str) -> SandboxRecord:
        record = await self.get(caller, sandbox)
        if record.state in TERMINAL:
            raise await self._endings.gone(record)
        return record

    def _as_known(self, record: SandboxRecord) -> SandboxRecord:
        used = self._keeper.touches.last(record.id, record.last_used_at)
        return record if used <= record.last_used_at else replace(record, last_used_at=used)

    def _changed(self, record: SandboxRecord, change: ChangeSandbox) -> SandboxRecord:
        if change.name is not UNSET:
            record = replace(record, name=change.name)
        if change.labels is not UNSET:
            record = replace(record, labels=dict(change.labels))
        if change.idle_timeout_s is not UNSET:
            record = replace(record, idle_timeout_s=change.idle_timeout_s)
        if change.secrets is not UNSET:
            record = replace(record, secrets=tuple(change.secrets))
        if change.auto_delete_s is not UNSET:
            record = replace(record, auto_delete_s=change.auto_delete_s)
        if change.auto_archive_s is not UNSET:
            record = replace(record, auto_archive_s=change.auto_archive_s)
        if change.lifetime_s is not UNSET:
            lease = change.lifetime_s
            ends = None if lease is None else self._clock.now() + lease
            record = replace(record, expires_at=ends)
        if change.network is not UNSET:
            record = replace(record, network=change.network)
        return record

    @contextmanager
    def _audited(
        self, action: str, caller: Caller, sandbox_id: str | None = None
    ) -> Generator[dict[str, str], None, None]:
        """Note what came of it; what the block puts into the dictionary goes along."""
        about: dict[str, str] = {}
        try:
            yield about
        except AtollError as error:
            self._audit.record(action, caller, error.code, sandbox_id, detail=error.detail)
            raise
        self._audit.record(action, caller, "ok", about.pop("sandbox_id", sandbox_id), **about)


def _made(record: SandboxRecord) -> dict[str, str]:
    """What the audit log says of a new one."""
    made = {"image": record.image, "backend": record.backend, "profile": record.profile}
    if record.name is not None:
        made["name"] = record.name
    return {"sandbox_id": record.id, **made}

"""How a sandbox is made: checked, placed, written down, opened.

| killed | left | the next start, and a retry with the same key |
|---|---|---|
| after the claim | an id without a record | the retry makes it under that id |
| after `creating` | a record, half a sandbox | it becomes `failed`; the retry makes another |
| after `running` | a sandbox | it becomes `stopped`; the retry gets its record |
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import anyio

from atoll.core.errors import AtollError, Busy, InvalidRequest, NotFound
from atoll.core.images import HOST
from atoll.core.model import Isolation
from atoll.core.ports import Backend, ImageNames
from atoll.core.profiles import Profile, Profiles
from atoll.core.records import SandboxRecord, SnapshotRecord
from atoll.core.states import State
from atoll.core.store import Store
from atoll.service.archiving import ARCHIVE
from atoll.service.backends import NOTHING, Backends, needs_of
from atoll.service.caller import Caller
from atoll.service.checks import check_create
from atoll.service.claims import Claims, digest_of
from atoll.service.clock import Clock
from atoll.service.endings import Endings
from atoll.service.ids import new_id
from atoll.service.keeper import Keeper
from atoll.service.lives import fresh, spec_of, turn
from atoll.service.locks import Locks
from atoll.service.planning import check_limits
from atoll.service.requests import CreateSandbox
from atoll.service.vault import SECRET_FILES

SNAPSHOTS: frozenset[str] = frozenset({"snapshots"})
PORTS: frozenset[str] = frozenset({"ports"})


class Creation:
    """Makes sandboxes. Two store writes each; a third with an idempotency key."""

    def __init__(
        self,
        *,
        store: Store,
        keeper: Keeper,
        backends: Backends,
        endings: Endings,
        clock: Clock,
        profiles: Profiles,
        images: ImageNames | None,
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._backends = backends
        self._endings = endings
        self._clock = clock
        self._profiles = profiles
        self._images = images
        self._claims = Claims(store=store, clock=clock)
        self._counting = Locks()

    async def create(
        self, request: CreateSandbox, caller: Caller, key: str | None
    ) -> SandboxRecord:
        """Make one. Cancelled without a key it is undone; with one it goes on for the retry."""
        check_create(request)
        if key is not None:
            async with self._claims.of(caller.tenant, key):
                return await self._create_claimed(request, caller, key)
        record = await self._planned(request, caller, new_id("sb"))
        return await self.make(record, caller, secrets=request.secrets)

    async def make(
        self,
        record: SandboxRecord,
        caller: Caller,
        *,
        secrets: Mapping[str, str] | None = None,
        keep: bool = False,
    ) -> SandboxRecord:
        """Write down and open a planned one; with `keep` it survives cancellation."""
        async with self._counting.hold(record.tenant):
            await self._store.add_sandbox(record, most=caller.max_sandboxes)
        self._keeper.expiries.track(record)
        if secrets:
            self._keeper.vault.put(record.id, secrets)
        try:
            held = await self._keeper.hold(record, spec_of(record))
        except AtollError:
            self._keeper.vault.forget(record.id)
            with anyio.CancelScope(shield=True), suppress(AtollError):
                await turn(self._store, record, State.FAILED)
            raise
        except anyio.get_cancelled_exc_class():
            if not keep:
                with anyio.CancelScope(shield=True), suppress(AtollError):
                    await self._endings.end(record, by="client", detail="Its create was cancelled.")
            raise
        return held.record

    async def _create_claimed(
        self, request: CreateSandbox, caller: Caller, key: str
    ) -> SandboxRecord:
        tenant, digest = caller.tenant, digest_of(request)
        claim = await self._claims.make(tenant, key, digest, new_id("sb"))
        if not claim.first:
            known = await self._store.get_sandbox(tenant, claim.result)
            if known is not None and known.state is State.FAILED:
                await self._claims.free(tenant, key)
                claim = await self._claims.make(tenant, key, digest, new_id("sb"))
            elif known is not None:
                return await self._made(known, key)
        try:
            record = await self._planned(request, caller, claim.result)
            return await self.make(record, caller, secrets=request.secrets, keep=True)
        except AtollError:
            with anyio.CancelScope(shield=True):
                await self._claims.free(tenant, key)
            raise

    async def _made(self, record: SandboxRecord, key: str) -> SandboxRecord:
        """What an earlier create with the key made, once it is made."""
        if record.state is not State.CREATING:
            return record
        if not self._keeper.is_open(record.id):
            raise Busy(f"Sandbox {record.id} is still being made by another server.")
        try:
            return (await self._keeper.hold(record)).record
        except AtollError:
            with anyio.CancelScope(shield=True):
                await self._claims.free(record.tenant, key)
            raise

    async def _planned(
        self, request: CreateSandbox, caller: Caller, sandbox_id: str
    ) -> SandboxRecord:
        """The record to store first. Nothing is made before it is complete."""
        base: SnapshotRecord | None = None
        if request.base is not None:
            base = await self._store.get_snapshot(caller.tenant, request.base)
            if base is None:
                raise NotFound("snapshot", request.base)
            if request.backend not in {None, base.backend}:
                raise InvalidRequest(
                    f"Snapshot {base.id} was made by backend {base.backend}.", field="backend"
                )
        rules = self._rules(request, base)
        needs = NOTHING if request.network is None else needs_of(request.network)
        if any(name.startswith("/") for name in request.secrets):
            needs |= {SECRET_FILES}
        isolation = max(request.min_isolation or 0, rules.min_isolation or 0)
        backend: Backend
        backend, network = await self._backends.place(
            request.network or rules.network,
            base.backend if base is not None else request.backend,
            Isolation(isolation) if isolation else None,
            needs
            | (SNAPSHOTS if base is not None else NOTHING)
            | (PORTS if request.ports else NOTHING)
            | (NOTHING if request.auto_archive_s is None else {ARCHIVE}),
        )
        image = request.image if base is None else base.image
        if image != HOST and base is None and self._images is not None:
            image = await self._images.resolve(image)
        now = self._clock.now()
        return SandboxRecord(
            id=sandbox_id,
            tenant=caller.tenant,
            name=request.name,
            backend=backend.name,
            image=image,
            profile=rules.name,
            limits=rules.limits,
            network=network,
            state=State.CREATING,
            created_at=now,
            last_used_at=now,
            env=dict(request.env),
            labels=dict(request.labels),
            base=base.id if base is not None else None,
            idle_timeout_s=request.idle_timeout_s,
            expires_at=None if request.lifetime_s is None else now + request.lifetime_s,
            preload=request.preload,
            read_only_root=rules.read_only_root,
            auto_delete_s=request.auto_delete_s,
            auto_archive_s=request.auto_archive_s,
            secrets=tuple(request.secrets),
            ports=tuple(dict.fromkeys(request.ports)),
        )

    def _rules(self, request: CreateSandbox, base: SnapshotRecord | None) -> Profile:
        """What holds for it, but for what the host cannot give."""
        if base is not None and base.profile and request.profile is None:
            rules = Profile(
                base.profile, "", base.limits, base.network, read_only_root=base.read_only_root
            )
        else:
            rules = self._profiles.get(request.profile)
        limits = replace(request.limits or rules.limits, **request.changes)  # type: ignore[arg-type]
        check_limits(limits, None)
        return replace(rules, limits=limits, network=self._profiles.network(rules))

    async def fork_of(
        self,
        record: SandboxRecord,
        snapshot_id: str,
        caller: Caller,
        *,
        sandbox_id: str,
        name: str | None,
        labels: Mapping[str, str] | None,
    ) -> SandboxRecord:
        """Make one like another, with its files, and a lease of the same length from now.

        Without its secrets.
        """
        record = await fresh(self._store, record)
        now = self._clock.now()
        lease = None if record.expires_at is None else record.expires_at - record.created_at
        fork = replace(
            record,
            id=sandbox_id,
            name=name,
            labels=dict(record.labels if labels is None else labels),
            state=State.CREATING,
            created_at=now,
            last_used_at=now,
            base=snapshot_id,
            expires_at=None if lease is None else now + lease,
            secrets=(),
            version=1,
        )
        return await self.make(fork, caller)

"""Persistent sandboxes: made, found, changed, stopped, forked, destroyed."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

from atoll.core.ports import Sandbox
from atoll.core.records import PostMortem, SandboxRecord
from atoll.core.states import State
from atoll.service.caller import Caller
from atoll.service.requests import ChangeSandbox, CreateSandbox


class Sandboxes:
    """The use cases of sandboxes. Everywhere `sandbox` is an id or a living one's name.

    Every method raises `NotFound` for what another tenant owns, exactly as for what never was.
    """

    async def create(
        self, request: CreateSandbox, caller: Caller, idempotency_key: str | None = None
    ) -> SandboxRecord:
        """Make one and start it; its record in state `running`.

        The same key and request give the same record back, also while the first is under way.
        The same key with another request is `InvalidRequest` on the field `Idempotency-Key`.
        """
        raise NotImplementedError

    async def get(self, caller: Caller, sandbox: str) -> SandboxRecord:
        """The record, also of a destroyed one (by id). `NotFound`."""
        raise NotImplementedError

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
        raise NotImplementedError

    async def update(self, caller: Caller, sandbox: str, change: ChangeSandbox) -> SandboxRecord:
        """Rename, relabel, set the idle timeout or the lease. `Conflict`, `PreconditionFailed`."""
        raise NotImplementedError

    async def destroy(self, caller: Caller, sandbox: str) -> SandboxRecord:
        """End it and remove its files. Idempotent: a second call returns the same record."""
        raise NotImplementedError

    async def stop(self, caller: Caller, sandbox: str) -> SandboxRecord:
        """End its processes (SIGTERM, a grace, SIGKILL) and keep its files. Idempotent."""
        raise NotImplementedError

    async def start(self, caller: Caller, sandbox: str) -> SandboxRecord:
        """Open it if it is stopped. Idempotent. `Gone` when it has ended."""
        raise NotImplementedError

    async def fork(
        self,
        caller: Caller,
        sandbox: str,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        force: bool = False,
    ) -> SandboxRecord:
        """Make another with a copy of its files, in constant time.

        `Conflict` while processes run in it, unless `force`, which ends them. `Unsupported`.
        """
        raise NotImplementedError

    async def open(self, caller: Caller, sandbox: str) -> Sandbox:
        """The open sandbox, started when it was stopped; counts as use. `Gone`."""
        raise NotImplementedError

    @asynccontextmanager
    async def using(self, caller: Caller, sandbox: str) -> AsyncGenerator[Sandbox]:
        """The same for the length of a block, in which it is never idle."""
        raise NotImplementedError
        yield

    async def post_mortem(self, caller: Caller, sandbox: str) -> PostMortem:
        """Why it ended. `NotFound` when it has not."""
        raise NotImplementedError

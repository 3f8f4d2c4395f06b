"""The network policy of a sandbox, read and changed while it runs."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Self

import anyio

from atoll.core.errors import AtollError, Unsupported
from atoll.core.model import NetworkPolicy
from atoll.core.records import SandboxRecord
from atoll.core.uplinks import Networked
from atoll.service.audit import Audit
from atoll.service.backends import NETWORK, Backends
from atoll.service.caller import Caller
from atoll.service.keeper import Keeper
from atoll.service.lives import on_behalf_of
from atoll.service.locks import Locks
from atoll.service.requests import ChangeSandbox
from atoll.service.sandboxes import Sandboxes

LOOK_S = 5.0


class Networks(anyio.AsyncContextManagerMixin):
    """The policy is stored before it is in force; one that cannot be put in force ends the run.

    While it is entered, what networks refuse is looked at every few seconds, and told.
    """

    def __init__(
        self, *, sandboxes: Sandboxes, keeper: Keeper, backends: Backends, audit: Audit
    ) -> None:
        self._sandboxes = sandboxes
        self._keeper = keeper
        self._backends = backends
        self._audit = audit
        self._changing = Locks()
        self._seen: dict[str, int] = {}
        self.denied = 0

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        async with anyio.create_task_group() as group:
            group.start_soon(self._look_forever)
            try:
                yield self
            finally:
                group.cancel_scope.cancel()

    async def look(self) -> None:
        """Count what was refused since the last look; an event for each sandbox with news."""
        boxes = {name: box for name in self._keeper.open_ids() if (box := self._box(name))}
        self._seen = {name: count for name, count in self._seen.items() if name in boxes}
        for name, box in boxes.items():
            if not box.addresses:
                continue
            with suppress(AtollError):
                count = await box.denied()
                before = self._seen.get(name, 0)
                self._seen[name] = count
                news = count - before if count >= before else count
                held = self._keeper.held(name)
                if news and held is not None:
                    self.denied += news
                    who = on_behalf_of(held.record, "network")
                    self._audit.record("network.denied", who, "denied", name, count=news)

    async def _look_forever(self) -> None:
        while True:
            await anyio.sleep(LOOK_S)
            await self.look()

    async def get(self, caller: Caller, sandbox: str) -> tuple[SandboxRecord, Sequence[str]]:
        """Its record, and the addresses that it has now: none while it is stopped."""
        record = await self._sandboxes.get(caller, sandbox)
        box = self._box(record.id)
        return record, () if box is None else box.addresses

    async def put(
        self, caller: Caller, sandbox: str, policy: NetworkPolicy
    ) -> tuple[SandboxRecord, Sequence[str]]:
        """Another policy from now on, also for connections that exist.

        One that was started without a network gets it when it starts next: `Conflict` while it
        runs. `Unsupported` where its backend has none.
        """
        record = await self._sandboxes.get(caller, sandbox)
        async with self._changing.hold(record.id):
            await self._put(caller, record, policy)
        return await self.get(caller, record.id)

    async def _put(self, caller: Caller, record: SandboxRecord, policy: NetworkPolicy) -> None:
        if policy.mode != "none" and not await self._backends.can(record.backend, NETWORK):
            raise Unsupported(f"Backend {record.backend} cannot do: network.")
        box = self._box(record.id)
        if box is not None:
            box.check_network(policy)
        await self._sandboxes.update(caller, record.id, ChangeSandbox(network=policy))
        await self._enforce(record.id, policy)

    async def _enforce(self, sandbox_id: str, policy: NetworkPolicy) -> None:
        box = self._box(sandbox_id)  # another one, if it was started meanwhile
        if box is None:
            return
        try:
            await box.set_network(policy)
        except AtollError:
            with anyio.CancelScope(shield=True):
                await self._keeper.stop(sandbox_id, "network")
            raise

    def _box(self, sandbox_id: str) -> Networked | None:
        held = self._keeper.held(sandbox_id)
        if held is not None and isinstance(held.opened, Networked):
            return held.opened
        return None

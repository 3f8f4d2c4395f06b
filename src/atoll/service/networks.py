"""The network policy of a sandbox, read and changed while it runs."""

from collections.abc import Sequence

import anyio

from atoll.core.errors import AtollError, Unsupported
from atoll.core.model import NetworkPolicy
from atoll.core.records import SandboxRecord
from atoll.core.uplinks import Networked
from atoll.service.backends import NETWORK, Backends
from atoll.service.caller import Caller
from atoll.service.keeper import Keeper
from atoll.service.requests import ChangeSandbox
from atoll.service.sandboxes import Sandboxes


class Networks:
    """The policy is stored before it is in force; one that cannot be put in force ends the run."""

    def __init__(self, *, sandboxes: Sandboxes, keeper: Keeper, backends: Backends) -> None:
        self._sandboxes = sandboxes
        self._keeper = keeper
        self._backends = backends

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
        if policy.mode != "none" and not await self._backends.can(record.backend, NETWORK):
            raise Unsupported(f"Backend {record.backend} cannot do: network.")
        box = self._box(record.id)
        if box is not None:
            box.check_network(policy)
        await self._sandboxes.update(caller, record.id, ChangeSandbox(network=policy))
        await self._enforce(record.id, policy)
        return await self.get(caller, record.id)

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

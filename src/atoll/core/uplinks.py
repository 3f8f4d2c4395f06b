"""The seam between what isolates a sandbox and what gives it a network."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from atoll.core.model import NetworkPolicy


class Uplink(Protocol):
    """A sandbox's way out, while the block lasts in which it was connected."""

    @property
    def addresses(self) -> Sequence[str]:
        """The sandbox's own addresses on its `eth0`: IPv4, and IPv6 where the host has it."""
        ...

    async def change(self, policy: NetworkPolicy) -> None:
        """Another policy from now on; also for connections that exist. All of it or nothing."""
        ...

    async def denied(self) -> int:
        """How often something was refused, since it was connected or changed last."""
        ...


class Uplinks(Protocol):
    """Makes uplinks on this host. Enter it before use; its end removes what they had in common."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def why_not(self) -> str:
        """Why no sandbox can have a network here, as a sentence; empty when it can."""
        ...

    def connect(
        self, sandbox_id: str, pidfd: int, policy: NetworkPolicy
    ) -> AbstractAsyncContextManager[Uplink]:
        """An `eth0` in the network namespace of that process, for the length of the block.

        Rules stand before the link is up. `BackendFault` when it cannot be made.
        """
        ...


@runtime_checkable
class Networked(Protocol):
    """A sandbox whose network policy can be changed while it runs."""

    def check_network(self, policy: NetworkPolicy) -> None:
        """`Conflict` when it was opened without a network, and that policy needs one."""
        ...

    async def set_network(self, policy: NetworkPolicy) -> None:
        """From now on. Raises as `check_network`; `BackendFault`."""
        ...

    @property
    def addresses(self) -> Sequence[str]:
        """Its own addresses; none without a network."""
        ...

    async def denied(self) -> int:
        """How often its network refused something, since it was opened or changed last."""
        ...

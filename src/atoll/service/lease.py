"""A sandbox of one's own for a while."""

import logging
from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskGroup

from atoll.core.errors import AtollError
from atoll.core.ports import Sandbox


class Lease:
    """A sandbox of one's own until the block ends; then it is closed, behind one's back."""

    __slots__ = ("_group", "_scope", "backend", "open_s", "queue_s", "sandbox", "warm")

    def __init__(self, sandbox: Sandbox, backend: str, group: TaskGroup) -> None:
        self.sandbox = sandbox
        self.backend = backend
        self.queue_s = 0.0
        self.open_s = 0.0
        self._group = group
        self._scope: anyio.CancelScope | None = None

    def alongside(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` beside the lease; it is cancelled when the lease ends. Once per lease.

        What it raises of our own errors is dropped: whoever uses the sandbox meets them too.
        """
        self._scope = anyio.CancelScope()
        self._group.start_soon(self._run, work, self._scope)

    def end(self) -> None:
        """Stop what runs alongside."""
        if self._scope is not None:
            self._scope.cancel()

    async def _run(self, work: Callable[[], Awaitable[None]], scope: anyio.CancelScope) -> None:
        with scope:
            try:
                await work()
            except AtollError as error:
                logging.getLogger(__name__).debug("sandbox %s: %s", self.sandbox.id, error)

"""Connections to programs in sandboxes, at the ports that were declared."""

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from atoll.core.errors import Busy, NotFound, Unsupported
from atoll.core.ports import Connection, Dials
from atoll.service.audit import Audit
from atoll.service.caller import Caller
from atoll.service.sandboxes import Sandboxes

MOST = 128


class Ports:
    """Deny by default: a port that its sandbox has not declared is as if it were not there."""

    def __init__(self, *, sandboxes: Sandboxes, audit: Audit, most: int = MOST) -> None:
        self._sandboxes = sandboxes
        self._audit = audit
        self._most = most
        self._open: Counter[str] = Counter()

    @asynccontextmanager
    async def connection(
        self, caller: Caller, sandbox: str, port: int
    ) -> AsyncGenerator[Connection]:
        """A connection for the length of the block, in which the sandbox is not idle.

        A stopped sandbox is started. `NotFound` for a port that it has not declared, `Busy` when
        it has too many open, `NotListening`, `Unsupported`, `Gone`.
        """
        record = await self._sandboxes.get(caller, sandbox)
        if port not in record.ports:
            declared = ", ".join(map(str, record.ports)) or "none"
            raise NotFound(
                "port",
                str(port),
                f"Sandbox {record.id} has not declared port {port} (declared: {declared}); ports "
                "are declared when it is created.",
            )
        if self._open[record.id] >= self._most:
            raise Busy(f"Sandbox {record.id} has {self._most} connections open, which is all.")
        self._open[record.id] += 1
        try:
            async with self._sandboxes.holding(caller, record.id) as held:
                box = held.box
                if not isinstance(box, Dials):
                    raise Unsupported("The backend of this sandbox cannot be connected to.")
                line = await box.dial(port)
                self._audit.record("port.connect", caller, "ok", record.id, port=port)
                try:
                    yield line
                finally:
                    with anyio.CancelScope(shield=True):
                        await line.aclose()
        finally:
            self._open[record.id] -= 1
            if not self._open[record.id]:
                del self._open[record.id]

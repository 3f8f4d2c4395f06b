"""One open sandbox, as the keeper's task and those who use it share it."""

from collections.abc import Hashable
from dataclasses import dataclass, field

import anyio

from atoll.core.errors import AtollError, BackendFault
from atoll.core.model import ExitReason, SandboxSpec
from atoll.core.ports import Sandbox
from atoll.core.records import SandboxRecord
from atoll.service.live import LiveProcess
from atoll.service.output import TAIL_BYTES
from atoll.service.spares import Spare


@dataclass(eq=False, slots=True)
class Held:
    """Lives as long as the keeper's task: `ready` when opened or failed, `closed` when over.

    `closing` is the wish to end; `by` says whose it was, `cause` what its processes are told,
    and cancelling `patience` ends their grace. One that was `born_here` has never been closed.
    """

    record: SandboxRecord
    spec: SandboxSpec
    opened: Sandbox | None = None
    error: AtollError | None = None
    ready: anyio.Event = field(default_factory=anyio.Event)
    closing: anyio.Event = field(default_factory=anyio.Event)
    closed: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    patience: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    by: str = ""
    cause: ExitReason = ExitReason.CANCELLED
    grace_s: float = 0.0
    destroyed: bool = False
    died: str | None = None
    users: int = 0
    processes: dict[int, LiveProcess] = field(default_factory=dict[int, LiveProcess])
    born_here: bool = False
    next_number: int | None = None
    spares: dict[Hashable, list[Spare]] = field(default_factory=dict[Hashable, list[Spare]])
    _last_output: bytes = b""
    _left: anyio.Event = field(default_factory=anyio.Event)

    @property
    def box(self) -> Sandbox:
        """The open sandbox. Only after `ready`, and while not `closed`."""
        if self.opened is None:
            raise BackendFault(f"Sandbox {self.record.id} is not open.", sandbox_id=self.record.id)
        return self.opened

    @property
    def idle(self) -> bool:
        """Whether no request is using it. Background processes do not count."""
        return self.users == 0

    @property
    def last_output(self) -> bytes:
        """The end of what its processes wrote last."""
        for live in reversed(self.processes.values()):
            if live.log.end:
                return live.log.tail(TAIL_BYTES)
        return self._last_output

    def join(self, live: LiveProcess) -> None:
        """A process runs in it."""
        self.processes[live.record.number] = live

    def leave(self, live: LiveProcess) -> None:
        """A process has ended."""
        if live.log.end:
            self._last_output = live.log.tail(TAIL_BYTES)
        self.processes.pop(live.record.number, None)
        self._left.set()

    def unuse(self) -> None:
        """A request has done with it."""
        self.users -= 1
        self._left.set()

    async def unused(self) -> None:
        """Wait until no request uses it."""
        while self.users:
            self._left = anyio.Event()
            await self._left.wait()

    async def quiet(self) -> None:
        """Wait until no process is left."""
        while self.processes:
            self._left = anyio.Event()
            await self._left.wait()

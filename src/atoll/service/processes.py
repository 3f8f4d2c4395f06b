"""Processes in persistent sandboxes: foreground and background, with output that can be replayed."""

from collections.abc import AsyncGenerator, Sequence

from atoll.core.model import Channel, Exit, ProcessSpec
from atoll.core.records import ProcessRecord
from atoll.service.caller import Caller
from atoll.service.requests import OutputChunk, ProcessFinished, ProcessStarted, RunResult


class Processes:
    """The use cases of processes. `number` is the process' own within its sandbox."""

    async def start(
        self, caller: Caller, sandbox: str, spec: ProcessSpec, *, background: bool = True
    ) -> ProcessRecord:
        """Start one that outlives this call and its client; its record is stored first."""
        raise NotImplementedError

    async def run(
        self, caller: Caller, sandbox: str, spec: ProcessSpec, stdin: bytes | None = None
    ) -> RunResult:
        """Run to completion. Cancelling the call ends the process."""
        raise NotImplementedError

    def stream(
        self, caller: Caller, sandbox: str, spec: ProcessSpec, stdin: bytes | None = None
    ) -> AsyncGenerator[ProcessStarted | OutputChunk | ProcessFinished]:
        """The same, told as it happens. Closing the generator ends the process."""
        raise NotImplementedError

    async def list(self, caller: Caller, sandbox: str) -> Sequence[ProcessRecord]:
        """All that were ever started in it, by number."""
        raise NotImplementedError

    async def get(self, caller: Caller, sandbox: str, number: int) -> ProcessRecord:
        """One of them. `NotFound`."""
        raise NotImplementedError

    async def kill(self, caller: Caller, sandbox: str, number: int) -> ProcessRecord:
        """SIGKILL, and wait for the end. Idempotent: an ended one is returned as it is."""
        raise NotImplementedError

    async def signal(self, caller: Caller, sandbox: str, number: int, signal: int) -> None:
        """Send a signal to its group. `Conflict` when it has ended."""
        raise NotImplementedError

    async def write_stdin(self, caller: Caller, sandbox: str, number: int, data: bytes) -> None:
        """Feed it; waits while its pipe is full, `Busy` past a deadline. `Conflict`, `TooLarge`."""
        raise NotImplementedError

    async def close_stdin(self, caller: Caller, sandbox: str, number: int) -> None:
        """End of file. Idempotent."""
        raise NotImplementedError

    async def resize(
        self, caller: Caller, sandbox: str, number: int, *, rows: int, cols: int
    ) -> None:
        """Tell its terminal the size. `Conflict` when it has none or has ended."""
        raise NotImplementedError

    def output(
        self,
        caller: Caller,
        sandbox: str,
        number: int,
        *,
        channel: Channel | None = None,
        position: int = 0,
        follow: bool = True,
    ) -> AsyncGenerator[OutputChunk]:
        """Replay from a position, then follow until it ends. Works as well after a restart.

        With `channel`, positions count that channel's bytes only.
        """
        raise NotImplementedError

    async def wait(
        self, caller: Caller, sandbox: str, number: int, timeout_s: float
    ) -> Exit | None:
        """Its exit, or None when the deadline passes first."""
        raise NotImplementedError

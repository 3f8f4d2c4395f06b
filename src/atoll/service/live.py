"""A process from its start to the moment its exit is stored."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from atoll.core.errors import AtollError
from atoll.core.model import Channel, Exit, ExitReason, ProcessSpec, Usage
from atoll.core.ports import Process
from atoll.core.records import ProcessRecord
from atoll.service.clock import Clock
from atoll.service.output import OutputLog

SIGKILL = 9
SIGNAL_S = 5.0


class Starts(Protocol):
    """What starts a process: a sandbox, or whoever has one that waits in it."""

    async def start(self, spec: ProcessSpec) -> Process:
        """As `core.ports.Sandbox.start`."""
        ...


class Collected:
    """The output of a foreground process, for its caller. Bounded by what its spec bounds.

    One that is `complete` needs no more of it: its caller is answered, and the process may end.
    """

    complete = False

    def __init__(self) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()

    def take(self, channel: Channel, data: bytes) -> bytes:
        """Take a piece; what of it is output, to be logged."""
        target = self.stdout if channel is Channel.STDOUT else self.stderr
        target += data
        return data


class LiveProcess:
    """Runs in a task of the keeper, so that it outlives the request that started it.

    `started` is set when it runs or could not be started (`error`), `answered` when its caller
    has all, which is `over` at the latest: when its exit is known, `settled` when exit and output
    are stored. What each awaits, and what is left when the server is killed there: before
    `started` a record without an exit, or (foreground) none; while it runs the same with the
    output so far; after `over` the same with all the output;
    after `settled` everything. The next start completes what is left with `UNKNOWN`.
    """

    def __init__(
        self,
        record: ProcessRecord,
        log: OutputLog,
        *,
        clock: Clock,
        collected: Collected | None = None,
    ) -> None:
        self.record = record
        self.log = log
        self.stored = False
        self.error: AtollError | None = None
        self.process: Process | None = None
        self.started = anyio.Event()
        self.answered = anyio.Event()
        self.over = anyio.Event()
        self.settled = anyio.Event()
        self._clock = clock
        self._collected = collected
        self._scope = anyio.CancelScope()
        self._cause = ExitReason.UNKNOWN

    async def run(
        self,
        box: Starts,
        spec: ProcessSpec,
        settle: Callable[["LiveProcess"], Awaitable[None]],
    ) -> None:
        """Start it, take its output, learn its exit, have both stored."""
        ended: Exit | None = None
        started_at = self._clock.monotonic()
        try:
            with self._scope:
                ended = await self._live(box, spec)
        finally:
            if ended is None:
                wall_s = self._clock.monotonic() - started_at
                truncated = bool(self.log.end) and self.error is None
                usage = Usage(wall_s=wall_s)
                ended = Exit(None, self._cause, truncated=truncated, usage=usage)
            self.record = replace(self.record, exit=ended, ended_at=self._clock.now())
            self.over.set()
            self.answered.set()
            self.started.set()
            with anyio.CancelScope(shield=True):
                await settle(self)
            self.settled.set()

    async def _live(self, box: Starts, spec: ProcessSpec) -> Exit | None:
        await checkpoint_if_cancelled()
        try:
            self.process = await box.start(spec)
        except AtollError as error:
            self.error = error
            return None
        self.started.set()
        collected, append = self._collected, self.log.append
        try:
            async with aclosing(self.process.output()) as output:
                async for channel, written in output:
                    data = written
                    if collected is not None:
                        data = collected.take(channel, written)
                        if collected.complete:
                            self.answered.set()
                    if data:
                        await append(channel, data)
            return await self.process.wait()
        except AtollError:
            # The sandbox died under it: how it ended is not known, and is not made up.
            return None

    @property
    def exit(self) -> Exit | None:
        """How it ended, as soon as that is known."""
        return self.record.exit

    def abandon(self, cause: ExitReason) -> None:
        """Stop waiting for it: its sandbox closes. Its own exit, if known already, stands."""
        self._cause = cause
        self._scope.cancel()

    async def signal(self, number: int) -> None:
        """Send a signal, if it still runs. Bounded; never raises what the sandbox raises."""
        with anyio.move_on_after(SIGNAL_S):
            await self.started.wait()
            if self.process is not None and not self.over.is_set():
                try:
                    await self.process.signal(number)
                except AtollError:
                    return

    async def cancel(self) -> None:
        """End it because nobody wants it any more; returns when its end is known."""
        self._cause = ExitReason.CANCELLED
        await self.signal(SIGKILL)
        with anyio.move_on_after(SIGNAL_S):
            await self.over.wait()
        self._scope.cancel()

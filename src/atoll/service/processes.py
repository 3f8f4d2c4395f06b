"""Processes in persistent sandboxes, foreground and background; their output can be replayed."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

import anyio

from atoll.core.errors import (
    BackendFault,
    Busy,
    Conflict,
    InvalidRequest,
    NotFound,
    TooLarge,
)
from atoll.core.model import MIB, Channel, Exit, ExitReason, ProcessSpec
from atoll.core.ports import Process
from atoll.core.records import ProcessRecord, SandboxRecord
from atoll.core.store import Store
from atoll.service.audit import Audit, command_line
from atoll.service.caller import Caller
from atoll.service.clock import Clock
from atoll.service.held import Held
from atoll.service.keeper import Keeper
from atoll.service.launch import START_S, Launcher, ending_with
from atoll.service.ledger import Ledger
from atoll.service.live import SIGKILL, Collected, LiveProcess, Starts
from atoll.service.outputs import OutputLogs
from atoll.service.pausing import check_awake
from atoll.service.quotas import Quotas
from atoll.service.requests import OutputChunk, ProcessFinished, ProcessStarted, RunResult
from atoll.service.sandboxes import Sandboxes

STDIN_BYTES = MIB
STDIN_S = 30.0
KILL_S = 10.0
WAIT_S = 3600.0
_SIGNALS = 64


class Processes:
    """The use cases of processes. `number` is the process' own within its sandbox.

    Numbers count up from 1 and are never reused: whatever has told a number to anybody has
    stored its record before (a background process, a stream) or stores it within 50 ms and
    before the next listing (a foreground run, whose number only a listing can tell).
    """

    def __init__(
        self,
        *,
        sandboxes: Sandboxes,
        keeper: Keeper,
        store: Store,
        logs: OutputLogs,
        audit: Audit,
        quotas: Quotas,
        clock: Clock,
        max_live: int = 64,
    ) -> None:
        self._sandboxes = sandboxes
        self._keeper = keeper
        self._store = store
        self._logs = logs
        self._audit = audit
        self._quotas = quotas
        self._ledger = Ledger(store=store, logs=logs, keeper=keeper)
        self._launcher = Launcher(
            keeper=keeper,
            store=store,
            logs=logs,
            ledger=self._ledger,
            clock=clock,
            max_live=max_live,
        )
        sandboxes.on_destroyed(self._ledger.forget)

    async def start(
        self, caller: Caller, sandbox: str, spec: ProcessSpec, *, background: bool = True
    ) -> ProcessRecord:
        """Start one that outlives this call and its client; its record is stored first."""
        async with self._sandboxes.holding(caller, sandbox) as held:
            live = await self._launcher.launch(held, spec, background=background)
        self._note("process.start", caller, live)
        return live.record

    async def run(
        self,
        caller: Caller,
        sandbox: str,
        spec: ProcessSpec,
        stdin: bytes | None = None,
        into: Collected | None = None,
    ) -> RunResult:
        """Run to completion. Cancelling the call ends the process. `into` takes its output."""
        spec = replace(spec, stdin=True) if stdin is not None else spec
        with self._quotas.running(caller):
            async with self._sandboxes.holding(caller, sandbox) as held:
                live, collected = await self._launcher.begin(held, spec, into)
                async with ending_with(live):
                    if stdin is not None:
                        self._launcher.feed(live, stdin)
                    await live.over.wait()
        if live.error is not None:
            raise live.error
        ended = live.exit or Exit(None, ExitReason.UNKNOWN)
        self._note("process.run", caller, live)
        return RunResult(
            ended, bytes(collected.stdout), bytes(collected.stderr), truncated=ended.truncated
        )

    async def collect(
        self, caller: Caller, held: Held, spec: ProcessSpec, into: Collected, starts: Starts
    ) -> Exit | None:
        """Run in a held sandbox until `into` is complete or it has ended; then its exit."""
        with self._quotas.running(caller):
            live, _ = await self._launcher.begin(held, spec, into, starts)
            async with ending_with(live):
                await live.answered.wait()
        if live.error is not None:
            raise live.error
        self._note("process.run", caller, live)
        return live.exit

    async def stream(
        self, caller: Caller, sandbox: str, spec: ProcessSpec, stdin: bytes | None = None
    ) -> AsyncGenerator[ProcessStarted | OutputChunk | ProcessFinished, None]:
        """The same, told as it happens. Closing the generator ends the process."""
        spec = replace(spec, stdin=True) if stdin is not None else spec
        with self._quotas.running(caller):
            async with self._sandboxes.holding(caller, sandbox) as held:
                live = await self._launcher.launch(held, spec, background=False)
                async with ending_with(live):
                    if stdin is not None:
                        self._launcher.feed(live, stdin)
                    yield ProcessStarted(live.record)
                    async with aclosing(live.log.read()) as chunks:
                        async for chunk in chunks:
                            yield chunk
                    await live.settled.wait()
        self._note("process.run", caller, live)
        yield ProcessFinished(live.exit or Exit(None, ExitReason.UNKNOWN))

    async def list(self, caller: Caller, sandbox: str) -> Sequence[ProcessRecord]:
        """All that were ever started in it, by number."""
        record = await self._sandboxes.get(caller, sandbox)
        await self._ledger.flush()
        return sorted(await self._store.list_processes(record.id), key=lambda p: p.number)

    async def get(self, caller: Caller, sandbox: str, number: int) -> ProcessRecord:
        """One of them. `NotFound`."""
        return await self._stored(await self._sandboxes.get(caller, sandbox), number)

    async def kill(self, caller: Caller, sandbox: str, number: int) -> ProcessRecord:
        """SIGKILL, and wait for the end. Idempotent: an ended one is returned as it is."""
        record = await self._sandboxes.get(caller, sandbox)
        live = self._live(record, number)
        if live is not None:
            self._check_awake(record)
            self._audit.record("process.kill", caller, "ok", record.id, number=number)
            await live.signal(SIGKILL)
            with anyio.move_on_after(KILL_S) as waited:
                await live.settled.wait()
            if waited.cancelled_caught:
                raise BackendFault(f"Process {number} did not end.", sandbox_id=record.id)
        return await self._stored(record, number)

    async def signal(self, caller: Caller, sandbox: str, number: int, signal: int) -> None:
        """Send a signal to its group. `Conflict` when it has ended."""
        if not 1 <= signal <= _SIGNALS:
            raise InvalidRequest(f"A signal is between 1 and {_SIGNALS}.", field="signal")
        record, process = await self._running(caller, sandbox, number)
        await process.signal(signal)
        self._audit.record("process.signal", caller, "ok", record.id, number=number, signal=signal)

    async def write_stdin(self, caller: Caller, sandbox: str, number: int, data: bytes) -> None:
        """Feed it; waits while its pipe is full, `Busy` past a deadline. `Conflict`, `TooLarge`."""
        if len(data) > STDIN_BYTES:
            raise TooLarge(
                f"At most {STDIN_BYTES} bytes of input at once.", limit=STDIN_BYTES, field="data"
            )
        _, process = await self._running(caller, sandbox, number)
        with anyio.move_on_after(STDIN_S) as waited:
            await process.write_stdin(data)
        if waited.cancelled_caught:
            raise Busy(f"Process {number} does not read; a part of the input may be in its pipe.")

    async def close_stdin(self, caller: Caller, sandbox: str, number: int) -> None:
        """End of file. Idempotent, also when it has ended."""
        record = await self._sandboxes.get(caller, sandbox)
        live = self._live(record, number)
        if live is not None and live.process is not None:
            await live.process.close_stdin()
        else:
            await self._stored(record, number)

    async def resize(
        self, caller: Caller, sandbox: str, number: int, *, rows: int, cols: int
    ) -> None:
        """Tell its terminal the size. `Conflict` when it has none or has ended."""
        _, process = await self._running(caller, sandbox, number)
        await process.resize(rows, cols)

    async def output(
        self,
        caller: Caller,
        sandbox: str,
        number: int,
        *,
        channel: Channel | None = None,
        position: int = 0,
        follow: bool = True,
    ) -> AsyncGenerator[OutputChunk, None]:
        """Replay from a position, then follow until it ends. Works as well after a restart.

        With `channel`, positions count that channel's bytes only. Following alone does not keep
        the sandbox from becoming idle.
        """
        if position < 0:
            raise InvalidRequest("A position is not negative.", field="position")
        record = await self._sandboxes.get(caller, sandbox)
        if self._live(record, number) is None:
            await self._stored(record, number)
        reading = self._logs.read(
            record.id, number, position=position, channel=channel, follow=follow
        )
        async with aclosing(reading) as chunks:
            async for chunk in chunks:
                yield chunk

    async def log(
        self,
        caller: Caller,
        sandbox: str,
        number: int,
        *,
        channel: Channel | None = None,
        tail_bytes: int | None = None,
    ) -> bytes:
        """What it has written so far, of both channels or one; with `tail_bytes` the end of it."""
        if tail_bytes is not None and tail_bytes < 1:
            raise InvalidRequest("tail_bytes is at least 1.", field="tail_bytes")
        kept = bytearray()
        reading = self.output(caller, sandbox, number, channel=channel, follow=False)
        async with aclosing(reading) as chunks:
            async for chunk in chunks:
                kept += chunk.data
                if tail_bytes is not None:
                    del kept[:-tail_bytes]
        return bytes(kept)

    async def wait(
        self, caller: Caller, sandbox: str, number: int, timeout_s: float
    ) -> Exit | None:
        """Its exit, or None when the deadline passes first."""
        if not 0 <= timeout_s <= WAIT_S:
            raise InvalidRequest(f"Wait between 0 and {WAIT_S:g} s.", field="timeout_s")
        record = await self._sandboxes.get(caller, sandbox)
        live = self._live(record, number)
        if live is not None:
            with anyio.move_on_after(timeout_s):
                await live.settled.wait()
            return live.exit if live.settled.is_set() else None
        return (await self._stored(record, number)).exit

    def _live(self, record: SandboxRecord, number: int) -> LiveProcess | None:
        held = self._keeper.peek(record.id)
        return held.processes.get(number) if held is not None else None

    def _check_awake(self, record: SandboxRecord) -> None:
        held = self._keeper.peek(record.id)
        if held is not None:
            check_awake(held)

    async def _running(
        self, caller: Caller, sandbox: str, number: int
    ) -> tuple[SandboxRecord, Process]:
        """One that can be spoken to; `Conflict` when it has ended, `NotFound`."""
        record = await self._sandboxes.get(caller, sandbox)
        live = self._live(record, number)
        if live is not None:
            self._check_awake(record)
            with anyio.move_on_after(START_S):
                await live.started.wait()
            if live.process is not None and not live.over.is_set():
                return record, live.process
        await self._stored(record, number)
        raise Conflict(f"Process {number} has ended.")

    async def _stored(self, record: SandboxRecord, number: int) -> ProcessRecord:
        live = self._live(record, number)
        if live is not None:
            return live.record
        await self._ledger.flush()
        found = await self._store.get_process(record.id, number) if number > 0 else None
        if found is None:
            raise NotFound("process", str(number))
        return found

    def _note(self, action: str, caller: Caller, live: LiveProcess) -> None:
        record = live.record
        reason = record.exit.reason if record.exit is not None else None
        self._audit.record(
            action,
            caller,
            "ok",
            record.sandbox_id,
            number=record.number,
            program=record.argv[0],
            command=command_line(record.argv),
            reason=reason,
            exit_code=None if record.exit is None else record.exit.code,
        )

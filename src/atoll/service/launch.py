"""Starts processes in held sandboxes: their number, their record, their log, their end."""

import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import structlog

from atoll.core.errors import AtollError, BackendFault, Conflict, InvalidRequest, QuotaExceeded
from atoll.core.model import ProcessSpec
from atoll.core.ports import RunsModules
from atoll.core.records import ProcessRecord
from atoll.core.store import Store
from atoll.service.clock import Clock
from atoll.service.held import Held
from atoll.service.keeper import Keeper
from atoll.service.ledger import Ledger
from atoll.service.live import Collected, LiveProcess, Starts
from atoll.service.outputs import OutputLogs

START_S = 30.0
_CHUNK = 64 * 1024

_log = structlog.stdlib.get_logger(__name__)


class Launcher:
    """Makes a `LiveProcess` and hands it to the keeper."""

    def __init__(
        self,
        *,
        keeper: Keeper,
        store: Store,
        logs: OutputLogs,
        ledger: Ledger,
        clock: Clock,
        max_live: int,
    ) -> None:
        self._keeper = keeper
        self._store = store
        self._logs = logs
        self._ledger = ledger
        self._clock = clock
        self._max_live = max_live

    async def launch(self, held: Held, spec: ProcessSpec, *, background: bool) -> LiveProcess:
        """Store, then start: what was told to anybody is known after a crash.

        Cancelled while it starts, a background process goes on, another is ended.
        """
        spec = await self._secretly(held, spec)
        live = await self._joined(held, spec, background=background)
        try:
            live.stored = True
            await self._store.add_process(live.record)
            self._keeper.spawn(live.run, held.box, spec, self._settle_now(held))
        except BaseException:
            held.leave(live)
            self._logs.abandon(live.record.sandbox_id, live.record.number)
            raise
        if background:
            await _started(live)
        else:
            async with ending_with(live):
                await _started(live)
                return live
        return live

    async def begin(
        self,
        held: Held,
        spec: ProcessSpec,
        collected: Collected | None = None,
        starts: Starts | None = None,
    ) -> tuple[LiveProcess, Collected]:
        """Start, by `starts` if it is not the sandbox that does, and store within 50 ms."""
        collected = collected or Collected()
        spec = await self._secretly(held, spec)
        live = await self._joined(held, spec, background=False, collected=collected)
        try:
            self._keeper.spawn(live.run, starts or held.box, spec, self._settle_late(held))
        except BaseException:
            held.leave(live)
            self._logs.abandon(live.record.sandbox_id, live.record.number)
            raise
        await self._ledger.note(live)
        return live, collected

    async def _secretly(self, held: Held, spec: ProcessSpec) -> ProcessSpec:
        """With the sandbox's secrets. Its logs know from then on that they may hold some."""
        given = self._keeper.vault.given(held.record, spec)
        if given.secrets or held.record.secrets:
            await self._logs.mark_secret(held.record.id)
        return given

    def feed(self, live: LiveProcess, stdin: bytes) -> None:
        """Have the process fed, and its input closed then."""
        self._keeper.spawn(_feed, live, stdin)

    async def _joined(
        self,
        held: Held,
        spec: ProcessSpec,
        *,
        background: bool,
        collected: Collected | None = None,
    ) -> LiveProcess:
        _check(spec)
        if (spec.function or spec.fuel) and not isinstance(held.box, RunsModules):
            raise InvalidRequest(
                f"Sandboxes of the backend {held.record.backend} have no functions to call and no "
                "fuel; the backend wasm has.",
                field="fuel" if spec.function is None else "function",
            )
        sandbox_id = held.record.id
        number = await self._number(held)
        if held.closing.is_set():
            raise Conflict(f"Sandbox {sandbox_id} is being stopped.")
        if len(held.processes) >= self._max_live:
            raise QuotaExceeded(
                f"Sandbox {sandbox_id} runs {len(held.processes)} processes at once, and may "
                f"not run more."
            )
        record = ProcessRecord(
            sandbox_id=sandbox_id,
            number=number,
            argv=spec.argv,
            cwd=spec.cwd,
            tty=spec.tty is not None,
            background=background,
            started_at=self._clock.now(),
        )
        log = self._logs.begin(sandbox_id, number)
        live = LiveProcess(record, log, clock=self._clock, collected=collected)
        held.join(live)
        return live

    async def _number(self, held: Held) -> int:
        if held.next_number is None:
            await self._ledger.flush()
            known = await self._store.list_processes(held.record.id)
            if held.next_number is None:
                held.next_number = max((p.number for p in known), default=0) + 1
        number = held.next_number
        held.next_number += 1
        return number

    def _settle_now(self, held: Held) -> Callable[[LiveProcess], Awaitable[None]]:
        async def settle(live: LiveProcess) -> None:
            try:
                if held.destroyed:
                    self._logs.abandon(live.record.sandbox_id, live.record.number)
                else:
                    await self._logs.finish(live.record.sandbox_id, live.record.number)
                await self._store.save_process(live.record)
            except AtollError as error:
                # The janitor completes the record; the exit is known to who waits for it here.
                _log.warning("exit not stored", sandbox_id=held.record.id, error=error.detail)
            finally:
                held.leave(live)

        return settle

    def _settle_late(self, held: Held) -> Callable[[LiveProcess], Awaitable[None]]:
        async def settle(live: LiveProcess) -> None:
            held.leave(live)
            if live.stored or (live.error is None and not held.destroyed):
                await self._ledger.note(live)
            else:
                self._ledger.drop(live)

        return settle


@asynccontextmanager
async def ending_with(live: LiveProcess) -> AsyncGenerator[None, None]:
    """End the process when the block is left by an error or by cancellation."""
    try:
        yield
    except BaseException:
        if not live.over.is_set():
            with anyio.CancelScope(shield=True):
                await live.cancel()
        raise


async def _started(live: LiveProcess) -> None:
    with anyio.move_on_after(START_S) as waited:
        await live.started.wait()
    if waited.cancelled_caught:
        await live.cancel()
        raise BackendFault("The process did not start.", sandbox_id=live.record.sandbox_id)
    if live.error is not None:
        raise live.error


async def _feed(live: LiveProcess, stdin: bytes) -> None:
    await live.started.wait()
    if live.process is None:
        return
    async with anyio.create_task_group() as group:

        async def stop_when_over() -> None:
            await live.over.wait()
            group.cancel_scope.cancel()

        group.start_soon(stop_when_over)
        try:
            for start in range(0, len(stdin), _CHUNK):
                await live.process.write_stdin(stdin[start : start + _CHUNK])
            await live.process.close_stdin()
        except Conflict:
            # It does not want to read all of it, which is its own affair.
            pass
        except AtollError as error:
            _log.info("stdin not fed", sandbox_id=live.record.sandbox_id, error=error.detail)
        group.cancel_scope.cancel()


def _check(spec: ProcessSpec) -> None:
    if not spec.argv or not spec.argv[0]:
        raise InvalidRequest("argv names no program.", field="argv")
    for field, value in (("wall_s", spec.wall_s), ("cpu_s", spec.cpu_s)):
        if not (math.isfinite(value) and value > 0):
            raise InvalidRequest(f"{field} is a positive, finite number of seconds.", field=field)

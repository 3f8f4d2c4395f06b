"""Keeps persistent sandboxes open: one task each, in the server's own task group.

The task holds `async with backend.open(...)` for as long as the sandbox is open; everybody else
talks to it through `Held`. What the store says when the server is killed at each await, and what
the next start makes of it (`janitor.reconcile`):

| killed while | stored | next start |
|---|---|---|
| opening a new one | creating | failed, its remains destroyed, the create may be repeated |
| opening a stopped one | stopped | stopped; the backend clears what was half open |
| restoring an archived one | archived | archived; the backend clears what was half unpacked |
| storing `running` | creating or stopped, or running | as above, or stopped |
| open | running | stopped, files kept |
| stopping | running | stopped, files kept |
| destroying | destroyed | its remains destroyed, the post-mortem written |
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Self

import anyio
import structlog
from anyio import AsyncContextManagerMixin
from anyio.abc import TaskGroup

from atoll.core.errors import (
    AtollError,
    BackendFault,
    Conflict,
    Gone,
    NotFound,
    PreconditionFailed,
    Unavailable,
)
from atoll.core.model import ExitReason, SandboxSpec
from atoll.core.ports import Archives, Ended, Pausable, Sandbox
from atoll.core.records import SandboxRecord
from atoll.core.states import TERMINAL, State
from atoll.core.store import Store
from atoll.service.audit import Audit
from atoll.service.backends import Backends
from atoll.service.clock import Clock
from atoll.service.expiries import Expiries
from atoll.service.held import Held
from atoll.service.lives import fresh, on_behalf_of, post_mortem, spec_of, turn
from atoll.service.touches import Touches
from atoll.service.vault import Vault

SIGTERM, SIGKILL = 15, 9

RESTORE_S = 900.0
_LAST_OUTPUT_S = 0.5
_SETTLE_S = 10.0
_CLOSE_S = 30.0

_log = structlog.stdlib.get_logger(__name__)


class Keeper(AsyncContextManagerMixin):
    """Holds each open sandbox's `async with`. Leaving the keeper stops them all."""

    def __init__(
        self,
        *,
        store: Store,
        backends: Backends,
        audit: Audit,
        clock: Clock,
        open_timeout_s: float = 60.0,
        stop_grace_s: float = 5.0,
    ) -> None:
        self._store = store
        self._backends = backends
        self._audit = audit
        self._clock = clock
        self.expiries = Expiries()
        self.vault = Vault()
        self.touches = Touches(store=store, clock=clock)
        self._open_timeout_s = open_timeout_s
        self._stop_grace_s = stop_grace_s
        self._held: dict[str, Held] = {}
        self._last_acts: list[Callable[[], Awaitable[None]]] = []
        self._group: TaskGroup | None = None

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        async with anyio.create_task_group() as group:
            self._group = group
            group.start_soon(self._write_touches)
            try:
                yield self
            finally:
                self._group = None
                with anyio.CancelScope(shield=True):
                    await self._drain()
                group.cancel_scope.cancel()

    async def use(self, record: SandboxRecord) -> Sandbox:
        """The open sandbox; opens it when it is not. Concurrent callers share one opening."""
        return (await self.hold(record)).box

    async def hold(self, record: SandboxRecord, spec: SandboxSpec | None = None) -> Held:
        """The same with all that is known about it. Raises what the opening raised.

        Waits while it is being closed, then opens it again; `Gone` when it has ended by then.
        Cancelling a caller does not cancel the opening: others may be waiting for it.
        """
        while True:
            held = self._held.get(record.id)
            if held is None:
                if record.state in TERMINAL:
                    raise Gone(f"Sandbox {record.id} is {record.state}.")
                held = self._begin(record, spec or spec_of(record))
            await held.ready.wait()
            if held.opened is None and held.error is not None:
                raise held.error
            if held.opened is not None and not held.closing.is_set():
                return held
            await self._closing(held)
            record = await fresh(self._store, record)

    def held(self, sandbox_id: str) -> Held | None:
        """What is open under that id and not about to close."""
        held = self._held.get(sandbox_id)
        if held is None or held.opened is None or held.closing.is_set():
            return None
        return held

    def peek(self, sandbox_id: str) -> Held | None:
        """The same, be it still opening or already closing."""
        return self._held.get(sandbox_id)

    def is_open(self, sandbox_id: str) -> bool:
        """Whether this server holds it, be it still opening or already closing."""
        return sandbox_id in self._held

    def open_ids(self) -> Collection[str]:
        """All that this server holds."""
        return tuple(self._held)

    def renew(self, record: SandboxRecord) -> None:
        """Its record was changed."""
        held = self._held.get(record.id)
        if held is not None and held.record.version < record.version:
            held.record = record

    async def mark_stopped(self, record: SandboxRecord, by: str) -> None:
        """Store that it is stopped, of one that says it runs and is not open here.

        One try only: if somebody changed it meanwhile, it is not what it seemed.
        """
        with suppress(PreconditionFailed):
            record = await self._store.save_sandbox(replace(record, state=State.STOPPED))
            self._note_stopped(record, by)
        self.expiries.track(record)

    def spawn(self, work: Callable[..., Awaitable[None]], *args: object) -> None:
        """Run something that outlives the request, until the keeper is left."""
        if self._group is None:
            raise Unavailable("The server is shutting down.")
        self._group.start_soon(self._guarded, work, *args)

    def at_exit(self, act: Callable[[], Awaitable[None]]) -> None:
        """Do something after all sandboxes are closed, when the keeper is left."""
        self._last_acts.append(act)

    async def stop(self, sandbox_id: str, by: str, *, unused_since: float | None = None) -> bool:
        """Close it if it is open, after a grace for its processes; returns when it is closed.

        With `unused_since` nothing happens when a request uses it now or has used it later than
        that. False when nothing was closed.
        """
        held = self._held.get(sandbox_id)
        if held is None:
            return False
        await held.ready.wait()
        if unused_since is not None and not self._unused(held, unused_since):
            return False
        self._ask_to_close(held, by, self._stop_grace_s)
        await self._closing(held)
        return True

    async def end(self, sandbox_id: str, by: str) -> bytes:
        """Close it at once, also while it opens; its last output.

        For those who have stored `destroyed` before: nothing more is stored here.
        """
        last_output = b""
        while (held := self._held.get(sandbox_id)) is not None:
            held.destroyed = True
            last_output = held.last_output or last_output
            self._ask_to_close(held, by, 0.0)
            if not held.ready.is_set():
                held.scope.cancel()
            await self._closing(held)
        return last_output

    @asynccontextmanager
    async def closed(
        self, record: SandboxRecord, by: str, *, force: bool = False
    ) -> AsyncGenerator[None, None]:
        """Keep it closed for the length of a block; who wants to use it waits.

        `Conflict` while processes run in it, unless `force`. Requests under way may finish first,
        within the grace.
        """
        while (held := self._held.get(record.id)) is not None:
            await held.ready.wait()
            if not (held.processes or held.closing.is_set()):
                with anyio.move_on_after(self._stop_grace_s):
                    await held.unused()
            if held.processes and not force and not held.closing.is_set():
                raise Conflict(
                    f"{len(held.processes)} processes run in sandbox {record.id}; end them first, "
                    f"or use force."
                )
            self._ask_to_close(held, by, self._stop_grace_s)
            await self._closing(held)
        blocked = Held(record, spec_of(record))
        blocked.ready.set()
        blocked.closing.set()
        self._held[record.id] = blocked
        try:
            yield
        finally:
            del self._held[record.id]
            blocked.closed.set()

    async def _closing(self, held: Held) -> None:
        """Wait until it is closed, but not for ever."""
        with anyio.move_on_after(self._stop_grace_s + _CLOSE_S) as waited:
            await held.closed.wait()
        if waited.cancelled_caught:
            raise BackendFault(
                f"Sandbox {held.record.id} does not close.", sandbox_id=held.record.id
            )

    def _begin(self, record: SandboxRecord, spec: SandboxSpec) -> Held:
        held = Held(record, spec)
        if record.state is State.CREATING:
            held.born_here, held.next_number = True, 1
        self.spawn(self._keep, held)
        self._held[record.id] = held
        return held

    def _unused(self, held: Held, since: float) -> bool:
        last = self.touches.last(held.record.id, held.record.last_used_at)
        return held.idle and last <= since

    def _ask_to_close(self, held: Held, by: str, grace_s: float) -> None:
        if not held.closing.is_set():
            held.by, held.grace_s = by, grace_s
            held.closing.set()
        elif grace_s < held.grace_s:
            held.grace_s = grace_s
            held.patience.cancel()

    async def _keep(self, held: Held) -> None:
        """The task of one sandbox."""
        try:
            with held.scope:
                held.scope.deadline = anyio.current_time() + self._open_timeout_s
                await self._open(held)
            if held.opened is None:
                held.error = held.error or self._interrupted(held)
        except AtollError as error:
            held.error = error
        except Exception as error:  # noqa: BLE001 -- one broken sandbox must not stop the others
            _log.exception("sandbox broke", sandbox_id=held.record.id)
            if held.opened is not None and not held.closing.is_set():
                held.died, held.by = type(error).__name__, "crash"
            held.error = BackendFault(
                f"Sandbox {held.record.id} broke: {type(error).__name__}.",
                sandbox_id=held.record.id,
            )
        finally:
            held.closing.set()
            with anyio.CancelScope(shield=True):
                await self._abandon_processes(held)
                await self._guarded(self._settle, held)
            del self._held[held.record.id]
            held.ready.set()
            held.closed.set()

    async def _open(self, held: Held) -> None:
        backend = await self._backends.choose(backend=held.record.backend)
        if held.record.state is State.ARCHIVED and isinstance(backend, Archives):
            held.scope.deadline = anyio.current_time() + RESTORE_S
            await backend.restore(held.record.id)
            held.scope.deadline = anyio.current_time() + self._open_timeout_s
        async with backend.open(held.spec) as box:
            record = await turn(
                self._store,
                held.record,
                State.RUNNING,
                last_used_at=self._clock.now(),
                confirm=True,
            )
            held.scope.deadline = float("inf")
            held.record, held.opened = record, box
            self.expiries.track(record)
            held.ready.set()
            await self._until_closing(held, box)
            await self._end_processes(held)

    async def _until_closing(self, held: Held, box: Sandbox) -> None:
        if not isinstance(box, Ended):
            await held.closing.wait()
            return
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch, held, box)
            await held.closing.wait()
            group.cancel_scope.cancel()

    async def _watch(self, held: Held, box: Ended) -> None:
        why = await box.ended()
        if not held.closing.is_set():
            memory = why.startswith("memory")
            held.cause = ExitReason.MEMORY if memory else ExitReason.UNKNOWN
            held.died = why
            self._ask_to_close(held, "memory" if memory else "crash", 0.0)

    async def _end_processes(self, held: Held) -> None:
        """SIGTERM, a grace, SIGKILL; then nobody waits for them any more."""
        paused = held.record.state is State.PAUSED and held.grace_s > 0
        if paused and isinstance(held.box, Pausable):  # or no signal would be heard
            await held.box.resume()
        with held.patience:
            for number, patience_s in ((SIGTERM, held.grace_s), (SIGKILL, min(held.grace_s, 1.0))):
                if held.processes and patience_s > 0:
                    await self._signal_all(held, number)
                    with anyio.move_on_after(patience_s):
                        await held.quiet()
        if held.died is not None:
            with anyio.move_on_after(_LAST_OUTPUT_S):
                await held.quiet()
        await self._abandon_processes(held)

    async def _signal_all(self, held: Held, number: int) -> None:
        async with anyio.create_task_group() as group:
            for live in tuple(held.processes.values()):
                group.start_soon(live.signal, number)

    async def _abandon_processes(self, held: Held) -> None:
        for live in tuple(held.processes.values()):
            live.abandon(held.cause)
        with anyio.move_on_after(_SETTLE_S):
            await held.quiet()

    def _interrupted(self, held: Held) -> AtollError:
        sandbox_id = held.record.id
        if held.destroyed:
            return Gone(f"Sandbox {sandbox_id} was destroyed while it was starting.")
        if held.closing.is_set() or self._group is None:
            return Conflict(f"Sandbox {sandbox_id} was stopped while it was starting.")
        return BackendFault(
            f"Sandbox {sandbox_id} did not start within {self._open_timeout_s:g} s.",
            sandbox_id=sandbox_id,
        )

    async def _settle(self, held: Held) -> None:
        """Store what became of it."""
        record, now = held.record, self._clock.now()
        if held.destroyed:
            return
        if held.opened is None:
            await self._settle_unopened(held)
            return
        used = self.touches.last(record.id, record.last_used_at)
        self.touches.forget(record.id)
        if held.died is not None:
            await self._store.add_post_mortem(
                post_mortem(
                    record,
                    ended_by=held.by,
                    detail=f"The sandbox ended on its own ({held.died}); its files are kept.",
                    at=now,
                    last_output=self.vault.redacted(record, held.last_output),
                )
            )
        with suppress(Gone, NotFound):
            held.record = await turn(self._store, record, State.STOPPED, last_used_at=used)
            self.expiries.track(held.record)
            self._note_stopped(record, held.by or "crash")

    def _note_stopped(self, record: SandboxRecord, by: str) -> None:
        caller = on_behalf_of(record, "keeper")
        self._audit.record("sandbox.stopped", caller, "ok", record.id, by=by)

    async def _settle_unopened(self, held: Held) -> None:
        record = held.record
        if record.state is not State.CREATING and not isinstance(held.error, Gone):
            return
        backend = self._backends.named(record.backend)
        if record.state is State.CREATING:
            reason = held.error.detail if held.error is not None else "It was interrupted."
            with suppress(Gone, NotFound):
                await turn(self._store, record, State.FAILED)
                by = "restart" if self._group is None else "crash"
                await self._store.add_post_mortem(
                    post_mortem(
                        record,
                        ended_by=by,
                        detail=f"It could not be made. {reason}",
                        at=self._clock.now(),
                    )
                )
        if backend is not None:
            await backend.destroy(record.id)

    async def _guarded(self, work: Callable[..., Awaitable[None]], *args: object) -> None:
        """Let nothing out that would end the other sandboxes' tasks."""
        try:
            await work(*args)
        except Exception:  # noqa: BLE001 -- one broken sandbox must not stop the others
            held = args[0] if args and isinstance(args[0], Held) else None
            _log.exception("keeper", sandbox_id=held.record.id if held else None)

    async def _write_touches(self) -> None:
        while True:
            await self.touches.due()
            await self._guarded(self.touches.flush)

    async def _drain(self) -> None:
        """Stop all, together; those that still open are interrupted."""
        with anyio.move_on_after(self._stop_grace_s + _CLOSE_S):
            async with anyio.create_task_group() as group:
                for held in tuple(self._held.values()):
                    self._ask_to_close(held, "shutdown", self._stop_grace_s)
                    if not held.ready.is_set():
                        held.scope.cancel()
                    group.start_soon(held.closed.wait)
        for act in (self.touches.flush, *self._last_acts):
            await self._guarded(act)

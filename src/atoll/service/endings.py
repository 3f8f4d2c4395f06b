"""How a sandbox ends for good, whoever wants it.

The stored step to `destroyed` comes first: from then on nobody can open it, and whatever a crash
leaves of it is removed by the janitor, which also writes the post-mortem if that was not done.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
import structlog

from atoll.core.errors import AtollError, Gone
from atoll.core.records import PostMortem, SandboxRecord
from atoll.core.states import TERMINAL, State
from atoll.core.store import Store
from atoll.service.audit import Audit
from atoll.service.backends import Backends
from atoll.service.clock import Clock
from atoll.service.keeper import Keeper
from atoll.service.lives import fresh, on_behalf_of, post_mortem, turn
from atoll.service.outputs import OutputLogs

_log = structlog.stdlib.get_logger(__name__)


class Endings:
    """Destroys sandboxes, and says why they ended."""

    def __init__(
        self,
        *,
        store: Store,
        keeper: Keeper,
        backends: Backends,
        logs: OutputLogs,
        audit: Audit,
        clock: Clock,
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._backends = backends
        self._logs = logs
        self._audit = audit
        self._clock = clock
        self._after: list[Callable[[str], Awaitable[None]]] = []

    def on_destroyed(self, act: Callable[[str], Awaitable[None]]) -> None:
        """Have something done with the id of each sandbox that is destroyed."""
        self._after.append(act)

    async def end(
        self, record: SandboxRecord, *, by: str, detail: str, state: State = State.DESTROYED
    ) -> SandboxRecord:
        """End it; returns when it is closed and its remains are gone. Idempotent.

        Not interrupted by cancellation once it has begun. Ends that no client asked for are
        written to the audit log here.
        """
        if record.state not in TERMINAL:
            held = self._keeper.peek(record.id)
            if held is not None and held.record.version > record.version:
                record = held.record
            try:
                with anyio.CancelScope(shield=True):
                    return await self._end(record, by=by, detail=detail, state=state)
            except Gone:
                record = await fresh(self._store, record)
        # Somebody else ended it: return no earlier than they do.
        await self._keeper.end(record.id, by)
        return record

    async def finish(self, record: SandboxRecord, *, by: str, detail: str) -> None:
        """Complete what a crash interrupted after the step was stored. Idempotent."""
        await self._bury(record, by=by, detail=detail)

    async def post_mortem(self, record: SandboxRecord) -> PostMortem | None:
        """What is known of its end."""
        return await self._store.get_post_mortem(record.tenant, record.id)

    async def gone(self, record: SandboxRecord) -> Gone:
        """The error for those who want to use an ended one."""
        known = await self.post_mortem(record)
        if known is None:
            return Gone(f"Sandbox {record.id} is {record.state}.")
        if record.state is State.DESTROYED and known.ended_by in {"memory", "crash"}:
            # The first post-mortem stays, and this one is of a time before the last start.
            return Gone(f"Sandbox {record.id} is destroyed. Before that: {known.detail}")
        return Gone(f"Sandbox {record.id} is {record.state} ({known.ended_by}): {known.detail}")

    async def _end(
        self, record: SandboxRecord, *, by: str, detail: str, state: State
    ) -> SandboxRecord:
        ended = await turn(self._store, record, state)
        await self._bury(ended, by=by, detail=detail)
        if by != "client":
            caller = on_behalf_of(ended, "janitor")
            self._audit.record(f"sandbox.{state}", caller, "ok", ended.id, by=by)
        return ended

    async def _bury(self, record: SandboxRecord, *, by: str, detail: str) -> None:
        last_output = self._keeper.vault.redacted(record, await self._last_output(record))
        note = post_mortem(
            record, ended_by=by, detail=detail, at=self._clock.now(), last_output=last_output
        )
        async with anyio.create_task_group() as group:
            group.start_soon(self._mourn, note)
            await self._keeper.end(record.id, by)
        self._keeper.expiries.forget(record.id)
        self._keeper.touches.forget(record.id)
        self._keeper.vault.forget(record.id)
        for act in self._after:
            await act(record.id)
        with suppress(AtollError):
            self._keeper.spawn(self._logs.drop, record.id)
        await self.remove(record.backend, record.id)

    async def remove(self, backend_name: str, sandbox_id: str) -> None:
        """Let the backend destroy its remains; the janitor tries again when it cannot."""
        backend = self._backends.named(backend_name)
        try:
            if backend is not None:
                await backend.destroy(sandbox_id)
        except AtollError as error:
            _log.warning("remains not removed", sandbox_id=sandbox_id, error=error.detail)

    async def _mourn(self, note: PostMortem) -> None:
        try:
            await self._store.add_post_mortem(note)
        except AtollError as error:
            _log.warning("no post-mortem", sandbox_id=note.sandbox_id, error=error.detail)

    async def _last_output(self, record: SandboxRecord) -> bytes:
        held = self._keeper.peek(record.id)
        if held is not None and (held.last_output or held.born_here):
            return held.last_output
        return await self._logs.tail(record.id)

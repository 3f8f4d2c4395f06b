"""Compares what the backends hold with what the store knows, and puts the difference right.

| on this host | in the store | done |
|---|---|---|
| yes | unknown, for longer than the grace (at the start: at once) | destroyed |
| yes | ended, likewise | destroyed, with a post-mortem if there is none |
| any, not open | creating, likewise | failed, destroyed |
| yes, not open | running or paused | stopped |
| no | running, paused, stopped or archived | lost, with a post-mortem |
| any | a process without an exit that does not run | exit `unknown`, its log finished |
| a snapshot or logs | unknown, for longer than the grace | dropped |
"""

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import structlog

from atoll.core import ports
from atoll.core.model import Exit, ExitReason
from atoll.core.ports import Backend
from atoll.core.records import ProcessRecord, SandboxRecord
from atoll.core.states import TERMINAL, State
from atoll.core.store import Store
from atoll.service.backends import Backends
from atoll.service.clock import Clock
from atoll.service.endings import Endings
from atoll.service.keeper import Keeper
from atoll.service.outputs import OutputLogs

_PAGE = 1000

_log = structlog.stdlib.get_logger(__name__)


@contextmanager
def unharmed(what: str, **about: object) -> Generator[None, None, None]:
    """Log what goes wrong in the block and go on with the next."""
    try:
        yield
    except Exception:  # noqa: BLE001 -- one broken sandbox must not stop the others
        _log.exception("janitor", what=what, **about)


class Strangers:
    """Things that nobody knows, and since when."""

    def __init__(self, *, clock: Clock, grace_s: float) -> None:
        self._clock = clock
        self._grace_s = grace_s
        self._since: dict[tuple[str, str], float] = {}

    def old(self, kind: str, ids: Collection[str], *, at_once: bool) -> Sequence[str]:
        """Those of `ids`, all the strangers of a kind, that have been so for the grace."""
        now = self._clock.monotonic()
        for key in [k for k in self._since if k[0] == kind and k[1] not in ids]:
            del self._since[key]
        since = {name: self._since.setdefault((kind, name), now) for name in ids}
        return [name for name in sorted(ids) if at_once or now - since[name] >= self._grace_s]


class Reconciler:
    """One look at everything. Each step is safe to repeat, and safe to be killed in."""

    def __init__(
        self,
        *,
        store: Store,
        keeper: Keeper,
        backends: Backends,
        endings: Endings,
        logs: OutputLogs,
        clock: Clock,
        grace_s: float,
        held_elsewhere: Callable[[], Collection[str]],
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._backends = backends
        self._endings = endings
        self._logs = logs
        self._clock = clock
        self._grace_s = grace_s
        self._held_elsewhere = held_elsewhere
        self._strangers = Strangers(clock=clock, grace_s=grace_s)

    async def run(self, *, at_start: bool) -> None:
        """Look at all of it. Records first: what they say was on disk before they said it."""
        records = await self._living()
        usable = {report.name for report in await self._backends.reports() if report.usable}
        with unharmed("processes"):
            await self._processes(at_start=at_start)
        owned: dict[str, Collection[str]] = {}
        for backend in self._backends:
            if backend.name in usable:
                with unharmed("owned", backend=backend.name):
                    owned[backend.name] = frozenset(await backend.owned())
        for record in records:
            with unharmed("sandbox", sandbox_id=record.id):
                on_disk = owned.get(record.backend)
                lost = on_disk is not None and record.id not in on_disk
                await self._sandbox(record, lost=lost, at_start=at_start)
        living = {record.id for record in records}
        for backend in self._backends:
            if backend.name in owned:
                strangers = set(owned[backend.name]) - living
                await self._remove_strangers(backend, strangers, at_start=at_start)
                with unharmed("snapshots", backend=backend.name):
                    await self._snapshots(backend, at_start=at_start)
        with unharmed("logs"):
            unknown = set(await self._logs.owned()) - living
            for sandbox_id in self._strangers.old("logs", unknown, at_once=at_start):
                if not self._keeper.is_open(sandbox_id):
                    await self._logs.drop(sandbox_id)

    async def _living(self) -> list[SandboxRecord]:
        found: list[SandboxRecord] = []
        after: str | None = None
        while page := await self._store.list_sandboxes(after=after, limit=_PAGE):
            found += page
            after = page[-1].id
        return found

    async def _sandbox(self, record: SandboxRecord, *, lost: bool, at_start: bool) -> None:
        if self._keeper.is_open(record.id):
            return
        if record.state is State.CREATING:
            age_s = self._clock.now() - record.created_at
            if at_start or age_s >= self._grace_s:
                detail = "The server ended while it was being made."
                await self._endings.end(record, by="restart", detail=detail, state=State.FAILED)
        elif lost:
            detail = "Its files are gone from this host."
            await self._endings.end(record, by="crash", detail=detail, state=State.LOST)
        elif record.state not in {State.STOPPED, State.ARCHIVED}:
            await self._keeper.mark_stopped(record, "restart")
        else:
            self._keeper.expiries.track(record)

    async def _remove_strangers(
        self, backend: Backend, strangers: Collection[str], *, at_start: bool
    ) -> None:
        elsewhere = self._held_elsewhere()
        unheld = {s for s in strangers if s not in elsewhere and not self._keeper.is_open(s)}
        for sandbox_id in self._strangers.old(backend.name, unheld, at_once=at_start):
            with unharmed("stranger", sandbox_id=sandbox_id):
                record = await self._ended(sandbox_id)
                if record is None:
                    await backend.destroy(sandbox_id)
                    continue
                now = self._clock.now()
                expired = record.expires_at is not None and record.expires_at <= now
                await self._endings.finish(
                    record,
                    by="lifetime" if expired else "client",
                    detail="The server ended while it was being destroyed.",
                )

    async def _ended(self, sandbox_id: str) -> SandboxRecord | None:
        """The record of an ended one, whoever's it was."""
        page = await self._store.list_sandboxes(
            states=tuple(TERMINAL), after=sandbox_id[:-1], limit=1
        )
        return page[0] if page and page[0].id == sandbox_id else None

    async def _snapshots(self, backend: Backend, *, at_start: bool) -> None:
        if not isinstance(backend, ports.Snapshots):
            return
        held = set(await backend.snapshots())
        after: str | None = None
        while page := await self._store.list_snapshots(after=after, limit=_PAGE):
            held -= {snapshot.id for snapshot in page}
            after = page[-1].id
        for snapshot_id in self._strangers.old(f"{backend.name}/snapshots", held, at_once=at_start):
            with unharmed("snapshot", snapshot_id=snapshot_id):
                await backend.drop_snapshot(snapshot_id)

    async def _processes(self, *, at_start: bool) -> None:
        now = self._clock.now()
        for process in await self._store.unfinished_processes():
            if at_start or now - process.started_at >= self._grace_s:
                with unharmed("process", sandbox_id=process.sandbox_id, number=process.number):
                    await self._process(process, now)

    async def _process(self, process: ProcessRecord, now: float) -> None:
        held = self._keeper.peek(process.sandbox_id)
        if held is not None and process.number in held.processes:
            return
        await self._logs.repair(process.sandbox_id, process.number)
        ended = Exit(None, ExitReason.UNKNOWN)
        await self._store.save_process(replace(process, exit=ended, ended_at=now))

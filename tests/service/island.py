"""What the tests of persistent sandboxes stand on: the fake backend, a real store, a set clock."""

import shutil
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from atoll.backends.fake import FakeBackend, Invocation
from atoll.backends.fake.tree import Tree
from atoll.core.model import Limits, ProcessSpec
from atoll.core.records import ProcessRecord, SandboxRecord
from atoll.core.states import TERMINAL, State
from atoll.core.store import Store
from atoll.service.audit import Audit
from atoll.service.backends import Backends
from atoll.service.caller import Caller
from atoll.service.files import FilesOf
from atoll.service.janitor import Janitor, Upkeep
from atoll.service.keeper import Keeper
from atoll.service.outputs import OutputLogs
from atoll.service.processes import Processes
from atoll.service.quotas import Quotas
from atoll.service.requests import CreateSandbox
from atoll.service.sandboxes import Sandboxes
from atoll.service.snapshots import Snapshots
from atoll.storage import SqlStore
from tests.service.persistent import Keeping, persistent

ALICE = Caller("alice", "alice", admin=False, key_id="k1", max_sandboxes=50, max_concurrent=50)
BOB = replace(ALICE, tenant="bob", actor="bob", key_id="k2")
KEEPING = Keeping(
    open_timeout_s=5.0,
    stop_grace_s=0.05,
    upkeep=Upkeep(interval_s=3600.0, grace_s=120.0),
)


class SetClock:
    """Stands still until a test sets it."""

    def __init__(self, at: float = 1_000_000.0) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


@dataclass
class Island:
    """All of it, wired."""

    backend: FakeBackend
    store: Store
    audit: Audit
    clock: SetClock
    keeper: Keeper
    sandboxes: Sandboxes
    processes: Processes
    files: FilesOf
    snapshots: Snapshots
    janitor: Janitor
    logs: OutputLogs
    data_dir: Path

    async def create(self, name: str | None = None, **about: object) -> SandboxRecord:
        return await self.sandboxes.create(CreateSandbox(name=name, **about), ALICE)  # type: ignore[arg-type]

    async def state(self, sandbox_id: str) -> State:
        return (await self.sandboxes.get(ALICE, sandbox_id)).state

    async def stored(self) -> list[SandboxRecord]:
        return list(await self.store.list_sandboxes(states=tuple(State), limit=1000))

    async def actions(self) -> list[str]:
        await self.audit.flush()
        return [event.action for event in await self.store.list_events(limit=1000)]

    async def check(self) -> None:
        """What always holds when nothing is under way."""
        records = {record.id: record for record in await self.stored()}
        owned = set(await self.backend.owned())
        living = {r.id for r in records.values() if r.state not in TERMINAL}
        assert owned == living
        for record in records.values():
            assert self.keeper.is_open(record.id) == (record.state is State.RUNNING), record
            ended = await self.store.get_post_mortem(record.tenant, record.id)
            assert ended is not None or record.state not in TERMINAL, record
        with anyio.fail_after(5):
            while strays := [p for p in await self.store.unfinished_processes() if self._over(p)]:
                await anyio.sleep(0.01)  # waits on purpose: a run's end is stored 50 ms later
        assert not strays

    def _over(self, process: ProcessRecord) -> bool:
        held = self.keeper.peek(process.sandbox_id)
        return held is None or process.number not in held.processes


def argv(*words: str, **about: object) -> ProcessSpec:
    return ProcessSpec(argv=words, **about)  # type: ignore[arg-type]


@asynccontextmanager
async def island(
    data_dir: Path,
    backend: FakeBackend | None = None,
    clock: SetClock | None = None,
    *,
    keeping: Keeping = KEEPING,
    held_elsewhere: Callable[[], Collection[str]] = tuple,
    through: Callable[[Store], Store] = lambda store: store,
) -> AsyncGenerator[Island, None]:
    backend = backend or FakeBackend()
    clock = clock or SetClock()
    async with SqlStore.open(f"sqlite:///{data_dir}/atoll.db") as database:
        store = through(database)
        async with Audit(store=store, clock=clock) as audit:
            async with persistent(
                store=store,
                backends=Backends([backend], clock=clock),
                audit=audit,
                quotas=Quotas(),
                clock=clock,
                data_dir=data_dir,
                keeping=keeping,
                held_elsewhere=held_elsewhere,
            ) as p:
                yield Island(
                    backend=backend,
                    store=store,
                    audit=audit,
                    clock=clock,
                    keeper=p.keeper,
                    sandboxes=p.sandboxes,
                    processes=p.processes,
                    files=p.files,
                    snapshots=p.snapshots,
                    janitor=p.janitor,
                    logs=p.logs,
                    data_dir=data_dir,
                )


def photograph(data_dir: Path, backend: FakeBackend, to: Path) -> FakeBackend:
    """What `kill -9` would leave now: the files of the server, and what the backend has on disk.

    Blocks on purpose, so that nothing moves meanwhile.
    """
    left = FakeBackend()
    left._trees = {name: tree.copy(Limits()) for name, tree in backend._trees.items()}
    for name in backend._open:
        left._trees.setdefault(name, Tree(Limits()))
    left._snapshots = {name: tree.copy(Limits()) for name, tree in backend._snapshots.items()}
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(data_dir, to, ignore=shutil.ignore_patterns("atoll.db*"))
    with (
        closing(sqlite3.connect(data_dir / "atoll.db")) as source,
        closing(sqlite3.connect(to / "atoll.db")) as target,
    ):
        source.backup(target)
    return left


class Watched:
    """A store that tells before and after each call."""

    def __init__(self, store: Store, tell: Callable[[str], None]) -> None:
        self._store = store
        self._tell = tell

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def call(*args: object, **kwargs: object) -> object:
            self._tell(f"before {name}")
            result = await method(*args, **kwargs)
            self._tell(f"after {name}")
            return result

        return call


async def until(true: Callable[[], bool]) -> None:
    """Let the others run until something holds."""
    with anyio.fail_after(5):
        while not true():
            await anyio.lowlevel.checkpoint()


async def eventually(true: Callable[[], Awaitable[bool]]) -> None:
    """The same for what must be asked."""
    with anyio.fail_after(5):
        while not await true():
            await anyio.lowlevel.checkpoint()


class Script:
    """A program for the fake that a test drives: it says what it is told, until it is let go."""

    def __init__(self, backend: FakeBackend, name: str) -> None:
        self.calls: list[Invocation] = []
        self.running = anyio.Event()
        self.leave = anyio.Event()
        backend.script(name, self._main)

    async def _main(self, call: Invocation) -> int:
        self.calls.append(call)
        self.running.set()
        await self.leave.wait()
        return 0

    async def say(self, data: bytes) -> None:
        await self.calls[-1].stdout(data)

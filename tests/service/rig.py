"""What the tests of one-shots stand on: the fake backend, a clock to turn, a store to break."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import cast

import anyio
import anyio.lowlevel

from atoll.backends.fake import FakeBackend
from atoll.core.errors import AtollError
from atoll.core.languages import Language
from atoll.core.records import Event
from atoll.core.store import Store
from atoll.service.audit import Audit
from atoll.service.backends import Backends
from atoll.service.caller import Caller
from atoll.service.clock import SystemClock
from atoll.service.executions import Executions
from atoll.service.languages import Languages
from atoll.service.planning import Bounds
from atoll.service.pool import Pool, Tuning, Warm
from atoll.service.quotas import Quotas

ALICE = Caller("alice", "alice", admin=False, key_id="k1", max_sandboxes=5, max_concurrent=50)
BOB = replace(ALICE, tenant="bob", actor="bob", key_id="k2")
SHELL = Language(
    name="sh",
    title="Shell",
    entry="main.sh",
    argv=("sh", "{entry}", "{args}"),
    version_argv=("sh",),
    install_hint="apt-get install dash",
    aliases=("shell",),
    env={"FLAVOUR": "plain"},
)
COBOL = Language(
    name="cobol",
    title="COBOL",
    entry="main.cob",
    argv=("cobc", "{entry}", "{args}"),
    version_argv=("cobc",),
    install_hint="apt-get install gnucobol",
)
BOUNDS = Bounds(code_bytes=1000, files_bytes=2000, files=5, stdin_bytes=300_000, batch=20)


class TurnedClock:
    """Stands still until a test turns it."""

    def __init__(self, at: float = 1000.0) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


@dataclass
class EventStore:
    """The one method of a store that the audit log needs."""

    written: list[Event] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    failure: AtollError | None = None
    wrote: anyio.Event = field(default_factory=anyio.Event)
    tried: anyio.Event = field(default_factory=anyio.Event)

    async def add_events(self, events: Sequence[Event]) -> Sequence[Event]:
        self.tried.set()
        if self.failure is not None:
            raise self.failure
        numbered = [
            replace(event, seq=len(self.written) + place)
            for place, event in enumerate(events, start=1)
        ]
        self.written += numbered
        self.batches.append(len(numbered))
        self.wrote.set()
        return numbered

    def as_store(self) -> Store:
        return cast("Store", self)


@dataclass
class Rig:
    """All of it, wired."""

    backend: FakeBackend
    pool: Pool
    executions: Executions
    audit: Audit
    events: EventStore
    quotas: Quotas


@asynccontextmanager
async def pool_of(
    backend: FakeBackend,
    *,
    size: int = 2,
    max_running: int = 4,
    max_queued: int = 10,
    queue_timeout_s: float = 5.0,
    warm: Sequence[Warm] = (Warm(),),
    tuning: Tuning | None = None,
) -> AsyncGenerator[Pool, None]:
    clock = SystemClock()
    async with Pool(
        backends=Backends([backend], clock=clock),
        clock=clock,
        size=size,
        max_running=max_running,
        max_queued=max_queued,
        queue_timeout_s=queue_timeout_s,
        warm=warm,
        tuning=tuning or Tuning(openings=2, open_timeout_s=5.0, drain_s=1.0),
    ) as pool:
        yield pool


@asynccontextmanager
async def rig_of(
    backend: FakeBackend | None = None, *, size: int = 2, max_running: int = 4
) -> AsyncGenerator[Rig, None]:
    backend = backend or FakeBackend()
    clock = SystemClock()
    events = EventStore()
    quotas = Quotas()
    async with (
        Audit(store=events.as_store(), clock=clock) as audit,
        pool_of(backend, size=size, max_running=max_running) as pool,
    ):
        executions = Executions(
            pool=pool,
            backends=Backends([backend], clock=clock),
            languages=Languages(
                {"sh": SHELL, "cobol": COBOL}, available=lambda language: language is SHELL
            ),
            audit=audit,
            quotas=quotas,
            clock=clock,
            bounds=BOUNDS,
        )
        yield Rig(backend, pool, executions, audit, events, quotas)


async def until_ready(pool: Pool, count: int) -> None:
    """Wait until that many sandboxes are ready and nothing opens."""
    while pool.stats()["ready"] != count or pool.stats()["opening"]:
        await anyio.lowlevel.checkpoint()

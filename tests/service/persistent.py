"""The persistent half of the service, wired as bootstrap does, over whatever a test brings."""

from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from atoll.core.store import Store
from atoll.service.audit import Audit
from atoll.service.backends import Backends
from atoll.service.clock import Clock
from atoll.service.endings import Endings
from atoll.service.files import FilesOf
from atoll.service.janitor import Janitor, Upkeep
from atoll.service.keeper import Keeper
from atoll.service.output import LOG_BYTES
from atoll.service.outputs import OutputLogs
from atoll.service.processes import Processes
from atoll.service.quotas import Quotas
from atoll.service.reconcile import Reconciler
from atoll.service.sandboxes import Sandboxes
from atoll.service.snapshots import Snapshots

LOGS = "sandboxes-logs"


@dataclass(frozen=True, slots=True)
class Keeping:
    """What the operator may set of it."""

    open_timeout_s: float = 60.0
    stop_grace_s: float = 5.0
    output_log_bytes: int = LOG_BYTES
    max_live_processes: int = 64
    upkeep: Upkeep = field(default_factory=Upkeep)


@dataclass(frozen=True, slots=True)
class Persistent:
    """Sandboxes that outlive a request, and all that can be done with them."""

    keeper: Keeper
    sandboxes: Sandboxes
    processes: Processes
    files: FilesOf
    snapshots: Snapshots
    janitor: Janitor
    logs: OutputLogs


@asynccontextmanager
async def persistent(
    *,
    store: Store,
    backends: Backends,
    audit: Audit,
    quotas: Quotas,
    clock: Clock,
    data_dir: Path,
    keeping: Keeping,
    held_elsewhere: Callable[[], Collection[str]] = tuple,
) -> AsyncGenerator[Persistent, None]:
    """Reconcile, serve for the length of the block, then stop every sandbox.

    `held_elsewhere` names sandboxes that have no record but an owner: those of the pool.
    """
    logs = OutputLogs(root=data_dir / LOGS, limit_bytes=keeping.output_log_bytes)
    keeper = Keeper(
        store=store,
        backends=backends,
        audit=audit,
        clock=clock,
        open_timeout_s=keeping.open_timeout_s,
        stop_grace_s=keeping.stop_grace_s,
    )
    endings = Endings(
        store=store, keeper=keeper, backends=backends, logs=logs, audit=audit, clock=clock
    )
    sandboxes = Sandboxes(
        store=store,
        keeper=keeper,
        backends=backends,
        endings=endings,
        audit=audit,
        clock=clock,
    )
    processes = Processes(
        sandboxes=sandboxes,
        keeper=keeper,
        store=store,
        logs=logs,
        audit=audit,
        quotas=quotas,
        clock=clock,
        max_live=keeping.max_live_processes,
    )
    snapshots = Snapshots(
        store=store,
        keeper=keeper,
        backends=backends,
        endings=endings,
        sandboxes=sandboxes,
        audit=audit,
        clock=clock,
    )
    reconciler = Reconciler(
        store=store,
        keeper=keeper,
        backends=backends,
        endings=endings,
        logs=logs,
        clock=clock,
        grace_s=keeping.upkeep.grace_s,
        held_elsewhere=held_elsewhere,
    )
    janitor = Janitor(
        store=store,
        keeper=keeper,
        endings=endings,
        reconciler=reconciler,
        archiver=sandboxes.archiver,
        audit=audit,
        clock=clock,
        upkeep=keeping.upkeep,
    )
    files = FilesOf(sandboxes=sandboxes, audit=audit)
    async with logs, keeper, janitor:
        yield Persistent(keeper, sandboxes, processes, files, snapshots, janitor, logs)

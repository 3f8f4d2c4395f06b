"""Sandboxes of plain worker processes, which run our runner of WebAssembly and nothing else.

Weaker than namespaces: all workers are one user's and see one host. So this is no backend that a
request could name; it carries the wasm backend, whose engine stands before it.
"""

import contextlib
import os
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from atoll.backends.plain.places import Places
from atoll.backends.plain.sandbox import PlainSandbox
from atoll.core.errors import AtollError, Conflict, NotFound, Unavailable, Unsupported
from atoll.core.model import BackendReport, Isolation, SandboxSpec
from atoll.jail import landlock
from atoll.jail.host.quota import watch_disks
from atoll.jail.host.zygotes import Zygotes
from atoll.jail.spawn import ZygoteConfig

CAPABILITIES = frozenset({"stdin", "persistent", "watch"})
LIMITS = {
    "wall_time": "timer of the server",
    "cpu_time": "RLIMIT_CPU per process",
    "memory": "RLIMIT_DATA per process",
    "processes": "counted by the server; workers start none",
    "disk": "RLIMIT_FSIZE per file; all are counted twice a second",
    "disk_files": "counted twice a second",
    "open_files": "RLIMIT_NOFILE",
    "output": "cut while reading",
}


@dataclass(frozen=True)
class PlainConfig:
    """What the operator decides.

    `uid` is the host user that workers run as when the server is root. `library` is the directory
    that has the engine. `binds` are host directories that workers may read, and their names.
    """

    data_dir: Path
    uid: int
    library: Path | None
    binds: tuple[tuple[str, str], ...] = ()


class PlainBackend:
    """Implements `core.ports.Backend`. Enter it before use."""

    name = "plain"

    def __init__(self, config: PlainConfig) -> None:
        self._uid = config.uid if os.geteuid() == 0 else None
        self._root = config.data_dir / "plain"
        self._places = Places(self._root, self._uid)
        self._zygotes = Zygotes()
        self._config = config
        self._tasks: TaskGroup | None = None
        self._trash = anyio.Event()
        self._open: dict[str, PlainSandbox | None] = {}

    async def __aenter__(self) -> Self:
        try:
            await to_thread.run_sync(self._places.prepare)
        except OSError as error:
            raise Unavailable(f"{self._root} cannot be used: {error.strerror}.") from error
        await self._zygotes.__aenter__()
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(watch_disks, self._places.usage, self._measured)
        self._tasks.start_soon(self._empty_forever)
        self._trash.set()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()
            await self._tasks.__aexit__(None, None, None)
            self._tasks = None
            await self._zygotes.__aexit__(None, None, None)

    def _measured(self) -> list[tuple[PlainSandbox, str]]:
        return [(box, name) for name, box in self._open.items() if box is not None]

    def _zygote_config(self) -> ZygoteConfig:
        if self._config.library is None:
            raise Unavailable("wasmtime is not installed: pip install 'atoll[wasm]'.")
        return ZygoteConfig(
            uid=self._uid,
            binds=self._config.binds,
            memory_bounded=False,
            library=str(self._config.library),
        )

    # the waist
    async def probe(self) -> BackendReport:
        version = landlock.version()
        files = f"Landlock, version {version}" if version else "no Landlock: by the engine alone"
        rights = "the server's user" if self._uid is None else f"uid {self._uid}"
        report = BackendReport(
            name=self.name,
            usable=True,
            isolation=Isolation.SHARED_KERNEL,
            capabilities=CAPABILITIES,
            limits=LIMITS,
            facts={"files": files, "rights": rights},
        )
        try:
            await self._zygotes.of(self._zygote_config())
        except (AtollError, OSError) as error:
            detail = error.detail if isinstance(error, AtollError) else str(error)
            return replace(report, usable=False, why=detail, capabilities=frozenset())
        return report

    @contextlib.asynccontextmanager
    async def open(self, spec: SandboxSpec) -> AsyncGenerator[PlainSandbox, None]:
        if spec.image != "host":
            raise NotFound("image", spec.image)
        if spec.base is not None:
            raise NotFound("snapshot", spec.base)
        if spec.network.mode != "none":
            raise Unsupported(f"Network mode {spec.network.mode!r} is not available here.")
        if spec.id in self._open:
            raise Conflict(f"Sandbox {spec.id} is open already.")
        self._open[spec.id] = None
        try:
            zygote = await self._zygotes.of(self._zygote_config())
            sandbox = PlainSandbox(spec, zygote, await self._root_of(spec))
            try:
                self._open[spec.id] = sandbox
                yield sandbox
            finally:
                with anyio.CancelScope(shield=True):
                    await sandbox.close()
        finally:
            del self._open[spec.id]
            if not spec.persistent:
                with anyio.CancelScope(shield=True):
                    await to_thread.run_sync(self._places.drop, spec.id, "fresh")
                self._trash.set()

    async def _root_of(self, spec: SandboxSpec) -> int:
        """A descriptor of its directory. Shielded, so that nobody leaves one open."""
        opened = partial(self._places.open, spec.id, kept=spec.persistent)
        roots: list[int] = []
        with anyio.CancelScope(shield=True):
            roots.append(await to_thread.run_sync(opened))
        return roots[0]

    async def owned(self) -> Sequence[str]:
        return sorted({*await to_thread.run_sync(self._places.names), *self._open})

    async def destroy(self, sandbox_id: str) -> None:
        sandbox = self._open.get(sandbox_id)
        if sandbox is not None:
            sandbox.kill()
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._places.drop, sandbox_id)
        self._trash.set()

    async def _empty_forever(self) -> None:
        while True:
            await self._trash.wait()
            self._trash = anyio.Event()
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._places.empty)

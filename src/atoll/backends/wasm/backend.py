"""The wasm backend: sandboxes of another backend, in which nothing but WebAssembly runs.

What `workers` opens confines the engine as it would confine any program; the engine confines the
module. So a guest that escapes from one is still held by the other.
"""

import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from importlib import util
from pathlib import Path
from typing import Self

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from atoll.backends.wasm.cache import Cache, digest
from atoll.backends.wasm.compiler import OURS, Compiler
from atoll.backends.wasm.early import ARCHIVES, early_modules
from atoll.backends.wasm.programs import Program
from atoll.backends.wasm.sandbox import WasmSandbox
from atoll.core.errors import AtollError, NotFound, Unavailable, Unsupported
from atoll.core.model import MIB, BackendReport, Isolation, SandboxSpec
from atoll.core.ports import Backend, Snapshots

WARM = ("atoll.guest.wasm.warm",)
# The engine itself: its code, its threads, the descriptors it holds.
OVERHEAD_BYTES = 96 * MIB
THREADS = 64
DESCRIPTORS = 64
PYTHON = "python3"
CAPABILITIES = frozenset({"wasm", "stdin", "persistent"})
DELEGATED = frozenset({"snapshots", "watch"})
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class WasmConfig:
    """`state` holds `code` and `python`, which workers see beneath `/opt/atoll/wasm`.

    `preload` is what workers are asked to have imported.
    """

    state: Path
    programs: Mapping[str, Program] = field(default_factory=dict[str, Program])
    preload: tuple[str, ...] = WARM


class WasmBackend:
    """Implements `core.ports.Backend`, `Compiles` and `Snapshots`. Enter it before use."""

    name = "wasm"

    def __init__(self, config: WasmConfig, workers: Backend) -> None:
        self._config = config
        self._workers = workers
        self._cache = Cache(config.state / "code")
        self._compiler = Compiler(workers, self._cache)
        self._digests: dict[Path, str] = {}
        self._exits = contextlib.AsyncExitStack()
        self._tasks: TaskGroup | None = None
        self._last: Program | None = None
        self._last_code: str | None = None
        self._why = ""
        self._pulling = anyio.Lock()
        self._pulled = False

    async def __aenter__(self) -> Self:
        if util.find_spec("wasmtime") is None:
            self._why = "wasmtime is not installed: pip install 'atoll[wasm]'."
            return self
        try:
            await to_thread.run_sync(self._prepare)
        except OSError as error:
            raise Unavailable(f"{self._config.state} cannot be used: {error.strerror}.") from error
        if isinstance(self._workers, AbstractAsyncContextManager):
            await self._exits.enter_async_context(self._workers)
        for left in await self._workers.owned():
            if left.startswith(OURS):
                await self._workers.destroy(left)
        self._tasks = await self._exits.enter_async_context(anyio.create_task_group())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()
            self._tasks = None
        await self._exits.aclose()

    def _prepare(self) -> None:
        self._cache.prepare()
        python = self._config.state / "python"
        python.mkdir(parents=True, exist_ok=True)
        python.chmod(0o755)

    # programs
    async def pull(self, tell: Callable[[str], None]) -> None:
        """Compile every program that is not compiled yet, and say so.

        The first use of any program begins it too.
        """
        self._pulled = True
        if self._why:
            raise Unavailable(self._why)
        async with self._pulling:
            await self._pull(tell)

    async def _pull(self, tell: Callable[[str], None]) -> None:
        for name, program in self._unique():
            tell(f"{name}: compiling {program.module.name}, unless that is done")
            await self.of_program(program, fuel=False)
        if PYTHON in self._config.programs and not await self._has_early():
            tell(f"{PYTHON}: collecting the modules that every program needs")
            await to_thread.run_sync(self._keep_early, await early_modules(self))
        tell("ready")

    async def _pull_in_background(self) -> None:
        try:
            await self.pull(lambda line: _LOG.info("wasm: %s", line))
        except (AtollError, OSError) as error:
            _LOG.warning("wasm: programs are not compiled: %s", error)

    def _unique(self) -> list[tuple[str, Program]]:
        names: dict[Path, tuple[str, Program]] = {}
        for name, program in self._config.programs.items():
            names.setdefault(program.module, (name, program))
        return list(names.values())

    async def _has_early(self) -> bool:
        places = [self._config.state / "python" / name for name in ARCHIVES]
        return await to_thread.run_sync(lambda: all(place.exists() for place in places))

    def _keep_early(self, archives: Mapping[str, bytes]) -> None:
        for name, data in archives.items():
            place = self._config.state / "python" / name
            draft = place.with_suffix(".part")
            draft.write_bytes(data)
            draft.chmod(0o644)
            draft.replace(place)

    @property
    def engine(self) -> str:
        return self._cache.key

    def named(self, word: str) -> Program | None:
        self._last = self._config.programs.get(word)
        return self._last

    async def of_program(self, program: Program, *, fuel: bool) -> str:
        if self._tasks is not None and not self._pulled:
            self._pulled = True
            self._tasks.start_soon(self._pull_in_background)
        name = self._digests.get(program.module)
        variant = "fuel" if fuel else "plain"
        if name is not None and (known := self._cache.known(name, variant)) is not None:
            return known
        try:
            data = await to_thread.run_sync(program.module.read_bytes)
        except OSError as error:
            raise Unavailable(f"{program.module} cannot be read: {error.strerror}.") from error
        name = self._digests[program.module] = await to_thread.run_sync(digest, data)
        return await self._compiler.named(name, data, fuel=fuel)

    async def of_module(self, data: bytes, *, fuel: bool) -> str:
        code = await self._compiler.code(data, fuel=fuel)
        self._last_code = None if fuel else code
        return code

    async def compile(self, data: bytes, *, fuel: bool) -> str:
        if self._why:
            raise Unavailable(self._why)
        return await self.of_module(data, fuel=fuel)

    async def compiled(self, name: str) -> bytes | None:
        try:
            return await to_thread.run_sync(self.code_path(name).read_bytes)
        except OSError:
            return None

    def code_path(self, code: str) -> Path:
        """Where compiled code is on the host."""
        return self._cache.root / code

    async def forget(self, code: str) -> None:
        await to_thread.run_sync(self._cache.forget, code)

    # the waist
    async def probe(self) -> BackendReport:
        if self._why:
            return BackendReport(
                name=self.name, usable=False, isolation=Isolation.INTERPOSED, why=self._why
            )
        inner = await self._workers.probe()
        files = inner.facts.get("files")
        able = CAPABILITIES | (DELEGATED & inner.capabilities)
        if "sh" in self._config.programs:
            able |= {"programs"}
        limits = {
            name: text
            for name, text in inner.limits.items()
            if name in ("wall_time", "output", "disk", "disk_files", "cpu_time")
        }
        return BackendReport(
            name=self.name,
            usable=inner.usable,
            isolation=Isolation.INTERPOSED,
            why=inner.why,
            capabilities=able if inner.usable else frozenset(),
            limits={**limits, "linear_memory": "engine: memory.grow fails", "fuel": "engine"},
            facts={
                "engine": self._cache.key,
                "workers": inner.name,
                **({"workers_files": files} if files else {}),
                "programs": " ".join(sorted(self._config.programs)) or "none",
            },
        )

    @contextlib.asynccontextmanager
    async def open(self, spec: SandboxSpec) -> AsyncGenerator[WasmSandbox, None]:
        if self._why:
            raise Unavailable(self._why)
        if spec.image != "host":
            raise NotFound("image", spec.image)
        if spec.network.mode != "none":
            raise Unsupported(f"Network mode {spec.network.mode!r} is not available here.")
        if spec.preload:
            raise Unsupported("WebAssembly programs cannot have modules preloaded.")
        limits = replace(
            spec.limits,
            memory_bytes=spec.limits.memory_bytes + OVERHEAD_BYTES,
            processes=THREADS,
            open_files=spec.limits.open_files + DESCRIPTORS,
        )
        worker = replace(spec, limits=limits, env={}, preload=self._config.preload)
        async with self._workers.open(worker) as box:
            sandbox = WasmSandbox(spec, box, self)
            if not spec.persistent and spec.base is None:
                await sandbox.prepare(*self._likely())
            yield sandbox

    def _likely(self) -> tuple[Program | None, str | None]:
        """The program that was run last, and its code; or only the code, of a module."""
        if self._last is None:
            return None, self._last_code
        if not self._last.rehearsal:
            return None, None
        name = self._digests.get(self._last.module, "")
        return self._last, self._cache.known(name, "plain")

    async def owned(self) -> Sequence[str]:
        """Those that clients know of; our own end by themselves, or with the next start."""
        if self._why:
            return []
        return [each for each in await self._workers.owned() if not each.startswith(OURS)]

    async def destroy(self, sandbox_id: str) -> None:
        if not self._why:
            await self._workers.destroy(sandbox_id)

    # snapshots
    def _shelf(self) -> Snapshots:
        if isinstance(self._workers, Snapshots) and not self._why:
            return self._workers
        raise Unsupported(self._why or "Workers of this kind have no snapshots.")

    async def snapshot(self, sandbox_id: str, snapshot_id: str) -> None:
        await self._shelf().snapshot(sandbox_id, snapshot_id)

    async def drop_snapshot(self, snapshot_id: str) -> None:
        await self._shelf().drop_snapshot(snapshot_id)

    async def snapshot_size(self, snapshot_id: str) -> int:
        return await self._shelf().snapshot_size(snapshot_id)

    async def snapshots(self) -> Sequence[str]:
        return [] if self._why else await self._shelf().snapshots()

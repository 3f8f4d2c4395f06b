"""The namespace backend: which zygote forks a sandbox, what is kept, what is left over."""

import contextlib
import hashlib
import os
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

import anyio
import structlog
from anyio import to_thread
from anyio.abc import TaskGroup

from atoll.backends.namespace import facts
from atoll.backends.namespace.disk import Disk, Stack
from atoll.backends.namespace.opening import opened, removed
from atoll.backends.namespace.packs import packed, unpacked
from atoll.backends.namespace.sandbox import NamespaceSandbox
from atoll.core.errors import AtollError, Conflict, NotFound, Unavailable, Unsupported
from atoll.core.images import HOST, Image
from atoll.core.model import BackendReport, Isolation, SandboxSpec
from atoll.core.network import names_in
from atoll.core.ports import ImageRoots
from atoll.core.uplinks import Uplinks
from atoll.jail import cgroups
from atoll.jail.freezer import thaw_all
from atoll.jail.host.quota import watch_disks
from atoll.jail.host.zygotes import Zygotes
from atoll.jail.rootfs import PROXY_PORT, RESOLVER
from atoll.jail.spawn import Zygote, ZygoteConfig

_log = structlog.stdlib.get_logger(__name__)

DEFAULT_UID = 0x70000000
CAPABILITIES = frozenset(
    {
        "programs",
        "processes",
        "bytes",
        "python",
        "shell",
        "tty",
        "snapshots",
        "watch",
        "stdin",
        "persistent",
        "read_only_root",
        "secret_files",
        "ports",
        "archive",
        "structured",
    }
)

PAUSE = frozenset({"pause"})
_PROXY = f"http://{RESOLVER}:{PROXY_PORT}"
# What programs take a proxy from (curl(1), "ENVIRONMENT"); some know the one spelling only.
PROXY_ENV = {
    "http_proxy": _PROXY, "https_proxy": _PROXY, "HTTP_PROXY": _PROXY, "HTTPS_PROXY": _PROXY,
    "no_proxy": "localhost,127.0.0.1,::1", "NO_PROXY": "localhost,127.0.0.1,::1",
}  # fmt: skip


@dataclass(frozen=True)
class NamespaceConfig:
    """What the operator decides.

    `uid` is the host user that sandboxes run as when the server is root; it needs no entry in
    /etc/passwd and should own nothing else. `binds` are host paths shown read-only in the
    host image. `images` has the others, `uplinks` give sandboxes a network; without them there
    are none.
    """

    data_dir: Path
    uid: int = DEFAULT_UID
    binds: tuple[tuple[str, str], ...] = ()
    preload: tuple[tuple[str, ...], ...] = ()
    images: ImageRoots | None = None
    uplinks: Uplinks | None = None


class NamespaceBackend:
    """Implements `core.ports.Backend`, `Snapshots` and `Archives`. Enter it before use."""

    name = "namespace"

    def __init__(self, config: NamespaceConfig) -> None:
        root = os.geteuid() == 0
        self._config = config
        self._uid = config.uid if root else None
        self._root = config.data_dir / "namespace"
        self._disk = Disk(self._root, self._uid)
        self._instance = hashlib.sha256(os.fsencode(self._root.resolve())).hexdigest()[:10]
        self._hierarchy = cgroups.Hierarchy(0)
        self._tasks: TaskGroup | None = None
        self._zygotes = Zygotes()
        self._layers = anyio.Lock(fast_acquire=True)
        self._trash = anyio.Event()
        self._open: dict[str, NamespaceSandbox | None] = {}
        self._kept: dict[str, tuple[NamespaceSandbox, str]] = {}
        self._report: BackendReport | None = None

    async def __aenter__(self) -> Self:
        self._hierarchy = await to_thread.run_sync(cgroups.detect, self._instance)
        await to_thread.run_sync(thaw_all, self._hierarchy)
        try:
            await to_thread.run_sync(self._disk.prepare)
        except OSError as error:
            raise Unavailable(f"{self._root} cannot be used: {error.strerror}.") from error
        await self._zygotes.__aenter__()
        if self._config.uplinks is not None:
            await self._config.uplinks.__aenter__()
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(watch_disks, self._used, self._kept.values)
        self._tasks.start_soon(self._collect)
        self._tasks.start_soon(self._empty_forever)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()
            await self._tasks.__aexit__(None, None, None)
            self._tasks = None
            if self._config.uplinks is not None:
                await self._config.uplinks.__aexit__(None, None, None)
            await self._zygotes.__aexit__(None, None, None)
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(cgroups.retire, self._hierarchy)

    def _used(self, layer: str) -> tuple[int, int]:
        return self._disk.usage([layer])

    # zygotes
    async def _zygote(
        self, preload: tuple[str, ...], *, kept: bool, store: str | None = None
    ) -> Zygote:
        """One for each kind of sandbox; all images of the store have two in common.

        Theirs is the host's Python, which waits outside of the image's files and has all it needs
        in memory. Nothing is preloaded: an image's programs run with what the image has.
        """
        if preload and preload not in self._config.preload:
            raise Unsupported(f"This server does not preload {', '.join(preload)}.")
        config = ZygoteConfig(
            uid=self._uid,
            preload=preload,
            binds=self._config.binds if store is None else (),
            data=str(self._root) if kept else None,
            store=store,
            memory_bounded=self._hierarchy.has("memory"),
        )
        return await self._zygotes.of(config)

    # the waist
    async def probe(self) -> BackendReport:
        if self._report is None or not self._report.usable:
            self._report = await self._probe()
        return self._report

    async def _probe(self) -> BackendReport:
        report = BackendReport(
            name=self.name,
            usable=True,
            isolation=Isolation.SHARED_KERNEL,
            capabilities=CAPABILITIES | PAUSE if self._hierarchy.freezer else CAPABILITIES,
            limits=facts.limits(self._hierarchy),
            facts=facts.host(self._hierarchy, self._uid),
        )
        try:
            zygote = await self._zygote((), kept=False)
        except (AtollError, OSError) as error:
            detail = error.detail if isinstance(error, AtollError) else str(error)
            return replace(report, usable=False, why=detail, capabilities=frozenset())
        report = replace(report, facts={**report.facts, "python": zygote.python_version})
        why = "not wanted" if self._config.uplinks is None else await self._config.uplinks.why_not()
        if why:
            return report
        return replace(report, capabilities=report.capabilities | {"network"})

    @contextlib.asynccontextmanager
    async def open(self, spec: SandboxSpec) -> AsyncGenerator[NamespaceSandbox, None]:
        images = self._config.images
        if spec.image != HOST and images is None:
            raise NotFound("image", spec.image)
        if spec.image != HOST and spec.preload and not spec.persistent:
            raise Unsupported("Modules are kept imported for the host image only.")
        if spec.network.mode != "none" and self._config.uplinks is None:
            raise Unsupported(f"Network mode {spec.network.mode!r} is not available here.")
        if names_in(spec.network):
            spec = replace(spec, env={**PROXY_ENV, **spec.env})
        if spec.id in self._open:
            raise Conflict(f"Sandbox {spec.id} is open already.")
        self._open[spec.id] = None
        try:
            if spec.image == HOST or images is None:
                async with self._opened(spec, None) as sandbox:
                    yield sandbox
            else:
                async with _used(images, spec.image) as image, self._opened(spec, image) as sandbox:
                    yield sandbox
        finally:
            del self._open[spec.id]
            self._kept.pop(spec.id, None)
            if spec.base is not None and not spec.persistent:
                await self.destroy(spec.id)

    @contextlib.asynccontextmanager
    async def _opened(
        self, spec: SandboxSpec, image: Image | None
    ) -> AsyncGenerator[NamespaceSandbox, None]:
        kept = spec.persistent or spec.base is not None
        known = spec.preload in self._config.preload or not spec.persistent
        if image is not None and self._config.images is not None:
            zygote = await self._zygote((), kept=kept, store=self._config.images.layers)
        else:
            # What the operator keeps imported may have changed since it was made.
            zygote = await self._zygote(spec.preload if known else (), kept=kept)
        stack = await self._stack(spec) if kept else None
        async with opened(spec, zygote, self._hierarchy, stack, image) as sandbox:
            self._open[spec.id] = sandbox
            if stack is not None:
                self._kept[spec.id] = (sandbox, stack.upper)
            async with self._linked(spec, sandbox):
                yield sandbox

    @contextlib.asynccontextmanager
    async def _linked(
        self, spec: SandboxSpec, sandbox: NamespaceSandbox
    ) -> AsyncGenerator[None, None]:
        """Its network, before anything of the guest's runs in it, and as long as it is open."""
        if spec.network.mode == "none" or self._config.uplinks is None:
            yield
            return
        connected = self._config.uplinks.connect(spec.id, sandbox.pidfd, spec.network)
        async with connected as sandbox.uplink:
            yield

    async def _stack(self, spec: SandboxSpec) -> Stack:
        async with self._layers:
            return await to_thread.run_sync(self._disk.open, spec.id, spec.base)

    async def owned(self) -> Sequence[str]:
        kept = await to_thread.run_sync(self._disk.names, "boxes")
        groups = await to_thread.run_sync(cgroups.stale, self._hierarchy)
        return sorted({*kept, *groups, *self._open})

    async def destroy(self, sandbox_id: str) -> None:
        sandbox = self._open.get(sandbox_id)
        if sandbox is not None:
            sandbox.kill()
            await sandbox.resume()
            await sandbox.ended()
        with anyio.CancelScope(shield=True):
            async with self._layers:
                await to_thread.run_sync(self._disk.drop, "boxes", sandbox_id)
            if sandbox_id not in self._open:
                await removed(cgroups.Group(self._hierarchy, sandbox_id))
            self._trash.set()

    async def _collect(self) -> None:
        """What a crash has left; nobody makes or forgets a layer meanwhile."""
        with anyio.CancelScope(shield=True):
            async with self._layers:
                try:
                    await to_thread.run_sync(self._disk.collect)
                except AtollError as error:
                    _log.warning("layers not collected", error=error.detail)
        self._trash.set()

    async def _empty_forever(self) -> None:
        """One at a time, and beside everything else."""
        while True:
            await self._trash.wait()
            self._trash = anyio.Event()
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._disk.empty)

    # archives
    async def pack(self, sandbox_id: str) -> str:
        if sandbox_id in self._open:
            raise Conflict(f"Sandbox {sandbox_id} is running; its files change.")
        return await packed(self._disk, sandbox_id)

    async def put_away(self, sandbox_id: str, pack: str) -> None:
        if sandbox_id in self._open:
            raise Conflict(f"Sandbox {sandbox_id} is running; its files change.")
        with anyio.CancelScope(shield=True):
            async with self._layers:
                await to_thread.run_sync(self._disk.put_away, sandbox_id, pack)
        self._trash.set()

    async def drop_pack(self, pack: str) -> None:
        await to_thread.run_sync(self._disk.drop_pack, pack)

    async def restore(self, sandbox_id: str) -> None:
        layer = None
        whole = False
        try:
            with anyio.CancelScope(shield=True):
                async with self._layers:
                    layer = await to_thread.run_sync(self._disk.fill, sandbox_id)
            if layer is not None:
                await unpacked(self._disk, sandbox_id, layer)
                whole = True
        finally:
            if layer is not None:
                with anyio.CancelScope(shield=True):
                    async with self._layers:
                        filled = partial(self._disk.filled, sandbox_id, layer, whole=whole)
                        await to_thread.run_sync(filled)
                self._trash.set()

    # snapshots
    async def snapshot(self, sandbox_id: str, snapshot_id: str) -> None:
        if sandbox_id in self._open:
            raise Conflict(f"Sandbox {sandbox_id} is running; its files change.")
        with anyio.CancelScope(shield=True):
            async with self._layers:
                await to_thread.run_sync(self._disk.freeze, sandbox_id, snapshot_id)

    async def drop_snapshot(self, snapshot_id: str) -> None:
        async with self._layers:
            await to_thread.run_sync(self._disk.drop, "frozen", snapshot_id)
        self._trash.set()

    async def snapshot_size(self, snapshot_id: str) -> int:
        layers = await to_thread.run_sync(self._disk.snapshot_layers, snapshot_id)
        size, _ = await to_thread.run_sync(self._disk.usage, layers)
        return size

    async def snapshots(self) -> Sequence[str]:
        return await to_thread.run_sync(self._disk.names, "frozen")


@contextlib.asynccontextmanager
async def _used(images: ImageRoots, reference: str) -> AsyncGenerator[Image, None]:
    """The image, held for the length of the block."""
    with contextlib.ExitStack() as stack:
        yield await to_thread.run_sync(stack.enter_context, images.use(reference))

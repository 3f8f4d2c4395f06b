"""The fake's five members, and its snapshots."""

import contextlib
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import anyio

from atoll.backends.fake.faults import Faults
from atoll.backends.fake.program import Program
from atoll.backends.fake.sandbox import FakeSandbox
from atoll.backends.fake.shell import scripts, shell
from atoll.backends.fake.tree import Tree, fresh
from atoll.backends.fake.words import words
from atoll.core.errors import Conflict, NotFound, Unavailable
from atoll.core.model import BackendReport, Isolation, Limits, SandboxSpec

CAPABILITIES = frozenset(
    {"programs", "processes", "bytes", "tty", "pause", "snapshots", "archive", "watch"}
)
CLOSE_S = 5.0


class FakeBackend:
    """Sandboxes in the memory of this process: for tests of all that sits above the waist.

    `faults` scripts what goes wrong, `script` what a program does. Not a sandbox: it isolates
    nothing, and runs nothing but coroutines of this process.
    """

    def __init__(
        self,
        name: str = "fake",
        *,
        isolation: Isolation = Isolation.SHARED_KERNEL,
        capabilities: Iterable[str] = CAPABILITIES,
        images: Iterable[str] = ("host",),
        why_not: str = "",
    ) -> None:
        self.faults = Faults()
        self.why_not = why_not
        self._name = name
        self._isolation = isolation
        self._capabilities = frozenset(capabilities)
        self._images = frozenset(images)
        self._programs = words()
        self._find = scripts(self._programs)
        self._programs["sh"] = self._programs["bash"] = shell(self._find)
        self._open: dict[str, _Claim] = {}
        self._trees: dict[str, Tree] = {}
        self._snapshots: dict[str, Tree] = {}
        self.packed: set[str] = set()
        self._packs: set[str] = set()

    @property
    def name(self) -> str:
        return self._name

    async def probe(self) -> BackendReport:
        return BackendReport(
            name=self._name,
            usable=not self.why_not,
            isolation=self._isolation,
            why=self.why_not,
            capabilities=self._capabilities,
            limits={"wall_time": "timer", "output": "counted", "disk": "counted"},
        )

    def open(self, spec: SandboxSpec) -> AbstractAsyncContextManager[FakeSandbox]:
        return self._opened(spec)

    async def owned(self) -> Sequence[str]:
        await self.faults.at("owned")
        return sorted(self._open.keys() | self._trees.keys())

    async def destroy(self, sandbox_id: str) -> None:
        await self.faults.at("destroy")
        self.packed.discard(sandbox_id)
        self._trees.pop(sandbox_id, None)
        claim = self._open.pop(sandbox_id, None)
        if claim is not None and claim.box is not None:
            claim.box.die("destroyed")

    async def snapshot(self, sandbox_id: str, snapshot_id: str) -> None:
        await self.faults.at("snapshot")
        if sandbox_id in self._open or snapshot_id in self._snapshots:
            raise Conflict(f"Sandbox {sandbox_id} is open, or the snapshot exists.")
        tree = self._trees.get(sandbox_id)
        if tree is None:
            raise NotFound("sandbox", sandbox_id)
        if sandbox_id in self.packed:
            raise Conflict(f"Sandbox {sandbox_id} is packed.")
        self._snapshots[snapshot_id] = tree.copy(Limits())

    async def drop_snapshot(self, snapshot_id: str) -> None:
        await self.faults.at("drop_snapshot")
        self._snapshots.pop(snapshot_id, None)

    async def snapshot_size(self, snapshot_id: str) -> int:
        await self.faults.at("snapshot_size")
        tree = self._snapshots.get(snapshot_id)
        if tree is None:
            raise NotFound("snapshot", snapshot_id)
        return tree.used_bytes

    async def snapshots(self) -> Sequence[str]:
        await self.faults.at("snapshots")
        return sorted(self._snapshots)

    async def pack(self, sandbox_id: str) -> str:
        await self.faults.at("pack")
        if sandbox_id in self._open or sandbox_id in self.packed:
            raise Conflict(f"Sandbox {sandbox_id} is open, or packed already.")
        if sandbox_id not in self._trees:
            raise NotFound("sandbox", sandbox_id)
        self._packs.add(sandbox_id)
        return sandbox_id

    async def put_away(self, sandbox_id: str, pack: str) -> None:
        await self.faults.at("put_away")
        if sandbox_id in self._open or pack not in self._packs:
            raise Conflict(f"Sandbox {sandbox_id} is open, or has no such pack.")
        self._packs.discard(pack)
        self.packed.add(sandbox_id)

    async def drop_pack(self, pack: str) -> None:
        self._packs.discard(pack)

    async def restore(self, sandbox_id: str) -> None:
        await self.faults.at("restore")
        self.packed.discard(sandbox_id)

    def script(self, name: str, program: Program) -> None:
        """Let a program of that name be this coroutine."""
        self._programs[name] = program

    def sandbox(self, sandbox_id: str) -> FakeSandbox:
        """The open sandbox of that id, for a test to look into; `NotFound` when it is not open."""
        claim = self._open.get(sandbox_id)
        if claim is None or claim.box is None:
            raise NotFound("sandbox", sandbox_id)
        return claim.box

    def die(self, sandbox_id: str, why: str = "crash") -> None:
        """Let an open sandbox die on its own, as if its init had been killed."""
        self.sandbox(sandbox_id).die(why)

    @contextlib.asynccontextmanager
    async def _opened(self, spec: SandboxSpec) -> AsyncGenerator[FakeSandbox, None]:
        if spec.id in self._open:
            raise Conflict(f"Sandbox {spec.id} is open already.")
        claim = self._open[spec.id] = _Claim()
        tasks = anyio.create_task_group()
        try:
            await self.faults.at("open")
            tree = await self._tree(spec)
            await tasks.__aenter__()
            try:
                box = FakeSandbox(spec, tree, tasks, self.faults, self._find)
                await self.faults.at("open.ready")
                if spec.persistent:
                    self._trees[spec.id] = tree
                claim.box = box
                yield box
            finally:
                if claim.box is not None:
                    claim.box.die("closed")
                tasks.cancel_scope.cancel()
                # Without the error in flight: the block's own error leaves it, not a group.
                await tasks.__aexit__(None, None, None)
        finally:
            await self._close(spec, claim)

    async def _tree(self, spec: SandboxSpec) -> Tree:
        if self.why_not:
            raise Unavailable(f"{self._name}: {self.why_not}")
        if spec.image not in self._images:
            raise NotFound("image", spec.image)
        await self.faults.at("open.files")
        tree = self._trees.get(spec.id)
        if spec.id in self.packed:
            raise Conflict(f"Sandbox {spec.id} is packed.")
        if tree is not None:
            tree.adopt(spec.limits)
            return tree
        if spec.base is None:
            return fresh(spec.limits, spec.hostname)
        if spec.base not in self._snapshots:
            raise NotFound("snapshot", spec.base)
        return self._snapshots[spec.base].copy(spec.limits)

    async def _close(self, spec: SandboxSpec, claim: "_Claim") -> None:
        try:
            with anyio.move_on_after(CLOSE_S, shield=True):
                await self.faults.at("close")
        finally:
            if self._open.get(spec.id) is claim:
                del self._open[spec.id]


@dataclass(slots=True)
class _Claim:
    """An id that is open or being opened."""

    box: FakeSandbox | None = None

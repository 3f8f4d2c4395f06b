"""From what is asked for to a tree of versions, nested as npm 2 did.

What is optional, and cannot be had, is left out with all that only it needs. What a package wants
beside itself (its peers) is put there, unless something of that name can be seen from there.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio import to_thread

from atoll.dialects.wasmrun.errors import BadRequest
from atoll.dialects.wasmrun.npm.choose import Package, choose
from atoll.dialects.wasmrun.npm.names import Asked, Unfit, is_range
from atoll.dialects.wasmrun.npm.registry import Registry
from atoll.dialects.wasmrun.schemas import Locked

MOST_PACKAGES = 1000
DEEPEST = 24
_AT_ONCE = 8

# What a level of node_modules holds, and the levels above it, the nearest first.
Levels = tuple[dict[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Directory:
    """A node_modules to fill. `optional` is the path of the optional package that it is below."""

    prefix: str
    wanted: Sequence[Asked]
    above: Levels
    optional: str | None


class _Dropped(Exception):
    """An optional package cannot have what it needs."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


async def resolve(wanted: Sequence[Asked], registry: Registry) -> dict[str, Locked]:
    """Packages by install path. A level above that has what is wanted is not repeated."""
    documents = _Documents(registry)
    dropped: set[str] = set()
    while True:
        try:
            return await _Tree(documents, dropped).grow(wanted)
        except _Dropped as gone:
            dropped.add(gone.path)


@dataclass
class _Tree:
    """One try at it, without what is dropped."""

    documents: "_Documents"
    dropped: set[str]
    found: dict[str, Locked] = field(default_factory=dict[str, Locked])

    async def grow(self, wanted: Sequence[Asked]) -> dict[str, Locked]:
        """Level by level."""
        level = [_Directory("", wanted, (), None)]
        for _ in range(DEEPEST):
            await self.documents.fetch({each.package for one in level for each in one.wanted})
            level = [below for one in level for below in await self._fill(one)]
            if not level:
                return self.found
        raise BadRequest(f"Dependencies are nested more than {DEEPEST} deep")

    async def _fill(self, where: _Directory) -> list[_Directory]:
        """Place packages in one directory; the directories that they need in turn."""
        here: dict[str, str] = {}
        placed: list[tuple[str, Package, str | None]] = []
        named = {each.name for each in where.wanted}
        queue = deque(where.wanted)
        while queue:
            each = queue.popleft()
            path = f"{where.prefix}node_modules/{each.name}"
            if each.name in here or path in self.dropped or _provided(each, where.above):
                continue
            package = await self._chosen(each, where)
            if package is None:
                continue
            optional = where.optional or (path if each.optional else None)
            here[each.name] = package.version
            self.found[path] = _locked(package, optional=optional is not None)
            placed.append((path, package, optional))
            if len(self.found) > MOST_PACKAGES:
                raise BadRequest(f"There are over {MOST_PACKAGES} packages")
            for peer in package.peers:
                if peer.name not in named and not any(peer.name in up for up in where.above):
                    named.add(peer.name)
                    queue.append(peer.made_optional() if each.optional else peer)
        return [
            _Directory(f"{path}/", package.dependencies, (here, *where.above), optional)
            for path, package, optional in placed
            if package.dependencies
        ]

    async def _chosen(self, each: Asked, where: _Directory) -> Package | None:
        """The package; None for an optional one that cannot be had."""
        try:
            document = await self.documents.of(each.package)
            return await to_thread.run_sync(choose, each, document)
        except Unfit:
            if each.optional:
                return None
            if where.optional is not None:
                raise _Dropped(where.optional) from None
            raise


class _Documents:
    """What the registry says of packages, asked once."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: dict[str, Mapping[str, Any] | Unfit] = {}

    async def of(self, package: str) -> Mapping[str, Any]:
        """One of them. `Unfit` when there is none."""
        await self.fetch({package})
        found = self._known[package]
        if isinstance(found, Unfit):
            raise found
        return found

    async def fetch(self, packages: set[str]) -> None:
        """Ask for some at once."""
        limiter = anyio.CapacityLimiter(_AT_ONCE)

        async def one(package: str) -> None:
            async with limiter:
                try:
                    self._known[package] = await self._registry.document(package)
                except Unfit as none:
                    self._known[package] = none

        async with anyio.create_task_group() as group:
            for package in sorted(packages - self._known.keys()):
                group.start_soon(one, package)


def _locked(package: Package, *, optional: bool) -> Locked:
    return Locked(
        version=package.version,
        resolved=package.resolved,
        integrity=package.integrity,
        optional=optional,
    )


def _provided(wanted: Asked, above: Levels) -> bool:
    """Whether the nearest level that has the name has a version that will do."""
    for level in above:
        if wanted.name in level:
            return wanted.takes(level[wanted.name]) if is_range(wanted.range) else False
    return False

"""Installs packages into a session: the tree, the archives, the files."""

import tarfile
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any, cast

import anyio
import httpx
from anyio import to_thread

from atoll.core.model import MIB
from atoll.dialects.wasmrun.errors import BadRequest, WasmrunError
from atoll.dialects.wasmrun.files import SessionFiles
from atoll.dialects.wasmrun.npm import manifest
from atoll.dialects.wasmrun.npm.archives import digest_of, matches, repack
from atoll.dialects.wasmrun.npm.cache import Cache
from atoll.dialects.wasmrun.npm.names import Asked, Unfit, asked_all, check_path
from atoll.dialects.wasmrun.npm.registry import Registry
from atoll.dialects.wasmrun.npm.resolve import MOST_PACKAGES, resolve
from atoll.dialects.wasmrun.options import Options
from atoll.dialects.wasmrun.schemas import ExecIn, Locked

INSTALL_S = 300.0
# Each holds its archives in memory, so few are under way at once.
_INSTALLS = 4
_ARCHIVES_BYTES = 512 * MIB
_AT_ONCE = 8
_UNBOUNDED = 4096 * MIB
_PIECE = 256 * 1024
_IN_MEMORY = 16 * MIB


class Installer:
    """Resolves, fetches, checks, unpacks. Lifecycle scripts are never run."""

    def __init__(self, registry: Registry, cache: Cache) -> None:
        self._registry = registry
        self._cache = cache
        self._placing = anyio.CapacityLimiter(_INSTALLS)

    def check(self, body: ExecIn) -> None:
        """Refuse names, ranges and lockfiles that cannot be."""
        asked_all(body.dependencies or {})
        locked = body.lockfile or {}
        if len(locked) > MOST_PACKAGES:
            raise BadRequest(f"lockfile may have at most {MOST_PACKAGES} packages")
        for path, entry in locked.items():
            check_path(path)
            digest_of(entry.integrity)

    def is_wanted(self, body: ExecIn) -> bool:
        """Whether anything is to be installed."""
        return bool(body.dependencies or body.lockfile or body.install_package_json)

    async def install(self, files: SessionFiles, body: ExecIn) -> Mapping[str, Any]:
        """Install it; the lockfile."""
        wanted = await manifest.wanted(files, body)
        locked: Mapping[str, Locked] = body.lockfile or {}
        try:
            with anyio.fail_after(INSTALL_S):
                if not (locked and _covers(locked, wanted)):
                    locked = await resolve(wanted, self._registry)
                if locked and not await _is_there(files, _shown(locked)):
                    async with self._placing:
                        locked = await self._place(files, locked)
                    files.session.installed = _shown(locked)
        except BaseExceptionGroup as group:
            raise _first(group) from None
        except TimeoutError:
            raise WasmrunError(500, "Internal error: npm: it has taken too long") from None
        return _shown(locked)

    async def _place(self, files: SessionFiles, locked: Mapping[str, Locked]) -> dict[str, Locked]:
        """Put them there; those that are."""
        archives = await self._archives(locked)
        room = files.session.limits.disk_bytes
        free = _UNBOUNDED if room is None else max(0, room - await files.used_bytes())
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
            kept = await to_thread.run_sync(_packed, locked, archives, spool, free)
            for top in sorted(path for path in kept if path.count("node_modules/") == 1):
                if await files.stat(f"/{top}") is not None:
                    await files.remove(f"/{top}")
            await files.unpack(_pieces(spool))
        return kept

    async def _archives(self, locked: Mapping[str, Locked]) -> dict[str, bytes]:
        """The archives by integrity, from the cache or the registry."""
        found: dict[str, bytes] = {}
        limiter = anyio.CapacityLimiter(_AT_ONCE)
        total = 0

        async def one(path: str, entry: Locked) -> None:
            nonlocal total
            async with limiter:
                digest = digest_of(entry.integrity)
                data = await self._cache.get(digest)
                if data is None:
                    package = path.rpartition("node_modules/")[2]
                    try:
                        data = await self._registry.archive(package, entry.resolved)
                    except Unfit:
                        if entry.optional:
                            return
                        raise
                    if not await to_thread.run_sync(matches, data, digest):
                        raise BadRequest(f"Integrity check failed for '{package}' {entry.version}")
                    await self._cache.put(digest, data)
                total += len(data)
                if total > _ARCHIVES_BYTES:
                    raise BadRequest(f"The packages are over {_ARCHIVES_BYTES} bytes together")
                found[entry.integrity] = data

        # What several are made of is as much needed as the most needed of them.
        by_need = sorted(locked.items(), key=lambda each: not each[1].optional)
        wanted = {entry.integrity: (path, entry) for path, entry in by_need}
        async with anyio.create_task_group() as group:
            for path, entry in wanted.values():
                group.start_soon(one, path, entry)
        return found


@asynccontextmanager
async def installer(options: Options, data_dir: Path) -> AsyncGenerator[Installer, None]:
    """An installer, whose connections end with the block."""
    async with httpx.AsyncClient(follow_redirects=True, timeout=30.0) as client:
        registry = Registry(client, options.npm_registry)
        cache = Cache(data_dir / "npm-cache", options.max_cache_mb * MIB)
        yield Installer(registry, cache)


def _shown(locked: Mapping[str, Locked]) -> dict[str, Any]:
    return {path: locked[path].model_dump(exclude_defaults=True) for path in sorted(locked)}


def _covers(locked: Mapping[str, Locked], wanted: list[Asked]) -> bool:
    """Whether a lockfile has what is asked for; it is replayed then, without the registry."""
    for each in wanted:
        entry = locked.get(f"node_modules/{each.name}")
        if entry is None and not each.optional:
            return False
        if entry is not None and not each.tag and not each.takes(entry.version):
            return False
    return True


async def _is_there(files: SessionFiles, shown: Mapping[str, Any]) -> bool:
    if files.session.installed != shown:
        return False
    tops = [path for path in shown if path.count("node_modules/") == 1]
    return all([await files.stat(f"/{path}/package.json") is not None for path in tops])


def _packed(
    locked: Mapping[str, Locked], archives: Mapping[str, bytes], spool: IO[bytes], free: int
) -> dict[str, Locked]:
    """Write all packages as one archive; those that are in it."""
    kept: dict[str, Locked] = {}
    left_out: tuple[str, ...] = ()
    with tarfile.open(fileobj=spool, mode="w", format=tarfile.PAX_FORMAT) as out:
        for path in sorted(locked):
            if path.startswith(left_out):
                continue
            entry, name = locked[path], path.rpartition("node_modules/")[2]
            data = archives.get(entry.integrity)
            if data is None or (entry.optional and not _is_fit(name, data, free)):
                left_out += (f"{path}/",)
                continue
            free -= repack(name, data, path, out, free)
            kept[path] = entry
    spool.seek(0)
    return kept


def _is_fit(name: str, data: bytes, free: int) -> bool:
    """Whether an archive holds nothing that is refused; for what one may do without."""
    with tempfile.TemporaryFile() as nowhere, tarfile.open(fileobj=nowhere, mode="w") as out:
        try:
            repack(name, data, "x", out, free)
        except Unfit:
            return False
    return True


async def _pieces(spool: IO[bytes]) -> AsyncGenerator[bytes, None]:
    while piece := await to_thread.run_sync(spool.read, _PIECE):
        yield piece


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    if isinstance(first, BaseExceptionGroup):
        return _first(cast("BaseExceptionGroup[BaseException]", first))
    return first

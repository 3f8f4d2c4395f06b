"""From what is asked for to a tree of versions, nested as npm 2 did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import anyio
import nodesemver
from anyio import to_thread

from atoll.dialects.wasmrun.errors import BadRequest
from atoll.dialects.wasmrun.npm.names import Asked, asked, is_range
from atoll.dialects.wasmrun.npm.registry import Registry

MOST_PACKAGES = 1000
DEEPEST = 24
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Package:
    """One package to be installed. `integrity` is `sha512-…`."""

    package: str
    version: str
    resolved: str
    integrity: str
    dependencies: Mapping[str, str]


# What a level of node_modules holds, and the levels above it, the nearest first.
Levels = tuple[dict[str, str], ...]


async def resolve(wanted: Sequence[Asked], registry: Registry) -> dict[str, Package]:
    """Packages by install path. A level above that has what is wanted is not repeated."""
    found: dict[str, Package] = {}
    documents: dict[str, Mapping[str, Any]] = {}
    level: list[tuple[str, Sequence[Asked], Levels]] = [("", wanted, ())]
    depth = 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise BadRequest(f"Dependencies are nested more than {DEEPEST} deep")
        await _fetch({each.package for _, all_, _ in level for each in all_}, documents, registry)
        below: list[tuple[str, Sequence[Asked], Levels]] = []
        for prefix, all_, above in level:
            here: dict[str, str] = {}
            placed: list[tuple[str, Package]] = []
            for each in all_:
                if _provided(each, above):
                    continue
                package = await to_thread.run_sync(choose, each, documents[each.package])
                here[each.name] = package.version
                path = f"{prefix}node_modules/{each.name}"
                found[path] = package
                placed.append((path, package))
                if len(found) > MOST_PACKAGES:
                    raise BadRequest(f"There are over {MOST_PACKAGES} packages")
            below += [
                (f"{path}/", _wants(package), (here, *above))
                for path, package in placed
                if package.dependencies
            ]
        level = below
    return found


def choose(wanted: Asked, document: Mapping[str, Any]) -> Package:
    """The version that npm would take: `latest` if it will do, else the highest."""
    versions = _table(document.get("versions"))
    tags = _table(document.get("dist-tags"))
    if wanted.tag:
        version = tags.get(wanted.range)
        if not isinstance(version, str) or version not in versions:
            raise BadRequest(f"No version of '{wanted.package}' has the tag '{wanted.range}'")
    else:
        latest = tags.get("latest")
        if isinstance(latest, str) and latest in versions and wanted.takes(latest):
            version = latest
        else:
            version = _highest(wanted, versions)
    if version is None:
        raise BadRequest(f"No version of '{wanted.package}' satisfies '{wanted.range}'")
    return _package(wanted.package, version, _table(versions[version]))


def _highest(wanted: Asked, versions: Mapping[str, Any]) -> str | None:
    good = [each for each in versions if nodesemver.valid(each, loose=True)]
    kept = [each for each in good if not _table(versions[each]).get("deprecated")]
    for some in (kept, good):
        best = nodesemver.max_satisfying(some, wanted.range, loose=True)
        if best is not None:
            return str(best)
    return None


def _package(name: str, version: str, manifest: Mapping[str, Any]) -> Package:
    dist = _table(manifest.get("dist"))
    integrity, tarball = dist.get("integrity"), dist.get("tarball")
    if not isinstance(tarball, str) or not isinstance(integrity, str):
        raise BadRequest(f"Package '{name}' {version} has no archive with an integrity")
    strong = next((each for each in integrity.split() if each.startswith("sha512-")), None)
    if strong is None:
        raise BadRequest(f"Package '{name}' {version} has no sha512 integrity")
    if manifest.get("gypfile"):
        raise native(name)
    optional = _table(manifest.get("optionalDependencies"))
    dependencies = {
        key: value
        for key, value in _table(manifest.get("dependencies")).items()
        if isinstance(value, str) and key not in optional
    }
    return Package(name, version, tarball, strong, dependencies)


def native(name: str) -> BadRequest:
    """The refusal of a package that is not only JavaScript."""
    return BadRequest(f"Package '{name}' has native bindings, which are not supported")


def _wants(package: Package) -> list[Asked]:
    """What a package depends on; where that is no version, the package is at fault."""
    try:
        return [asked(name, package.dependencies[name]) for name in sorted(package.dependencies)]
    except BadRequest as error:
        detail = error.detail.removeprefix("Bad request: ")
        raise BadRequest(f"Package '{package.package}' {package.version}: {detail}") from None


def _provided(wanted: Asked, above: Levels) -> bool:
    """Whether the nearest level that has the name has a version that will do."""
    for level in above:
        if wanted.name in level:
            return wanted.takes(level[wanted.name]) if is_range(wanted.range) else False
    return False


async def _fetch(
    names: set[str], documents: dict[str, Mapping[str, Any]], registry: Registry
) -> None:
    limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def one(name: str) -> None:
        async with limiter:
            documents[name] = await registry.document(name)

    async with anyio.create_task_group() as group:
        for name in sorted(names - documents.keys()):
            group.start_soon(one, name)


def _table(value: object) -> Mapping[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}

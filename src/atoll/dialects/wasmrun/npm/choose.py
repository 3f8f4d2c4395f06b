"""Which version of a package does for what is asked, and what that version needs."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import nodesemver

from atoll.dialects.wasmrun.errors import BadRequest
from atoll.dialects.wasmrun.npm.names import Asked, Unfit, asked

_MACHINES = {"x86_64": "x64", "aarch64": "arm64"}
_HERE = {"os": "linux", "cpu": _MACHINES.get(platform.machine(), platform.machine())}


@dataclass(frozen=True, slots=True)
class Package:
    """One package to be installed. `integrity` is `sha512-…`.

    `peers` are what it wants to find beside itself.
    """

    package: str
    version: str
    resolved: str
    integrity: str
    dependencies: tuple[Asked, ...]
    peers: tuple[Asked, ...]


def choose(wanted: Asked, document: Mapping[str, Any]) -> Package:
    """The version that npm would take: `latest` if it will do, else the highest."""
    versions = _table(document.get("versions"))
    tags = _table(document.get("dist-tags"))
    if wanted.tag:
        version = tags.get(wanted.range)
        if not isinstance(version, str) or version not in versions:
            raise Unfit(f"No version of '{wanted.package}' has the tag '{wanted.range}'")
    else:
        latest = tags.get("latest")
        if isinstance(latest, str) and latest in versions and wanted.takes(latest):
            version = latest
        else:
            version = _highest(wanted, versions)
    if version is None:
        raise Unfit(f"No version of '{wanted.package}' satisfies '{wanted.range}'")
    return _package(wanted, version, _table(versions[version]))


def native(name: str) -> Unfit:
    """The refusal of a package that is not only JavaScript."""
    return Unfit(f"Package '{name}' has native bindings, which are not supported")


def _highest(wanted: Asked, versions: Mapping[str, Any]) -> str | None:
    good = [each for each in versions if nodesemver.valid(each, loose=True)]
    kept = [each for each in good if not _table(versions[each]).get("deprecated")]
    for some in (kept, good):
        best = nodesemver.max_satisfying(some, wanted.range, loose=True)
        if best is not None:
            return str(best)
    return None


def _package(wanted: Asked, version: str, manifest: Mapping[str, Any]) -> Package:
    name, dist = wanted.package, _table(manifest.get("dist"))
    integrity, tarball = dist.get("integrity"), dist.get("tarball")
    if not isinstance(tarball, str) or not isinstance(integrity, str):
        raise BadRequest(f"Package '{name}' {version} has no archive with an integrity")
    strong = next((each for each in integrity.split() if each.startswith("sha512-")), None)
    if strong is None:
        raise BadRequest(f"Package '{name}' {version} has no sha512 integrity")
    if manifest.get("gypfile"):
        raise native(name)
    _check_platform(wanted, version, manifest)
    return Package(
        name, version, tarball, strong, _needs(name, version, manifest), _peers(manifest)
    )


def _check_platform(wanted: Asked, version: str, manifest: Mapping[str, Any]) -> None:
    """Refuse what is for other machines. What is optional and for some only is machine code."""
    for key, here in _HERE.items():
        kinds = [each for each in _list(manifest.get(key)) if each != "any"]
        if not kinds:
            continue
        only = [each for each in kinds if not each.startswith("!")]
        if wanted.optional or f"!{here}" in kinds or (only and here not in only):
            raise Unfit(f"Package '{wanted.package}' {version} is for other machines")


def _needs(name: str, version: str, manifest: Mapping[str, Any]) -> tuple[Asked, ...]:
    """Its dependencies. Those that its archive brings along are not looked for."""
    bundled = manifest.get("bundleDependencies", manifest.get("bundledDependencies"))
    brought = set(_list(bundled))
    texts = {} if bundled is True else _texts(manifest, "dependencies")
    optional = {} if bundled is True else _texts(manifest, "optionalDependencies")
    found: list[Asked] = []
    for each in sorted({**texts, **optional}.keys() - brought):
        try:
            found.append(asked(each, {**texts, **optional}[each], optional=each in optional))
        except BadRequest as error:
            if each not in optional:
                detail = error.detail.removeprefix("Bad request: ")
                raise BadRequest(f"Package '{name}' {version}: {detail}") from None
    return tuple(found)


def _peers(manifest: Mapping[str, Any]) -> tuple[Asked, ...]:
    """What it wants beside itself; what cannot be installed is the program's own matter."""
    meta = _table(manifest.get("peerDependenciesMeta"))
    found: list[Asked] = []
    for name, text in sorted(_texts(manifest, "peerDependencies").items()):
        try:
            if _table(meta.get(name)).get("optional") is not True:
                found.append(asked(name, text))
        except BadRequest:
            continue
    return tuple(found)


def _texts(manifest: Mapping[str, Any], key: str) -> dict[str, str]:
    pairs = _table(manifest.get(key)).items()
    return {name: text for name, text in pairs if isinstance(text, str)}


def _table(value: object) -> Mapping[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[str]:
    values = cast("list[object]", value) if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str)]

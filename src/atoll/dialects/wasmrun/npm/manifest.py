"""What a session's package.json asks for."""

import json
from collections.abc import Mapping
from typing import Any, cast

from atoll.dialects.wasmrun.errors import BadRequest, NothingThere
from atoll.dialects.wasmrun.files import SessionFiles
from atoll.dialects.wasmrun.npm.names import Asked, asked_all
from atoll.dialects.wasmrun.schemas import ExecIn


async def wanted(files: SessionFiles, body: ExecIn) -> list[Asked]:
    """What an execution wants installed; what it names itself goes before package.json."""
    named = body.dependencies or {}
    if not body.install_package_json:
        return asked_all(named)
    manifest = await _read(files, body)
    sections = ["peerDependencies", "dependencies"]
    if body.install_dev_dependencies:
        sections.append("devDependencies")
    needed: dict[str, str] = {}
    for section in sections:
        needed |= _section(manifest, section)
    optional = _section(manifest, "optionalDependencies")
    return asked_all({**needed, **optional, **named}, optional=optional.keys() - named.keys())


async def _read(files: SessionFiles, body: ExecIn) -> Mapping[str, Any]:
    text = (body.files or {}).get("package.json")
    try:
        raw = await files.read("/package.json") if text is None else text.encode()
        return _table(json.loads(raw))
    except NothingThere:
        raise BadRequest("There is no package.json to install from") from None
    except (ValueError, RecursionError):
        raise BadRequest("package.json is no JSON") from None


def _section(manifest: Mapping[str, Any], name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for package, value in _table(manifest.get(name, {})).items():
        if not isinstance(value, str):
            raise BadRequest(f"Invalid version range for '{package}'")
        found[package] = value
    return found


def _table(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest("package.json: an object is expected")
    return cast("dict[str, Any]", value)

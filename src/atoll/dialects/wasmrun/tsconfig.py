"""tsconfig.json (JSON with comments) as options of the engine."""

import json
import posixpath
import re
from collections.abc import Mapping
from typing import Any, cast

from atoll.core.model import WORKSPACE

LARGEST = 256 * 1024
_TOKEN = re.compile(
    r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/|,(?=(?:\s|//[^\n]*\n|/\*.*?\*/)*[}\]])', re.DOTALL
)
_TEXTS = ("jsxFactory", "jsxFragmentFactory", "jsxImportSource")
_FLAGS = ("experimentalDecorators", "emitDecoratorMetadata")
_JSX = {"react": "react", "react-jsx": "react-jsx", "react-jsxdev": "react-jsxdev"}


def engine_config(text: bytes | None) -> bytes:
    """The engine's configuration file for a session with that tsconfig.json."""
    options = _options(text)
    config: dict[str, Any] = {"nodeModulesDir": "manual", "lock": False}
    chosen: dict[str, Any] = {
        name: options[name] for name in _TEXTS if isinstance(options.get(name), str)
    }
    chosen |= {name: options[name] for name in _FLAGS if isinstance(options.get(name), bool)}
    jsx = options.get("jsx")
    if isinstance(jsx, str) and jsx in _JSX:
        chosen["jsx"] = _JSX[jsx]
    if chosen:
        config["compilerOptions"] = chosen
    imports = _imports(options)
    if imports:
        config["imports"] = imports
    return json.dumps(config).encode()


def _options(text: bytes | None) -> Mapping[str, Any]:
    """Its compiler options; none where it is none."""
    if text is None or len(text) > LARGEST:
        return {}
    plain = _TOKEN.sub(
        lambda hit: hit[0] if hit[0].startswith('"') else " ",
        text.decode("utf-8-sig", "replace"),
    )
    try:
        parsed = json.loads(plain)
    except (ValueError, RecursionError):
        return {}
    options = cast("dict[str, Any]", parsed).get("compilerOptions") if _is_table(parsed) else None
    return cast("dict[str, Any]", options) if _is_table(options) else {}


def _imports(options: Mapping[str, Any]) -> dict[str, str]:
    """`paths` as an import map: a `*` may only be the last letter."""
    paths, base = options.get("paths"), options.get("baseUrl", ".")
    if not _is_table(paths) or not isinstance(base, str):
        return {}
    found: dict[str, str] = {}
    for pattern, targets in cast("dict[str, Any]", paths).items():
        if not isinstance(targets, list) or not targets or not isinstance(targets[0], str):
            continue
        target = posixpath.normpath(posixpath.join(WORKSPACE, base, targets[0].removesuffix("*")))
        open_ended = pattern.endswith("*") and targets[0].endswith("*")
        if open_ended and pattern.endswith("/*"):
            found[pattern[:-1]] = f"file://{target}/"
        elif "*" not in pattern:
            found[pattern] = f"file://{target}"
    return found


def _is_table(value: object) -> bool:
    return isinstance(value, dict)

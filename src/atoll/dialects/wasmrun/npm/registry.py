"""The npm registry: what versions there are, and their archives."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlsplit

import anyio.to_thread
import httpx

from atoll.core.model import MIB
from atoll.dialects.wasmrun.errors import BadRequest, WasmrunError
from atoll.dialects.wasmrun.npm.names import Unfit, is_name
from atoll.settings import npm_registry

DOCUMENT_BYTES = 64 * MIB
ARCHIVE_BYTES = 128 * MIB
TIMEOUT_S = 60.0
UNCONFIGURED = (
    "npm packages cannot be fetched: this server has no npm registry; its operator can name one "
    "with the option npm_registry (--dialect-option wasmrun.npm_registry=URL), the variable "
    "NPM_CONFIG_REGISTRY, or registry= in ~/.npmrc"
)
_ABBREVIATED = "application/vnd.npm.install-v1+json"
_CONFIGURED = (Path("~/.npmrc"), Path("/etc/npmrc"), Path("/usr/etc/npmrc"))


class Registry:
    """Asks one registry, and no other host."""

    def __init__(self, client: httpx.AsyncClient, address: str) -> None:
        self._client = client
        self._address = address

    async def document(self, package: str) -> Mapping[str, Any]:
        """All about a package. `BadRequest` when there is none."""
        url = f"{await self._base()}{quote(package, safe='@')}"
        raw = await self._get(url, DOCUMENT_BYTES, package, {"accept": _ABBREVIATED})
        try:
            found = await anyio.to_thread.run_sync(json.loads, raw)
        except (ValueError, RecursionError):
            raise _unusable(f"its answer about {package} is no JSON") from None
        if not isinstance(found, dict):
            raise _unusable(f"its answer about {package} is no object")
        return cast("dict[str, Any]", found)

    async def archive(self, package: str, resolved: str) -> bytes:
        """The archive at an address of this registry; another host's is asked from this one."""
        base = await self._base()
        if not resolved.startswith(base):
            path, _, file = urlsplit(resolved).path.rpartition("/-/")
            parts = path.split("/")
            package = "/".join(parts[-2:] if parts[-2:][0].startswith("@") else parts[-1:])
            if not is_name(package) or not file or "/" in file or ".." in file:
                raise BadRequest(
                    f"Lockfile of '{package}' names another registry: '{resolved[:200]}'"
                )
            resolved = f"{base}{package}/-/{quote(file)}"
        return await self._get(resolved, ARCHIVE_BYTES, package, {})

    async def _base(self) -> str:
        address = self._address or await anyio.to_thread.run_sync(_configured)
        if not address:
            raise BadRequest(UNCONFIGURED)
        self._address = address
        return f"{address.rstrip('/')}/"

    async def _get(self, url: str, most: int, package: str, headers: Mapping[str, str]) -> bytes:
        try:
            with anyio.fail_after(TIMEOUT_S):
                async with self._client.stream("GET", url, headers=dict(headers)) as answer:
                    if answer.status_code in {404, 405}:
                        raise Unfit(f"Package not found: '{package}'")
                    if answer.status_code != 200:  # noqa: PLR2004
                        raise _unusable(f"it answers {answer.status_code} about {package}")
                    data = bytearray()
                    async for chunk in answer.aiter_bytes():
                        data += chunk
                        if len(data) > most:
                            raise BadRequest(f"Package '{package}' is over {most} bytes")
                    return bytes(data)
        except (httpx.HTTPError, TimeoutError, httpx.InvalidURL) as error:
            raise _unusable(f"it cannot be reached ({type(error).__name__})") from error


def _unusable(why: str) -> WasmrunError:
    return WasmrunError(500, f"Internal error: npm registry: {why}")


def _configured() -> str:
    """What npm's own variable or `registry=` in its configuration files says."""
    if named := npm_registry():
        return named
    for place in _CONFIGURED:
        try:
            lines = place.expanduser().read_text("utf-8").splitlines()
        except (OSError, ValueError, RuntimeError):
            continue
        for line in lines:
            name, equals, value = line.partition("=")
            if equals and name.strip() == "registry" and "${" not in value:
                return value.strip().strip("\"'")
    return ""

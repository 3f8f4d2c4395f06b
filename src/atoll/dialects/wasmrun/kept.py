"""What of a session is kept with its sandbox, so that it is found again after a restart."""

import json
import re
from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import astuple
from typing import Any, cast

from atoll.core.errors import InvalidRequest, NotFound
from atoll.core.records import SandboxRecord
from atoll.dialects.wasmrun.limits import SessionLimits
from atoll.service.caller import Caller
from atoll.service.files import FilesOf

DIALECT: Mapping[str, str] = {"dialect": "wasmrun"}
PREFIX = "wasmrun-"
# So that a module finds its engine imported.
PRELOAD = ("atoll.guest.wasm.warm",)
_LIMITS = "wasmrun.limits"
# Beside the session's own files. Its programs can change it, as they can their variables.
_ENV_FILE = "/home/user/.wasmrun-env.json"
_ENV_BYTES = 4 * 1024 * 1024
_ID = re.compile(r"[0-9a-f]{32}")


def is_id(text: str) -> bool:
    """Whether a session may be called so."""
    return _ID.fullmatch(text) is not None


def labels(limits: SessionLimits) -> Mapping[str, str]:
    """The labels of a session's sandbox."""
    return {**DIALECT, _LIMITS: ",".join(str(each) for each in astuple(limits))}


def session_id(record: SandboxRecord) -> str | None:
    """The session that a sandbox is of; None for any other sandbox."""
    name = (record.name or "").removeprefix(PREFIX)
    mine = record.labels.get("dialect") == DIALECT["dialect"]
    return name if mine and is_id(name) and record.name == PREFIX + name else None


def limits_of(record: SandboxRecord, usual: SessionLimits) -> SessionLimits:
    """The limits that a session was made with; labels that were changed since are no limits."""
    parts = record.labels.get(_LIMITS, "").split(",")
    if len(parts) != len(astuple(usual)) or not all(re.fullmatch(r"\d{1,19}", p) for p in parts):
        return usual
    return SessionLimits(*map(int, parts))


async def read_env(files: FilesOf, caller: Caller, sandbox_id: str) -> dict[str, str]:
    """The variables that were kept; none where there are none, or none that make sense."""
    data = bytearray()
    with suppress(InvalidRequest):
        try:
            reading = files.read(caller, sandbox_id, _ENV_FILE, length=_ENV_BYTES)
            async with aclosing(reading) as chunks:
                async for chunk in chunks:
                    data += chunk
        except NotFound as error:
            if error.kind == "sandbox":
                raise
    try:
        found = json.loads(bytes(data) or b"{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    pairs = cast("dict[str, Any]", found)
    return {
        name: value
        for name, value in pairs.items()
        if isinstance(value, str) and name and "=" not in name and "\0" not in name + value
    }


async def write_env(
    files: FilesOf, caller: Caller, sandbox_id: str, env: Mapping[str, str]
) -> None:
    """Keep the variables."""
    await files.write(caller, sandbox_id, _ENV_FILE, json.dumps(env).encode())
